// The innermost matrix product and the packing it needs; for kernel files only. A product C[rows, columns] += A·B runs
// over the depth in units of 32 bits: one float32, or, in the namespace avx512bf16, a pair of bf16 that one instruction
// multiplies and adds (dotPairs). A is stored row by row [rows][units]; B in panels of `panelColumns` columns,
// [panel][units][panelColumns], so that one unit of a panel is a few whole vectors. C is float32.
#pragma once

#include <utility>

#include "cpu/kernels/vector_math.h"

namespace lrqat::cpu::LRQAT_ISA {
namespace {

#if defined(__AVX512BF16__)
constexpr bool dotPairs = true;
#else
constexpr bool dotPairs = false;
#endif
#if defined(__AVX512F__)
constexpr int tileRows = 8;
#else
constexpr int tileRows = 4;
#endif
constexpr int panelVectors = 2;
constexpr int panelColumns = panelVectors * lanes;

constexpr int64_t unitsOf(int64_t depth) {
  return dotPairs ? (depth + 1) / 2 : depth;
}
constexpr int64_t roundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// acc + a·b for one unit of A against a vector of units of B.
inline Vec accumulateUnit(Vec acc, const float* a, Vec b) {
#if defined(__AVX512BF16__)
  int32_t pair;
  std::memcpy(&pair, a, sizeof pair);
  return _mm512_dpbf16_ps(acc, __builtin_bit_cast(__m512bh, _mm512_set1_epi32(pair)), __builtin_bit_cast(__m512bh, b));
#else
  return multiplyAdd(broadcast(*a), b, acc);
#endif
}

template <int rows>
inline void multiplyTile(int64_t units, const float* a, int64_t aStride, const float* b, float* c, int64_t cStride,
                         bool accumulate) {
  Vec acc[rows][panelVectors];
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < panelVectors; ++j) acc[i][j] = Vec{};
  }
  for (int64_t u = 0; u < units; ++u) {
    Vec column[panelVectors];
#pragma GCC unroll 4
    for (int j = 0; j < panelVectors; ++j) column[j] = load(b + u * panelColumns + j * lanes);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < panelVectors; ++j) acc[i][j] = accumulateUnit(acc[i][j], a + i * aStride + u, column[j]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < panelVectors; ++j) {
      float* target = c + i * cStride + j * lanes;
      store(target, accumulate ? load(target) + acc[i][j] : acc[i][j]);
    }
  }
}

/// Product of whole tiles: rows a multiple of tileRows, columns of panelColumns. `panelStride` floats lie between the
/// starts of two panels of B, more than units·panelColumns where only a part of its depth is used.
inline void multiplyBlock(int64_t rows, int64_t columns, int64_t units, const float* a, int64_t aStride, const float* b,
                          int64_t panelStride, float* c, int64_t cStride, bool accumulate) {
  for (int64_t j = 0; j < columns; j += panelColumns) {
    for (int64_t i = 0; i < rows; i += tileRows) {
      multiplyTile<tileRows>(units, a + i * aStride, aStride, b, c + i * cStride + j, cStride, accumulate);
    }
    b += panelStride;
  }
}

/// `lanes` × `lanes` transpose in registers: in each step blocks of half the size change places.
template <int step, bool upper, int... lane>
inline Vec exchange(Vec a, Vec b, std::integer_sequence<int, lane...>) {
  constexpr auto from = [](int i) {
    if ((i & step) == 0) return upper ? i + step : i;
    return upper ? i + lanes : i - step + lanes;
  };
  return pick<from(lane)...>(a, b);
}

template <int step>
inline void transposeStep(Vec (&v)[lanes]) {
  constexpr auto sequence = std::make_integer_sequence<int, lanes>{};
#pragma GCC unroll 16
  for (int i = 0; i < lanes; ++i) {
    if ((i & step) != 0) continue;
    const Vec a = v[i];
    const Vec b = v[i + step];
    v[i] = exchange<step, false>(a, b, sequence);
    v[i + step] = exchange<step, true>(a, b, sequence);
  }
  if constexpr (step > 1) transposeStep<step / 2>(v);
}

inline void transpose(Vec (&v)[lanes]) {
  transposeStep<lanes / 2>(v);
}

