// A bf16 matrix X [rows, d] as operands of tile products, and pairs of rows of probabilities as such operands. Depth
// and rows are padded with zeros to whole tiles. For kernel files only.
#pragma once

#include "cpu/kernels/amx/tiles.h"
#include "cpu/kernels/microkernel.h"

namespace lrqat::cpu::LRQAT_ISA {
namespace {

/// Where the forms of X go; null: not wanted. `depth` counts tiles: of d in the first two, of the rows in the others.
struct OperandForms {
  uint16_t* left = nullptr;             // X·…   [rows / 16][d / 32]
  uint16_t* rightTransposed = nullptr;  // …·Xᵀ  [rows / 16][d / 32]
  uint16_t* leftTransposed = nullptr;   // Xᵀ·…  [d / 16][rows / 32]
  uint16_t* right = nullptr;            // …·X   [d / 16][rows / 32]
};

/// The transpose of 16 × 16 pairs, rows `stride` elements apart. Loads put lanes of four rows side by side, which no
/// shuffle has to do; what is left are transposes of 4 × 4 pairs within lanes.
inline void transposePairs(const uint16_t* x, int64_t stride, uint16_t* tile) {
  for (int quarter = 0; quarter < 4; ++quarter) {
    const auto lane = [&](int64_t row) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + row * stride + quarter * 8));
    };
    __m512i v[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      v[i] = _mm512_castsi128_si512(lane(i));
      v[i] = _mm512_mask_broadcast_i32x4(v[i], 0x00f0, lane(i + 4));
      v[i] = _mm512_mask_broadcast_i32x4(v[i], 0x0f00, lane(i + 8));
      v[i] = _mm512_mask_broadcast_i32x4(v[i], 0xf000, lane(i + 12));
    }
    const __m512i low[2] = {_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpacklo_epi32(v[2], v[3])};
    const __m512i high[2] = {_mm512_unpackhi_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[2], v[3])};
    uint16_t* out = tile + quarter * 4 * tileDepth;
    _mm512_storeu_si512(out, _mm512_unpacklo_epi64(low[0], low[1]));
    _mm512_storeu_si512(out + tileDepth, _mm512_unpackhi_epi64(low[0], low[1]));
    _mm512_storeu_si512(out + 2 * tileDepth, _mm512_unpacklo_epi64(high[0], high[1]));
    _mm512_storeu_si512(out + 3 * tileDepth, _mm512_unpackhi_epi64(high[0], high[1]));
  }
}

/// 32 rows of 32 columns as pairs of rows, the first and the last 16 columns apart.
inline void pairRows(const uint16_t* x, int64_t stride, uint16_t* first, uint16_t* last) {
  // Unpacking works in lanes of 128 bits: groups of four columns are put where it finds them in order.
  const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
  for (int64_t p = 0; p < tileEdge; ++p) {
    const __m512i even = _mm512_permutexvar_epi64(order, _mm512_loadu_si512(x + 2 * p * stride));
    const __m512i odd = _mm512_permutexvar_epi64(order, _mm512_loadu_si512(x + (2 * p + 1) * stride));
    _mm512_storeu_si512(first + p * tileDepth, _mm512_unpacklo_epi16(even, odd));
    _mm512_storeu_si512(last + p * tileDepth, _mm512_unpackhi_epi16(even, odd));
  }
}

