#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/element.h"

namespace lrqat::cpu {

int64_t CpuBackend::attentionScratchBytes(const AttentionShape&, DType, int) { return 0; }

void CpuBackend::attention(const AttentionShape& shape, Matrix q, Matrix k, Matrix v, Matrix o, float* lse) {
  const int64_t d = shape.headDim;
  const int64_t group = shape.heads / shape.kvHeads;
  const float scale = 1 / std::sqrt(static_cast<float>(d));
#pragma omp parallel for collapse(2) num_threads(threads_) schedule(static)
  for (int64_t b = 0; b < shape.batch; ++b) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      std::vector<float> p(static_cast<size_t>(shape.length));
      const int64_t kvColumn = h / group * d;
      for (int64_t i = 0; i < shape.length; ++i) {
        const int64_t t = b * shape.length + i;
        const int64_t first = shape.firstKey ? shape.firstKey[t] : 0;
        float highest = -INFINITY;
        for (int64_t j = first; j <= i; ++j) {
          float dot = 0;
          for (int64_t c = 0; c < d; ++c) dot += get(q, t, h * d + c) * get(k, b * shape.length + j, kvColumn + c);
          p[j] = dot * scale;
          highest = std::max(highest, p[j]);
        }
        float sum = 0;
        for (int64_t j = first; j <= i; ++j) sum += p[j] = std::exp(p[j] - highest);
        lse[(b * shape.heads + h) * shape.length + i] = highest + std::log(sum);
        for (int64_t c = 0; c < d; ++c) {
          float value = 0;
          for (int64_t j = first; j <= i; ++j) value += p[j] * get(v, b * shape.length + j, kvColumn + c);
          put(o, t, h * d + c, value / sum);
        }
      }
    }
  }
}

void CpuBackend::attentionBackward(const AttentionShape& shape, Matrix q, Matrix k, Matrix v, Matrix o, const float* lse,
                                   Matrix dO, Matrix dQ, Matrix dK, Matrix dV) {
  const int64_t d = shape.headDim;
  const int64_t length = shape.length;
  const int64_t group = shape.heads / shape.kvHeads;
  const float scale = 1 / std::sqrt(static_cast<float>(d));
#pragma omp parallel for collapse(2) num_threads(threads_) schedule(static)
  for (int64_t b = 0; b < shape.batch; ++b) {
    for (int64_t kv = 0; kv < shape.kvHeads; ++kv) {
      std::vector<float> dk(static_cast<size_t>(length * d));
      std::vector<float> dv(static_cast<size_t>(length * d));
      std::vector<float> dq(static_cast<size_t>(d));
      for (int64_t h = kv * group; h < (kv + 1) * group; ++h) {
        for (int64_t i = 0; i < length; ++i) {
          const int64_t t = b * length + i;
          float delta = 0;
          for (int64_t c = 0; c < d; ++c) delta += get(o, t, h * d + c) * get(dO, t, h * d + c);
          std::fill(dq.begin(), dq.end(), 0.0F);
          for (int64_t j = shape.firstKey ? shape.firstKey[t] : 0; j <= i; ++j) {
            float score = 0;
            float dp = 0;
            for (int64_t c = 0; c < d; ++c) {
              score += get(q, t, h * d + c) * get(k, b * length + j, kv * d + c);
              dp += get(dO, t, h * d + c) * get(v, b * length + j, kv * d + c);
            }
            const float p = std::exp(score * scale - lse[(b * shape.heads + h) * length + i]);
            const float ds = p * (dp - delta) * scale;
            for (int64_t c = 0; c < d; ++c) {
              dq[c] += ds * get(k, b * length + j, kv * d + c);
              dk[j * d + c] += ds * get(q, t, h * d + c);
              dv[j * d + c] += p * get(dO, t, h * d + c);
            }
          }
          for (int64_t c = 0; c < d; ++c) put(dQ, t, h * d + c, dq[c]);
        }
      }
      for (int64_t j = 0; j < length; ++j) {
        for (int64_t c = 0; c < d; ++c) {
          put(dK, b * length + j, kv * d + c, dk[j * d + c]);
          put(dV, b * length + j, kv * d + c, dv[j * d + c]);
        }
      }
    }
  }
}

}  // namespace lrqat::cpu
