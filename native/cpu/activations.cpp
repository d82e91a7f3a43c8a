#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/kernels/activations.h"
#include "cpu/row_blocks.h"

namespace lrqat::cpu {

namespace {

SharedGrid numbersOf(const StaticGrid& grid) {
  return {grid.scale, grid.zero, grid.low, grid.high};
}

}  // namespace

void CpuBackend::quantizeActivations(Matrix x, const ActivationGrid& grid, Matrix y, uint32_t* inside) {
  LRQAT_CHECK(x.type != DType::F16 && y.type == x.type && y.rows == x.rows && y.cols == x.cols);
  const ActivationKernels& kernels = LRQAT_SELECT_ROUNDING_KERNELS(activationKernels);
  const bool isBf16 = x.type == DType::BF16;
  if (grid.shared) {
    const SharedGrid shared = numbersOf(*grid.shared);
#pragma omp parallel for num_threads(threads_) schedule(static)
    for (int64_t t = 0; t < x.rows; ++t) {
      kernels.quantizeShared(x.slice(t, 0).data, isBf16, shared, x.cols, y.slice(t, 0).data,
                             inside ? inside + t * markWords(x.cols) : nullptr);
    }
    return;
  }
  LRQAT_CHECK(grid.bits >= 2 && grid.bits <= 8 && grid.width > 0 && x.cols % grid.width == 0);
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t t = 0; t < x.rows; ++t) {
    kernels.quantize(x.slice(t, 0).data, isBf16, grid.bits, grid.fractionalZeroPoint, x.cols, grid.width,
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

ActivationRange CpuBackend::activationRange(Matrix x) {
  LRQAT_CHECK(x.type != DType::F16 && x.elements() > 0);
  const ActivationKernels& kernels = LRQAT_SELECT_ROUNDING_KERNELS(activationKernels);
  // Smallest and largest do not depend on the order; one row that is not finite is enough.
  float low = std::numeric_limits<float>::infinity();
  float high = -low;
  bool isFinite = true;
#pragma omp parallel for num_threads(threads_) schedule(static) reduction(min : low) reduction(max : high) reduction(&& : isFinite)
  for (int64_t t = 0; t < x.rows; ++t) {
    std::array<float, 2> row;
    kernels.range(x.slice(t, 0).data, x.type == DType::BF16, x.cols, row.data());
    isFinite = isFinite && std::isfinite(row[0]) && std::isfinite(row[1]);
    low = std::min(low, row[0]);
    high = std::max(high, row[1]);
  }
  const float none = std::numeric_limits<float>::quiet_NaN();
  return isFinite ? ActivationRange{low, high} : ActivationRange{none, none};
}

void CpuBackend::learnGrid(Matrix x, const ActivationGrid& grid, Matrix gradient, float* scaleGradient,
                           float* zeroGradient) {
  LRQAT_CHECK(grid.shared && scaleGradient && x.type != DType::F16 && gradient.type != DType::F16);
  LRQAT_CHECK(x.rows == gradient.rows && x.cols == gradient.cols);
  const ActivationKernels& kernels = LRQAT_SELECT_ROUNDING_KERNELS(activationKernels);
  const SharedGrid shared = numbersOf(*grid.shared);
  const RowBlocks blocks(x.rows);
  std::array<std::array<double, 2>, maximumRowBlocks> parts{};
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t block = 0; block < blocks.count; ++block) {
    for (int64_t t = blocks.first(block); t < blocks.end(block); ++t) {
      kernels.learn(x.slice(t, 0).data, x.type == DType::BF16, shared, x.cols, gradient.slice(t, 0).data,
                    gradient.type == DType::BF16, parts[static_cast<size_t>(block)].data());
    }
  }
  std::array<double, 2> sums{};
  for (int64_t block = 0; block < blocks.count; ++block) {
    for (size_t i = 0; i < 2; ++i) sums[i] += parts[static_cast<size_t>(block)][i];
  }
  *scaleGradient += static_cast<float>(sums[0]);
  if (zeroGradient) *zeroGradient -= static_cast<float>(static_cast<double>(shared.scale) * sums[1]);
}

}  // namespace lrqat::cpu