/// `rows` rows of `d` columns at `x`, `stride` elements apart.
inline void packOperands(const uint16_t* x, int64_t stride, int64_t rows, int64_t d, const OperandForms& out) {
  const int64_t rowTiles = roundUp(rows, tileDepth) / tileDepth;
  const int64_t depthTiles = roundUp(d, tileDepth) / tileDepth;
  alignas(64) uint16_t filled[tileDepth * tileDepth];
  alignas(64) uint16_t pairs[2][operandTile];
  for (int64_t r = 0; r < rowTiles; ++r) {
    for (int64_t k = 0; k < depthTiles; ++k) {
      const uint16_t* block = x + r * tileDepth * stride + k * tileDepth;
      int64_t blockStride = stride;
      const int64_t columns = d - k * tileDepth;
      const int64_t filledRows = rows - r * tileDepth;
      if (columns < tileDepth || filledRows < tileDepth) {
        const __mmask32 mask = columns >= tileDepth ? ~__mmask32{0} : (__mmask32{1} << columns) - 1;
        for (int64_t i = 0; i < tileDepth; ++i) {
          _mm512_store_si512(filled + i * tileDepth, i < filledRows ? _mm512_maskz_loadu_epi16(mask, block + i * stride)
                                                                    : _mm512_setzero_si512());
        }
        block = filled;
        blockStride = tileDepth;
      }
      for (int half = 0; half < 2; ++half) {
        const uint16_t* halfBlock = block + half * tileEdge * blockStride;
        const int64_t byRow = ((2 * r + half) * depthTiles + k) * operandTile;
        if (out.rightTransposed) transposePairs(halfBlock, blockStride, out.rightTransposed + byRow);
        if (!out.left) continue;
        for (int64_t i = 0; i < tileEdge; ++i) {
          _mm512_storeu_si512(out.left + byRow + i * tileDepth, _mm512_loadu_si512(halfBlock + i * blockStride));
        }
      }
      if (!out.right && !out.leftTransposed) continue;
      const int64_t byColumn = (2 * k * rowTiles + r) * operandTile;
      const int64_t next = rowTiles * operandTile;  // tile of the last 16 columns
      uint16_t* first = out.right ? out.right + byColumn : pairs[0];
      uint16_t* last = out.right ? out.right + byColumn + next : pairs[1];
      pairRows(block, blockStride, first, last);
      if (!out.leftTransposed) continue;
      transposePairs(first, tileDepth, out.leftTransposed + byColumn);
      transposePairs(last, tileDepth, out.leftTransposed + byColumn + next);
    }
  }
}

/// Two vectors of 16 float32 as 32 bf16.
inline __m512i roundPair(Vec first, Vec second) {
  return __builtin_bit_cast(__m512i, _mm512_cvtne2ps_pbh(second, first));
}

/// Rows `low`, `high` of 32 bf16 as a pair of rows of two tiles of B. The unpacking works in lanes of 128 bits, which
/// leaves the columns in the order of pairedColumn.
inline void storePairs(__m512i low, __m512i high, uint16_t* firstTile, uint16_t* secondTile) {
  _mm512_store_si512(firstTile, _mm512_unpacklo_epi16(low, high));
  _mm512_store_si512(secondTile, _mm512_unpackhi_epi16(low, high));
}

/// Which of the 32 columns is column `n` of the first or second tile of storePairs.
constexpr int64_t pairedColumn(int tile, int64_t n) {
  return n / 4 * 8 + n % 4 + tile * 4;
}

/// `first`, `second`: a value a column; returned in the order of the tile.
inline Vec pairedColumns(int tile, Vec first, Vec second) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
  return _mm512_permutex2var_ps(first, _mm512_add_epi32(lane, _mm512_set1_epi32(tile * 4)), second);
}

constexpr float log2e = 1.44269504F;

/// The first `count` (at least 1) of 16 values.
inline __mmask16 firstLanes(int64_t count) {
  return count >= 16 ? __mmask16{0xffff} : static_cast<__mmask16>((1U << count) - 1U);
}

inline void storeRounded(uint16_t* memory, Vec v, int64_t count) {
  const auto rounded = __builtin_bit_cast(__m256i, _mm512_cvtneps_pbh(v));
  _mm256_mask_storeu_epi16(memory, firstLanes(count), rounded);
}

/// Columns (visible keys of a query) against a key: query ≥ key ≥ from.
inline __mmask16 sees(VecInt query, VecInt from, int64_t key) {
  const __m512i k = _mm512_set1_epi32(static_cast<int32_t>(key));
  const __mmask16 notLater = _mm512_cmpge_epi32_mask(__builtin_bit_cast(__m512i, query), k);
  return _mm512_mask_cmple_epi32_mask(notLater, __builtin_bit_cast(__m512i, from), k);
}

/// First visible keys of queries `query` …: none before 0; those behind the last query see what that one sees.
inline void firstKeysOf(const int32_t* firstKey, int64_t query, int64_t length, VecInt (&out)[2]) {
  alignas(64) int32_t from[blockEdge] = {};
  if (firstKey) {
    for (int64_t i = 0; i < blockEdge; ++i) from[i] = firstKey[query + i < length ? query + i : length - 1];
  }
  std::memcpy(out, from, sizeof from);
}

}  // namespace
}  // namespace lrqat::cpu::LRQAT_ISA
