// What the clipped entries contributed to the thin products, taken back: dA −= γ·D·Bᵀ row by row, dB −= γ·Aᵀ·D column
// by column, each output element by one thread in a fixed order.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/kernels/clipped_entries.h"
#include "cuda/scratch.h"

namespace lrqat::cuda {

int64_t subtractClippedScratchBytes(int64_t n, int64_t rank);
/// d [count] in row order; a, dA [m, rank], b, dB [rank, n].
void subtractClipped(const ClippedEntries& entries, const float* d, const float* a, const float* b, int64_t rank,
                     float gamma, float* dA, float* dB, Scratch& scratch, cudaStream_t stream);

}  // namespace lrqat::cuda
