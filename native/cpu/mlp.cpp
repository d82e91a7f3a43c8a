#include <cmath>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/element.h"

namespace lrqat::cpu {

static float scaleOf(const RawOutput& raw, int64_t i) { return raw.rowScale ? raw.rowScale[i] : 1.0F; }
static float valueOf(const RawOutput& raw, int64_t t, int64_t i) {
  return get(raw.p, t, i) * scaleOf(raw, i) + (raw.bias ? raw.bias[i] : 0.0F);
}

void CpuBackend::swiglu(const RawOutput& gate, const RawOutput& up, Matrix h) {
  LRQAT_CHECK(gate.p.elements() == h.elements() && up.p.elements() == h.elements());
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t t = 0; t < h.rows; ++t) {
    for (int64_t j = 0; j < h.cols; ++j) {
      const float g = valueOf(gate, t, j);
      put(h, t, j, g / (1 + std::exp(-g)) * valueOf(up, t, j));
    }
  }
}

void CpuBackend::swigluBackward(Matrix dH, const RawOutput& gate, const RawOutput& up, const RawOutputGradient& dGate,
                                const RawOutputGradient& dUp) {
  LRQAT_CHECK(gate.p.elements() == dH.elements() && up.p.elements() == dH.elements());
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t j = 0; j < dH.cols; ++j) {
    for (int64_t t = 0; t < dH.rows; ++t) {
      const float g = valueOf(gate, t, j);
      const float u = valueOf(up, t, j);
      const float d = get(dH, t, j);
      const float sigmoid = 1 / (1 + std::exp(-g));
      const float dg = d * u * sigmoid * (1 + g * (1 - sigmoid));
      const float du = d * g * sigmoid;
      if (dGate.rowScaleGradient) dGate.rowScaleGradient[j] += dg * get(gate.p, t, j);
      if (dUp.rowScaleGradient) dUp.rowScaleGradient[j] += du * get(up.p, t, j);
      put(dGate.dYs, t, j, dg * scaleOf(gate, j));
      put(dUp.dYs, t, j, du * scaleOf(up, j));
    }
  }
}

}  // namespace lrqat::cpu
