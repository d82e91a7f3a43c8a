#include "cpu/kernels/heads.h"
#include "core/error.h"
#include "cpu/column_sums.h"

namespace lrqat::cpu {

namespace {

void checkHeads(const HeadTransform& transform, const Matrix& heads, const Matrix& p) {
  LRQAT_CHECK(heads.cols == transform.heads * transform.headDim && heads.type != DType::F16);
  LRQAT_CHECK(p.cols == heads.cols && p.rows == heads.rows && p.type == heads.type);
  LRQAT_CHECK(transform.headDim % 2 == 0);
  LRQAT_CHECK(!transform.cosine || transform.length > 0);
  if (transform.headDim > maximumHeadDim) {
    throw Error(ErrorCode::Unsupported,
                "head dimension " + std::to_string(transform.headDim) + " is above " + std::to_string(maximumHeadDim));
  }
}

HeadRow rowAt(const HeadTransform& transform, int64_t t) {
  HeadRow row{transform.heads, transform.headDim, transform.normWeight, transform.normEpsilon, nullptr, nullptr};
  if (transform.cosine) {
    const int64_t position = transform.position ? transform.position[t] : t % transform.length;
    const int64_t start = position * (transform.headDim / 2);
    row.cosine = transform.cosine + start;
    row.sine = transform.sine + start;
  }
  return row;
}

}  // namespace

void CpuBackend::projectHeads(const RawOutput& raw, const HeadTransform& transform, Matrix out) {
  checkHeads(transform, out, raw.p);
  const HeadKernels& kernels = LRQAT_SELECT_ROUNDING_KERNELS(headKernels);
  const RawColumns columns{raw.rowScale, raw.bias};
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t t = 0; t < out.rows; ++t) {
    kernels.forward(rowAt(transform, t), raw.p.slice(t, 0).data, out.type == DType::BF16, columns,
                    out.slice(t, 0).data);
  }
}

void CpuBackend::projectHeadsBackward(Matrix dOut, const RawOutput& raw, const HeadTransform& transform,
                                      const RawOutputGradient& gradient) {
  checkHeads(transform, dOut, raw.p);
  LRQAT_CHECK(gradient.dYs.type == dOut.type && gradient.dYs.elements() == dOut.elements());
  const HeadKernels& kernels = LRQAT_SELECT_ROUNDING_KERNELS(headKernels);
  const RawColumns columns{raw.rowScale, raw.bias};
  const RowBlocks blocks(dOut.rows);
  ColumnSums sums(*this, blocks, dOut.cols, gradient.rowScaleGradient);
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t block = 0; block < blocks.count; ++block) {
    float* partial = sums.clear(block);
    for (int64_t t = blocks.first(block); t < blocks.end(block); ++t) {
      kernels.backward(rowAt(transform, t), dOut.slice(t, 0).data, raw.p.slice(t, 0).data, dOut.type == DType::BF16,
                       columns, gradient.dYs.slice(t, 0).data, partial);
    }
  }
  sums.add();
}

}  // namespace lrqat::cpu
