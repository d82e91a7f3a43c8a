#include "cpu/kernels/loss.h"

#include "cpu/kernels/vector_math.h"

namespace lrqat::cpu::LRQAT_ISA {

namespace {

/// Memory is read once: the maximum runs along with the sum, piece by piece. `of` makes of a logit what is summed.
template <typename Of>
double logSumExpBy(const float* logits, int64_t n, Of of) {
  constexpr int64_t piece = 1024;
  float top = -INFINITY;
  double total = 0;
  for (int64_t start = 0; start < n; start += piece) {
    const int64_t count = n - start < piece ? n - start : piece;
    const float* values = logits + start;
    Vec largest = broadcast(-INFINITY);
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes) largest = maximum(largest, of(load(values + i)));
    float here = highest(largest);
    for (; i < count; ++i) {
      const float value = of(broadcast(values[i]))[0];
      here = value > here ? value : here;
    }
    if (here > top) {
      total *= __builtin_exp(static_cast<double>(top) - static_cast<double>(here));
      top = here;
    }
    i = count / lanes * lanes;
    Vec sums[2] = {};
    for (int64_t j = 0; j < i; j += lanes) sums[j / lanes % 2] += exponential(of(load(values + j)) - top);
    total += static_cast<double>(sum(sums[0] + sums[1]));
    for (; i < count; ++i) total += static_cast<double>(exponential(of(broadcast(values[i])) - top)[0]);
  }
  return static_cast<double>(top) + __builtin_log(total);
}

float logSumExp(const float* logits, int64_t n) {
  return static_cast<float>(logSumExpBy(logits, n, [](Vec v) { return v; }));
}

double logSumExpOf(const float* logits, int64_t n, float factor) {
  if (factor == 1) return logSumExpBy(logits, n, [](Vec v) { return v; });
  return logSumExpBy(logits, n, [factor](Vec v) { return v * factor; });
}

template <typename T>
void gradientOf(const float* logits, int64_t n, float lse, float scale, int64_t target, T* gradient) {
  const float atTarget = exponential(broadcast(logits[target] - lse))[0] * scale - scale;
  forEachVector(
      n, [&](int64_t i, auto part) { store(gradient + i, exponential(load(logits + i, part) - lse) * scale, part); });
  T rounded[lanes];
  store(rounded, broadcast(atTarget));
  gradient[target] = rounded[0];
}

void gradientFloat(const float* logits, int64_t n, float lse, float scale, int64_t target, float* gradient) {
  gradientOf(logits, n, lse, scale, target, gradient);
}

void gradientBf16(const float* logits, int64_t n, float lse, float scale, int64_t target, uint16_t* gradient) {
  gradientOf(logits, n, lse, scale, target, reinterpret_cast<bf16*>(gradient));
}

template <typename T>
void softmaxSum(const float* logits, int64_t n, SoftmaxTerm plain, SoftmaxTerm tempered, T* gradient) {
  if (tempered.scale == 0) {
    forEachVector(n, [&](int64_t i, auto part) {
      store(gradient + i, exponential(load(logits + i, part) - plain.lse) * plain.scale, part);
    });
    return;
  }
  forEachVector(n, [&](int64_t i, auto part) {
    const Vec v = load(logits + i, part);
    const Vec first = exponential(v - plain.lse) * plain.scale;
    store(gradient + i, first + exponential(v * tempered.factor - tempered.lse) * tempered.scale, part);
  });
}

void softmaxSumFloat(const float* logits, int64_t n, SoftmaxTerm plain, SoftmaxTerm tempered, float* gradient) {
  softmaxSum(logits, n, plain, tempered, gradient);
}

void softmaxSumBf16(const float* logits, int64_t n, SoftmaxTerm plain, SoftmaxTerm tempered, uint16_t* gradient) {
  softmaxSum(logits, n, plain, tempered, reinterpret_cast<bf16*>(gradient));
}

}  // namespace

extern const LossKernels lossKernels = {logSumExp,   gradientFloat,   gradientBf16,
                                        logSumExpOf, softmaxSumFloat, softmaxSumBf16};

}  // namespace lrqat::cpu::LRQAT_ISA
