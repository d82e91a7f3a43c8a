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

inline void storeTransposed(const Vec (&rows)[tileEdge], uint16_t* tile) {
  Vec v[tileEdge];
  for (int i = 0; i < tileEdge; ++i) v[i] = rows[i];
  transpose(v);
  for (int i = 0; i < tileEdge; ++i) std::memcpy(tile + i * tileDepth, &v[i], sizeof v[i]);
}

/// 32 bf16 pairs from two rows of 32: (low[i], high[i]) for the first or the last 16 columns.
template <bool last>
inline Vec pairColumns(__m512i low, __m512i high) {
  constexpr int half = last ? 1 : 0;
  const __m512i a = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(low, half));
  const __m512i b = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(high, half));
  return __builtin_bit_cast(Vec, _mm512_or_si512(a, _mm512_slli_epi32(b, 16)));
}

/// `rows` rows of `d` columns at `x`, `stride` elements apart.
inline void packOperands(const uint16_t* x, int64_t stride, int64_t rows, int64_t d, const OperandForms& out) {
  const int64_t rowTiles = roundUp(rows, tileDepth) / tileDepth;
  const int64_t depthTiles = roundUp(d, tileDepth) / tileDepth;
  for (int64_t r = 0; r < rowTiles; ++r) {
    for (int64_t k = 0; k < depthTiles; ++k) {
      const int64_t columns = d - k * tileDepth;
      const __mmask32 mask = columns >= tileDepth ? ~__mmask32{0} : (__mmask32{1} << columns) - 1;
      __m512i row[tileDepth];
      for (int64_t i = 0; i < tileDepth; ++i) {
        const int64_t index = r * tileDepth + i;
        row[i] =
            index < rows ? _mm512_maskz_loadu_epi16(mask, x + index * stride + k * tileDepth) : _mm512_setzero_si512();
      }
      for (int half = 0; half < 2; ++half) {
        const int64_t byRow = ((2 * r + half) * depthTiles + k) * operandTile;
        if (out.left) std::memcpy(out.left + byRow, row + half * tileEdge, operandTile * sizeof(uint16_t));
        if (out.rightTransposed) {
          Vec v[tileEdge];
          std::memcpy(v, row + half * tileEdge, sizeof v);
          storeTransposed(v, out.rightTransposed + byRow);
        }
        if (!out.right && !out.leftTransposed) continue;
        Vec pairs[tileEdge];
        for (int p = 0; p < tileEdge; ++p) {
          pairs[p] = half == 0 ? pairColumns<false>(row[2 * p], row[2 * p + 1])
                               : pairColumns<true>(row[2 * p], row[2 * p + 1]);
        }
        const int64_t byColumn = ((2 * k + half) * rowTiles + r) * operandTile;
        if (out.right) std::memcpy(out.right + byColumn, pairs, sizeof pairs);
        if (out.leftTransposed) storeTransposed(pairs, out.leftTransposed + byColumn);
      }
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
