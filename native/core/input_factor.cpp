#include "core/input_factor.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <string>

#include "core/dot.h"
#include "core/error.h"

namespace lrqat {

namespace {

/// Columns of the factor that are made together, and columns of its inverse.
constexpr int64_t kPanel = 64;
/// Part of a row that is multiplied with a whole panel before the next one.
constexpr int64_t kDepth = 256;

}  // namespace

InputFactor::InputFactor(int64_t widest, int threads)
    : order_(static_cast<size_t>(widest)),
      matrix_(static_cast<size_t>(widest * widest)),
      diagonal_(static_cast<size_t>(widest)),
      tiles_(static_cast<size_t>(widest * kPanel * threads)) {}

int64_t InputFactor::bytes(int64_t widest, int threads) {
  return widest * 16 + widest * widest * 8 + widest * kPanel * threads * 8;
}

void InputFactor::compute(std::span<const float> gram, int64_t n, const InputFactorSettings& settings) {
  n_ = n;
  double sum = 0;
  for (int64_t j = 0; j < n; ++j) {
    const double value = gram[static_cast<size_t>(j * n + j)];
    if (!std::isfinite(value)) {
      throw Error(ErrorCode::NotFinite, "an input of this linear is not finite on the calibration data",
                  "the model overflows in this number type: use compute \"float32\"");
    }
    diagonal_[static_cast<size_t>(j)] = value;
    sum += value;
  }
  // An input that is 0 throughout leaves nothing to weigh.
  const double damping = sum > 0 ? settings.damping * sum / static_cast<double>(n) : 0;
  const auto begin = order_.begin();
  std::iota(begin, begin + n, int64_t{0});
  if (settings.activationOrder) {
    std::stable_sort(begin, begin + n, [&](int64_t a, int64_t b) {
      return diagonal_[static_cast<size_t>(a)] > diagonal_[static_cast<size_t>(b)];
    });
  }
  for (int64_t p = 0; p < n; ++p) {
    const int64_t column = order_[static_cast<size_t>(p)];
    double* row = matrix_.data() + p * n;
    for (int64_t q = p; q < n; ++q) {
      row[q] = static_cast<double>(gram[static_cast<size_t>(column * n + order_[static_cast<size_t>(q)])]);
    }
    row[p] = diagonal_[static_cast<size_t>(column)] > 0 ? row[p] + damping : 1.0;
  }
  factorize(settings.threads);
  invert(settings.threads);
}

void InputFactor::factorize(int threads) {
  const int64_t n = n_;
  double* const matrix = matrix_.data();
  for (int64_t end = n; end > 0; end -= std::min(kPanel, end)) {
    const int64_t first = std::max<int64_t>(0, end - kPanel);
    // What the columns behind the panel take from it.
#pragma omp parallel for num_threads(threads) schedule(static, 8)
    for (int64_t i = 0; i < end; ++i) {
      double* row = matrix + i * n;
      for (int64_t depth = end; depth < n; depth += kDepth) {
        const int64_t count = std::min(kDepth, n - depth);
        for (int64_t j = std::max(i, first); j < end; ++j) row[j] -= dot(row + depth, matrix + j * n + depth, count);
      }
    }
    for (int64_t j = end - 1; j >= first; --j) {
      double* pivotRow = matrix + j * n;
      const double pivot = pivotRow[j] - dot(pivotRow + j + 1, pivotRow + j + 1, end - j - 1);
      if (!(pivot > 0)) {
        throw Error(ErrorCode::InvalidArgument,
                    "the Hessian of the calibration inputs is not positive definite (pivot " + std::to_string(pivot) +
                        " of column " + std::to_string(order_[static_cast<size_t>(j)]) + ")",
                    "use a larger quantization.gptq.damping, or more calibration sequences");
      }
      pivotRow[j] = std::sqrt(pivot);
#pragma omp parallel for num_threads(threads) schedule(static) if (j > 256)
      for (int64_t i = 0; i < j; ++i) {
        double* row = matrix + i * n;
        row[j] = (row[j] - dot(row + j + 1, pivotRow + j + 1, end - j - 1)) / pivotRow[j];
      }
    }
  }
}

void InputFactor::invert(int threads) {
  const int64_t n = n_;
  double* const matrix = matrix_.data();
  for (int64_t j = 0; j < n; ++j) diagonal_[static_cast<size_t>(j)] = matrix[j * n + j];
  // Column tiles of U are independent of each other. They go below the diagonal, transposed, where nobody reads.
  const int64_t tiles = (n + kPanel - 1) / kPanel;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (int64_t t = tiles - 1; t >= 0; --t) {
    const int64_t first = t * kPanel;
    const int64_t width = std::min(kPanel, n - first);
    const int64_t rows = first + width;  // below, the tile is zero
    double* tile = tiles_.data() + omp_get_thread_num() * static_cast<int64_t>(tiles_.size()) / threads;
    for (int64_t i = rows - 1; i >= 0; --i) {
      double* out = tile + i * kPanel;
      std::fill(out, out + width, 0.0);
      if (i >= first) out[i - first] = 1.0;
      const double* r = matrix + i * n;
      for (int64_t k = i + 1; k < rows; ++k) {
        const double factor = r[k];
        const double* u = tile + k * kPanel;
        for (int64_t c = 0; c < width; ++c) out[c] -= factor * u[c];
      }
      const double inverse = 1 / diagonal_[static_cast<size_t>(i)];
      for (int64_t c = 0; c < width; ++c) out[c] *= inverse;
    }
    for (int64_t c = 0; c < width; ++c) {
      double* below = matrix + (first + c) * n;
      for (int64_t i = 0; i < first + c; ++i) below[i] = tile[i * kPanel + c];
    }
  }
  for (int64_t i = 0; i < n; ++i) {
    matrix[i * n + i] = 1 / diagonal_[static_cast<size_t>(i)];
    for (int64_t j = i + 1; j < n; ++j) matrix[i * n + j] = matrix[j * n + i];
  }
}

}  // namespace lrqat
