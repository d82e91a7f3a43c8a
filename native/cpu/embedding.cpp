#include <algorithm>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/kernels/convert.h"

namespace lrqat::cpu {

void CpuBackend::embed(Matrix table, const int32_t* ids, Matrix x) {
  LRQAT_CHECK(x.type == DType::F32 && x.cols == table.cols);
  const ConvertKernels& kernels = LRQAT_SELECT_KERNELS(convertKernels);
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t t = 0; t < x.rows; ++t) {
    kernels.convert(table.slice(ids[t], 0).data, table.type, x.slice(t, 0).data, x.type, x.cols);
  }
}

void CpuBackend::convert(Matrix from, Matrix to) {
  LRQAT_CHECK(from.elements() == to.elements());
  const ConvertKernels& kernels = LRQAT_SELECT_KERNELS(convertKernels);
  constexpr int64_t piece = 16384;
  const int64_t count = from.elements();
  const Matrix source{from.data, from.type, count, 1};
  const Matrix target{to.data, to.type, count, 1};
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t first = 0; first < count; first += piece) {
    kernels.convert(source.slice(first, 0).data, source.type, target.slice(first, 0).data, target.type,
                    std::min(piece, count - first));
  }
}

}  // namespace lrqat::cpu
