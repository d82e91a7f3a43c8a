#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/element.h"
#include "cpu/row_blocks.h"

namespace lrqat::cpu {

int64_t CpuBackend::elementwiseScratchBytes(int64_t tokens, int64_t columns, int) {
  // swigluBackward sums two sets of columns at once.
  return 2 * RowBlocks(tokens).count * ((columns + 15) / 16 * 16) * static_cast<int64_t>(sizeof(float));
}

void CpuBackend::addResidual(Matrix x, const RawOutput& raw, Matrix out) {
  LRQAT_CHECK(x.type == DType::F32 && out.type == DType::F32 && x.elements() == out.elements());
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t j = 0; j < x.cols; ++j) {
      const float scale = raw.rowScale ? raw.rowScale[j] : 1.0F;
      put(out, t, j, get(x, t, j) + (get(raw.p, t, j) * scale + (raw.bias ? raw.bias[j] : 0.0F)));
    }
  }
}

void CpuBackend::addResidualBackward(Matrix dY, const RawOutput& raw, const RawOutputGradient& gradient) {
  LRQAT_CHECK(dY.type == DType::F32 && dY.elements() == raw.p.elements());
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t j = 0; j < dY.cols; ++j) {
    const float scale = raw.rowScale ? raw.rowScale[j] : 1.0F;
    float sum = 0;
    for (int64_t t = 0; t < dY.rows; ++t) {
      sum += get(dY, t, j) * get(raw.p, t, j);
      put(gradient.dYs, t, j, get(dY, t, j) * scale);
    }
    if (gradient.rowScaleGradient) gradient.rowScaleGradient[j] += sum;
  }
}

}  // namespace lrqat::cpu
