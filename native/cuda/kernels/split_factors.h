// Float32 factors as two bf16 halves, value ≈ hi + lo with 16 bits of mantissa, so that tensor cores can multiply them
// without the loss of a plain bf16 rounding; and the way back, sums of partial results.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>

namespace lrqat::cuda {

/// A matrix as two bf16 planes of the same shape; `stride` elements from row to row.
struct SplitMatrix {
  uint16_t* hi = nullptr;
  uint16_t* lo = nullptr;
  int64_t stride = 0;

  SplitMatrix at(int64_t row, int64_t column) const {
    return {hi + row * stride + column, lo + row * stride + column, stride};
  }
};

/// values [rows, cols] float32 → out, transposed where asked. The rest of out's `outRows` × `outCols` becomes 0.
struct SplitJob {
  const float* values = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  bool transpose = false;
  SplitMatrix out;
  int64_t outRows = 0;
  int64_t outCols = 0;
};

/// `splits` partial sums of a matrix [rows, cols]: number s lies at partial + s·splitStride, its rows `stride` apart.
struct PartialSums {
  const float* partial = nullptr;
  int64_t splits = 0;
  int64_t splitStride = 0;
  int64_t stride = 0;
  int64_t rows = 0;
  int64_t cols = 0;
};

/// Σ partial → out as halves.
struct SplitSumJob {
  PartialSums sums;
  SplitMatrix out;
};

/// out [rows, cols] += factor · Σ partial; rows of out are `outStride` apart.
struct AddSumJob {
  PartialSums sums;
  float factor = 1;
  float* out = nullptr;
  int64_t outStride = 0;
};

/// Jobs of one launch.
constexpr size_t kMostSplitJobs = 16;

/// Any number of jobs each.
void splitFactors(std::span<const SplitJob> jobs, cudaStream_t stream);
void splitSums(std::span<const SplitSumJob> jobs, cudaStream_t stream);
/// Jobs must not share elements of `out`.
void addSums(std::span<const AddSumJob> jobs, cudaStream_t stream);

}  // namespace lrqat::cuda
