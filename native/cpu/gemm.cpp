#include "cpu/gemm.h"

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/element.h"
#include "cpu/isa.h"

namespace lrqat::cpu {

Gemm::Gemm(const std::string& oneDnnPath, int threads) : threads_(threads) {
  if (!oneDnnPath.empty()) oneDnn_ = OneDnnLibrary::open(oneDnnPath, threads);
}

Gemm::~Gemm() = default;

void Gemm::multiply(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate) {
  LRQAT_CHECK((transposeA ? a.cols : a.rows) == c.rows);
  LRQAT_CHECK((transposeB ? b.rows : b.cols) == c.cols);
  LRQAT_CHECK((transposeA ? a.rows : a.cols) == (transposeB ? b.cols : b.rows));
  LRQAT_CHECK(a.type != DType::F16 && b.type != DType::F16 && c.type != DType::F16);
  if (c.elements() == 0) return;
  if (oneDnn_ && multiplyByOneDnn(a, transposeA, b, transposeB, c, accumulate)) return;
  multiplyBuiltIn(a, transposeA, b, transposeB, c, accumulate);
}

bool Gemm::multiplyByOneDnn(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate) {
  const int64_t k = transposeA ? a.rows : a.cols;
  const auto element = [](DType type) { return type == DType::F32 ? onednn::Element::F32 : onednn::Element::BF16; };
  if (k == 0 || a.type != b.type) return false;
  if (a.type == DType::F32 && c.type != DType::F32) return false;
  // Without the instructions oneDNN emulates bf16 or refuses it; our own product converts to float32 once.
  if (a.type == DType::BF16 && !hasFastBf16()) return false;
  const onednn::Product product{.m = c.rows,
                                .n = c.cols,
                                .k = k,
                                .a = element(a.type),
                                .b = element(b.type),
                                .c = element(c.type),
                                .transposeA = transposeA,
                                .transposeB = transposeB,
                                .accumulate = accumulate};
  return oneDnn_->multiply(product, a.data, b.data, c.data);
}

void Gemm::multiplyBuiltIn(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate) {
  const int64_t k = transposeA ? a.rows : a.cols;
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
