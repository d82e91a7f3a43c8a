#include "cpu/kernels/activations.h"
#include "core/error.h"
#include "cpu/cpu_backend.h"

namespace lrqat::cpu {

void CpuBackend::quantizeActivations(Matrix x, const ActivationGrid& grid, Matrix y, uint32_t* inside) {
  LRQAT_CHECK(x.type != DType::F16 && y.type == x.type && y.rows == x.rows && y.cols == x.cols);
  LRQAT_CHECK(grid.bits >= 2 && grid.bits <= 8 && grid.width > 0 && x.cols % grid.width == 0);
  const ActivationKernels& kernels = LRQAT_SELECT_ROUNDING_KERNELS(activationKernels);
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t t = 0; t < x.rows; ++t) {
    kernels.quantize(x.slice(t, 0).data, x.type == DType::BF16, grid.bits, grid.fractionalZeroPoint, x.cols, grid.width,
                     y.slice(t, 0).data, inside ? inside + t * markWords(x.cols) : nullptr);
  }
}

void CpuBackend::maskGradient(Matrix gradient, const uint32_t* inside) {
  LRQAT_CHECK(gradient.type != DType::F16 && inside);
  const ActivationKernels& kernels = LRQAT_SELECT_ROUNDING_KERNELS(activationKernels);
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t t = 0; t < gradient.rows; ++t) {
    kernels.mask(gradient.slice(t, 0).data, gradient.type == DType::BF16, gradient.cols,
                 inside + t * markWords(gradient.cols));
  }
}

}  // namespace lrqat::cpu
