// Gradients of A, B (and group scales) of linears that share an input, without a weight-sized gradient where the
// algebra allows it (lr-qat.md §2.1). Three steps, each a class with its own part of the scratch:
//   ThinProducts      as if nothing were clipped: dA += γ·dYsᵀ·(X·Bᵀ), dB += (γ·dYs·A)ᵀ·X, stacked over the linears
//                     (ThinTiles where there are AMX tiles)
//   SparseCorrection  subtracts what the clipped entries K contributed: D = dYsᵀX sampled at K; dz −= Σ D over a
//   scale's DenseTiles        G = dYᵀX a block of rows at a time, for group scales and for |K| above the capacity
#pragma once

#include <span>

#include "core/backend.h"
#include "cpu/cpu_backend.h"

namespace lrqat::cpu {

/// Output rows of one dense tile.
constexpr int64_t kDenseRows = 128;

class ThinProducts {
 public:
  static int64_t scratchBytes(int64_t tokens, int64_t n, int64_t m, int64_t totalRank, DType type);
  static void add(CpuBackend& backend, Matrix x, std::span<const LowRankTask* const> tasks);
};

class SparseCorrection {
 public:
  static int64_t scratchBytes(int64_t n, int64_t m, int64_t rank);
  static void subtract(CpuBackend& backend, Matrix x, const LowRankTask& task);
};

class DenseTiles {
 public:
  static int64_t scratchBytes(int64_t tokens, int64_t n, int64_t m, int64_t rank, DType type);
  static void add(CpuBackend& backend, Matrix x, const LowRankTask& task);
};

/// γ·values → out of out.type.
void scaledCopy(const float* values, float gamma, Matrix out, int threads);

}  // namespace lrqat::cpu
