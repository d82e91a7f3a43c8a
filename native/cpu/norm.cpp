#include <cmath>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/element.h"

namespace lrqat::cpu {

void CpuBackend::rmsNorm(Matrix x, const float* weight, float epsilon, Matrix y, float* rstd) {
  LRQAT_CHECK(x.type == DType::F32 && x.rows == y.rows && x.cols == y.cols);
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t t = 0; t < x.rows; ++t) {
    float sum = 0;
    for (int64_t j = 0; j < x.cols; ++j) sum += get(x, t, j) * get(x, t, j);
    const float r = 1 / std::sqrt(sum / static_cast<float>(x.cols) + epsilon);
    rstd[t] = r;
    for (int64_t j = 0; j < x.cols; ++j) put(y, t, j, get(x, t, j) * r * weight[j]);
  }
}

void CpuBackend::rmsNormBackward(Matrix dy, Matrix x, const float* weight, const float* rstd, Matrix dx) {
  LRQAT_CHECK(dy.type == DType::F32 && x.type == DType::F32 && dx.type == DType::F32);
  LRQAT_CHECK(dy.rows == x.rows && dy.cols == x.cols && dx.rows == x.rows && dx.cols == x.cols);
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t t = 0; t < x.rows; ++t) {
    float dot = 0;
    for (int64_t j = 0; j < x.cols; ++j) dot += get(dy, t, j) * weight[j] * get(x, t, j);
    const float r = rstd[t];
    const float factor = dot * r * r / static_cast<float>(x.cols);
    for (int64_t j = 0; j < x.cols; ++j) {
      put(dx, t, j, get(dx, t, j) + r * (get(dy, t, j) * weight[j] - get(x, t, j) * factor));
    }
  }
}

}  // namespace lrqat::cpu
