// Encoding, rebuilding, merging and statistics of quantized weights against plain formulas.
#include <bit>
#include <cmath>

#include "core/error.h"
#include "core/grid.h"
#include "test/storages.h"
#include "test/test_linear.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

struct Shape {
  int64_t m, n, group;
};
// Rows and columns below, at and above one block, tile and chunk; groups that are no multiple of a vector.
constexpr Shape kShapes[] = {{7, 172, 43}, {9, 96, 4}, {16, 64, 32}, {3, 1032, 86}, {33, 40, 8}};

/// All storages × bits × granularities on a rotating choice of shapes and ranks; asymmetric ones on a rotating choice
/// of granularities too.
void forAllSpecs(const std::function<void(const QuantSpec&, const Shape&, uint32_t seed)>& body) {
  uint32_t seed = 1;
  for (int bits = 2; bits <= 8; ++bits) {
    std::vector<QuantSpec> specs = storagesOf(bits);
    for (QuantSpec spec : storagesOf(bits)) {
      spec.symmetric = false;
      specs.push_back(spec);
    }
    for (QuantSpec spec : specs) {
      for (const Granularity granularity : {Granularity::Tensor, Granularity::Channel, Granularity::Group}) {
        if (!spec.symmetric && static_cast<uint32_t>(granularity) != (seed / 11) % 3) {
          seed += 11;
          continue;
        }
        const Shape& shape = kShapes[seed % std::size(kShapes)];
        spec.granularity = granularity;
        spec.groupSize = granularity == Granularity::Group ? shape.group : 0;
        const int rank = seed % 4 == 0 ? 0 : 3 + static_cast<int>(seed % 5);
        spec.rank = std::min<int>(rank, static_cast<int>(std::min(shape.m, shape.n)));
        spec.alpha = static_cast<float>(1 + seed % 3);
        seed += 10;
        context = describe(spec, shape.m, shape.n);
        body(spec, shape, seed);
        ++seed;
      }
    }
  }
}

std::unique_ptr<cpu::CpuBackend> backendFor(const QuantSpec& spec, const Shape& shape, int threads) {
  return makeBackend(threads, cpu::CpuBackend::rebuildScratchBytes(shape.m, shape.n, spec.rank));
}

void encoding() {
  forAllSpecs([](const QuantSpec& spec, const Shape& shape, uint32_t seed) {
    const auto backend = backendFor(spec, shape, 2);
    TestLinear linear(spec, shape.m, shape.n, seed);
    backend->quantize(linear.weight);
    for (int64_t i = 0; i < shape.m; ++i) {
      for (int64_t j = 0; j < shape.n; ++j) {
        expectEqual(linear.storedCode(i, j), linear.expectedCode(i, j), "code");
      }
    }
  });
}

void paddingDoesNotDependOnMemory() {
  QuantSpec spec;
  spec.bits = 3;
  spec.fractionBits = 2;
  const auto backend = makeBackend(1, 64);
  TestLinear linear(spec, 5, 43, 3);
  backend->quantize(linear.weight);
  auto first = linear.phi0;
  std::fill(linear.phi0.begin(), linear.phi0.end(), std::byte{0xff});
  backend->encode(linear.weight);
  expect(first == linear.phi0, "every byte of a packed row is written");
}

void centredCodesKeepRoundToNearest() {
  for (int walk = 0; walk < 12; ++walk) {
    const int bits = 2 + walk % 6;
    for (int fraction = 1; bits + fraction <= 8; ++fraction) {
      QuantSpec spec;
      spec.bits = bits;
      spec.fractionBits = fraction;
      spec.code = FixedPointCode::Centred;
      spec.symmetric = walk < 6;
      constexpr int64_t n = 4096;
      TestLinear linear(spec, 2, n, 5);
      const auto backend = makeBackend(1, cpu::CpuBackend::rebuildScratchBytes(2, n, 0));
      linear.scale0 = {0.125F, 0.0613F};
      if (!spec.symmetric) linear.zero0 = {1.0F, static_cast<float>(spec.levels()) / 2};
      // Row 0 walks through every tie and both ends; row 1 is random.
      for (int64_t j = 0; j < n; ++j) linear.w[static_cast<size_t>(j)] = static_cast<float>(j - n / 2) / 32 * 0.125F;
      backend->encode(linear.weight);
      std::vector<float> trained(2 * n), nearest(2 * n);
      linear.keepScales();
      backend->rebuildWeight(linear.weight, linear.lowRank(), WeightForm::Trained, {trained.data(), DType::F32, 2, n},
                             nullptr);
      backend->rebuildWeight(linear.weight, linear.lowRank(), WeightForm::RoundToNearest,
                             {nearest.data(), DType::F32, 2, n}, nullptr);
      expect(trained == nearest,
             "a centred code flips no integer, Q" + std::to_string(bits) + "." + std::to_string(fraction));
    }
  }
}