/// Unit `u` of the `count` columns at `source`, where depth runs over rows: source[depth][stride].
template <typename T>
inline Vec loadColumnUnits(const T* source, int64_t stride, int64_t depth, int64_t u, int64_t count) {
  const auto row = [&](int64_t k) {
    const T* memory = source + k * stride;
    return count >= lanes ? load(memory) : loadPart(memory, count);
  };
  if constexpr (dotPairs) {
    const auto low = __builtin_bit_cast(VecBits, row(2 * u)) >> 16;
    const auto high = 2 * u + 1 < depth ? __builtin_bit_cast(VecBits, row(2 * u + 1)) : VecBits{};
    return __builtin_bit_cast(Vec, low | high);
  } else {
    return row(u);
  }
}

/// Units u … u + lanes of one row whose depth is contiguous; zero beyond the depth.
template <typename T>
inline Vec loadRowUnits(const T* row, int64_t depth, int64_t u) {
  constexpr int64_t perUnit = dotPairs ? 2 : 1;
  const int64_t left = depth - u * perUnit;
  if constexpr (dotPairs) {
    Vec v = {};
    std::memcpy(&v, row + u * 2, left >= 2 * lanes ? sizeof v : static_cast<size_t>(left) * 2);
    return v;
  } else {
    return left >= lanes ? load(row + u) : loadPart(row + u, left);
  }
}

/// A operand from source[rows][stride] with contiguous depth; target[rows][targetStride].
template <typename T>
inline void packRows(const T* source, int64_t stride, int64_t rows, int64_t depth, float* target,
                     int64_t targetStride) {
  const int64_t units = unitsOf(depth);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t u = 0; u < units; u += lanes) {
      const Vec v = loadRowUnits(source + r * stride, depth, u);
      float* place = target + r * targetStride + u;
      if (u + lanes <= units) {
        store(place, v);
      } else {
        storePart(place, v, units - u);
      }
    }
  }
}

/// A operand from source[depth][stride]: row r of A is column r of the source.
template <typename T>
inline void packRowsTransposed(const T* source, int64_t stride, int64_t rows, int64_t depth, float* target,
                               int64_t targetStride) {
  const int64_t units = unitsOf(depth);
  for (int64_t r = 0; r < rows; r += lanes) {
    for (int64_t u = 0; u < units; u += lanes) {
      Vec v[lanes];
      for (int k = 0; k < lanes; ++k) {
        v[k] = u + k < units ? loadColumnUnits(source + r, stride, depth, u + k, rows - r) : Vec{};
      }
      transpose(v);
      for (int k = 0; k < lanes && r + k < rows; ++k) {
        float* place = target + (r + k) * targetStride + u;
        if (u + lanes <= units) {
          store(place, v[k]);
        } else {
          storePart(place, v[k], units - u);
        }
      }
    }
  }
}

/// B operand from source[depth][stride]; columns that fill the last panel are zero.
template <typename T>
inline void packPanels(const T* source, int64_t stride, int64_t depth, int64_t columns, float* target) {
  const int64_t units = unitsOf(depth);
  for (int64_t j = 0; j < columns; j += panelColumns) {
    float* panel = target + j * units;
    for (int64_t u = 0; u < units; ++u) {
      for (int64_t l = 0; l < panelColumns; l += lanes) {
        const int64_t left = columns - j - l;
        store(panel + u * panelColumns + l, left > 0 ? loadColumnUnits(source + j + l, stride, depth, u, left) : Vec{});
      }
    }
  }
}

/// B operand from source[columns][stride] with contiguous depth.
template <typename T>
inline void packPanelsTransposed(const T* source, int64_t stride, int64_t depth, int64_t columns, float* target) {
  const int64_t units = unitsOf(depth);
  for (int64_t j = 0; j < columns; j += panelColumns) {
    float* panel = target + j * units;
    for (int64_t l = 0; l < panelColumns; l += lanes) {
      for (int64_t u = 0; u < units; u += lanes) {
        Vec v[lanes];
        for (int k = 0; k < lanes; ++k) {
          v[k] = j + l + k < columns ? loadRowUnits(source + (j + l + k) * stride, depth, u) : Vec{};
        }
        transpose(v);
        for (int k = 0; k < lanes && u + k < units; ++k) store(panel + (u + k) * panelColumns + l, v[k]);
      }
    }
  }
}

}  // namespace
}  // namespace lrqat::cpu::LRQAT_ISA
