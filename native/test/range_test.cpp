// Range search against a plain double-precision search.
#include "cpu/kernels/range.h"
#include "core/error.h"
#include "core/grid.h"
#include "cpu/range.h"
#include "test/test_linear.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

constexpr RangeMethod kMethods[] = {RangeMethod::MinMax, RangeMethod::Mse, RangeMethod::Lp24, RangeMethod::Lp3,
                                    RangeMethod::Lp35,   RangeMethod::Lp4, RangeMethod::Lp5};
constexpr double kPower[] = {0, 2, 2.4, 3, 3.5, 4, 5};

/// |x|^power; whole powers by multiplication, since std::pow would take most of this test's time.
double raise(double x, double power) {
  const double size = std::abs(x);
  if (power != std::floor(power)) return std::pow(size, power);
  double result = size;
  for (int i = 1; i < static_cast<int>(power); ++i) result *= size;
  return result;
}

double plainLoss(const std::vector<float>& x, float scale, const cpu::RangeSearch& search, double power) {
  double loss = 0;
  for (const float value : x) {
    const float q = std::min(std::max(std::nearbyint(value / scale), search.qmin), search.qmax);
    loss += raise(static_cast<double>(value) - static_cast<double>(q) * static_cast<double>(scale), power);
  }
  return loss;
}

/// The values that share scale number `index`.
std::vector<float> sharing(const TestLinear& linear, size_t index) {
  std::vector<float> values;
  for (int64_t i = 0; i < linear.weight.m; ++i) {
    for (int64_t j = 0; j < linear.weight.n; ++j) {
      if (linear.scaleIndex(i, j) == index) values.push_back(linear.source(i, j));
    }
  }
  return values;
}

void againstPlainSearch() {
  uint32_t seed = 1;
  for (const auto& [m, n, group] : {std::array<int64_t, 3>{5, 172, 43}, {70, 64, 16}, {3, 1000, 500}, {4, 24, 4}}) {
    for (const Granularity granularity : {Granularity::Tensor, Granularity::Channel, Granularity::Group}) {
      for (const int bits : {2, 4, 8}) {
        for (size_t method = 0; method < std::size(kMethods); ++method) {
          QuantSpec spec;
          spec.bits = bits;
          spec.fractionBits = 0;
          spec.granularity = granularity;
          spec.groupSize = group;
          spec.range = kMethods[method];
          TestLinear linear(spec, m, n, ++seed);
          const cpu::RangeSearch search{kMethods[method], static_cast<float>(spec.qmin()),
                                        static_cast<float>(spec.qmax()), seed % 2 ? 0.0F : 0.5F};
          std::vector<cpu::RangeResult> results(linear.scale0.size());
          cpu::searchRanges(linear.weight.source, granularity, group, search, 2, results);
          context = describe(spec, m, n) + " method " + std::to_string(method);
          for (size_t k = 0; k < results.size(); ++k) {
            const std::vector<float> x = sharing(linear, k);
            float largest = 0;
            for (const float value : x) largest = std::max(largest, std::abs(value));
            if (method == 0) {
              expectEqual(results[k].scale, std::max(largest / search.qmax, 1e-8F), "min/max scale");
              continue;
            }
            const float range = largest + search.margin;
            double best = HUGE_VAL;
            for (int c = 1; c <= 100; ++c) {
              const float scale =
                  std::max(std::max((range / 100.0F) * static_cast<float>(c), 1e-8F) / search.qmax, 1e-8F);
              best = std::min(best, plainLoss(x, scale, search, kPower[method]));
              if (c == results[k].candidate) expectEqual(results[k].scale, scale, "scale of the candidate");
            }
            // x − q·s cancels: at 8 bits q·s is rounded at up to 500 times the size of the difference, and a group of 4
            // does not average that out.
            const double tolerance = bits == 8 ? 5e-4 : 1e-5;
            const double mine = plainLoss(x, results[k].scale, search, kPower[method]);
            expect(mine <= best * (1 + tolerance), "the winner's loss is the smallest");
            expectNear(results[k].loss, mine, tolerance * mine, "loss");
          }
        }
      }
    }
  }
}