/// Compares Q (and s∘Q for groups), the clipped list, the merged integers and the statistics of one linear.
void checkTrained(const QuantSpec& spec, const Shape& shape, uint32_t seed, float lowRankSize) {
  const auto backend = backendFor(spec, shape, 2);
  TestLinear linear(spec, shape.m, shape.n, seed, lowRankSize);
  backend->quantize(linear.weight);
  linear.moveScales(seed);
  const auto size = static_cast<size_t>(shape.m * shape.n);
  std::vector<float> weight(size);
  std::vector<uint16_t> half(size);
  std::vector<int64_t> rowStart(static_cast<size_t>(shape.m) + 1, -1);
  std::vector<int32_t> columns(size, -1);
  ClippedSet clipped{.rowStart = rowStart.data(), .column = columns.data(), .capacity = static_cast<int64_t>(size)};
  const Matrix out{weight.data(), DType::F32, shape.m, shape.n};
  backend->rebuildWeight(linear.weight, linear.lowRank(), WeightForm::Trained, out, &clipped);
  backend->rebuildWeight(linear.weight, linear.lowRank(), WeightForm::Trained,
                         {half.data(), DType::BF16, shape.m, shape.n}, nullptr);
  const int64_t rowBytes = packedRowBytes(spec.bits, shape.n);
  std::vector<uint8_t> merged(static_cast<size_t>(shape.m * rowBytes), 0xff);
  backend->merge(linear.weight, linear.lowRank(), merged.data());
  const WeightStatistics statistics = backend->weightStatistics(linear.weight, linear.lowRank());

  const bool group = spec.granularity == Granularity::Group;
  int64_t entry = 0;
  int64_t flipped = 0;
  double drift = 0;
  for (int64_t i = 0; i < shape.m; ++i) {
    expectEqual(rowStart[static_cast<size_t>(i)], entry, "row start");
    for (int64_t j = 0; j < shape.n; ++j) {
      const auto at = static_cast<size_t>(i * shape.n + j);
      const float scale = group ? linear.scale[linear.scaleIndex(i, j)] : 1.0F;
      const int code = static_cast<int>(readCode(merged.data() + i * rowBytes, spec.bits, j));
      const int q = code + static_cast<int>(linear.limits(i, j, linear.zero).low);
      const bool listed = entry < rowStart.back() && entry < rowStart[static_cast<size_t>(i) + 1] &&
                          columns[static_cast<size_t>(entry)] == j;
      entry += listed;
      const auto expected = linear.rounded(i, j);
      if (expected.tieDistance > kTieTolerance) {
        expectEqual(q, static_cast<int>(expected.q), "merged integer");
        expectEqual(listed, !expected.inside, "clipped entry");
      }
      expectEqual(weight[at], static_cast<float>(q) * scale, "weight equals merged integer");
      expectEqual(half[at], bf16FromFloat(weight[at]), "bf16 weight");
      const auto [low, high] = linear.limits(i, j, linear.zero0);
      const double start = std::min<double>(std::max<double>(std::nearbyint(linear.phi(i, j)), low), high);
      flipped += q != static_cast<int>(start);
    }
  }
  expectEqual(rowStart.back(), entry, "number of clipped entries");
  for (size_t i = 0; i < linear.scale.size(); ++i) {
    drift += std::abs(static_cast<double>(linear.scale[i]) - static_cast<double>(linear.scale0[i])) /
             static_cast<double>(linear.scale0[i]);
  }
  expectEqual(statistics.clipped, entry, "clipped");
  expectEqual(statistics.flipped, flipped, "flipped");
  expectNear(statistics.scaleDrift, drift / static_cast<double>(linear.scale.size()), 1e-12, "drift");
  double zeroDrift = 0;
  for (size_t i = 0; i < linear.zero.size(); ++i) {
    zeroDrift += static_cast<double>(std::abs(linear.zero[i] - zeroPoint(linear.zero0[i], spec.levels())));
  }
  expectNear(statistics.zeroPointDrift, zeroDrift / static_cast<double>(linear.scale.size()), 1e-12,
             "drift of the zero points");

  linear.weight.merged = merged.data();
  std::vector<float> again(size, -1);
  backend->rebuildWeight(linear.weight, linear.lowRank(), WeightForm::Merged,
                         {again.data(), DType::F32, shape.m, shape.n}, &clipped);
  expect(again == weight, "the merged weight is the trained one");
  expectEqual(rowStart.back(), int64_t{0}, "nothing is masked in merged integers");
}

