#include <cmath>
#include <vector>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/element.h"

namespace lrqat::cpu {

static float scaleOf(const RawOutput& raw, int64_t i) { return raw.rowScale ? raw.rowScale[i] : 1.0F; }
static float valueOf(const RawOutput& raw, int64_t t, int64_t i) {
  return get(raw.p, t, i) * scaleOf(raw, i) + (raw.bias ? raw.bias[i] : 0.0F);
}

void CpuBackend::projectHeads(const RawOutput& raw, const HeadTransform& transform, Matrix out) {
  const int64_t d = transform.headDim;
  const int64_t half = d / 2;
  LRQAT_CHECK(out.cols == transform.heads * d && raw.p.cols == out.cols && raw.p.rows == out.rows && d % 2 == 0);
#pragma omp parallel num_threads(threads_)
  {
    std::vector<float> y(static_cast<size_t>(d));
#pragma omp for schedule(static)
    for (int64_t t = 0; t < out.rows; ++t) {
      for (int64_t h = 0; h < transform.heads; ++h) {
        float sum = 0;
        for (int64_t i = 0; i < d; ++i) {
          y[i] = valueOf(raw, t, h * d + i);
          sum += y[i] * y[i];
        }
        if (transform.normWeight) {
          const float r = 1 / std::sqrt(sum / static_cast<float>(d) + transform.normEpsilon);
          for (int64_t i = 0; i < d; ++i) y[i] *= r * transform.normWeight[i];
        }
        if (transform.cosine) {
          const int64_t position = t % transform.length;
          for (int64_t i = 0; i < half; ++i) {
            const float c = transform.cosine[position * half + i];
            const float s = transform.sine[position * half + i];
            const float a = y[i];
            const float b = y[i + half];
            y[i] = a * c - b * s;
            y[i + half] = b * c + a * s;
          }
        }
        for (int64_t i = 0; i < d; ++i) put(out, t, h * d + i, y[i]);
      }
    }
  }
}

void CpuBackend::projectHeadsBackward(Matrix dOut, const RawOutput& raw, const HeadTransform& transform,
                                      const RawOutputGradient& gradient) {
  const int64_t d = transform.headDim;
  const int64_t half = d / 2;
  LRQAT_CHECK(dOut.cols == transform.heads * d && raw.p.cols == dOut.cols && raw.p.rows == dOut.rows && d % 2 == 0);
#pragma omp parallel num_threads(threads_)
  {
    std::vector<float> y(static_cast<size_t>(d));
    std::vector<float> dy(static_cast<size_t>(d));
#pragma omp for schedule(static)
    for (int64_t h = 0; h < transform.heads; ++h) {
      for (int64_t t = 0; t < dOut.rows; ++t) {
        for (int64_t i = 0; i < d; ++i) dy[i] = get(dOut, t, h * d + i);
        if (transform.cosine) {
          const int64_t position = t % transform.length;
          for (int64_t i = 0; i < half; ++i) {
            const float c = transform.cosine[position * half + i];
            const float s = transform.sine[position * half + i];
            const float a = dy[i];
            const float b = dy[i + half];
            dy[i] = a * c + b * s;
            dy[i + half] = b * c - a * s;
          }
        }
        if (transform.normWeight) {
          float sum = 0;
          float dot = 0;
          for (int64_t i = 0; i < d; ++i) {
            y[i] = valueOf(raw, t, h * d + i);
            dy[i] *= transform.normWeight[i];
            sum += y[i] * y[i];
            dot += dy[i] * y[i];
          }
          const float r = 1 / std::sqrt(sum / static_cast<float>(d) + transform.normEpsilon);
          const float factor = dot * r * r / static_cast<float>(d);
          for (int64_t i = 0; i < d; ++i) dy[i] = r * (dy[i] - y[i] * factor);
        }
        for (int64_t i = 0; i < d; ++i) {
          const int64_t column = h * d + i;
          if (gradient.rowScaleGradient) gradient.rowScaleGradient[column] += dy[i] * get(raw.p, t, column);
          put(gradient.dYs, t, column, dy[i] * scaleOf(raw, column));
        }
      }
    }
  }
}

}  // namespace lrqat::cpu
