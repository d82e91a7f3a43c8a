// The dense form of a linear's gradient, a panel of rows of G = dYᵀX at a time: G' = (s∘G)∘M for dA and dB, Σ G∘Q for
// group scales. Q and M come out of the kernel that rebuilds the weight, so they are those of the forward.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "core/types.h"
#include "cuda/kernels/split_factors.h"

namespace lrqat::cuda {

struct GradientPanel {
  int64_t firstRow = 0;
  int64_t rows = 0;
  float* gradient = nullptr;  // [rows, n] G; without `halves` it becomes G'
  SplitMatrix halves;         // [rows, n] G', 0 up to a multiple of 8 columns; null: in place
  /// Sums of G∘Q over `productColumns` neighbouring columns each, [rows, ceil(n / productColumns)]; null: not wanted.
  /// May be `gradient` itself for single columns when `halves` takes G'.
  float* products = nullptr;
  int productColumns = 8;
};

/// Columns that share one sum: 8 where groups consist of whole octets, else 1.
constexpr int productColumns(int64_t groupSize) {
  return groupSize % 8 == 0 ? 8 : 1;
}

/// `exact` as in rebuildWeight.
void maskGradient(const LinearWeight& weight, const LowRank& lowRank, const GradientPanel& panel, bool exact,
                  cudaStream_t stream);
/// gradient [m, n / groupSize] += Σ G∘Q over each group of the panel's rows, in the trained domain: times s for log
/// scales, nothing where theta lies below the floor of linear ones.
void addGroupScaleGradient(const LinearWeight& weight, const float* theta, const float* scale,
                           const GradientPanel& panel, float* gradient, cudaStream_t stream);

}  // namespace lrqat::cuda
