// Softmax cross-entropy of one row of logits.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace lrqat::cpu {

/// exp(logits·factor − lse)·scale.
struct SoftmaxTerm {
  float factor = 1;
  float lse = 0;
  float scale = 0;
};

struct LossKernels {
  /// log Σ exp(logits).
  float (*logSumExp)(const float* logits, int64_t n);
  /// The loss; gradient = softmax(logits)·scale, less scale at `target`. It may be the logits themselves, which are
  /// overwritten either way.
  float (*gradientFloat)(float* logits, int64_t n, float scale, int64_t target, float* gradient);
  float (*gradientBf16)(float* logits, int64_t n, float scale, int64_t target, uint16_t* gradient);
  /// log Σ exp(logits·factor), factor positive.
  double (*logSumExpOf)(const float* logits, int64_t n, float factor);
  /// gradient = `plain`, whose factor is 1, plus `tempered` unless that has scale 0; may be the logits themselves.
  void (*softmaxSumFloat)(const float* logits, int64_t n, SoftmaxTerm plain, SoftmaxTerm tempered, float* gradient);
  void (*softmaxSumBf16)(const float* logits, int64_t n, SoftmaxTerm plain, SoftmaxTerm tempered, uint16_t* gradient);
};

LRQAT_DECLARE_KERNELS(LossKernels, lossKernels)
LRQAT_DECLARE_BF16_KERNELS(LossKernels, lossKernels)

}  // namespace lrqat::cpu
