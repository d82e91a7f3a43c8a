// Rows of the pretrained weight on the device, in the checkpoint's type, and the scale of each of their columns.
#pragma once

#include <cstdint>

#include "core/types.h"
#include "cuda/kernels/element.cuh"

namespace lrqat::cuda {

template <typename E>
struct SourceRows {
  const E* values;  // [rows, n]
  int64_t n;
  __device__ __forceinline__ float at(int64_t index) const { return toFloat(values[index]); }
};

struct ColumnScales {
  const float* scale;  // of the first row on
  int64_t rowStride;   // scales a row
  int64_t groupSize;

  static ColumnScales of(const QuantSpec& spec, const float* scale, int64_t n, int64_t firstRow) {
    switch (spec.granularity) {
      case Granularity::Tensor:
        break;
      case Granularity::Channel:
        return {scale + firstRow, 1, n};
      case Granularity::Group:
        return {scale + firstRow * (n / spec.groupSize), n / spec.groupSize, spec.groupSize};
    }
    return {scale, 0, n};
  }
  __device__ __forceinline__ float at(int64_t row, int64_t column) const {
    return __ldg(scale + row * rowStride + column / groupSize);
  }
};

}  // namespace lrqat::cuda
