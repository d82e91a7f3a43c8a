// Weights that are trained themselves (Storage::Trained): their rounding with the scales of a step, and the gradients
// of LSQ (lr-qat.md §2.2). The weight is a float32 copy on the device.
#pragma once

#include <cuda_runtime_api.h>

#include "core/backend.h"
#include "cuda/kernels/staging.h"
#include "cuda/scratch.h"

namespace lrqat::cuda {

/// out [m, n] F32 or BF16 = V = clip(round(W/s)); for groups s∘V.
void rebuildTrainedWeight(const LinearWeight& weight, const LowRank& lowRank, Matrix out, cudaStream_t stream);

/// Device memory that `finishWeightGradient` takes.
constexpr int64_t weightGradientScratchBytes(Granularity granularity, int64_t m) {
  return granularity == Granularity::Tensor ? Scratch::padded(m * 16) : 0;
}

/// Backend::finishWeightGradients for one linear: `task.gradient.weight` [m, n] holds dYsᵀX and becomes dW; scale and
/// zero, where wanted, are written.
void finishWeightGradient(const WeightGradientTask& task, Scratch& scratch, cudaStream_t stream);

/// Device memory that `countTrainedWeight` takes.
constexpr int64_t trainedCountScratchBytes() {
  return Scratch::padded(HostStaging::panelBytes);
}

/// counts [2] += entries outside of the grid, and entries whose integer is not clip(round(W0/s0)), W0 the pretrained
/// weight, which comes through `staging`.
void countTrainedWeight(const LinearWeight& weight, const LowRank& lowRank, unsigned long long* counts,
                        HostStaging& staging, Scratch& scratch, cudaStream_t stream);

}  // namespace lrqat::cuda