void trainedInside() {
  forAllSpecs([](const QuantSpec& spec, const Shape& shape, uint32_t seed) { checkTrained(spec, shape, seed, 0.3F); });
}
void trainedClipped() {
  forAllSpecs([](const QuantSpec& spec, const Shape& shape, uint32_t seed) { checkTrained(spec, shape, seed, 3.0F); });
}

void overfullClippedSet() {
  QuantSpec spec;
  spec.bits = 2;
  spec.fractionBits = 6;
  spec.rank = 4;
  constexpr int64_t m = 20, n = 100;
  const auto backend = makeBackend(1, cpu::CpuBackend::rebuildScratchBytes(m, n, 4));
  TestLinear linear(spec, m, n, 17, 3.0F);
  backend->quantize(linear.weight);
  linear.scale = linear.scale0;
  std::vector<float> weight(m * n);
  std::vector<int64_t> rowStart(m + 1);
  std::vector<int32_t> columns(m * n, -1);
  ClippedSet all{.rowStart = rowStart.data(), .column = columns.data(), .capacity = m * n};
  backend->rebuildWeight(linear.weight, linear.lowRank(), WeightForm::Trained, {weight.data(), DType::F32, m, n}, &all);
  const auto counts = rowStart;
  expect(counts.back() > 100, "the case clips enough");
  std::vector<int32_t> few(static_cast<size_t>(counts.back()) - 1, -7);
  ClippedSet small{.rowStart = rowStart.data(), .column = few.data(), .capacity = static_cast<int64_t>(few.size())};
  backend->rebuildWeight(linear.weight, linear.lowRank(), WeightForm::Trained, {weight.data(), DType::F32, m, n},
                         &small);
  expect(rowStart == counts, "beyond the capacity the rows are still counted");
}

/// Integer storage: W_int + round(C); fixed-point without fraction bits: round(W_int + C). They differ at ties only.
void tiesOfStorages() {
  constexpr int64_t m = 2, n = 40;
  for (const Storage storage : {Storage::Integer, Storage::FixedPoint}) {
    QuantSpec spec;
    spec.storage = storage;
    spec.fractionBits = 0;
    spec.rank = 1;
    const auto backend = makeBackend(1, cpu::CpuBackend::rebuildScratchBytes(m, n, 1));
    TestLinear linear(spec, m, n, 3);
    linear.scale0 = {1, 1};
    linear.scale = linear.scale0;
    linear.a = {1, -1};
    int differing = 0;
    for (int64_t j = 0; j < n; ++j) {
      linear.w[static_cast<size_t>(j)] = linear.w[static_cast<size_t>(n + j)] = static_cast<float>(j % 7 - 3);
      linear.b[static_cast<size_t>(j)] = 0.5F + static_cast<float>(j / 7 - 2);  // C is a tie everywhere
    }
    backend->encode(linear.weight);
    std::vector<float> q(m * n);
    backend->rebuildWeight(linear.weight, linear.lowRank(), WeightForm::Trained, {q.data(), DType::F32, m, n}, nullptr);
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        const float w = linear.source(i, j);
        const float c = linear.a[static_cast<size_t>(i)] * linear.b[static_cast<size_t>(j)];
        const float own = w + std::nearbyint(c);
        const float other = std::nearbyint(w + c);
        differing += own != other;
        expectEqual(q[static_cast<size_t>(i * n + j)], storage == Storage::Integer ? own : other, "integer at a tie");
      }
    }
    expect(differing > 20, "the two forms differ here");
  }
}

