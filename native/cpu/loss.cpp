#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/kernels/loss.h"

namespace lrqat::cpu {

void CpuBackend::crossEntropy(Matrix logits, const int32_t* targets, float gradientScale, Matrix gradient,
                              double* lossSum) {
  LRQAT_CHECK(logits.type == DType::F32);
  const bool wantGradient = gradient.data != nullptr;
  LRQAT_CHECK(!wantGradient || (gradient.type != DType::F16 && gradient.elements() == logits.elements()));
  const LossKernels& kernels = LRQAT_SELECT_ROUNDING_KERNELS(lossKernels);
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
      const Matrix out = wantGradient ? gradient.slice(first + i, 1) : Matrix{};
      losses[i] = 0;
      if (target < 0) {
        if (wantGradient) std::memset(out.data, 0, static_cast<size_t>(out.bytes()));
        continue;
      }
      if (!wantGradient) {
        losses[i] = kernels.logSumExp(row, vocab) - row[target];
      } else if (out.type == DType::BF16) {
        losses[i] = kernels.gradientBf16(row, vocab, gradientScale, target, static_cast<uint16_t*>(out.data));
      } else {
        losses[i] = kernels.gradientFloat(row, vocab, gradientScale, target, static_cast<float*>(out.data));
      }
    }
    for (int64_t i = 0; i < count; ++i) {
      if (targets[first + i] < 0) continue;
      total += static_cast<double>(losses[i]);
    }
  }
  *lossSum += total;
}

void CpuBackend::rowLosses(Matrix logits, const int32_t* targets, float* losses) {
  LRQAT_CHECK(logits.type == DType::F32);
  const LossKernels& kernels = LRQAT_SELECT_ROUNDING_KERNELS(lossKernels);
  const auto* values = static_cast<const float*>(logits.data);
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t i = 0; i < logits.rows; ++i) {
    const float* row = values + i * logits.cols;
    losses[i] = targets[i] < 0 ? 0 : kernels.logSumExp(row, logits.cols) - row[targets[i]];
  }
}

}  // namespace lrqat::cpu
