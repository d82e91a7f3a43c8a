#include "cpu/gemm.h"

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/element.h"

namespace lrqat::cpu {

Gemm::Gemm(const std::string&, int threads) : threads_(threads) {}
Gemm::~Gemm() = default;

void Gemm::multiply(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate) {
  const int64_t k = transposeA ? a.rows : a.cols;
  LRQAT_CHECK((transposeA ? a.cols : a.rows) == c.rows);
  LRQAT_CHECK((transposeB ? b.rows : b.cols) == c.cols);
  LRQAT_CHECK((transposeB ? b.cols : b.rows) == k);
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t i = 0; i < c.rows; ++i) {
    for (int64_t j = 0; j < c.cols; ++j) {
      float sum = 0;
      for (int64_t l = 0; l < k; ++l) {
        sum += (transposeA ? get(a, l, i) : get(a, i, l)) * (transposeB ? get(b, j, l) : get(b, l, j));
      }
      put(c, i, j, accumulate ? get(c, i, j) + sum : sum);
    }
  }
}

void CpuBackend::gemm(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate) {
  gemm_->multiply(a, transposeA, b, transposeB, c, accumulate);
}

}  // namespace lrqat::cpu