void otherForms() {
  forAllSpecs([](const QuantSpec& spec, const Shape& shape, uint32_t seed) {
    if (spec.rank != 0) return;
    const auto backend = backendFor(spec, shape, 1);
    TestLinear linear(spec, shape.m, shape.n, seed);
    backend->quantize(linear.weight);
    linear.moveScales(seed);
    // The source in 16 bits at an odd address, as a file may have it.
    for (const DType type : {DType::BF16, DType::F16}) {
      std::vector<std::byte> file(linear.w.size() * 2 + 1);
      for (size_t i = 0; i < linear.w.size(); ++i) {
        const uint16_t bits = type == DType::BF16 ? bf16FromFloat(linear.w[i]) : f16FromFloat(linear.w[i]);
        std::memcpy(file.data() + 1 + i * 2, &bits, 2);
        linear.w[i] = type == DType::BF16 ? floatFromBf16(bits) : floatFromF16(bits);
      }
      linear.weight.source = {file.data() + 1, type, shape.m, shape.n};
      std::vector<float> nearest(linear.w.size()), plain(linear.w.size());
      std::vector<uint16_t> narrow(linear.w.size());
      const Matrix out{nearest.data(), DType::F32, shape.m, shape.n};
      backend->rebuildWeight(linear.weight, linear.lowRank(), WeightForm::RoundToNearest, out, nullptr);
      backend->rebuildWeight(linear.weight, {}, WeightForm::Float, {plain.data(), DType::F32, shape.m, shape.n},
                             nullptr);
      backend->rebuildWeight(linear.weight, {}, WeightForm::Float, {narrow.data(), DType::BF16, shape.m, shape.n},
                             nullptr);
      for (int64_t i = 0; i < shape.m; ++i) {
        for (int64_t j = 0; j < shape.n; ++j) {
          const auto at = static_cast<size_t>(i * shape.n + j);
          const float s0 = linear.scale0[linear.scaleIndex(i, j)];
          const auto [low, high] = linear.limits(i, j, linear.zero0);
          const float q = std::min(std::max(std::nearbyint(linear.w[at] / s0), low), high);
          expectEqual(nearest[at], spec.granularity == Granularity::Group ? q * s0 : q, "round to nearest");
          expectEqual(plain[at], linear.w[at], "float form");
          expectEqual(narrow[at], bf16FromFloat(linear.w[at]), "float form in bf16");
        }
      }
    }
  });
}

void sameBitsForAnyThreadCount() {
  forAllSpecs([](const QuantSpec& spec, const Shape& shape, uint32_t seed) {
    const auto make = [&](int threads) {
      const auto backend = backendFor(spec, shape, threads);
      TestLinear linear(spec, shape.m, shape.n, seed, 2.0F);
      backend->quantize(linear.weight);
      linear.keepScales();
      const auto size = static_cast<size_t>(shape.m * shape.n);
      std::vector<float> all(size);
      std::vector<int64_t> rowStart(static_cast<size_t>(shape.m) + 1);
      std::vector<int32_t> columns(size, -1);
      ClippedSet clipped{.rowStart = rowStart.data(), .column = columns.data(), .capacity = static_cast<int64_t>(size)};
      backend->rebuildWeight(linear.weight, linear.lowRank(), WeightForm::Trained,
                             {all.data(), DType::F32, shape.m, shape.n}, &clipped);
      all.insert(all.end(), linear.scale0.begin(), linear.scale0.end());
      all.insert(all.end(), linear.zero0.begin(), linear.zero0.end());
      for (const std::byte value : linear.phi0) all.push_back(static_cast<float>(value));
      for (const int32_t column : columns) all.push_back(static_cast<float>(column));
      return all;
    };
    expect(make(1) == make(2) && make(1) == make(5), "one, two and five threads agree");
  });
}