/// Against every zero point of every scale in double; and no worse than the symmetric search, whose grids are among
/// these.
void pairsAgainstPlainSearch() {
  uint32_t seed = 1000;
  for (const auto& [m, n, group] : {std::array<int64_t, 3>{5, 96, 24}, {70, 32, 8}}) {
    for (const Granularity granularity : {Granularity::Tensor, Granularity::Channel, Granularity::Group}) {
      for (const int bits : {2, 3, 4, 8}) {
        for (size_t method = 1; method < std::size(kMethods); ++method) {
          // Enough of each, without all of their products.
          if ((++seed + method) % 3 == 0) continue;
          QuantSpec spec;
          spec.bits = bits;
          spec.fractionBits = 0;
          spec.granularity = granularity;
          spec.groupSize = group;
          spec.range = kMethods[method];
          spec.symmetric = false;
          TestLinear linear(spec, m, n, seed);
          cpu::RangeSearch search{kMethods[method], static_cast<float>(spec.qmin()), static_cast<float>(spec.qmax()), 0,
                                  spec.levels()};
          std::vector<cpu::RangeResult> results(linear.scale0.size()), symmetric(results.size());
          cpu::searchRanges(linear.weight.source, granularity, group, search, 2, results);
          const cpu::RangeSearch plain{search.method, search.qmin, search.qmax, 0, 0};
          cpu::searchRanges(linear.weight.source, granularity, group, plain, 2, symmetric);
          context = describe(spec, m, n) + " method " + std::to_string(method);
          const double tolerance = bits == 8 ? 5e-4 : 1e-5;
          // Every eighth of many small groups.
          for (size_t k = 0; k<results.size(); k += results.size()> 20 ? 8 : 1) {
            const std::vector<float> x = sharing(linear, k);
            float largest = 0;
            for (const float value : x) largest = std::max(largest, std::abs(value));
            const auto lossOf = [&](float scale, int zero) {
              search.qmin = static_cast<float>(-zero);
              search.qmax = static_cast<float>(spec.levels() - zero);
              return plainLoss(x, scale, search, kPower[method]);
            };
            const float zero = results[k].zero;
            expect(zero == std::nearbyint(zero) && zero >= 0 && zero <= static_cast<float>(spec.levels()),
                   "the zero point is a code");
            double best = HUGE_VAL;
            // At 8 bits every seventh scale and zero point, and those around the winner.
            const int stride = bits == 8 ? 7 : 1;
            for (int c = 1; c <= 100; c += stride) {
              const float scale = cpu::candidateScale(largest, c, static_cast<float>(spec.qmax()));
              for (int z = 0; z <= spec.levels(); z += stride) best = std::min(best, lossOf(scale, z));
            }
            expectEqual(results[k].scale,
                        cpu::candidateScale(largest, results[k].candidate, static_cast<float>(spec.qmax())),
                        "scale of the candidate");
            for (int z = std::max(0, static_cast<int>(zero) - 2);
                 z <= std::min(spec.levels(), static_cast<int>(zero) + 2); ++z) {
              best = std::min(best, lossOf(results[k].scale, z));
            }
            const double mine = lossOf(results[k].scale, static_cast<int>(zero));
            expect(mine <= best * (1 + tolerance), "the winner's loss is the smallest");
            expectNear(results[k].loss, mine, tolerance * mine, "loss");
            expect(results[k].loss <= symmetric[k].loss, "no worse than the symmetric grid");
          }
        }
      }
    }
  }
}

/// Weights on one side of zero: the grid lies there too, but for the one step that the coarse choice of scales may
/// leave.
void oneSided() {
  context.clear();
  std::vector<float> x = randomNormal(256, 5);
  for (float& value : x) value = std::abs(value);
  for (const Granularity granularity : {Granularity::Tensor, Granularity::Channel, Granularity::Group}) {
    for (const float sign : {1.0F, -1.0F}) {
      std::vector<float> signedX = x;
      for (float& value : signedX) value *= sign;
      std::vector<cpu::RangeResult> results(granularity == Granularity::Group ? 4 : 1);
      cpu::searchRanges({signedX.data(), DType::F32, 1, 256}, granularity, 64, {RangeMethod::Mse, -8, 7, 0, 15}, 1,
                        results);
      for (const auto& result : results) expectNear(result.zero, sign > 0 ? 0 : 15, 1, "zero point");
    }
  }
}

