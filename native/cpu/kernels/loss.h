// Softmax cross-entropy of one row of logits.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace lrqat::cpu {

struct LossKernels {
  /// log Σ exp(logits).
  float (*logSumExp)(const float* logits, int64_t n);
  /// logits[i] = exp(logits[i] − lse)·scale.
  void (*softmax)(float* logits, int64_t n, float lse, float scale);
};

LRQAT_DECLARE_KERNELS(LossKernels, lossKernels)

}  // namespace lrqat::cpu
