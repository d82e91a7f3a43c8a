// Trained scales: from the trained number to the scale of this step, and back for the gradient (lr-qat.md §1.3, §11.2).
#include <algorithm>
#include <cmath>

#include "core/grid.h"
#include "cpu/cpu_backend.h"

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

void CpuBackend::materializeScales(const LinearWeight& weight, const float* theta, float* scale) {
  const bool log = isLog(weight.spec);
  const bool floored = hasFloor(weight.spec);
  const int64_t count = weight.spec.scaleCount(weight.m, weight.n);
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t i = 0; i < count; ++i) {
    const float value = log ? std::exp(theta[i]) : floored ? std::max(theta[i], kScaleFloor) : theta[i];
    scale[i] = scaleOnGrid(weight.spec.scaleFormat, value);
  }
}

void CpuBackend::expandRowScale(const LinearWeight& weight, const float* scale, float* rowScale) {
  const bool tensor = weight.spec.granularity == Granularity::Tensor;
  for (int64_t i = 0; i < weight.m; ++i) rowScale[i] = scale[tensor ? 0 : i];
}

void CpuBackend::reduceRowScaleGradient(const LinearWeight& weight, const float* theta, const float* scale,
                                        const float* rowScaleGradient, float* scaleGradient) {
  const QuantSpec& spec = weight.spec;
  const auto add = [&](int64_t i, float gradient) {
    if (isLog(spec)) {
      scaleGradient[i] += gradient * scale[i];
    } else if (!hasFloor(spec) || theta[i] >= kScaleFloor) {
      scaleGradient[i] += gradient;
    }
  };
  if (spec.granularity == Granularity::Tensor) {
    double total = 0;
    for (int64_t i = 0; i < weight.m; ++i) total += static_cast<double>(rowScaleGradient[i]);
    add(0, static_cast<float>(total));
    return;
  }
  for (int64_t i = 0; i < weight.m; ++i) add(i, rowScaleGradient[i]);
}

}  // namespace lrqat::cpu
