#include "cpu/kernels/amx/operands.h"
#include "cpu/kernels/gemm_tiles.h"

namespace lrqat::cpu::LRQAT_ISA {

namespace {

static_assert(kProductBlock == blockEdge && kProductBlock == tileDepth);

void packPanel(const uint16_t* b, bool transposed, int64_t stride, int64_t columns, int64_t depth, uint16_t* panel) {
  if (transposed) {
    packOperands(b, stride, columns, depth, {.rightTransposed = panel});
  } else {
    packOperands(b, stride, depth, columns, {.right = panel});
  }
}

void packColumns(const uint16_t* a, int64_t stride, int64_t columns, int64_t depth, uint16_t* rows) {
  packOperands(a, stride, depth, columns, {.leftTransposed = rows});
}

inline Vec widened(__mmask16 mask, const uint16_t* memory) {
  const __m512i bits = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, memory));
  return __builtin_bit_cast(Vec, _mm512_slli_epi32(bits, 16));
}

/// Sums of a block that still have to go to C.
struct FinishedBlock {
  const float* sums = nullptr;
  void* c = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
};

/// Rows [from, to) of `block` to C in either type.
inline void finishRows(const TileProduct& p, const FinishedBlock& block, int64_t from, int64_t to) {
  const __mmask16 masks[2] = {firstLanes(block.columns),
                              block.columns > tileEdge ? firstLanes(block.columns - tileEdge) : __mmask16{0}};
  for (int64_t r = from; r < to && r < block.rows; ++r) {
    Vec v[2] = {load(block.sums + r * blockEdge), load(block.sums + r * blockEdge + tileEdge)};
    if (p.cBf16) {
      auto* row = static_cast<uint16_t*>(block.c) + r * p.cStride;
      if (p.add) {
        for (int h = 0; h < 2; ++h) v[h] = widened(masks[h], row + h * tileEdge) + v[h];
      }
      const __mmask32 both = masks[0] | static_cast<__mmask32>(masks[1]) << tileEdge;
      _mm512_mask_storeu_epi16(row, both, roundPair(v[0], v[1]));
    } else {
      float* row = static_cast<float*>(block.c) + r * p.cStride;
      for (int h = 0; h < 2; ++h) {
        float* place = row + h * tileEdge;
        if (p.add) v[h] = Vec(_mm512_maskz_loadu_ps(masks[h], place)) + v[h];
        _mm512_mask_storeu_ps(place, masks[h], v[h]);
      }
    }
  }
}

/// Rows of A padded with zeros to whole tiles: what lies behind them may be no number, and 0 times that is none either.
const uint16_t* paddedRows(const TileProduct& p) {
  const int64_t width = gemm_tiles::padded(p.depth);
  for (int64_t r = 0; r < blockEdge; ++r) {
    uint16_t* row = p.copy + r * width;
    const int64_t filled = r < p.rows ? p.depth : 0;
    if (filled > 0) std::memcpy(row, p.a + r * p.aStride, static_cast<size_t>(filled) * sizeof(uint16_t));
    std::memset(row + filled, 0, static_cast<size_t>(width - filled) * sizeof(uint16_t));
  }
  return p.copy;
}

/// Two tiles, `apart` tiles from each other, into the first-level cache.
inline void prefetchTiles(const uint16_t* tiles, int64_t apart) {
  for (int64_t line = 0; line < tileEdge; ++line) {
    _mm_prefetch(tiles + line * tileDepth, _MM_HINT_T0);
    _mm_prefetch(tiles + apart * operandTile + line * tileDepth, _MM_HINT_T0);
  }
}

void multiply(const TileProduct& p) {
  const TileRegisters registers;
  const int64_t width = gemm_tiles::padded(p.depth);
  const int64_t depthTiles = width / tileDepth;
  const bool whole = p.rows == blockEdge && p.depth == width;
  const LeftRows a = p.aPacked ? packedRows(p.a, depthTiles)
                     : whole   ? plainRows(p.a, p.aStride)
                               : plainRows(paddedRows(p), width);
  alignas(64) float sums[2][blockEdge * blockEdge];
  FinishedBlock finished;  // is rounded and written while the next block is multiplied
  for (int64_t first = 0; first < p.columns; first += blockEdge) {
    const int64_t columns = p.columns - first < blockEdge ? p.columns - first : blockEdge;
    const uint16_t* panel = p.panels + first * width;
    // The panel after this one comes from the second-level cache while this one multiplies; after the last it is the
    // first, for the next rows.
    const uint16_t* next = first + blockEdge < p.columns ? panel + blockEdge * width : p.panels;
    const auto prefetch = [&](int64_t k) {
      if (p.prefetch) prefetchTiles(next + k * operandTile, depthTiles);
    };
    if (!p.cBf16 && p.rows == blockEdge && columns == blockEdge) {
      float* c = static_cast<float*>(p.c) + first;
      if (p.add) {
        loadResult(blockAt(c, p.cStride));
      } else {
        clearResult();
      }
      addRowProducts(a, panel, depthTiles, prefetch);
      storeResult(blockAt(c, p.cStride));
      continue;
    }
    clearResult();
    addRowProducts(a, panel, depthTiles, [&](int64_t k) {
      prefetch(k);
      finishRows(p, finished, k * blockEdge / depthTiles, (k + 1) * blockEdge / depthTiles);
    });
    float* place = sums[first / blockEdge % 2];
    storeResult(blockAt(place, blockEdge));
    finished = {place,
                p.cBf16 ? static_cast<void*>(static_cast<uint16_t*>(p.c) + first) : static_cast<float*>(p.c) + first,
                p.rows, columns};
  }
  finishRows(p, finished, 0, blockEdge);
}

void multiplySum(const TileProduct* products, int64_t count) {
  bool whole = true;
  for (int64_t i = 0; i < count; ++i) {
    const TileProduct& p = products[i];
    whole = whole && p.rows == blockEdge && p.depth % tileDepth == 0 && !p.aPacked && !p.cBf16;
  }
  // Sums of whole blocks stay in registers from one product to the next; the others are added one after the other.
  const int64_t columns = whole ? products[0].columns / blockEdge * blockEdge : 0;
  {
    const TileRegisters registers;
    for (int64_t first = 0; first < columns; first += blockEdge) {
      const Result c = blockAt(static_cast<float*>(products[0].c) + first, products[0].cStride);
      if (products[0].add) {
        loadResult(c);
      } else {
        clearResult();
      }
      for (int64_t i = 0; i < count; ++i) {
        const TileProduct& p = products[i];
        addRowProducts(plainRows(p.a, p.aStride), p.panels + first * p.depth, p.depth / tileDepth, [](int64_t) {});
      }
      storeResult(c);
    }
  }
  for (int64_t i = 0; i < count && columns < products[0].columns; ++i) {
    TileProduct rest = products[i];
    rest.panels += columns * gemm_tiles::padded(rest.depth);
    rest.c = rest.cBf16 ? static_cast<void*>(static_cast<uint16_t*>(rest.c) + columns)
                        : static_cast<float*>(rest.c) + columns;
    rest.columns -= columns;
    multiply(rest);
  }
}

}  // namespace

extern const GemmTileKernels gemmTileKernels = {packPanel, packColumns, multiply, multiplySum};

}  // namespace lrqat::cpu::LRQAT_ISA
