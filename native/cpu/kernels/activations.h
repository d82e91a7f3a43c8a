// Activations on a grid of their own for each token.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace lrqat::cpu {

struct ActivationKernels {
  /// One row of `cols` numbers in grids of `width`: Backend::quantizeActivations. `inside` [markWords(cols)] or null.
  void (*quantize)(const void* x, bool bf16, int bits, bool fractionalZeroPoint, int64_t cols, int64_t width, void* y,
                   uint32_t* inside);
  /// One row: 0 where `inside` has no bit.
  void (*mask)(void* gradient, bool bf16, int64_t cols, const uint32_t* inside);
};

LRQAT_DECLARE_KERNELS(ActivationKernels, activationKernels)
LRQAT_DECLARE_BF16_KERNELS(ActivationKernels, activationKernels)

}  // namespace lrqat::cpu