void trainedScales() {
  const auto backend = makeBackend(2, 64);
  for (const Storage storage : {Storage::FixedPoint, Storage::Integer}) {
    for (const ScaleDomain domain : {ScaleDomain::Linear, ScaleDomain::Log}) {
      for (const Granularity granularity : {Granularity::Tensor, Granularity::Channel}) {
        QuantSpec spec;
        spec.storage = storage;
        spec.scaleDomain = domain;
        spec.granularity = granularity;
        TestLinear linear(spec, 4, 8, 2);
        const bool log = domain == ScaleDomain::Log && storage != Storage::Integer;
        const bool floored = domain == ScaleDomain::Linear && storage != Storage::Integer;
        std::vector<float> theta = {0.5F, 1e-9F, -0.25F, 1e-8F};
        theta.resize(linear.scale0.size());
        std::vector<float> scale(theta.size()), rowScale(4);
        const ScaleTask task{&linear.weight, theta.data(), scale.data(), rowScale.data()};
        backend->materializeScales(std::span(&task, 1));
        const std::vector<float> rowGradient = {1.0F, 2.0F, 4.0F, 8.0F};
        std::vector<float> gradient = rowGradient;
        if (granularity == Granularity::Tensor) {
          gradient = {100.0F};
          backend->sumRowScaleGradient(4, rowGradient.data(), gradient.data());
        }
        const ScaleGradientTask finish{&linear.weight, theta.data(), scale.data(), gradient.data()};
        backend->finishScaleGradients(std::span(&finish, 1));
        for (size_t i = 0; i < theta.size(); ++i) {
          const float s = log ? std::exp(theta[i]) : floored ? std::max(theta[i], 1e-8F) : theta[i];
          expectEqual(scale[i], s, "scale");
          const float sum = granularity == Granularity::Tensor ? 115.0F : rowGradient[i];
          const float factor = log ? s : floored && theta[i] < 1e-8F ? 0.0F : 1.0F;
          expectEqual(gradient[i], sum * factor, "scale gradient");
        }
        for (size_t i = 0; i < 4; ++i) {
          expectEqual(rowScale[i], scale[granularity == Granularity::Tensor ? 0 : i], "row scale");
        }
        // Without trained numbers the scales stay as they are.
        std::vector<float> given(theta.size(), 3.0F);
        const ScaleTask expansion{&linear.weight, nullptr, given.data(), rowScale.data()};
        backend->materializeScales(std::span(&expansion, 1));
        expect(rowScale == std::vector<float>(4, 3.0F) && given == std::vector<float>(theta.size(), 3.0F),
               "row scales alone");
      }
    }
  }
}

void refusedSpecs() {
  const auto refused = [](auto change, const char* what, const char* word) {
    QuantSpec spec;
    change(spec);
    const std::string message = expectThrows<Error>([&] { checkSpec(spec, 64, 176); }, what);
    expect(message.find(word) != std::string::npos, std::string(what) + " names the value: " + message);
  };
  const auto group = [](int64_t size) {
    return [size](QuantSpec& spec) {
      spec.granularity = Granularity::Group;
      spec.groupSize = size;
    };
  };
  refused(group(32), "a group that does not divide", "32");
  refused(group(0), "no group", "0");
  refused([](QuantSpec& spec) { spec.bits = 9; }, "nine bits", "9");
  refused([](QuantSpec& spec) { spec.bits = 1; }, "one bit", "1");
  refused([](QuantSpec& spec) { spec.fractionBits = 5; }, "too many fraction bits", "5");
  refused([](QuantSpec& spec) { spec.rank = 65; }, "a rank above the smaller side", "65");
  refused(
      [](QuantSpec& spec) {
        spec.code = FixedPointCode::Centred;
        spec.fractionBits = 0;
      },
      "centred codes without a fraction", "centred");
}

/// Rounded half to even into the grid; the gradient passes while the rounded number lies on it.
void zeroPoints() {
  context.clear();
  QuantSpec spec;
  spec.bits = 2;
  spec.symmetric = false;
  TestLinear linear(spec, 6, 8, 2);
  expectEqual(zeroPoint(std::nanf(""), 3), 0.0F, "zero point of NaN");
  const std::vector<float> theta = {-0.6F, -0.5F, 1.5F, 2.5F, 3.49F, 3.6F};
  const std::vector<float> expected = {0.0F, 0.0F, 2.0F, 2.0F, 3.0F, 3.0F};
  const std::vector<bool> passes = {false, true, true, true, true, false};
  std::vector<float> scale(6, 0.5F), zero(6), rowScale(6);
  const ScaleTask task{&linear.weight, nullptr, scale.data(), rowScale.data(), theta.data(), zero.data()};
  makeBackend(2, 64)->materializeScales(std::span(&task, 1));
  for (size_t i = 0; i < theta.size(); ++i) {
    expectEqual(zero[i], expected[i], "zero point");
    expectEqual(zeroPointPasses(theta[i], spec.levels()), static_cast<bool>(passes[i]), "gradient passes");
  }
}

