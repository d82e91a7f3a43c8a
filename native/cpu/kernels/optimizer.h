// AdamW and the squared norm over a piece of memory.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace lrqat::cpu {

/// Numbers of one step, rounded to float32 once.
struct AdamWStep {
  float gradientFactor;
  float gradientWeight1;  // 1 − beta1
  float beta2;
  float gradientWeight2;  // 1 − beta2
  float decay;            // 1 − learning rate · weight decay
  float stepSize;         // learning rate / (1 − beta1^t)
  float rootCorrection2;  // √(1 − beta2^t)
  float epsilon;
};

struct OptimizerKernels {
  double (*squaredNorm)(const float* values, int64_t count);
  void (*adamw)(const AdamWStep& step, float* value, const float* gradient, float* moment1, float* moment2,
                int64_t count);
};

LRQAT_DECLARE_KERNELS(OptimizerKernels, optimizerKernels)

}  // namespace lrqat::cpu
