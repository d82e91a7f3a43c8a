#include "cpu/kernels/optimizer.h"

#include "cpu/kernels/vector_math.h"

namespace lrqat::cpu::LRQAT_ISA {

namespace {

/// Four chains of additions for each of `lanes` places.
double squaredNorm(const float* values, int64_t count) {
  constexpr int chains = 4 * lanes;
  double sums[chains] = {};
  int64_t i = 0;
  for (; i + chains <= count; i += chains) {
    for (int lane = 0; lane < chains; ++lane) {
      const auto value = static_cast<double>(values[i + lane]);
      sums[lane] += value * value;
    }
  }
  for (int lane = 0; i < count; ++i, ++lane) {
    const auto value = static_cast<double>(values[i]);
    sums[lane] += value * value;
  }
  double total = 0;
  for (const double part : sums) total += part;
  return total;
}

void adamw(const AdamWStep& step, float* value, const float* gradient, float* moment1, float* moment2, int64_t count) {
  forEachVector(count, [&](int64_t i, auto part) {
    const Vec g = load(gradient + i, part) * step.gradientFactor;
    const Vec m = load(moment1 + i, part);
    const Vec newM = m + step.gradientWeight1 * (g - m);
    const Vec newV = load(moment2 + i, part) * step.beta2 + step.gradientWeight2 * g * g;
    const Vec denominator = squareRoot(newV) / step.rootCorrection2 + step.epsilon;
    store(moment1 + i, newM, part);
    store(moment2 + i, newV, part);
    store(value + i, load(value + i, part) * step.decay - step.stepSize * (newM / denominator), part);
  });
}

}  // namespace

extern const OptimizerKernels optimizerKernels = {squaredNorm, adamw};

}  // namespace lrqat::cpu::LRQAT_ISA
