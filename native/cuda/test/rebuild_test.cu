// The rebuilt weight, its mask, the merged integers and the statistics: in exact form against the CPU backend, to the
// bit; in split-bf16 form against formulas in double; and all of them against each other, to the bit.
#include "cuda/test/rebuild_results.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

const std::vector<WeightShape> kShapes = {{7, 172, 43},   {9, 96, 4},     {130, 64, 32}, {3, 1032, 86}, {33, 40, 8},
                                          {141, 300, 12}, {260, 520, 40}, {70, 96, 48},  {150, 528, 16}};
const std::vector<int> kRanks = {0, 3, 4, 32, 7, 16, 31, 33};

void exactEqualsCpu(float lowRankSize, bool symmetric = true) {
  cuda::HostStaging staging;
  forAllSpecs(kShapes, kRanks, symmetric, [&](const QuantSpec& spec, const WeightShape& shape, uint32_t seed) {
    const auto backend = cpuFor(spec, shape.m, shape.n);
    TestLinear host(spec, shape.m, shape.n, seed, lowRankSize);
    backend->quantize(host.weight);
    host.moveScales(seed);
    const auto size = static_cast<size_t>(shape.m * shape.n);
    std::vector<float> weight(size);
    std::vector<int64_t> rowStart(static_cast<size_t>(shape.m) + 1);
    std::vector<int32_t> columns(size);
    ClippedSet clipped{.rowStart = rowStart.data(), .column = columns.data(), .capacity = static_cast<int64_t>(size)};
    backend->rebuildWeight(host.weight, host.lowRank(), WeightForm::Trained,
                           {weight.data(), DType::F32, shape.m, shape.n}, &clipped);
    std::vector<uint8_t> merged(static_cast<size_t>(shape.m * packedRowBytes(spec.bits, shape.n)));
    backend->merge(host.weight, host.lowRank(), merged.data());
    const WeightStatistics statistics = backend->weightStatistics(host.weight, host.lowRank());

    const Results results = onDevice(host, true, staging);
    checkConsistent(host, results);
    expect(results.weight == weight, "weight of the CPU");
    expect(results.merged == merged, "merged integers of the CPU, padding included");
    std::vector<uint32_t> mask(results.mask.size(), 0);
    for (int64_t i = 0; i < shape.m; ++i) {
      for (int64_t e = rowStart[static_cast<size_t>(i)]; e < rowStart[static_cast<size_t>(i) + 1]; ++e) {
        const int32_t j = columns[static_cast<size_t>(e)];
        mask[static_cast<size_t>(i * maskWords(shape.n) + j / 32)] |= 1U << (j % 32);
      }
    }
    expect(results.mask == mask, "mask of the CPU");
    expectEqual(results.statistics.clipped, statistics.clipped, "clipped of the CPU");
    expectEqual(results.statistics.flipped, statistics.flipped, "flipped of the CPU");
    expectNear(results.statistics.scaleDrift, statistics.scaleDrift, 1e-12, "drift of the CPU");
    expectNear(results.statistics.zeroPointDrift, statistics.zeroPointDrift, 1e-12, "drift of zero points of the CPU");
  });
}

/// Split bf16 leaves out lo·lo (2^−16 of |a·b| at most, 2^−18 on average) and accumulates in float32; Z itself is
/// rounded at 2^−24 of up to 2^8. An integer may differ from the formula only where Z is closer to a tie than that.
void checkSplit(const QuantSpec& spec, const WeightShape& shape, uint32_t seed, float lowRankSize,
                cuda::HostStaging& staging) {
  const auto backend = cpuFor(spec, shape.m, shape.n);
  TestLinear host(spec, shape.m, shape.n, seed, lowRankSize);
  backend->quantize(host.weight);
  host.moveScales(seed);
  const Results results = onDevice(host, false, staging);
  checkConsistent(host, results);
  int64_t undecided = 0;
  for (int64_t i = 0; i < shape.m; ++i) {
    for (int64_t j = 0; j < shape.n; ++j) {
      double magnitude = 0;
      for (int64_t k = 0; k < spec.rank; ++k) {
        magnitude += std::abs(static_cast<double>(host.a[static_cast<size_t>(i * spec.rank + k)]) *
                              static_cast<double>(host.b[static_cast<size_t>(k * shape.n + j)]));
      }
      const auto expected = host.rounded(i, j);
      const double tolerance = kTieTolerance + 0x1p-16 * magnitude * static_cast<double>(spec.gamma());
      if (expected.tieDistance <= tolerance) {
        ++undecided;
        continue;
      }
      expectEqual(mergedInteger(results, host, i, j), static_cast<int>(expected.q), "integer");
      expectEqual(masked(results, i, j, shape.n), !expected.inside, "mask");
    }
  }
  // Φ0 in few bits without a low-rank term lies on ties often.
  if (spec.rank > 0) expect(undecided < 10 + shape.m * shape.n / 20, "few entries are near a tie");
}

