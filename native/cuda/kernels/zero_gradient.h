// Gradients of zero points: dz −= Σ of the gradients (of Ŵ, with the scale in them) of the entries that were clipped.
// The rounding of a zero point passes them where it stays on the grid (core/grid.h).
#pragma once

#include <cuda_runtime_api.h>

#include "cuda/kernels/clipped_products.h"
#include "cuda/kernels/group_gradient.h"

namespace lrqat::cuda {

/// From a panel of G before maskGradient. rowSums: [panel.rows] to work in, for tensor granularity.
void denseZeroGradient(const LowRankTask& task, const GradientPanel& panel, double* rowSums, cudaStream_t stream);

/// From the sampled products of entry `index` of the batch, after subtractClipped has summed them up. Tensor and
/// channel granularity.
void sparseZeroGradient(const LowRankTask& task, const ClippedBatch& batch, int index, const ClippedSums& sums,
                        cudaStream_t stream);

}  // namespace lrqat::cuda
