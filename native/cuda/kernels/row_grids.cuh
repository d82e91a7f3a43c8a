// The integers that a place of a weight may hold: qmin … qmax, or around a zero point −z … levels − z.
#pragma once

#include <cstdint>

#include "core/types.h"

namespace lrqat::cuda {

/// zeroPoint of core/grid.h.
__device__ __forceinline__ float zeroPointOn(float unrounded, float levels) {
  const float rounded = rintf(unrounded);
  return rounded > 0.0F ? fminf(rounded, levels) : 0.0F;
}

/// zeroPointPasses of core/grid.h.
__device__ __forceinline__ bool zeroPointMoves(float unrounded, float levels) {
  const float rounded = rintf(unrounded);
  return rounded >= 0.0F && rounded <= levels;
}

struct RowGrids {
  const float* zero = nullptr;  // zero points of the first row on, rounded or not; null: the grid is symmetric
  uint32_t rowStride = 0;       // zero points a row
  uint32_t groupSize = 1;       // columns of one
  float qmin = 0;               // symmetric
  float levels = 0;

  /// Of rows from `firstRow` on.
  static RowGrids of(const LinearWeight& weight, const float* zero, int64_t firstRow) {
    const QuantSpec& spec = weight.spec;
    const bool group = spec.granularity == Granularity::Group;
    const int64_t stride = spec.granularity == Granularity::Tensor ? 0 : group ? weight.n / spec.groupSize : 1;
    return {spec.symmetric ? nullptr : zero + firstRow * stride, static_cast<uint32_t>(stride),
            static_cast<uint32_t>(group ? spec.groupSize : weight.n), static_cast<float>(spec.qmin()),
            static_cast<float>(spec.levels())};
  }

  /// The lower end of a place with a zero point.
  __device__ __forceinline__ float lowAround(uint32_t row, uint32_t column) const {
    return 0.0F - zeroPointOn(__ldg(zero + (row * rowStride + column / groupSize)), levels);
  }
  __device__ __forceinline__ float low(uint32_t row, uint32_t column) const {
    return zero ? lowAround(row, column) : qmin;
  }
  /// Of `kCount` columns from `column` on; those past the last one of `n` get that one's.
  template <int kCount>
  __device__ __forceinline__ void lows(uint32_t row, uint32_t column, uint32_t n, float (&out)[kCount]) const {
    if (!zero) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) out[i] = qmin;
    } else if (groupSize % kCount == 0) {
      const float all = lowAround(row, min(column, n - 1));
#pragma unroll
      for (int i = 0; i < kCount; ++i) out[i] = all;
    } else {
#pragma unroll
      for (int i = 0; i < kCount; ++i) out[i] = lowAround(row, min(column + static_cast<uint32_t>(i), n - 1));
    }
  }
};

}  // namespace lrqat::cuda
