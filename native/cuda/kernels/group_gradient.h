// The dense form of a linear's gradient, a panel of rows of G = dYᵀX at a time: G' = (s∘G)∘M for dA and dB, and Σ G∘Q
// for group scales.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "core/backend.h"
#include "cuda/kernels/split_factors.h"

namespace lrqat::cuda {

struct GradientPanel {
  int64_t firstRow = 0;
  int64_t rows = 0;
  float* gradient = nullptr;  // [rows, n] G; overwritten
  /// [rows, n] G', 0 up to a multiple of 8 columns; null: G' takes the place of G.
  SplitMatrix halves;
  const int8_t* integers =
      nullptr;                // [rows, integerStride(n)], see rebuildIntegers; not read unless task.gradient.scale
  float* products = nullptr;  // [rows, n], see needsProducts
};

/// Whether sums over groups of this size take a second pass over G∘Q, which needs memory: groups of 8, 16, … 256
/// columns do not.
constexpr bool needsProducts(int64_t groupSize) {
  return groupSize % 8 != 0 || groupSize > 256 || (groupSize & (groupSize - 1)) != 0;
}

/// Makes G' of the panel from the task's mask and scales unless its rank is 0, and adds ds of the panel's groups in the
/// trained domain when task.gradient.scale wants it: times s for log scales, nothing where theta lies below the floor
/// of linear ones.
void maskGradient(const LowRankTask& task, const GradientPanel& panel, cudaStream_t stream);

}  // namespace lrqat::cuda
