#include "cpu/kernels/amx/operands.h"
#include "cpu/kernels/low_rank_tiles.h"

namespace lrqat::cpu::LRQAT_ISA {

namespace {

static_assert(kThinBlock == blockEdge && kThinBlock == tileDepth);

/// γ·f [rows, columns] of at most 32 × 32, rounded to bf16; zero beyond.
void scaleBlock(const float* f, int64_t stride, int64_t rows, int64_t columns, float gamma,
                uint16_t (&out)[kThinBlock * kThinBlock]) {
  const __mmask16 first = firstLanes(columns);
  const __mmask16 second = columns > tileEdge ? firstLanes(columns - tileEdge) : __mmask16{0};
  for (int64_t r = 0; r < kThinBlock; ++r) {
    __m512i rounded = _mm512_setzero_si512();
    if (r < rows) {
      const float* row = f + r * stride;
      const Vec low = _mm512_maskz_loadu_ps(first, row);
      const Vec high = _mm512_maskz_loadu_ps(second, row + tileEdge);
      rounded = roundPair(low * gamma, high * gamma);
    }
    std::memcpy(out + r * kThinBlock, &rounded, sizeof rounded);
  }
}

int64_t atMost(int64_t count, int64_t limit) {
  return count < limit ? count : limit;
}

/// Two tiles, `stride` tiles apart in memory.
void storeTwo(const uint16_t (&tiles)[2 * operandTile], uint16_t* out, int64_t stride) {
  std::memcpy(out, tiles, sizeof tiles / 2);
  std::memcpy(out + stride * operandTile, tiles + operandTile, sizeof tiles / 2);
}

void packRows(const float* f, float gamma, int64_t rank, int64_t n, int64_t first, uint16_t* out) {
  const int64_t depthTiles = low_rank_tiles::padded(n) / tileDepth;
  for (int64_t k = 0; k < rank; k += kThinBlock) {
    alignas(64) uint16_t block[kThinBlock * kThinBlock];
    alignas(64) uint16_t tiles[2 * operandTile];
    scaleBlock(f + k * n + first, n, atMost(rank - k, kThinBlock), atMost(n - first, kThinBlock), gamma, block);
    packOperands(block, kThinBlock, kThinBlock, kThinBlock, {.rightTransposed = tiles});
    storeTwo(tiles, out + (k / tileEdge * depthTiles + first / tileDepth) * operandTile, depthTiles);
  }
}

void packColumns(const float* f, float gamma, int64_t rank, int64_t n, int64_t first, uint16_t* out) {
  const int64_t depthTiles = low_rank_tiles::padded(n) / tileDepth;
  for (int64_t k = 0; k < rank; k += kThinBlock) {
    alignas(64) uint16_t block[kThinBlock * kThinBlock];
    alignas(64) uint16_t tiles[2 * operandTile];
    scaleBlock(f + first * rank + k, rank, atMost(n - first, kThinBlock), atMost(rank - k, kThinBlock), gamma, block);
    packOperands(block, kThinBlock, kThinBlock, kThinBlock, {.right = tiles});
    storeTwo(tiles, out + (k / tileEdge * depthTiles + first / tileDepth) * operandTile, depthTiles);
  }
}

void project(const uint16_t* x, int64_t n, int64_t tokens, int64_t first, const uint16_t* factor, int64_t rank,
             float* work, uint16_t* out) {
  const TileRegisters registers;
  const int64_t depthTiles = low_rank_tiles::padded(n) / tileDepth;
  const int64_t tokenTiles = low_rank_tiles::padded(tokens) / tileDepth;
  auto* rows = reinterpret_cast<uint16_t*>(work);
  float* products = work + kThinBlock * low_rank_tiles::padded(n) / 2;  // [32 tokens][32 ranks]
  // Rows that fill their tiles are read where they lie.
  const bool whole = tokens - first >= kThinBlock && n % tileDepth == 0;
  if (!whole) packOperands(x + first * n, n, atMost(tokens - first, kThinBlock), n, {.left = rows});
  for (int64_t k = 0; k < rank; k += kThinBlock) {
    const Operand right{factor + k / tileEdge * depthTiles * operandTile, depthTiles};
    const Result result = blockAt(products, kThinBlock);
    if (whole) {
      clearResult();
      addRowProducts(plainRows(x + first * n, n), right.tiles, depthTiles, [](int64_t) {});
      storeResult(result);
    } else {
      multiplyTiles({rows, depthTiles}, right, depthTiles, result, false);
    }
    for (int64_t half = 0; half < 2; ++half) {
      Vec early[tileEdge];
      Vec late[tileEdge];
      for (int64_t t = 0; t < tileEdge; ++t) {
        early[t] = load(products + t * kThinBlock + half * tileEdge);
        late[t] = load(products + (t + tileEdge) * kThinBlock + half * tileEdge);
      }
      transpose(early);
      transpose(late);
      uint16_t* tile = out + ((k / tileEdge + half) * tokenTiles + first / tileDepth) * operandTile;
      for (int64_t i = 0; i < tileEdge; ++i) _mm512_storeu_si512(tile + i * tileDepth, roundPair(early[i], late[i]));
    }
  }
}

void sumOfColumns(const uint16_t* x, int64_t n, int64_t tokens, int64_t first, int64_t fromToken, int64_t toToken,
                  const uint16_t* u, int64_t rank, float* work, float* sums) {
  const TileRegisters registers;
  constexpr int64_t chunkTiles = kThinTokens / tileDepth;
  const int64_t tokenTiles = low_rank_tiles::padded(tokens) / tileDepth;
  const int64_t columns = n - first;
  const __mmask32 mask = columns >= tileDepth ? ~__mmask32{0} : (__mmask32{1} << columns) - 1;
  auto* pairs = reinterpret_cast<uint16_t*>(work);  // [2 tiles of columns][chunk]
  const auto row = [&](int64_t t) {
    return t < tokens ? _mm512_maskz_loadu_epi16(mask, x + t * n + first) : _mm512_setzero_si512();
  };
  const int64_t firstTile = fromToken / tileDepth;
  const int64_t endTile = low_rank_tiles::padded(toToken) / tileDepth;
  for (int64_t start = firstTile; start < endTile; start += chunkTiles) {
    const int64_t depth = atMost(endTile - start, chunkTiles);
    const auto prepare = [&](int64_t tile) {
      for (int64_t pair = tile * tileEdge; pair < (tile + 1) * tileEdge; ++pair) {
        const int64_t token = start * tileDepth + 2 * pair;
        uint16_t* place = pairs + pair * tileDepth;
        storePairs(row(token), row(token + 1), place, place + chunkTiles * operandTile);
      }
    };
    // The first ranks multiply one tile while the next is prepared.
    const Result result = blockAt(sums, kThinBlock);
    if (start > firstTile) {
      loadResult(result);
    } else {
      clearResult();
    }
    prepare(0);
    for (int64_t tile = 0; tile < depth; ++tile) {
      const uint16_t* left = u + (start + tile) * operandTile;
      const uint16_t* right = pairs + tile * operandTile;
      addBlockProduct(left, left + tokenTiles * operandTile, 64, right, right + chunkTiles * operandTile);
      if (tile + 1 < depth) prepare(tile + 1);
    }
    storeResult(result);
    for (int64_t k = kThinBlock; k < rank; k += kThinBlock) {
      multiplyTiles({u + (k / tileEdge * tokenTiles + start) * operandTile, tokenTiles}, {pairs, chunkTiles}, depth,
                    blockAt(sums + k * kThinBlock, kThinBlock), start > firstTile);
    }
  }
}

void addRows(const float* sums, int64_t rank, int64_t n, int64_t first, float* out) {
  const __m512i order = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  const int64_t columns = n - first;
  for (int64_t k = 0; k < rank; ++k) {
    const Vec a = load(sums + k * kThinBlock);
    const Vec b = load(sums + k * kThinBlock + tileEdge);
    for (int64_t half = 0; half < 2 && half * tileEdge < columns; ++half) {
      const __m512i lanesOf = _mm512_add_epi32(order, _mm512_set1_epi32(static_cast<int32_t>(half * 8)));
      const __mmask16 mask = firstLanes(columns - half * tileEdge);
      float* place = out + k * n + first + half * tileEdge;
      const Vec before = _mm512_maskz_loadu_ps(mask, place);
      _mm512_mask_storeu_ps(place, mask, before + Vec(_mm512_permutex2var_ps(a, lanesOf, b)));
    }
  }
}

void addColumns(const float* sums, int64_t rank, int64_t n, int64_t first, float* out) {
  for (int64_t k = 0; k < rank; k += tileEdge) {
    const __mmask16 mask = firstLanes(rank - k);
    for (int tile = 0; tile < 2; ++tile) {
      Vec v[tileEdge];
      for (int64_t i = 0; i < tileEdge; ++i) v[i] = load(sums + (k + i) * kThinBlock + tile * tileEdge);
      transpose(v);
      for (int64_t i = 0; i < tileEdge; ++i) {
        const int64_t column = first + pairedColumn(tile, i);
        if (column >= n) continue;
        float* place = out + column * rank + k;
        const Vec before = _mm512_maskz_loadu_ps(mask, place);
        _mm512_mask_storeu_ps(place, mask, before + v[i]);
      }
    }
  }
}

}  // namespace

extern const LowRankTileKernels lowRankTileKernels = {
    .packRows = packRows,
    .packColumns = packColumns,
    .project = project,
    .sum = sumOfColumns,
    .addRows = addRows,
    .addColumns = addColumns,
};

}  // namespace lrqat::cpu::LRQAT_ISA
