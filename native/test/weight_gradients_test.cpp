// Trained weights (LSQ): the integers, and the gradients of weights, scales and zero points against the formulas of
// lr-qat.md §2.2 in float64.
#include "core/error.h"
#include "test/test_linear.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

struct Share {
  double scale = 0;
  double outside = 0;
};

void check(QuantSpec spec, int64_t m, int64_t n, uint32_t seed) {
  spec.storage = Storage::Trained;
  context = describe(spec, m, n);
  const auto backend = makeBackend(2, cpu::CpuBackend::rebuildScratchBytes(m, n, 0));
  TestLinear t(spec, m, n, seed);
  backend->quantize(t.weight);
  t.moveScales(seed);
  const bool log = spec.scaleDomain == ScaleDomain::Log;
  std::vector<float> theta = t.scale;
  for (float& value : theta) value = log ? std::log(value) : value;
  const ScaleTask scales{&t.weight, theta.data(), t.scale.data(), nullptr};
  backend->materializeScales(std::span(&scales, 1));
  if (!spec.symmetric) t.zeroTheta[0] = -0.7F;  // off the grid: no gradient
  t.useZeroPoints();

  // The weight has been trained: away from the checkpoint's, some of it out of the grid.
  const std::vector<float> start = t.w;
  t.weight.source.data = start.data();
  const std::vector<float> step = randomNormal(t.w.size(), seed + 1, 0.05F);
  for (size_t i = 0; i < t.w.size(); ++i) t.w[i] += step[i];

  std::vector<float> d = randomNormal(t.w.size(), seed + 2);
  std::vector<double> dW(d.size());
  std::vector<Share> shares(t.scale.size());
  std::vector<double> magnitudes(t.scale.size());
  std::vector<float> q(d.size());
  backend->rebuildWeight(t.weight, t.lowRank(), WeightForm::Trained, {q.data(), DType::F32, m, n}, nullptr);
  const bool group = spec.granularity == Granularity::Group;
  int64_t clipped = 0;
  int64_t flipped = 0;
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
      expectEqual(q[at], group ? v * t.scale[index] : v, "weight");
      clipped += inside ? 0 : 1;
      const auto [low0, high0] = t.limits(i, j, t.zero0);
      flipped += v == std::min(std::max(std::nearbyint(start[at] / t.scale0[index]), low0), high0) ? 0 : 1;
      const double g = static_cast<double>(d[at]) / (group ? 1 : static_cast<double>(t.scale[index]));
      dW[at] = inside ? g : 0;
      shares[index].scale += g * (static_cast<double>(v) - (inside ? static_cast<double>(x) : 0));
      shares[index].outside += inside ? 0 : g;
      magnitudes[index] += std::abs(g);
    }
  }
  expect(clipped > 0, "nothing is clipped");
  const WeightStatistics statistics = backend->weightStatistics(t.weight, t.lowRank());
  expectEqual(statistics.clipped, clipped, "clipped");
  expectEqual(statistics.flipped, flipped, "flipped");

  std::vector<float> ds(t.scale.size(), 5);  // what was there is overwritten
  std::vector<float> dz(t.zero.size(), 5);
  const WeightGradientTask task{
      .weight = &t.weight,
      .lowRank = t.lowRank(),
      .theta = theta.data(),
      .zeroTheta = t.zeroTheta.data(),
      .gradient = {nullptr, nullptr, ds.data(), spec.trainsZeroPoints() ? dz.data() : nullptr, d.data()}};
  backend->finishWeightGradients(std::span(&task, 1));

  const double perScale = static_cast<double>(m * n) / static_cast<double>(ds.size());
  const double qmax = spec.symmetric ? spec.qmax() : spec.levels();
  const double factor = spec.gradientScaling ? 1 / std::sqrt(qmax * perScale) : 1;
  // Float32 sums of a chunk: relative to what is summed, not to what is left of it.
  constexpr double tolerance = 1e-6;
  for (size_t i = 0; i < d.size(); ++i) expectNear(static_cast<double>(d[i]), dW[i], tolerance * std::abs(dW[i]), "dW");
  for (size_t i = 0; i < ds.size(); ++i) {
    const double s = static_cast<double>(t.scale[i]);
    const double chain = factor * (log ? s : 1);
    expectNear(static_cast<double>(ds[i]), chain * shares[i].scale, chain * tolerance * qmax * magnitudes[i], "ds");
    if (!spec.trainsZeroPoints()) continue;
    const bool passes = zeroPointPasses(t.zeroTheta[i], spec.levels());
    const double expected = passes ? -factor * s * shares[i].outside : 0;
    expectNear(static_cast<double>(dz[i]), expected, factor * s * tolerance * magnitudes[i], "dz");
  }
}

void allGrids() {
  uint32_t seed = 1;
  for (const bool symmetric : {true, false}) {
    for (const int bits : {2, 3, 4}) {
      for (const bool scaling : {false, true}) {
        QuantSpec spec{.bits = bits, .symmetric = symmetric, .range = RangeMethod::Mse};
        spec.gradientScaling = scaling;
        spec.scaleDomain = scaling && bits == 3 ? ScaleDomain::Log : ScaleDomain::Linear;
        spec.granularity = Granularity::Channel;
        check(spec, 13, 700, seed++);
        spec.granularity = Granularity::Tensor;
        check(spec, 21, 172, seed++);
        spec.granularity = Granularity::Group;
        spec.groupSize = 25;  // neither a vector nor a divisor of a chunk of columns
        check(spec, 9, 700, seed++);
        spec.groupSize = 600;
        check(spec, 5, 1200, seed++);
      }
    }
  }
}

void lowRankIsRefused() {
  QuantSpec spec{.storage = Storage::Trained};
  spec.rank = 4;
  expectThrows<Error>([&] { checkSpec(spec, 8, 8); }, "a trained weight with a low-rank term");
}

}  // namespace

int main(int argc, char** argv) {
  return run(
      {{"integers, statistics and gradients, all grids", allGrids}, {"a low-rank term is refused", lowRankIsRefused}},
      argc, argv);
}
