// RMSNorm of one row.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace lrqat::cpu {

struct NormKernels {
  /// y = x·r·w with r = rsqrt(mean x² + epsilon), which is returned; y is bf16 or float32.
  float (*forward)(const float* x, const float* weight, float epsilon, int64_t n, void* y, bool bf16);
  /// dx += r·(dy∘w − x·r²·mean(dy∘w∘x)).
  void (*backward)(const float* dy, const float* x, const float* weight, float rstd, int64_t n, float* dx);
};

LRQAT_DECLARE_KERNELS(NormKernels, normKernels)
LRQAT_DECLARE_BF16_KERNELS(NormKernels, normKernels)

}  // namespace lrqat::cpu
