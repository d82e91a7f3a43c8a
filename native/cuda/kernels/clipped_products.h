// Sampled products D_e = Σ_t dYs[t, i]·X[t, j] of the clipped entries e = (i, j).
//
// A thread block owns up to kProductEntries entries of one panel of columns and one range of rows, their sums in
// registers, and walks over the tokens: a few tokens of the panel's columns of X and of the range's columns of dYs are
// transposed into shared memory, 16 bytes a column, so that an entry costs two 16-byte reads for all of these tokens.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>

#include "core/types.h"
#include "cuda/kernels/clipped_entries.h"
#include "cuda/scratch.h"

namespace lrqat::cuda {

/// Rows of dYs in shared memory.
constexpr int kProductRows = 2048;
constexpr int kProductThreads = 512;
constexpr int kEntriesPerThread = 18;
constexpr int kProductEntries = kProductThreads * kEntriesPerThread;
/// Thread blocks: two for each multiprocessor of a large GPU. Where there are fewer units of entries, several share one
/// and divide the tokens.
constexpr int kProductBlocks = 264;

/// `capacity`: of all entries together.
int64_t clippedProductsScratchBytes(int64_t capacity);
/// D, weight by weight in row order, still as `groups` partial sums: number g at partial + g · entries of all weights,
/// one after the other without gaps.
struct ClippedSums {
  const float* partial = nullptr;
  const int32_t* groups = nullptr;  // device memory
  float* d = nullptr;               // [total] where the sums shall go, each weight's from its `first` on
};

/// dYs [T, m] of each weight. Results are in scratch.
ClippedSums clippedProducts(const ClippedBatch& batch, Matrix x, std::span<const Matrix> dYs, Scratch& scratch,
                            cudaStream_t stream);

}  // namespace lrqat::cuda
