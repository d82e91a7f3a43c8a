// Trained scales: from the trained number to the scale of this step, and back for the gradient (lr-qat.md §1.3, §11.2).
#include <algorithm>
#include <cmath>

#include "core/grid.h"
#include "cpu/cpu_backend.h"
#include "cpu/row_blocks.h"

namespace lrqat::cpu {

namespace {

/// Integer storage trains the plain scale: neither floor nor log domain, even when asked.
bool isLog(const QuantSpec& spec) {
  return spec.scaleDomain == ScaleDomain::Log && spec.storage != Storage::Integer;
}
bool hasFloor(const QuantSpec& spec) {
  return spec.scaleDomain == ScaleDomain::Linear && spec.storage != Storage::Integer;
}

}  // namespace

void CpuBackend::materializeScales(std::span<const ScaleTask> tasks) {
  for (const ScaleTask& task : tasks) {
    const LinearWeight& weight = *task.weight;
    const float* theta = task.theta;
    float* scale = task.scale;
    if (theta) {
      const bool log = isLog(weight.spec);
      const bool floored = hasFloor(weight.spec);
      const int64_t count = weight.spec.scaleCount(weight.m, weight.n);
#pragma omp parallel for num_threads(threads_) schedule(static) if (worthWaking(count))
      for (int64_t i = 0; i < count; ++i) {
        const float value = log ? std::exp(theta[i]) : floored ? std::max(theta[i], kScaleFloor) : theta[i];
        scale[i] = scaleOnGrid(weight.spec.scaleFormat, value);
      }
    }
    if (task.zeroTheta) {
      const int64_t count = weight.spec.scaleCount(weight.m, weight.n);
      for (int64_t i = 0; i < count; ++i) task.zero[i] = zeroPoint(task.zeroTheta[i], weight.spec.levels());
    }
    if (!task.rowScale) continue;
    const bool tensor = weight.spec.granularity == Granularity::Tensor;
    for (int64_t i = 0; i < weight.m; ++i) task.rowScale[i] = scale[tensor ? 0 : i];
  }
}

void CpuBackend::sumRowScaleGradient(int64_t m, const float* rowScaleGradient, float* scaleGradient) {
  double total = 0;
  for (int64_t i = 0; i < m; ++i) total += static_cast<double>(rowScaleGradient[i]);
  *scaleGradient += static_cast<float>(total);
}

void CpuBackend::finishScaleGradients(std::span<const ScaleGradientTask> tasks) {
  for (const auto& [weight, theta, scale, gradient] : tasks) {
    const QuantSpec& spec = weight->spec;
    const int64_t count = spec.scaleCount(weight->m, weight->n);
    for (int64_t i = 0; i < count; ++i) {
      if (isLog(spec)) {
        gradient[i] *= scale[i];
      } else if (hasFloor(spec) && theta[i] < kScaleFloor) {
        gradient[i] = 0;
      }
    }
  }
}

}  // namespace lrqat::cpu
