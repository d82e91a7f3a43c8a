#include "cpu/kernels/norm.h"
#include "core/error.h"
#include "cpu/cpu_backend.h"

namespace lrqat::cpu {

void CpuBackend::rmsNorm(Matrix x, const float* weight, float epsilon, Matrix y, float* rstd) {
  LRQAT_CHECK(x.type == DType::F32 && y.type != DType::F16 && x.rows == y.rows && x.cols == y.cols);
  const NormKernels& kernels = LRQAT_SELECT_ROUNDING_KERNELS(normKernels);
  const auto* in = static_cast<const float*>(x.data);
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t t = 0; t < x.rows; ++t) {
    rstd[t] = kernels.forward(in + t * x.cols, weight, epsilon, x.cols, y.slice(t, 0).data, y.type == DType::BF16);
  }
}

void CpuBackend::rmsNormBackward(Matrix dy, Matrix x, const float* weight, const float* rstd, Matrix dx) {
  LRQAT_CHECK(dy.type == DType::F32 && x.type == DType::F32 && dx.type == DType::F32);
  LRQAT_CHECK(dy.rows == x.rows && dy.cols == x.cols && dx.rows == x.rows && dx.cols == x.cols);
  const NormKernels& kernels = LRQAT_SELECT_ROUNDING_KERNELS(normKernels);
  const auto* gradient = static_cast<const float*>(dy.data);
  const auto* in = static_cast<const float*>(x.data);
  auto* out = static_cast<float*>(dx.data);
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t t = 0; t < x.rows; ++t) {
    kernels.backward(gradient + t * x.cols, in + t * x.cols, weight, rstd[t], x.cols, out + t * x.cols);
  }
}

}  // namespace lrqat::cpu