/// Against the definition: no number of the format is nearer, and of two equally near the even one is taken.
void scalesOnGrid() {
  context.clear();
  const auto isOn = [](float value, int lowerBits) {
    return (std::bit_cast<uint32_t>(value) << (32 - lowerBits)) == 0;
  };
  uint32_t state = 1;
  for (int i = 0; i < 20000; ++i) {
    state = state * 1664525U + 1013904223U;
    // 2^-13 … 2^6 with all fractions, and every eighth exactly between two numbers of either format.
    const int exponent = -13 + static_cast<int>((state >> 8) % 20);
    uint32_t fraction = state >> 9;
    if (i % 8 == 0) fraction = (fraction & ~0xFFFFU) | 0x8000U;
    if (i % 8 == 4) fraction = (fraction & ~0x1FFFU) | 0x1000U;
    const float value = std::ldexp(1.0F + std::ldexp(static_cast<float>(fraction), -23), exponent);
    for (const auto& [format, lowerBits] : {std::pair{ScaleFormat::BF16, 16}, std::pair{ScaleFormat::F16, 13}}) {
      const float found = scaleOnGrid(format, value);
      expect(isOn(found, lowerBits), "on the grid");
      const auto step = static_cast<double>(std::ldexp(1.0F, exponent - 23 + lowerBits));
      const double distance = std::abs(static_cast<double>(found) - static_cast<double>(value));
      expect(distance <= step / 2, "nearest");
      if (distance == step / 2) expect(isOn(found, lowerBits + 1), "even");
      expectEqual(scaleOnGrid(format, found), found, "stays");
    }
    expectEqual(scaleOnGrid(ScaleFormat::F32, value), value, "float32");
  }
  expectEqual(scaleOnGrid(ScaleFormat::F16, 1e-8F), 0x1p-14F, "smallest");
  expectEqual(scaleOnGrid(ScaleFormat::F16, 1e6F), 65504.0F, "largest");
}

/// What the forward uses lies on the grid; the trained number stays as it is and gets the whole gradient.
void scalesOfAFormat() {
  for (const ScaleDomain domain : {ScaleDomain::Linear, ScaleDomain::Log}) {
    QuantSpec spec;
    spec.scaleDomain = domain;
    spec.scaleFormat = ScaleFormat::F16;
    LinearWeight weight;
    weight.m = 3;
    weight.n = 8;
    weight.spec = spec;
    const bool log = domain == ScaleDomain::Log;
    const std::vector<float> theta =
        log ? std::vector<float>{-4.1F, -3.3F, -2.7F} : std::vector{0.0123F, 0.0456F, 0.0789F};
    std::vector<float> scale(3);
    const auto backend = makeBackend(1, 64);
    const ScaleTask task{&weight, theta.data(), scale.data(), nullptr};
    backend->materializeScales(std::span(&task, 1));
    const std::vector<float> rowGradient{1.0F, -2.0F, 0.5F};
    std::vector<float> gradient = rowGradient;
    const ScaleGradientTask finish{&weight, theta.data(), scale.data(), gradient.data()};
    backend->finishScaleGradients(std::span(&finish, 1));
    for (size_t i = 0; i < 3; ++i) {
      expectEqual(scale[i], scaleOnGrid(ScaleFormat::F16, log ? std::exp(theta[i]) : theta[i]), "scale");
      expectEqual(gradient[i], log ? rowGradient[i] * scale[i] : rowGradient[i], "gradient");
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run({{"encoding against the formulas, all storages", encoding},
              {"packed rows are written whole", paddingDoesNotDependOnMemory},
              {"centred codes keep round-to-nearest", centredCodesKeepRoundToNearest},
              {"trained weight, mask, merge and statistics, little clipped", trainedInside},
              {"trained weight, mask, merge and statistics, much clipped", trainedClipped},
              {"clipped set above its capacity", overfullClippedSet},
              {"ties: integer storage rounds the product, fixed-point the sum", tiesOfStorages},
              {"round-to-nearest and float forms", otherForms},
              {"same bits for any number of threads", sameBitsForAnyThreadCount},
              {"trained scales and their gradients", trainedScales},
              {"zero points and where their gradient passes", zeroPoints},
              {"scales of a 16-bit format: nearest number, ties to even", scalesOnGrid},
              {"scales of a 16-bit format: straight-through", scalesOfAFormat},
              {"specifications that are refused", refusedSpecs}},
             argc, argv);
}
