// Trained weights (LSQ) on the device: integers, merged codes and statistics of the CPU bit for bit, gradients against
// the formulas of lr-qat.md §2.2 in float64.
#include "cuda/kernels/trained_weights.h"

#include "cuda/kernels/merge.h"
#include "cuda/kernels/rebuild.h"
#include "cuda/kernels/statistics.h"
#include "cuda/test/device_linear.h"
#include "test/weight_gradients.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

void check(const QuantSpec& spec, int64_t m, int64_t n, uint32_t seed, cuda::HostStaging& staging) {
  const auto cpuBackend = makeBackend(2, cpu::CpuBackend::rebuildScratchBytes(m, n, 0));
  TrainedWeight trained(spec, m, n, seed, *cpuBackend);
  const TestLinear& host = trained.linear;
  const DeviceLinear device(host);
  const DeviceArray<float> weight(host.w);
  LowRank lowRank = device.lowRank();
  lowRank.weight = weight.data();
  std::vector<float> d = randomNormal(host.w.size(), seed + 2);
  const WeightGradients expected = weightGradients(trained, d);

  cuda::Scratch none;
  DeviceArray<float> rounded(d.size());
  cuda::rebuildWeight(device.weight, lowRank, WeightForm::Trained, {rounded.data(), DType::F32, m, n}, nullptr, {},
                      false, cuda::Start::InOrder, staging, none, nullptr);
  expect(rounded.read() == expected.weight, "weight");
  DeviceArray<uint16_t> half(d.size());
  cuda::rebuildWeight(device.weight, lowRank, WeightForm::Trained, {half.data(), DType::BF16, m, n}, nullptr, {}, false,
                      cuda::Start::InOrder, staging, none, nullptr);
  const std::vector<uint16_t> halves = half.read();
  for (size_t i = 0; i < halves.size(); ++i) {
    // −0 and 0 are the same weight.
    expectEqual(floatFromBf16(halves[i]), floatFromBf16(bf16FromFloat(expected.weight[i])), "bf16 weight");
  }

  const auto codeBytes = static_cast<size_t>(m * packedRowBytes(spec.bits, n));
  std::vector<uint8_t> codes(codeBytes), codesOfCpu(codeBytes);
  const DeviceScratch mergeScratch(cuda::mergeScratchBytes());
  cuda::Scratch scratch = mergeScratch.make();
  cuda::mergeWeight(device.weight, lowRank, codes.data(), false, scratch, nullptr);
  mergeScratch.check();
  cpuBackend->merge(host.weight, host.lowRank(), codesOfCpu.data());
  expect(codes == codesOfCpu, "merged codes of the CPU, padding included");

  const DeviceScratch statisticsScratch(cuda::statisticsScratchBytes(true));
  scratch = statisticsScratch.make();
  const WeightStatistics statistics = cuda::weightStatistics(device.weight, lowRank, false, staging, scratch, nullptr);
  statisticsScratch.check();
  const WeightStatistics statisticsOfCpu = cpuBackend->weightStatistics(host.weight, host.lowRank());
  expectEqual(statistics.clipped, expected.clipped, "clipped");
  expectEqual(statistics.flipped, expected.flipped, "flipped");
  expectNear(statistics.scaleDrift, statisticsOfCpu.scaleDrift, 1e-9, "drift of scales");
  expectNear(statistics.zeroPointDrift, statisticsOfCpu.zeroPointDrift, 1e-9, "drift of zero points");

  DeviceArray<float> theta(trained.theta), zeroTheta(host.zeroTheta), gradient(d);
  DeviceArray<float> ds(host.scale.size()), dz(host.zero.size());
  const WeightGradientTask task{
      .weight = &device.weight,
      .lowRank = lowRank,
      .theta = theta.data(),
      .zeroTheta = spec.symmetric ? nullptr : zeroTheta.data(),
      .gradient = {nullptr, nullptr, ds.data(), spec.trainsZeroPoints() ? dz.data() : nullptr, gradient.data()}};
  std::vector<float> first;
  for (int repeat = 0; repeat < 2; ++repeat) {
    gradient.write(d);
    ds.poison();
    dz.poison();
    const DeviceScratch gradientScratch(cuda::weightGradientScratchBytes(spec.granularity, m));
    scratch = gradientScratch.make();
    cuda::finishWeightGradient(task, scratch, nullptr);
    gradientScratch.check();
    const std::vector<float> dW = gradient.read();
    const std::vector<float> scales = ds.read();
    const std::vector<float> zeros = dz.read();
    // A lane of a warp sums up to n/32 products in float32: relative to what is summed, not to what is left of it.
    constexpr double tolerance = 1e-6;
    for (size_t i = 0; i < dW.size(); ++i) {
      expectNear(static_cast<double>(dW[i]), expected.dW[i], tolerance * std::abs(expected.dW[i]), "dW");
    }
    for (size_t i = 0; i < scales.size(); ++i) {
      expectNear(static_cast<double>(scales[i]), expected.ds[i], tolerance * expected.dsSize[i], "ds");
      if (!spec.trainsZeroPoints()) continue;
      expectNear(static_cast<double>(zeros[i]), expected.dz[i], tolerance * expected.dzSize[i], "dz");
    }
    std::vector<float> all = dW;
    all.insert(all.end(), scales.begin(), scales.end());
    if (repeat == 0) {
      first = all;
    } else {
      expect(all == first, "the same bits when repeated");
    }
  }
}

void allGrids() {
  cuda::HostStaging staging;
  forTrainedWeights(
      [&](const QuantSpec& spec, int64_t m, int64_t n, uint32_t seed) { check(spec, m, n, seed, staging); });
}

}  // namespace

int main(int argc, char** argv) {
  if (skippedWithoutGpu()) return 0;
  return run({{"integers, codes, statistics and gradients, all grids", allGrids}}, argc, argv);
}
