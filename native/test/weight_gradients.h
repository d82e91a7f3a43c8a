// A trained weight with its gradients and those of its scales and zero points, by the formulas of lr-qat.md §2.2 in
// float64.
#pragma once

#include "test/test_linear.h"

namespace lrqat::test {

/// Away from the checkpoint's weight, some of it out of the grid; where there are zero points the first is off the grid
/// and gets no gradient.
struct TrainedWeight {
  TestLinear linear;
  std::vector<float> start;  // the checkpoint's
  std::vector<float> theta;  // [scaleCount] the trained numbers behind linear.scale

  TrainedWeight(const QuantSpec& spec, int64_t m, int64_t n, uint32_t seed, cpu::CpuBackend& backend)
      : linear(spec, m, n, seed) {
    backend.quantize(linear.weight);
    linear.moveScales(seed);
    const bool log = spec.scaleDomain == ScaleDomain::Log;
    theta = linear.scale;
    for (float& value : theta) value = log ? std::log(value) : value;
    const ScaleTask scales{&linear.weight, theta.data(), linear.scale.data(), nullptr};
    backend.materializeScales(std::span(&scales, 1));
    if (!spec.symmetric) linear.zeroTheta[0] = -0.7F;
    linear.useZeroPoints();
    start = linear.w;
    linear.weight.source.data = start.data();
    const std::vector<float> step = randomNormal(start.size(), seed + 1, 0.05F);
    for (size_t i = 0; i < start.size(); ++i) linear.w[i] += step[i];
  }
};

struct WeightGradients {
  std::vector<float> weight;           // [m, n] that products read: V, of groups s∘V
  std::vector<double> dW;              // [m, n]
  std::vector<double> ds, dz;          // [scaleCount]
  std::vector<double> dsSize, dzSize;  // [scaleCount] of what was summed: sums in float32 are as exact as that
  int64_t clipped = 0;
  int64_t flipped = 0;
};

/// For D = dYsᵀX.
inline WeightGradients weightGradients(const TrainedWeight& trained, const std::vector<float>& d) {
  const TestLinear& t = trained.linear;
  const QuantSpec& spec = t.weight.spec;
  const int64_t m = t.weight.m;
  const int64_t n = t.weight.n;
  const bool group = spec.granularity == Granularity::Group;
  WeightGradients out;
  out.weight.resize(d.size());
  out.dW.resize(d.size());
  std::vector<double> excess(t.scale.size()), outside(t.scale.size()), magnitudes(t.scale.size());
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const auto at = static_cast<size_t>(i * n + j);
      const size_t index = t.scaleIndex(i, j);
      // In float32 as the engine divides: this decides the integer.
      const float x = t.w[at] / t.scale[index];
      const auto [low, high] = t.limits(i, j, t.zero);
      const float r = std::nearbyint(x);
      const bool inside = r >= low && r <= high;
      const float v = std::min(std::max(r, low), high);
      out.weight[at] = group ? v * t.scale[index] : v;
      out.clipped += inside ? 0 : 1;
      const auto [low0, high0] = t.limits(i, j, t.zero0);
      const float v0 = std::min(std::max(std::nearbyint(trained.start[at] / t.scale0[index]), low0), high0);
      out.flipped += v == v0 ? 0 : 1;
      const double g = static_cast<double>(d[at]) / (group ? 1 : static_cast<double>(t.scale[index]));
      out.dW[at] = inside ? g : 0;
      excess[index] += g * (static_cast<double>(v) - (inside ? static_cast<double>(x) : 0));
      outside[index] += inside ? 0 : g;
      magnitudes[index] += std::abs(g);
    }
  }
  const double perScale = static_cast<double>(m * n) / static_cast<double>(t.scale.size());
  const double qmax = spec.symmetric ? spec.qmax() : spec.levels();
  const double factor = spec.gradientScaling ? 1 / std::sqrt(qmax * perScale) : 1;
  for (size_t i = 0; i < t.scale.size(); ++i) {
    const double s = static_cast<double>(t.scale[i]);
    const double chain = factor * (spec.scaleDomain == ScaleDomain::Log ? s : 1);
    out.ds.push_back(chain * excess[i]);
    out.dsSize.push_back(chain * qmax * magnitudes[i]);
    const bool passes = !spec.symmetric && zeroPointPasses(t.zeroTheta[i], spec.levels());
    out.dz.push_back(passes ? -factor * s * outside[i] : 0);
    out.dzSize.push_back(factor * s * magnitudes[i]);
  }
  return out;
}

/// body(spec, m, n, seed): all grids, on shapes that no vector and no chunk of columns divides, and some that they do.
template <typename Body>
void forTrainedWeights(Body body) {
  uint32_t seed = 1;
  const auto check = [&](const QuantSpec& spec, int64_t m, int64_t n) {
    context = describe(spec, m, n);
    body(spec, m, n, seed++);
  };
  for (const bool symmetric : {true, false}) {
    for (const int bits : {2, 3, 4}) {
      for (const bool scaling : {false, true}) {
        QuantSpec spec{.bits = bits, .symmetric = symmetric, .storage = Storage::Trained, .range = RangeMethod::Mse};
        spec.gradientScaling = scaling;
        spec.scaleDomain = scaling && bits == 3 ? ScaleDomain::Log : ScaleDomain::Linear;
        spec.granularity = Granularity::Channel;
        check(spec, 13, 700);
        spec.granularity = Granularity::Tensor;
        check(spec, 21, 173);
        spec.granularity = Granularity::Group;
        spec.groupSize = 25;
        check(spec, 9, 700);
        spec.groupSize = 600;
        check(spec, 5, 1200);
      }
    }
  }
}

}  // namespace lrqat::test
