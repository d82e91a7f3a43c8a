#include "core/low_rank_start.h"

#include <algorithm>
#include <cmath>

#include "core/grid.h"
#include "core/host_tensor.h"
#include "core/low_rank_approximation.h"

namespace lrqat {

namespace {

float inside(float value, GridEnds ends) {
  return std::min(std::max(value, ends.low), ends.high);
}

}  // namespace

size_t Grids::index(int64_t row, int64_t column) const {
  switch (spec_.granularity) {
    case Granularity::Tensor:
      return 0;
    case Granularity::Channel:
      return static_cast<size_t>(row);
    case Granularity::Group:
      return static_cast<size_t>(row * (n_ / spec_.groupSize) + column / spec_.groupSize);
  }
  return 0;
}

GridEnds Grids::ends(int64_t row, int64_t column) const {
  if (zeros_.empty()) return {static_cast<float>(spec_.qmin()), static_cast<float>(spec_.qmax())};
  const float low = 0.0F - zeroPoint(zeros_[index(row, column)], spec_.levels());
  return {low, low + static_cast<float>(spec_.levels())};
}

void roundToNearest(const LinearWeight& weight, const Grids& grids, std::span<float> target, std::span<float> rounded) {
  for (int64_t i = 0; i < weight.m; ++i) {
    for (int64_t j = 0; j < weight.n; ++j) {
      const auto element = static_cast<size_t>(i * weight.n + j);
      target[element] = hostValue(weight.source, i * weight.n + j) / grids.scale(i, j);
      rounded[element] = inside(std::nearbyint(target[element]), grids.ends(i, j));
    }
  }
}

void LowRankStart::row(const QuantSpec& spec, int64_t i, std::span<float> product) const {
  const auto n = static_cast<int64_t>(product.size());
  std::fill(product.begin(), product.end(), 0.0F);
  for (int64_t k = 0; k < spec.rank; ++k) {
    const float factor = a[static_cast<size_t>(i * spec.rank + k)];
    const float* right = b.data() + k * n;
    for (int64_t j = 0; j < n; ++j) product[static_cast<size_t>(j)] += factor * right[j];
  }
  for (float& value : product) value *= spec.gamma();
}

LowRankStart lowRankStart(const LinearWeight& weight, const Grids& grids, std::span<const float> target,
                          std::span<float> rounded, std::span<double> residual, std::vector<float> b,
                          const LowRankSettings& settings) {
  const QuantSpec& spec = weight.spec;
  const int64_t m = weight.m;
  const int64_t n = weight.n;
  std::vector<double> importance(static_cast<size_t>(m));
  for (int64_t i = 0; i < m; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < n; ++j) sum += std::pow(static_cast<double>(grids.scale(i, j)), 2);
    importance[static_cast<size_t>(i)] = std::sqrt(sum / static_cast<double>(n));
  }
  LowRankStart start{std::vector<float>(static_cast<size_t>(m * spec.rank)), std::move(b)};
  const std::vector<float> random = start.b;
  std::vector<float> product(static_cast<size_t>(n));
  std::vector<float> integers(rounded.begin(), rounded.begin() + m * n);
  for (int iteration = 0; iteration < settings.iterations; ++iteration) {
    for (int64_t i = 0; i < m; ++i) {
      if (iteration > 0) start.row(spec, i, product);
      for (int64_t j = 0; j < n; ++j) {
        const auto element = static_cast<size_t>(i * n + j);
        const GridEnds ends = grids.ends(i, j);
        const float value = inside(target[element], ends);
        if (iteration > 0) {
          integers[element] = inside(std::nearbyint(value - product[static_cast<size_t>(j)]), ends);
        }
        residual[element] =
            importance[static_cast<size_t>(i)] * (static_cast<double>(value) - static_cast<double>(integers[element]));
      }
    }
    const SingularTriplets found =
        leadingSingular(residual.first(static_cast<size_t>(m * n)), m, n, spec.rank, settings.seed, settings.threads);
    for (int64_t k = 0; k < spec.rank; ++k) {
      const double value = found.values[static_cast<size_t>(k)];
      const double root = std::sqrt(value / static_cast<double>(spec.gamma()));
      for (int64_t i = 0; i < m; ++i) {
        start.a[static_cast<size_t>(i * spec.rank + k)] =
            static_cast<float>(root * found.u[static_cast<size_t>(k * m + i)] / importance[static_cast<size_t>(i)]);
      }
      for (int64_t j = 0; j < n; ++j) {
        const auto element = static_cast<size_t>(k * n + j);
        start.b[element] = value > 0 ? static_cast<float>(root * found.v[element]) : random[element];
      }
    }
  }
  if (spec.storage == Storage::Integer) std::copy(integers.begin(), integers.end(), rounded.begin());
  return start;
}

}  // namespace lrqat
