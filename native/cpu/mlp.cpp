#include "cpu/kernels/mlp.h"
#include "core/error.h"
#include "cpu/column_sums.h"

namespace lrqat::cpu {

int64_t CpuBackend::elementwiseScratchBytes(int64_t tokens, int64_t columns, int) {
  // swigluBackward sums two sets of columns at once.
  return 2 * RowBlocks(tokens).count * ColumnSums::stride(columns) * static_cast<int64_t>(sizeof(float));
}

void CpuBackend::swiglu(const RawOutput& gate, const RawOutput& up, Matrix h) {
  LRQAT_CHECK(gate.p.elements() == h.elements() && up.p.elements() == h.elements());
  LRQAT_CHECK(h.type != DType::F16 && gate.p.type == h.type && up.p.type == h.type);
  const SwigluKernels& kernels = LRQAT_SELECT_ROUNDING_KERNELS(swigluKernels);
  const RawColumns gateColumns{gate.rowScale, gate.bias};
  const RawColumns upColumns{up.rowScale, up.bias};
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t t = 0; t < h.rows; ++t) {
    kernels.forward(gate.p.slice(t, 0).data, up.p.slice(t, 0).data, h.type == DType::BF16, gateColumns, upColumns,
                    h.cols, h.slice(t, 0).data);
  }
}

void CpuBackend::swigluBackward(Matrix dH, const RawOutput& gate, const RawOutput& up, const RawOutputGradient& dGate,
                                const RawOutputGradient& dUp, Matrix h) {
  LRQAT_CHECK(dH.type != DType::F16);
  if (h.data) swiglu(gate, up, h);
  for (const Matrix& matrix : {gate.p, up.p, dGate.dYs, dUp.dYs}) {
    LRQAT_CHECK(matrix.elements() == dH.elements() && matrix.type == dH.type);
  }
  const SwigluKernels& kernels = LRQAT_SELECT_ROUNDING_KERNELS(swigluKernels);
  const RawColumns gateColumns{gate.rowScale, gate.bias};
  const RawColumns upColumns{up.rowScale, up.bias};
  const RowBlocks blocks(dH.rows);
  ColumnSums gateSums(*this, blocks, dH.cols, dGate.rowScaleGradient);
  ColumnSums upSums(*this, blocks, dH.cols, dUp.rowScaleGradient);
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t block = 0; block < blocks.count; ++block) {
    const int64_t first = blocks.first(block);
    kernels.backward(dH.slice(first, 0).data, gate.p.slice(first, 0).data, up.p.slice(first, 0).data,
                     dH.type == DType::BF16, gateColumns, upColumns, blocks.end(block) - first, dH.cols,
                     dGate.dYs.slice(first, 0).data, dUp.dYs.slice(first, 0).data, gateSums.clear(block),
                     upSums.clear(block));
  }
  gateSums.add();
  upSums.add();
}

}  // namespace lrqat::cpu
