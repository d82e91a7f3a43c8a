#include <algorithm>
#include <array>
#include <cmath>

#include "cpu/cpu_backend.h"
#include "cpu/kernels/optimizer.h"

namespace lrqat::cpu {

double CpuBackend::squaredNorm(const float* values, int64_t count) {
  const OptimizerKernels& kernels = LRQAT_SELECT_KERNELS(optimizerKernels);
  // The cut depends on the count alone, so that the sum does not depend on the thread count.
  std::array<double, 64> parts{};
  const int64_t pieces = std::clamp<int64_t>(count / 4096, 1, static_cast<int64_t>(parts.size()));
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const int64_t first = count * piece / pieces;
    const int64_t end = count * (piece + 1) / pieces;
    parts[static_cast<size_t>(piece)] = kernels.squaredNorm(values + first, end - first);
  }
  double total = 0;
  for (const double part : parts) total += part;
  return total;
}

void CpuBackend::adamw(const AdamW& settings, std::span<const AdamWTensor> tensors) {
  // As torch.optim.AdamW: the scalars of a step are computed in double and rounded once.
  const double correction1 = 1 - std::pow(settings.beta1, static_cast<double>(settings.step));
  const double correction2 = 1 - std::pow(settings.beta2, static_cast<double>(settings.step));
  const OptimizerKernels& kernels = LRQAT_SELECT_KERNELS(optimizerKernels);
  // One parallel region for all tensors: most of them are far smaller than what waking the threads costs.
#pragma omp parallel num_threads(threads_)
  for (const AdamWTensor& tensor : tensors) {
    const AdamWStep step{
        .gradientFactor = settings.gradientFactor,
        .gradientWeight1 = static_cast<float>(1 - settings.beta1),
        .beta2 = static_cast<float>(settings.beta2),
        .gradientWeight2 = static_cast<float>(1 - settings.beta2),
        .decay = static_cast<float>(1 - tensor.learningRate * settings.weightDecay),
        .stepSize = static_cast<float>(tensor.learningRate / correction1),
        .rootCorrection2 = static_cast<float>(std::sqrt(correction2)),
        .epsilon = static_cast<float>(settings.epsilon),
    };
    constexpr int64_t piece = 4096;
#pragma omp for schedule(static) nowait
    for (int64_t first = 0; first < tensor.count; first += piece) {
      kernels.adamw(step, tensor.value + first, tensor.gradient + first, tensor.moment1 + first, tensor.moment2 + first,
                    std::min(piece, tensor.count - first));
    }
  }
}

}  // namespace lrqat::cpu
