#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "cpu/column_sums.h"
#include "cpu/kernels/norm.h"
#include "cpu/kernels/residual.h"

namespace lrqat::cpu {

void CpuBackend::addResidual(Matrix x, const RawOutput& raw, Matrix out) {
  LRQAT_CHECK(x.type == DType::F32 && out.type == DType::F32 && raw.p.type != DType::F16);
  LRQAT_CHECK(x.elements() == out.elements() && x.elements() == raw.p.elements());
  const ResidualKernels& kernels = LRQAT_SELECT_ROUNDING_KERNELS(residualKernels);
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
  const ResidualKernels& kernels = LRQAT_SELECT_ROUNDING_KERNELS(residualKernels);
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

void CpuBackend::addResidualNorm(Matrix x, const RawOutput& raw, Matrix out, const float* weight, float epsilon,
                                 Matrix y, float* rstd) {
  LRQAT_CHECK(x.type == DType::F32 && out.type == DType::F32 && raw.p.type != DType::F16 && y.type != DType::F16);
  LRQAT_CHECK(x.elements() == out.elements() && x.elements() == raw.p.elements() && x.elements() == y.elements());
  const ResidualKernels& residual = LRQAT_SELECT_ROUNDING_KERNELS(residualKernels);
  const NormKernels& norm = LRQAT_SELECT_ROUNDING_KERNELS(normKernels);
  const RawColumns columns{raw.rowScale, raw.bias};
  const auto* in = static_cast<const float*>(x.data);
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t t = 0; t < x.rows; ++t) {
    float* sum = static_cast<float*>(out.data) + t * x.cols;
    residual.forward(in + t * x.cols, raw.p.slice(t, 0).data, raw.p.type == DType::BF16, columns, x.cols, sum);
    rstd[t] = norm.forward(sum, weight, epsilon, x.cols, y.slice(t, 0).data, y.type == DType::BF16);
  }
}

void CpuBackend::addResidualNormBackward(Matrix dy, Matrix x, const float* weight, const float* rstd, Matrix dx,
                                         const RawOutput& raw, const RawOutputGradient& gradient) {
  LRQAT_CHECK(dy.type == DType::F32 && x.type == DType::F32 && dx.type == DType::F32);
  LRQAT_CHECK(dy.elements() == x.elements() && dx.elements() == x.elements() && dx.elements() == raw.p.elements());
  LRQAT_CHECK(raw.p.type != DType::F16 && gradient.dYs.type == raw.p.type);
  const ResidualKernels& residual = LRQAT_SELECT_ROUNDING_KERNELS(residualKernels);
  const NormKernels& norm = LRQAT_SELECT_ROUNDING_KERNELS(normKernels);
  const RawColumns columns{raw.rowScale, raw.bias};
  const RowBlocks blocks(dx.rows);
  ColumnSums sums(*this, blocks, dx.cols, gradient.rowScaleGradient);
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t block = 0; block < blocks.count; ++block) {
    float* partial = sums.clear(block);
    // A few rows at a time, which the second kernel still finds in the first-level cache.
    for (int64_t first = blocks.first(block); first < blocks.end(block); first += kResidualRows) {
      const int64_t count = std::min(kResidualRows, blocks.end(block) - first);
      for (int64_t t = first; t < first + count; ++t) {
        const int64_t at = t * dx.cols;
        norm.backward(static_cast<const float*>(dy.data) + at, static_cast<const float*>(x.data) + at, weight, rstd[t],
                      dx.cols, static_cast<float*>(dx.data) + at);
      }
      residual.backward(static_cast<const float*>(dx.data) + first * dx.cols, raw.p.slice(first, 0).data,
                        raw.p.type == DType::BF16, columns, count, dx.cols, gradient.dYs.slice(first, 0).data, partial);
    }
  }
  sums.add();
}

}  // namespace lrqat::cpu
