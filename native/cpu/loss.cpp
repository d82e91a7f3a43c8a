#include <algorithm>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/kernels/loss.h"

namespace lrqat::cpu {

void CpuBackend::crossEntropy(Matrix logits, const int32_t* targets, float gradientScale, Matrix gradient,
                              double* lossSum) {
  LRQAT_CHECK(logits.type == DType::F32);
  const bool wantGradient = gradient.data != nullptr;
  const LossKernels& kernels = LRQAT_SELECT_KERNELS(lossKernels);
  const int64_t vocab = logits.cols;
  auto* values = static_cast<float*>(logits.data);
  double total = 0;
  // Losses of a group of rows, added in row order afterwards: the same sum for every thread count.
  constexpr int64_t groupRows = 1024;
  float losses[groupRows];
  for (int64_t first = 0; first < logits.rows; first += groupRows) {
    const int64_t count = std::min(groupRows, logits.rows - first);
#pragma omp parallel for num_threads(threads_) schedule(static)
    for (int64_t i = 0; i < count; ++i) {
      float* row = values + (first + i) * vocab;
      const int32_t target = targets[first + i];
      losses[i] = 0;
      if (target < 0) {
        if (wantGradient) std::fill(row, row + vocab, 0.0F);
        continue;
      }
      const float lse = kernels.logSumExp(row, vocab);
      losses[i] = lse - row[target];
      if (!wantGradient) continue;
      kernels.softmax(row, vocab, lse, gradientScale);
      row[target] -= gradientScale;
    }
    for (int64_t i = 0; i < count; ++i) {
      if (targets[first + i] < 0) continue;
      total += static_cast<double>(losses[i]);
    }
  }
  *lossSum += total;
  if (wantGradient && gradient.data != logits.data) convert(logits, gradient);
}

void CpuBackend::rowLosses(Matrix logits, const int32_t* targets, float* losses) {
  LRQAT_CHECK(logits.type == DType::F32);
  const LossKernels& kernels = LRQAT_SELECT_KERNELS(lossKernels);
  const auto* values = static_cast<const float*>(logits.data);
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t i = 0; i < logits.rows; ++i) {
    const float* row = values + i * logits.cols;
    losses[i] = targets[i] < 0 ? 0 : kernels.logSumExp(row, logits.cols) - row[targets[i]];
  }
}

}  // namespace lrqat::cpu
