// Gradients of A, B (and group scales) of linears that share an input X (lr-qat.md §2.1), accumulated:
//   thin products   as if nothing were clipped: dA += γ·dYsᵀ·(X·Bᵀ), dB += (γ·dYs·A)ᵀ·X, X read once a product for all
//   clipped         the sampled products of the few masked entries, subtracted
//   dense           G = dYᵀX a panel of rows at a time, for group scales and for more clipped entries than the capacity
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>

#include "core/backend.h"
#include "cuda/gemm.h"
#include "cuda/scratch.h"

namespace lrqat::cuda {

class LowRankGradient {
 public:
  explicit LowRankGradient(Gemm& gemm) : gemm_(gemm) {}

  /// x [T, n], dYs like x in type. clippedCounts: exact number of set bits of each task's mask; not read for tasks of
  /// group scales or rank 0. exact: float32 activations, plain float32 products and the exact form of rebuildWeight.
  void run(Matrix x, std::span<const LowRankTask> tasks, std::span<const int64_t> clippedCounts, bool exact,
           Scratch& scratch, cudaStream_t stream);

  /// Clipped entries up to which the sparse form is used; above it the dense one is faster.
  static constexpr int64_t sparseCapacity(int64_t m, int64_t n) { return m * n / 128 > 1024 ? m * n / 128 : 1024; }

  /// m: rows of the widest task. rankSum: Σ of the tasks' ranks, each rounded up to a multiple of 32.
  static int64_t scratchBytes(int64_t tokens, int64_t n, int64_t m, int64_t rankSum);

 private:
  Gemm& gemm_;
};

}  // namespace lrqat::cuda
