// Scales and zero points as trained → as used, and their gradients, against the CPU.
#include "cuda/kernels/scales.h"

#include "cuda/test/device_linear.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

void scales() {
  uint32_t seed = 1;
  for (const Storage storage : {Storage::FixedPoint, Storage::Integer}) {
    for (const ScaleDomain domain : {ScaleDomain::Linear, ScaleDomain::Log}) {
      for (const Granularity granularity : {Granularity::Tensor, Granularity::Channel, Granularity::Group}) {
        for (const int64_t m : {1, 300, 5000}) {
          QuantSpec spec;
          spec.storage = storage;
          spec.scaleDomain = domain;
          spec.granularity = granularity;
          spec.groupSize = 4;
          // In the log domain the last bit of an exponential, which may differ, decides on the side of a tie.
          constexpr ScaleFormat kFormats[] = {ScaleFormat::F32, ScaleFormat::BF16, ScaleFormat::F16};
          if (domain == ScaleDomain::Linear) spec.scaleFormat = kFormats[m % 3];
          context = describe(spec, m, 12) + (domain == ScaleDomain::Log ? " log" : " linear");
          LinearWeight weight;
          weight.m = m;
          weight.n = 12;
          weight.spec = spec;
          const auto count = static_cast<size_t>(spec.scaleCount(m, 12));
          std::vector<float> theta = randomNormal(count, ++seed, 0.01F);
          theta[0] = 3e-9F;
          if (count > 1) theta[1] = 1e-8F;
          std::vector<float> scale(count);
          const auto backend = makeBackend(2, 64);
          std::vector<float> rowScale(static_cast<size_t>(m));
          const bool group = granularity == Granularity::Group;
          const DeviceArray<float> deviceTheta(theta);
          const DeviceArray<float> deviceScale(count);
          const DeviceArray<float> deviceRowScale(rowScale);
          // More linears than one launch takes; all the same, and the last one with its row scales.
          std::vector<ScaleTask> tasks(100, {&weight, deviceTheta.data(), deviceScale.data(), nullptr});
          if (!group) tasks.back().rowScale = deviceRowScale.data();
          cuda::materializeScales(tasks, nullptr);
          const ScaleTask task{&weight, theta.data(), scale.data(), nullptr};
          backend->materializeScales(std::span(&task, 1));
          const std::vector<float> found = deviceScale.read();
          // Rounded from a double exponential; the C library's float one is within an ulp.
          for (size_t i = 0; i < count; ++i) {
            expectNear(found[i], scale[i],
                       domain == ScaleDomain::Log ? 2e-7 * std::abs(static_cast<double>(scale[i])) : 0, "scale");
          }
          if (group) continue;
          std::vector<float> given = found;
          const ScaleTask expansion{&weight, nullptr, given.data(), rowScale.data()};
          backend->materializeScales(std::span(&expansion, 1));
          expect(deviceRowScale.read() == rowScale, "row scales");
          const DeviceArray<float> onlyRows(static_cast<size_t>(m));
          const ScaleTask deviceExpansion{&weight, nullptr, deviceScale.data(), onlyRows.data()};
          cuda::materializeScales(std::span(&deviceExpansion, 1), nullptr);
          expect(onlyRows.read() == rowScale && deviceScale.read() == found, "row scales alone");

          const std::vector<float> rowGradient = randomNormal(static_cast<size_t>(m), ++seed);
          std::vector<float> gradient = randomNormal(count, ++seed);
          const DeviceArray<float> deviceRowGradient(rowGradient);
          const DeviceArray<float> deviceGradient(gradient);
          if (granularity == Granularity::Tensor) {
            backend->sumRowScaleGradient(m, rowGradient.data(), gradient.data());
            cuda::sumRowScaleGradient(m, deviceRowGradient.data(), deviceGradient.data(), nullptr);
          }
          const ScaleGradientTask finish{&weight, theta.data(), found.data(), gradient.data()};
          backend->finishScaleGradients(std::span(&finish, 1));
          // Others in front of it, so that it is one of the second launch; theirs is memory of their own.
          const DeviceArray<float> other(count);
          std::vector<ScaleGradientTask> finishes(120, {&weight, deviceTheta.data(), deviceScale.data(), other.data()});
          finishes.back().gradient = deviceGradient.data();
          cuda::finishScaleGradients(finishes, nullptr);
          const std::vector<float> reduced = deviceGradient.read();
          // Tensor: double sums in another order, rounded to float32 once.
          for (size_t i = 0; i < count; ++i) {
            expectNear(reduced[i], gradient[i], granularity == Granularity::Tensor ? 1e-5 : 0, "gradient of a scale");
          }
        }
      }
    }
  }
}

/// Zero points beside scales, in more linears than one launch takes.
void zeroPoints() {
  for (const Granularity granularity : {Granularity::Tensor, Granularity::Channel, Granularity::Group}) {
    QuantSpec spec;
    spec.bits = 3;
    spec.symmetric = false;
    spec.granularity = granularity;
    spec.groupSize = 4;
    context = describe(spec, 300, 12);
    LinearWeight weight;
    weight.m = 300;
    weight.n = 12;
    weight.spec = spec;
    const auto count = static_cast<size_t>(spec.scaleCount(300, 12));
    const std::vector<float> theta = randomNormal(count, 5, 0.01F);
    std::vector<float> zeroTheta = randomNormal(count, 6, 6.0F);
    const float special[] = {std::nanf(""), 2.5F, 7.5F, -0.5F, 1e30F, 0.5F};
    for (size_t i = 0; i < count && i < std::size(special); ++i) zeroTheta[i] = special[i];
    std::vector<float> scale(count), zero(count);
    const ScaleTask task{&weight, theta.data(), scale.data(), nullptr, zeroTheta.data(), zero.data()};
    makeBackend(2, 64)->materializeScales(std::span(&task, 1));
    const DeviceArray<float> deviceTheta(theta), deviceScale(count), deviceZeroTheta(zeroTheta), deviceZero(count);
    const DeviceArray<float> unused(count);
    std::vector<ScaleTask> tasks(100, {&weight, deviceTheta.data(), unused.data(), nullptr});
    tasks.back() = {&weight, deviceTheta.data(),     deviceScale.data(),
                    nullptr, deviceZeroTheta.data(), deviceZero.data()};
    cuda::materializeScales(tasks, nullptr);
    expect(deviceScale.read() == scale && deviceZero.read() == zero, "scales and zero points of the CPU");
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (skippedWithoutGpu()) return 0;
  return run({{"scales", scales}, {"zero points", zeroPoints}}, argc, argv);
}
