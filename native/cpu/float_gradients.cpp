// Gradients of what can be trained beside the linears: norm weights and embedding rows. Sums over tokens in double, in
// the order of the tokens whatever the number of threads: a thread has columns of its own.
#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/half.h"
#include "cpu/cpu_backend.h"
#include "cpu/kernels/heads.h"

namespace lrqat::cpu {

namespace {

constexpr int64_t kColumns = 32;

float valueAt(const Matrix& m, int64_t index) {
  return m.type == DType::F32 ? static_cast<const float*>(m.data)[index]
                              : floatFromBf16(static_cast<const uint16_t*>(m.data)[index]);
}

/// Blocks of kColumns columns.
template <typename Body>
void forColumns(int64_t cols, int threads, Body body) {
  const int64_t blocks = (cols + kColumns - 1) / kColumns;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t first = block * kColumns;
    body(first, static_cast<int>(std::min(kColumns, cols - first)));
  }
}

}  // namespace

void CpuBackend::rmsNormWeightGradient(Matrix dy, Matrix x, const float* rstd, float* gradient) {
  LRQAT_CHECK(dy.type == DType::F32 && x.type == DType::F32 && dy.rows == x.rows && dy.cols == x.cols);
  const auto* in = static_cast<const float*>(x.data);
  const auto* out = static_cast<const float*>(dy.data);
  forColumns(x.cols, threads_, [&](int64_t first, int count) {
    std::array<double, kColumns> sums{};
    for (int64_t t = 0; t < x.rows; ++t) {
      const float* value = in + t * x.cols + first;
      const float* g = out + t * x.cols + first;
      for (int j = 0; j < count; ++j) sums[static_cast<size_t>(j)] += static_cast<double>(g[j] * (value[j] * rstd[t]));
    }
    for (int j = 0; j < count; ++j) gradient[first + j] += static_cast<float>(sums[static_cast<size_t>(j)]);
  });
}

void CpuBackend::headNormWeightGradient(Matrix dOut, const RawOutput& raw, const HeadTransform& transform,
                                        float* gradient) {
  const int64_t headDim = transform.headDim;
  LRQAT_CHECK(dOut.cols == transform.heads * headDim && headDim <= maximumHeadDim && headDim % 2 == 0);
  LRQAT_CHECK(raw.p.rows == dOut.rows && raw.p.cols == dOut.cols && raw.p.type == dOut.type);
  LRQAT_CHECK(dOut.type != DType::F16 && (!transform.cosine || transform.length > 0));
  const int64_t half = headDim / 2;
  // A head's numbers are needed together, so that threads share the rows: pieces of a number that shapes decide.
  constexpr int64_t pieces = 16;
  std::array<std::array<double, maximumHeadDim>, pieces> parts;
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t piece = 0; piece < pieces; ++piece) {
    auto& sums = parts[static_cast<size_t>(piece)];
    std::fill_n(sums.begin(), headDim, 0.0);
    std::array<float, maximumHeadDim> y;
    for (int64_t t = dOut.rows * piece / pieces; t < dOut.rows * (piece + 1) / pieces; ++t) {
      const int64_t angle = transform.cosine ? t % transform.length * half : 0;
      for (int64_t head = 0; head < transform.heads; ++head) {
        const int64_t column = head * headDim;
        const int64_t start = t * dOut.cols + column;
        double squares = 0;
        for (int64_t j = 0; j < headDim; ++j) {
          float value = valueAt(raw.p, start + j);
          if (raw.rowScale) value *= raw.rowScale[column + j];
          if (raw.bias) value += raw.bias[column + j];
          y[static_cast<size_t>(j)] = value;
          squares += static_cast<double>(value) * static_cast<double>(value);
        }
        const double mean = squares / static_cast<double>(headDim);
        const double r = 1 / std::sqrt(mean + static_cast<double>(transform.normEpsilon));
        for (int64_t i = 0; i < half; ++i) {
          const double first = static_cast<double>(valueAt(dOut, start + i));
          const double second = static_cast<double>(valueAt(dOut, start + half + i));
          const double c = transform.cosine ? static_cast<double>(transform.cosine[angle + i]) : 1;
          const double s = transform.cosine ? static_cast<double>(transform.sine[angle + i]) : 0;
          const auto low = static_cast<size_t>(i);
          const auto high = static_cast<size_t>(half + i);
          sums[low] += (first * c + second * s) * static_cast<double>(y[low]) * r;
          sums[high] += (second * c - first * s) * static_cast<double>(y[high]) * r;
        }
      }
    }
  }
  for (int64_t j = 0; j < headDim; ++j) {
    double total = 0;
    for (const auto& sums : parts) total += sums[static_cast<size_t>(j)];
    gradient[j] += static_cast<float>(total);
  }
}

void CpuBackend::embedGradient(Matrix dX, const int32_t* ids, Matrix gradient) {
  LRQAT_CHECK(dX.type == DType::F32 && gradient.type == DType::F32 && dX.cols == gradient.cols);
  const auto* in = static_cast<const float*>(dX.data);
  auto* rows = static_cast<float*>(gradient.data);
  forColumns(dX.cols, threads_, [&](int64_t first, int count) {
    for (int64_t t = 0; t < dX.rows; ++t) {
      const float* from = in + t * dX.cols + first;
      float* to = rows + ids[t] * dX.cols + first;
      for (int j = 0; j < count; ++j) to[j] += from[j];
    }
  });
}

}  // namespace lrqat::cpu
