#include "core/gptq.h"

#include <omp.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/grid.h"
#include "core/host_tensor.h"

namespace lrqat {

namespace {

/// Rows that go through all columns together: the factor is read once for each of them.
constexpr int64_t kRows = 256;
/// Columns whose errors reach the columns behind them at once.
constexpr int64_t kBlock = 128;
/// Columns that a block's errors are added to before the next ones.
constexpr int64_t kTile = 512;

int64_t blockWidth(int64_t group) {
  return group == 0 ? kBlock : std::max<int64_t>(1, kBlock / group) * group;
}

}  // namespace

Gptq::Gptq(int64_t widest, int64_t widestGroup, int threads)
    : threads_(threads),
      work_(static_cast<size_t>(kRows * widest)),
      errors_(static_cast<size_t>(kRows * std::max(kBlock, widestGroup))),
      group_(static_cast<size_t>(kRows * widestGroup)),
      ranges_(static_cast<size_t>(2 * kRows)) {}

int64_t Gptq::bytes(int64_t widest, int64_t widestGroup) {
  return kRows * (8 * widest + 8 * std::max(kBlock, widestGroup) + 4 * widestGroup + 8);
}

void Gptq::round(const GptqWeight& weight, const InputFactor& factor, const RangeOfRows& rangeOfRows) {
  LRQAT_CHECK(factor.columns() == weight.source.cols);
  for (int64_t first = 0; first < weight.source.rows; first += kRows) {
    roundRows(weight, factor, rangeOfRows, first, std::min(kRows, weight.source.rows - first));
  }
}

void Gptq::roundRows(const GptqWeight& weight, const InputFactor& factor, const RangeOfRows& rangeOfRows,
                     int64_t firstRow, int64_t rows) {
  const QuantSpec& spec = weight.spec;
  const int64_t n = weight.source.cols;
  bool inOrder = true;
  for (int64_t p = 0; p < n && inOrder; ++p) inOrder = factor.column(p) == p;
  const bool grouped = spec.granularity == Granularity::Group;
  // In another order the columns of a group do not come together.
  const int64_t part = grouped && inOrder ? spec.groupSize : 0;
  const int64_t groups = grouped ? n / spec.groupSize : 1;
  const auto scaleIndex = [&](int64_t row, int64_t column) {
    return spec.granularity == Granularity::Tensor ? 0
           : grouped                               ? (firstRow + row) * groups + column / spec.groupSize
                                                   : firstRow + row;
  };
  const int64_t errorStride = static_cast<int64_t>(errors_.size()) / kRows;
  double* const work = work_.data();

#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t p = 0; p < n; ++p) {
      work[i * n + p] = static_cast<double>(hostValue(weight.source, (firstRow + i) * n + factor.column(p)));
    }
  }

  const auto findGroup = [&](int64_t first) {
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < part; ++j) {
        group_[static_cast<size_t>(i * part + j)] = static_cast<float>(work[i * n + first + j]);
      }
    }
    float* const scales = ranges_.data();
    float* const zeros = weight.zero ? scales + kRows : nullptr;
    rangeOfRows(group_.data(), rows, part, scales, zeros);
    for (int64_t i = 0; i < rows; ++i) {
      weight.scale[scaleIndex(i, first)] = scales[i];
      if (zeros) weight.zero[scaleIndex(i, first)] = zeros[i];
    }
  };

  /// Columns [first, end) of a row; their errors reach up to `blockEnd`.
  const auto roundColumns = [&](int64_t i, int64_t first, int64_t end, int64_t blockFirst, int64_t blockEnd) {
    double* row = work + i * n;
    double* errors = errors_.data() + i * errorStride;
    for (int64_t p = first; p < end; ++p) {
      const int64_t column = factor.column(p);
      const auto index = static_cast<size_t>(scaleIndex(i, column));
      const double scale = static_cast<double>(weight.scale[index]);
      const float z = weight.zero ? zeroPoint(weight.zero[index], spec.levels()) : 0.0F;
      const float low = weight.zero ? 0.0F - z : static_cast<float>(spec.qmin());
      const float high = low + static_cast<float>(spec.levels());
      const auto target = static_cast<float>(row[p] / scale);
      const float rounded = std::min(std::max(std::nearbyint(target), low), high);
      const int64_t element = (firstRow + i) * n + column;
      weight.target[element] = target;
      weight.rounded[element] = rounded;
      const double* u = factor.row(p);
      const double error = (row[p] - scale * static_cast<double>(rounded)) / u[p];
      errors[p - blockFirst] = error;
      for (int64_t q = p + 1; q < blockEnd; ++q) row[q] -= error * u[q];
    }
  };

  const int64_t width = blockWidth(part);
  for (int64_t first = 0; first < n; first += width) {
    const int64_t end = std::min(n, first + width);
    const int64_t step = part > 0 ? part : end - first;
    for (int64_t at = first; at < end; at += step) {
      if (part > 0) findGroup(at);
#pragma omp parallel for num_threads(threads_) schedule(static)
      for (int64_t i = 0; i < rows; ++i) roundColumns(i, at, at + step, first, end);
    }
#pragma omp parallel for num_threads(threads_) schedule(static, 8)
    for (int64_t i = 0; i < rows; ++i) {
      const double* errors = errors_.data() + i * errorStride;
      for (int64_t tile = end; tile < n; tile += kTile) {
        double* out = work + i * n + tile;
        const int64_t count = std::min(kTile, n - tile);
        for (int64_t p = first; p < end; ++p) {
          const double error = errors[p - first];
          const double* u = factor.row(p) + tile;
          for (int64_t q = 0; q < count; ++q) out[q] -= error * u[q];
        }
      }
    }
  }
}

}  // namespace lrqat
