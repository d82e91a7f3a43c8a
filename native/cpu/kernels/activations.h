// Activations on a grid of their own for each token, or on one for all.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace lrqat::cpu {

/// StaticGrid of core/types.h.
struct SharedGrid {
  float scale, zero, low, high;
};

struct ActivationKernels {
  /// One row of `cols` numbers in grids of `width`: Backend::quantizeActivations. `inside` [markWords(cols)] or null.
  void (*quantize)(const void* x, bool bf16, int bits, bool fractionalZeroPoint, int64_t cols, int64_t width, void* y,
                   uint32_t* inside);
  /// One row: 0 where `inside` has no bit.
  void (*mask)(void* gradient, bool bf16, int64_t cols, const uint32_t* inside);
  /// One row on a grid that is given.
  void (*quantizeShared)(const void* x, bool bf16, const SharedGrid& grid, int64_t cols, void* y, uint32_t* inside);
  /// Lowest and highest number of a row into range [2]; both NaN where one is not finite.
  void (*range)(const void* x, bool bf16, int64_t cols, float* range);
  /// One row of Backend::learnGrid. sums [2] += Σ dY·((C − zero) − M·x/scale) and Σ dY·(1 − M).
  void (*learn)(const void* x, bool bf16, const SharedGrid& grid, int64_t cols, void* gradient, bool gradientBf16,
                double* sums);
};

LRQAT_DECLARE_KERNELS(ActivationKernels, activationKernels)
LRQAT_DECLARE_BF16_KERNELS(ActivationKernels, activationKernels)

}  // namespace lrqat::cpu
