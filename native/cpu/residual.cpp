#include <cstring>

#include "core/error.h"
#include "cpu/column_sums.h"
#include "cpu/kernels/residual.h"

namespace lrqat::cpu {

void CpuBackend::addResidual(Matrix x, const RawOutput& raw, Matrix out) {
  LRQAT_CHECK(x.type == DType::F32 && out.type == DType::F32 && raw.p.type != DType::F16);
  LRQAT_CHECK(x.elements() == out.elements() && x.elements() == raw.p.elements());
  const ResidualKernels& kernels = LRQAT_SELECT_KERNELS(residualKernels);
  const RawColumns columns{raw.rowScale, raw.bias};
  const auto* in = static_cast<const float*>(x.data);
  auto* sum = static_cast<float*>(out.data);
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t t = 0; t < x.rows; ++t) {
    kernels.forward(in + t * x.cols, raw.p.slice(t, 0).data, raw.p.type == DType::BF16, columns, x.cols,
                    sum + t * x.cols);
  }
}

void CpuBackend::addResidualBackward(Matrix dY, const RawOutput& raw, const RawOutputGradient& gradient) {
  LRQAT_CHECK(dY.type == DType::F32 && dY.elements() == raw.p.elements());
  LRQAT_CHECK(raw.p.type != DType::F16 && gradient.dYs.type == raw.p.type);
  const ResidualKernels& kernels = LRQAT_SELECT_KERNELS(residualKernels);
  const RawColumns columns{raw.rowScale, raw.bias};
  const RowBlocks blocks(dY.rows);
  ColumnSums sums(*this, blocks, dY.cols, gradient.rowScaleGradient);
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t block = 0; block < blocks.count; ++block) {
    const int64_t first = blocks.first(block);
    kernels.backward(static_cast<const float*>(dY.data) + first * dY.cols, raw.p.slice(first, 0).data,
                     raw.p.type == DType::BF16, columns, blocks.end(block) - first, dY.cols,
                     gradient.dYs.slice(first, 0).data, sums.clear(block));
  }
  sums.add();
}

}  // namespace lrqat::cpu
