#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/element.h"

namespace lrqat::cpu {

void CpuBackend::embed(Matrix table, const int32_t* ids, Matrix x) {
  LRQAT_CHECK(x.type == DType::F32 && x.cols == table.cols);
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t j = 0; j < x.cols; ++j) put(x, t, j, get(table, ids[t], j));
  }
}

void CpuBackend::convert(Matrix from, Matrix to) {
  LRQAT_CHECK(from.elements() == to.elements());
  from = {from.data, from.type, 1, from.elements()};
  to = {to.data, to.type, 1, to.elements()};
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t i = 0; i < from.cols; ++i) put(to, 0, i, get(from, 0, i));
}

}  // namespace lrqat::cpu
