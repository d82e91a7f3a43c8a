// Trained weights (LSQ): the integers, and the gradients of weights, scales and zero points against the formulas of
// lr-qat.md §2.2 in float64.
#include "test/weight_gradients.h"

#include "core/error.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

void check(const QuantSpec& spec, int64_t m, int64_t n, uint32_t seed) {
  const auto backend = makeBackend(2, cpu::CpuBackend::rebuildScratchBytes(m, n, 0));
  TrainedWeight trained(spec, m, n, seed, *backend);
  const TestLinear& t = trained.linear;
  std::vector<float> d = randomNormal(t.w.size(), seed + 2);
  const WeightGradients expected = weightGradients(trained, d);
  std::vector<float> q(d.size());
  backend->rebuildWeight(t.weight, t.lowRank(), WeightForm::Trained, {q.data(), DType::F32, m, n}, nullptr);
  expect(q == expected.weight, "weight");
  expect(expected.clipped > 0, "nothing is clipped");
  const WeightStatistics statistics = backend->weightStatistics(t.weight, t.lowRank());
  expectEqual(statistics.clipped, expected.clipped, "clipped");
  expectEqual(statistics.flipped, expected.flipped, "flipped");

  std::vector<float> ds(t.scale.size(), 5);  // what was there is overwritten
  std::vector<float> dz(t.zero.size(), 5);
  const WeightGradientTask task{
      .weight = &t.weight,
      .lowRank = t.lowRank(),
      .theta = trained.theta.data(),
      .zeroTheta = t.zeroTheta.data(),
      .gradient = {nullptr, nullptr, ds.data(), spec.trainsZeroPoints() ? dz.data() : nullptr, d.data()}};
  backend->finishWeightGradients(std::span(&task, 1));

  // Float32 sums of a chunk: relative to what is summed, not to what is left of it.
  constexpr double tolerance = 1e-6;
  for (size_t i = 0; i < d.size(); ++i) {
    expectNear(static_cast<double>(d[i]), expected.dW[i], tolerance * std::abs(expected.dW[i]), "dW");
  }
  for (size_t i = 0; i < ds.size(); ++i) {
    expectNear(static_cast<double>(ds[i]), expected.ds[i], tolerance * expected.dsSize[i], "ds");
    if (!spec.trainsZeroPoints()) continue;
    expectNear(static_cast<double>(dz[i]), expected.dz[i], tolerance * expected.dzSize[i], "dz");
  }
}

void lowRankIsRefused() {
  QuantSpec spec{.storage = Storage::Trained};
  spec.rank = 4;
  expectThrows<Error>([&] { checkSpec(spec, 8, 8); }, "a trained weight with a low-rank term");
}

}  // namespace

int main(int argc, char** argv) {
  return run({{"integers, statistics and gradients, all grids", [] { forTrainedWeights(check); }},
              {"a low-rank term is refused", lowRankIsRefused}},
             argc, argv);
}
