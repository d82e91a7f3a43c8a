#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "cpu/cpu_backend.h"

namespace lrqat::cpu {

double CpuBackend::crossEntropy(Matrix logits, const int32_t* targets, float gradientScale, bool wantGradient,
                                float* perToken) {
  LRQAT_CHECK(logits.type == DType::F32);
  double total = 0;
  for (int64_t t = 0; t < logits.rows; ++t) {
    float* row = static_cast<float*>(logits.data) + t * logits.cols;
    if (targets[t] < 0) {
      if (wantGradient) std::fill(row, row + logits.cols, 0.0F);
      continue;
    }
    const float highest = *std::max_element(row, row + logits.cols);
    double sum = 0;
    for (int64_t j = 0; j < logits.cols; ++j) sum += std::exp(row[j] - highest);
    const float lse = highest + static_cast<float>(std::log(sum));
    const float loss = lse - row[targets[t]];
    total += loss;
    if (perToken) perToken[t] += loss;
    if (!wantGradient) continue;
    for (int64_t j = 0; j < logits.cols; ++j) {
      row[j] = (std::exp(row[j] - lse) - (j == targets[t] ? 1.0F : 0.0F)) * gradientScale;
    }
  }
  return total;
}

}  // namespace lrqat::cpu