void splitAgainstDouble(float lowRankSize, bool symmetric = true) {
  cuda::HostStaging staging;
  forAllSpecs(kShapes, kRanks, symmetric, [&](const QuantSpec& spec, const WeightShape& shape, uint32_t seed) {
    checkSplit(spec, shape, seed, lowRankSize, staging);
  });
}

/// All ranks that the product treats differently, several blocks of columns, on the storages of the training path.
void highRanks() {
  cuda::HostStaging staging;
  for (const int rank : {1, 31, 32, 48, 64, 65, 100, 128, 129, 256}) {
    for (const Storage storage : {Storage::FixedPoint, Storage::Integer, Storage::BF16}) {
      for (const bool symmetric : {true, false}) {
        QuantSpec spec;
        spec.storage = storage;
        spec.symmetric = symmetric;
        spec.rank = rank;
        context = describe(spec, 300, 600);
        checkSplit(spec, {300, 600, 0}, static_cast<uint32_t>(rank), 1.0F, staging);
      }
    }
  }
}

/// Forms that read host memory, against the CPU; in one panel and in several, aligned and not.
void otherForms(bool symmetric) {
  cuda::HostStaging staging;
  const DeviceScratch memory(cuda::rebuildScratchBytes(WeightForm::Merged));
  const auto check = [&](const QuantSpec& spec, const WeightShape& shape, uint32_t seed, DType sourceType,
                         size_t offset) {
    const auto backend = cpuFor(spec, shape.m, shape.n);
    TestLinear host(spec, shape.m, shape.n, seed);
    std::vector<std::byte> file(offset + host.w.size() * static_cast<size_t>(byteSize(sourceType)));
    for (size_t i = 0; i < host.w.size(); ++i) {
      const uint16_t bits = sourceType == DType::BF16 ? bf16FromFloat(host.w[i]) : f16FromFloat(host.w[i]);
      if (sourceType == DType::F32) {
        std::memcpy(file.data() + offset + i * 4, &host.w[i], 4);
      } else {
        std::memcpy(file.data() + offset + i * 2, &bits, 2);
      }
    }
    host.weight.source = {file.data() + offset, sourceType, shape.m, shape.n};
    backend->quantize(host.weight);
    host.moveScales(seed);
    std::vector<uint8_t> merged(static_cast<size_t>(shape.m * packedRowBytes(spec.bits, shape.n)));
    backend->merge(host.weight, host.lowRank(), merged.data());
    host.weight.merged = merged.data();
    const DeviceLinear linear(host);
    const auto size = static_cast<size_t>(shape.m * shape.n);
    std::vector<float> expected(size);
    for (const WeightForm form : {WeightForm::Merged, WeightForm::RoundToNearest, WeightForm::Float}) {
      backend->rebuildWeight(host.weight, host.lowRank(), form, {expected.data(), DType::F32, shape.m, shape.n},
                             nullptr);
      DeviceArray<float> weight(size);
      DeviceArray<uint16_t> half(size);
      DeviceArray<uint32_t> mask(static_cast<size_t>(shape.m * maskWords(shape.n)));
      Counts counts;
      const ClippedSet clipped = counts.set(mask.data());
      for (const bool exact : {false, true}) {
        cuda::Scratch scratch = memory.make();
        cuda::rebuildWeight(linear.weight, linear.lowRank(), form, {weight.data(), DType::F32, shape.m, shape.n},
                            &clipped, counts.next(), exact, cuda::Start::InOrder, staging, scratch, nullptr);
        scratch = memory.make();
        cuda::rebuildWeight(linear.weight, linear.lowRank(), form, {half.data(), DType::BF16, shape.m, shape.n},
                            nullptr, {}, exact, cuda::Start::InOrder, staging, scratch, nullptr);
        const std::string name = "form " + std::to_string(static_cast<int>(form));
        expect(weight.read() == expected, name + " float32");
        const std::vector<uint16_t> halves = half.read();
        for (size_t i = 0; i < size; ++i) {
          expectEqual(floatFromBf16(halves[i]), floatFromBf16(bf16FromFloat(expected[i])), name + " bf16");
        }
        expect(mask.read() == std::vector<uint32_t>(static_cast<size_t>(shape.m * maskWords(shape.n)), 0), "no mask");
        expectEqual(counts.told(), int64_t{0}, "nothing clipped");
      }
    }
  };
  int turn = 0;
  forAllSpecs(kShapes, {0}, symmetric, [&](const QuantSpec& spec, const WeightShape& shape, uint32_t seed) {
    ++turn;
    check(spec, shape, seed,
          turn % 3 == 0   ? DType::F32
          : turn % 3 == 1 ? DType::BF16
                          : DType::F16,
          static_cast<size_t>(turn % 2));
  });
  QuantSpec large;
  large.symmetric = symmetric;
  large.granularity = Granularity::Group;
  large.groupSize = 500;
  context = "several panels";
  check(large, {3001, 1500, 500}, 5, DType::F32, 1);
  check(large, {6500, 1500, 500}, 6, DType::BF16, 0);
  memory.check();
}

