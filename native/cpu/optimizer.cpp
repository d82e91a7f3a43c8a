#include <cmath>

#include "cpu/cpu_backend.h"

namespace lrqat::cpu {

double CpuBackend::squaredNorm(const float* values, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(values[i]) * values[i];
  return sum;
}

void CpuBackend::adamw(const AdamW& settings, float* value, const float* gradient, float* moment1, float* moment2,
                       int64_t count) {
  const double correction1 = 1 - std::pow(double{settings.beta1}, static_cast<double>(settings.step));
  const double correction2 = 1 - std::pow(double{settings.beta2}, static_cast<double>(settings.step));
  const auto decay = static_cast<float>(1 - double{settings.learningRate} * settings.weightDecay);
  const auto stepSize = static_cast<float>(settings.learningRate / correction1);
  const auto root2 = static_cast<float>(std::sqrt(correction2));
  const auto weight1 = static_cast<float>(1 - double{settings.beta1});
  const auto weight2 = static_cast<float>(1 - double{settings.beta2});
  const auto beta2 = static_cast<float>(settings.beta2);
  const auto epsilon = static_cast<float>(settings.epsilon);
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t i = 0; i < count; ++i) {
    const float g = gradient[i] * settings.gradientFactor;
    moment1[i] = moment1[i] + weight1 * (g - moment1[i]);
    moment2[i] = moment2[i] * beta2 + weight2 * g * g;
    value[i] = value[i] * decay - stepSize * (moment1[i] / (std::sqrt(moment2[i]) / root2 + epsilon));
  }
}

}  // namespace lrqat::cpu
