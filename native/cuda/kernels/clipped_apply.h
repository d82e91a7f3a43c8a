// What the clipped entries contributed to the thin products, taken back: dA −= γ·D·Bᵀ row by row, dB −= γ·Aᵀ·D column
// by column, each output element by one thread in a fixed order.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>

#include "cuda/kernels/clipped_products.h"
#include "cuda/scratch.h"

namespace lrqat::cuda {

struct ClippedGradient {
  const float* a = nullptr;  // [m, rank]
  const float* b = nullptr;  // [rank, n]
  int64_t rank = 0;
  float gamma = 0;
  float* dA = nullptr;
  float* dB = nullptr;
};

int64_t subtractClippedScratchBytes(int64_t n, int64_t rankSum);
void subtractClipped(const ClippedBatch& batch, const ClippedSums& sums, std::span<const ClippedGradient> gradients,
                     Scratch& scratch, cudaStream_t stream);

}  // namespace lrqat::cuda