/// Without a low-rank term a fixed-point Φ0 lies on ties often: half to even of the integer less its zero point, as on
/// the CPU, in both forms, on both sides of a grid.
void ties() {
  cuda::HostStaging staging;
  uint32_t seed = 1;
  for (const bool symmetric : {true, false}) {
    for (const int bits : {2, 3, 4, 5, 6, 7}) {
      for (const Granularity granularity : {Granularity::Channel, Granularity::Group}) {
        QuantSpec spec;
        spec.storage = Storage::FixedPoint;
        spec.bits = bits;
        spec.fractionBits = std::min(8 - bits, 2);
        spec.code = FixedPointCode::Reference;
        spec.symmetric = symmetric;
        spec.granularity = granularity;
        spec.groupSize = granularity == Granularity::Group ? 40 : 0;
        spec.rank = 4;
        const int64_t m = 130, n = 200;
        context = describe(spec, m, n);
        TestLinear host(spec, m, n, ++seed, 0.0F);
        const auto backend = cpuFor(spec, m, n);
        backend->quantize(host.weight);
        host.keepScales();
        std::vector<uint8_t> merged(static_cast<size_t>(m * packedRowBytes(spec.bits, n)));
        backend->merge(host.weight, host.lowRank(), merged.data());
        const Results results = onDevice(host, false, staging);
        checkConsistent(host, results);
        expect(results.merged == merged, "merged integers of the CPU");
      }
    }
  }
}

/// Values that are not finite are clipped somewhere and masked; nothing else is touched by them.
void notFiniteFactors() {
  cuda::HostStaging staging;
  QuantSpec spec;
  spec.rank = 8;
  constexpr int64_t m = 40;
  for (const int64_t n : {100, 104}) {
    for (const int bits : {4, 8}) {
      spec.storage = bits == 8 ? Storage::Integer : Storage::FixedPoint;
      spec.bits = bits;
      TestLinear host(spec, m, n, 3);
      const auto backend = cpuFor(spec, m, n);
      backend->quantize(host.weight);
      host.scale = host.scale0;
      for (const bool exact : {true, false}) {
        const Results before = onDevice(host, exact, staging);
        TestLinear broken = host;
        broken.weight.phi0 = broken.phi0.data();
        broken.a[3 * 8 + 2] = std::nanf("");
        broken.a[7 * 8] = HUGE_VALF;
        const Results after = onDevice(broken, exact, staging);
        expect(after.mask == after.maskOfHalf, "mask of both output types");
        for (int64_t i = 0; i < m; ++i) {
          for (int64_t j = 0; j < n; ++j) {
            const auto at = static_cast<size_t>(i * n + j);
            expectEqual(floatFromBf16(after.half[at]), after.weight[at], "weight of both output types");
            if (i == 3 || i == 7) {
              expect(masked(after, i, j, n), "masked");
            } else {
              expectEqual(mergedInteger(after, host, i, j), mergedInteger(before, host, i, j), "other rows");
            }
          }
        }
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (skippedWithoutGpu()) return 0;
  return run({{"exact rebuild equals the CPU, little clipped", [] { exactEqualsCpu(0.3F); }},
              {"exact rebuild equals the CPU, much clipped", [] { exactEqualsCpu(3.0F); }},
              {"split-bf16 rebuild against double, little clipped", [] { splitAgainstDouble(0.3F); }},
              {"split-bf16 rebuild against double, much clipped", [] { splitAgainstDouble(3.0F); }},
              {"ranks up to 256", highRanks},
              {"merged, round-to-nearest and float weights", [] { otherForms(true); }},
              {"exact rebuild around zero points equals the CPU, little clipped", [] { exactEqualsCpu(0.3F, false); }},
              {"exact rebuild around zero points equals the CPU, much clipped", [] { exactEqualsCpu(3.0F, false); }},
              {"split-bf16 rebuild around zero points against double", [] { splitAgainstDouble(1.0F, false); }},
              {"merged, round-to-nearest and float weights around zero points", [] { otherForms(false); }},
              {"ties", ties},
              {"factors that are not finite", notFiniteFactors}},
             argc, argv);
}
