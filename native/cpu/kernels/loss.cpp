#include "cpu/kernels/loss.h"

#include "cpu/kernels/vector_math.h"

namespace lrqat::cpu::LRQAT_ISA {

namespace {

constexpr auto asItIs = [](Vec v) { return v; };

template <typename Of>
float largestOf(const float* logits, int64_t n, Of of) {
  constexpr int chains = 4;  // to hide the latency of each
  const int64_t whole = n / lanes * lanes;
  Vec largest[chains];
  for (Vec& chain : largest) chain = broadcast(-INFINITY);
  int64_t start = 0;
  for (; start + chains * lanes <= whole; start += chains * lanes) {
#pragma GCC unroll 4
    for (int j = 0; j < chains; ++j) largest[j] = maximum(largest[j], of(load(logits + start + j * lanes)));
  }
  for (; start < whole; start += lanes) largest[0] = maximum(largest[0], of(load(logits + start)));
  float top = highest(maximum(maximum(largest[0], largest[1]), maximum(largest[2], largest[3])));
  for (int64_t i = whole; i < n; ++i) {
    const float value = of(broadcast(logits[i]))[0];
    top = value > top ? value : top;
  }
  return top;
}

/// Σ exp(of(logit) − top). keep(i, powers, count) gets the powers of the logits from i on.
template <typename Of, typename Keep>
double sumOfPowers(const float* logits, int64_t n, float top, Of of, Keep keep) {
  constexpr int64_t piece = 1024;  // summed in float32
  double total = 0;
  for (int64_t start = 0; start < n; start += piece) {
    const int64_t count = n - start < piece ? n - start : piece;
    const int64_t whole = start + count / lanes * lanes;
    Vec sums[2] = {};
    for (int64_t i = start; i < whole; i += lanes) {
      const Vec powers = exponential(of(load(logits + i)) - top);
      keep(i, powers, lanes);
      sums[i / lanes % 2] += powers;
    }
    total += static_cast<double>(sum(sums[0] + sums[1]));
    for (int64_t i = whole; i < start + count; ++i) {
      const Vec powers = exponential(of(broadcast(logits[i])) - top);
      keep(i, powers, 1);
      total += static_cast<double>(powers[0]);
    }
  }
  return total;
}

/// `of` makes of a logit what is summed.
template <typename Of>
double logSumExpBy(const float* logits, int64_t n, Of of) {
  const float top = largestOf(logits, n, of);
  const double total = sumOfPowers(logits, n, top, of, [](int64_t, Vec, int64_t) {});
  return static_cast<double>(top) + __builtin_log(total);
}

float logSumExp(const float* logits, int64_t n) {
  return static_cast<float>(logSumExpBy(logits, n, asItIs));
}

double logSumExpOf(const float* logits, int64_t n, float factor) {
  if (factor == 1) return logSumExpBy(logits, n, asItIs);
  return logSumExpBy(logits, n, [factor](Vec v) { return v * factor; });
}

/// One exponential a logit, kept in the place of the logit until their sum is known.
template <typename T>
float lossAndGradient(float* logits, int64_t n, float scale, int64_t target, T* gradient) {
  const float atTarget = logits[target];
  const float top = largestOf(logits, n, asItIs);
  const double total = sumOfPowers(logits, n, top, asItIs, [&](int64_t i, Vec powers, int64_t count) {
    if (count == lanes) {
      store(logits + i, powers);
    } else {
      logits[i] = powers[0];
    }
  });
  const auto factor = static_cast<float>(static_cast<double>(scale) / total);
  T rounded[lanes];
  store(rounded, broadcast(logits[target] * factor - scale));
  forEachVector(n, [&](int64_t i, auto part) { store(gradient + i, load(logits + i, part) * factor, part); });
  gradient[target] = rounded[0];
  const auto lse = static_cast<float>(static_cast<double>(top) + __builtin_log(total));
  return lse - atTarget;
}

float gradientFloat(float* logits, int64_t n, float scale, int64_t target, float* gradient) {
  return lossAndGradient(logits, n, scale, target, gradient);
}

float gradientBf16(float* logits, int64_t n, float scale, int64_t target, uint16_t* gradient) {
  return lossAndGradient(logits, n, scale, target, reinterpret_cast<bf16*>(gradient));
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