void tiesGoToTheFirst() {
  // All losses of a zero row are 0.
  std::vector<float> zeros(48, 0.0F);
  const cpu::RangeSearch search{RangeMethod::Lp4, -8, 7, 0};
  std::vector<cpu::RangeResult> results(1);
  cpu::searchRanges({zeros.data(), DType::F32, 1, 48}, Granularity::Channel, 0, search, 1, results);
  expectEqual(results[0].candidate, 1, "candidate of a zero row");
  expectEqual(results[0].scale, 1e-8F, "scale of a zero row");
  cpu::searchRanges({zeros.data(), DType::F32, 1, 48}, Granularity::Tensor, 0, search, 1, results);
  expectEqual(results[0].candidate, 1, "candidate of a zero tensor");
}

void notFinite() {
  for (const float bad : {std::nanf(""), HUGE_VALF, -HUGE_VALF}) {
    for (const Granularity granularity : {Granularity::Tensor, Granularity::Channel, Granularity::Group}) {
      for (const RangeMethod method : kMethods) {
        QuantSpec spec;
        spec.granularity = granularity;
        spec.groupSize = 12;
        spec.range = method;
        TestLinear linear(spec, 9, 36, 4);
        linear.w[7 * 36 + 35] = bad;
        linear.w[8 * 36 + 1] = bad;
        const auto backend = makeBackend(2, 64);
        const std::string message =
            expectThrows<Error>([&] { backend->quantize(linear.weight); }, "a value that is not finite");
        expect(message.find("[7, 35]") != std::string::npos, "the message names the first place: " + message);
      }
    }
  }
}

void asymmetric() {
  const AsymmetricRange range = asymmetricMinMax(-1.0F, 2.0F, 2);
  expectEqual(range.scale, 1.0F, "scale");
  expectEqual(range.zeroPoint, 1.0F, "zero point");
  const AsymmetricRange positive = asymmetricMinMax(0.5F, 3.0F, 2);
  expectEqual(positive.zeroPointUnrounded, 0.0F, "the range contains zero");
  expectEqual(positive.scale, 1.0F, "scale of positive values");
  expectEqual(asymmetricMinMax(-1.0F, -0.5F, 4).zeroPoint, 15.0F, "zero point of negative values");
}

/// Same sums in the same order without fused operations: every instruction set finds the same numbers, to the bit.
void sameOnEveryInstructionSet() {
#if defined(__x86_64__)
  const std::vector<float> x = randomNormal(1024, 9);
  for (const auto power : {cpu::LossPower::P2, cpu::LossPower::P24, cpu::LossPower::P3, cpu::LossPower::P35,
                           cpu::LossPower::P4, cpu::LossPower::P5}) {
    for (const int64_t count : {16, 48, 1024}) {
      const cpu::SearchArguments arguments{x.data(), count, 3.5F, -4, 3, power};
      std::vector<double> expected(cpu::kCandidates), losses(cpu::kCandidates);
      cpu::baseline::rangeKernels.accumulate(arguments, expected.data());
      const cpu::SearchResult best = cpu::baseline::rangeKernels.search(arguments);
      const cpu::PairArguments pairs{arguments, -2.5F, 3.5F, 7};
      const cpu::PairResult pair = cpu::baseline::rangeKernels.searchPairs(pairs);
      const auto check = [&](const cpu::RangeKernels& kernels, const char* isa) {
        const cpu::PairResult foundPair = kernels.searchPairs(pairs);
        expectEqual(foundPair.candidate, pair.candidate, isa);
        expectEqual(foundPair.zero, pair.zero, isa);
        expectEqual(foundPair.loss, pair.loss, isa);
        std::fill(losses.begin(), losses.end(), 0.0);
        kernels.accumulate(arguments, losses.data());
        expect(losses == expected, std::string("losses with ") + isa);
        const cpu::SearchResult found = kernels.search(arguments);
        expectEqual(found.candidate, best.candidate, isa);
        expectEqual(found.loss, best.loss, isa);
      };
      if (cpu::detectIsa() >= cpu::Isa::Avx2) check(cpu::avx2::rangeKernels, "avx2");
      if (cpu::detectIsa() >= cpu::Isa::Avx512) check(cpu::avx512::rangeKernels, "avx512");
    }
  }
#endif
}

}  // namespace

int main(int argc, char** argv) {
  return run({{"against a plain search in double", againstPlainSearch},
              {"scales and zero points against a plain search in double", pairsAgainstPlainSearch},
              {"zero points of weights on one side of zero", oneSided},
              {"ties go to the first candidate", tiesGoToTheFirst},
              {"values that are not finite", notFinite},
              {"asymmetric min/max", asymmetric},
              {"the same on every instruction set", sameOnEveryInstructionSet}},
             argc, argv);
}
