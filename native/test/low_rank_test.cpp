// Gradients of A, B and group scales against the closed forms of lr-qat.md §2.1 in float64.
#include "core/memory_plan.h"
#include "test/test_linear.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

struct Setting {
  int64_t tokens = 300;  // more than one chunk of the sparse correction, no multiple of a vector
  int64_t n = 172;
  DType type = DType::F32;
  int threads = 2;
  float lowRankSize = 0.5F;
  bool countOnly = false;  // capacity 0: dense tiles for tensor and channel scales
};

struct Layer {
  std::unique_ptr<TestLinear> linear;
  std::vector<float> theta;
  std::vector<float> dY;   // [T, m] as stored: the gradient with respect to Y
  std::vector<float> dYs;  // what the task gets, as float
  std::vector<uint16_t> dYsNarrow;
  std::vector<int64_t> rowStart;
  std::vector<int32_t> columns;
  std::vector<float> dA, dB, dScale, dZero;
};

/// Rounds to bf16 where the compute type is.
float stored(float value, DType type) {
  return type == DType::BF16 ? floatFromBf16(bf16FromFloat(value)) : value;
}

/// Runs lowRankGradient on linears with these specs and row counts and compares with float64. Returns |K| of all.
int64_t check(const std::vector<std::pair<QuantSpec, int64_t>>& linears, const Setting& setting, uint32_t seed) {
  const int64_t tokens = setting.tokens;
  const int64_t n = setting.n;
  const bool narrow = setting.type == DType::BF16;
  int64_t totalRank = 0;
  int64_t widest = 0;
  for (const auto& [spec, m] : linears) {
    totalRank += spec.rank;
    widest = std::max(widest, m);
  }
  const int64_t scratch =
      std::max(cpu::CpuBackend::lowRankScratchBytes(tokens, n, widest, totalRank, setting.type, setting.threads),
               cpu::CpuBackend::rebuildScratchBytes(widest, n, totalRank));
  const auto backend = makeBackend(setting.threads, scratch, setting.type, true);

  std::vector<float> x = randomNormal(static_cast<size_t>(tokens * n), seed + 500);
  std::vector<uint16_t> xNarrow(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    xNarrow[i] = bf16FromFloat(x[i]);
    x[i] = stored(x[i], setting.type);
  }
  const Matrix xMatrix{narrow ? static_cast<void*>(xNarrow.data()) : x.data(), setting.type, tokens, n};

  std::vector<Layer> layers(linears.size());
  std::vector<LowRankTask> tasks(linears.size());
  int64_t clippedEntries = 0;
  for (size_t l = 0; l < linears.size(); ++l) {
    const auto& [spec, m] = linears[l];
    Layer& layer = layers[l];
    layer.linear = std::make_unique<TestLinear>(spec, m, n, seed + static_cast<uint32_t>(l) * 10, setting.lowRankSize);
    TestLinear& t = *layer.linear;
    backend->quantize(t.weight);
    t.moveScales(seed);
    layer.theta = t.scale;
    const bool log = spec.scaleDomain == ScaleDomain::Log && spec.storage != Storage::Integer;
    for (float& value : layer.theta) value = log ? std::log(value) : value;
    if (spec.scaleDomain == ScaleDomain::Linear && l == 0) layer.theta[0] = 0.0F;  // below the floor
    const ScaleTask scales{&t.weight, layer.theta.data(), t.scale.data(), nullptr};
    backend->materializeScales(std::span(&scales, 1));
    if (!spec.symmetric && l == 0) t.zeroTheta[0] = -0.7F;  // off the grid: no gradient
    t.useZeroPoints();

    const bool group = spec.granularity == Granularity::Group;
    layer.dY = randomNormal(static_cast<size_t>(tokens * m), seed + 900 + static_cast<uint32_t>(l));
    layer.dYs.resize(layer.dY.size());
    layer.dYsNarrow.resize(layer.dY.size());
    for (int64_t i = 0; i < tokens * m; ++i) {
      const auto at = static_cast<size_t>(i);
      const float value = group ? layer.dY[at] : layer.dY[at] * t.scale[t.scaleIndex(i % m, 0)];
      layer.dYsNarrow[at] = bf16FromFloat(value);
      layer.dYs[at] = stored(value, setting.type);
    }
    layer.rowStart.resize(static_cast<size_t>(m) + 1);
    layer.columns.resize(static_cast<size_t>(clippedCapacity(m, n)));
    ClippedSet clipped{.rowStart = layer.rowStart.data(),
                       .column = layer.columns.data(),
                       .capacity = setting.countOnly ? 0 : static_cast<int64_t>(layer.columns.size())};
    std::vector<float> q(static_cast<size_t>(m * n));
    backend->rebuildWeight(t.weight, t.lowRank(), WeightForm::Trained, {q.data(), DType::F32, m, n}, &clipped);
    clippedEntries += layer.rowStart.back();

    // Gradients start at something, since they accumulate over micro-batches.
    layer.dA = randomNormal(t.a.size(), 77, 0.01F);
    layer.dB = randomNormal(t.b.size(), 78, 0.01F);
    layer.dScale = randomNormal(t.scale.size(), 79, 0.01F);
    layer.dZero = randomNormal(t.zero0.size(), 80, 0.01F);
    tasks[l] = {
        .weight = &t.weight,
        .lowRank = t.lowRank(),
        .theta = layer.theta.data(),
        .dYs = {narrow ? static_cast<void*>(layer.dYsNarrow.data()) : layer.dYs.data(), setting.type, tokens, m},
        .zeroTheta = t.zeroTheta.data(),
        .clipped = clipped,
        .gradient = {spec.rank > 0 ? layer.dA.data() : nullptr, spec.rank > 0 ? layer.dB.data() : nullptr,
                     group && spec.learnScales ? layer.dScale.data() : nullptr,
                     spec.trainsZeroPoints() ? layer.dZero.data() : nullptr}};
  }
  std::vector<Layer> before(linears.size());
  for (size_t l = 0; l < linears.size(); ++l) {
    before[l].dA = layers[l].dA;
    before[l].dB = layers[l].dB;
    before[l].dScale = layers[l].dScale;
    before[l].dZero = layers[l].dZero;
  }
  backend->lowRankGradient(xMatrix, tasks);

  for (size_t l = 0; l < linears.size(); ++l) {
    const auto& [spec, m] = linears[l];
    const TestLinear& t = *layers[l].linear;
    context = describe(spec, m, n);
    const bool group = spec.granularity == Granularity::Group;
    const bool log = spec.scaleDomain == ScaleDomain::Log && spec.storage != Storage::Integer;
    const bool floored = spec.scaleDomain == ScaleDomain::Linear && spec.storage != Storage::Integer;
    std::vector<double> dA(before[l].dA.begin(), before[l].dA.end());
    std::vector<double> dB(before[l].dB.begin(), before[l].dB.end());
    std::vector<double> dScale(before[l].dScale.begin(), before[l].dScale.end());
    std::vector<double> dZero(before[l].dZero.begin(), before[l].dZero.end());
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        double g = 0;
        for (int64_t k = 0; k < tokens; ++k) {
          g += static_cast<double>(layers[l].dYs[static_cast<size_t>(k * m + i)]) *
               static_cast<double>(x[static_cast<size_t>(k * n + j)]);
        }
        const auto r = t.rounded(i, j);
        const size_t s = t.scaleIndex(i, j);
        if (group && spec.learnScales && !(floored && layers[l].theta[s] < 1e-8F)) {
          dScale[s] += g * r.q * (log ? static_cast<double>(t.scale[s]) : 1.0);
        }
        // G: dYs has s in it already, but for groups.
        const double sG = g * (group ? static_cast<double>(t.scale[s]) : 1.0);
        if (!r.inside) {
          const float z = spec.symmetric ? 0.0F : std::nearbyint(t.zeroTheta[s]);
          if (spec.trainsZeroPoints() && z >= 0 && z <= static_cast<float>(spec.levels())) dZero[s] -= sG;
          continue;
        }
        const double dZ = static_cast<double>(spec.gamma()) * g * (group ? static_cast<double>(t.scale[s]) : 1.0);
        for (int64_t k = 0; k < spec.rank; ++k) {
          const auto atA = static_cast<size_t>(i * spec.rank + k);
          const auto atB = static_cast<size_t>(k * n + j);
          dA[atA] += dZ * static_cast<double>(t.b[atB]);
          dB[atB] += dZ * static_cast<double>(t.a[atA]);
        }
      }
    }
    // float32: sums of up to 300 products, as the goldens' 5e-6; bf16 operands: 8-bit mantissas, the goldens' 2e-2.
    const double tolerance = narrow ? 2e-2 : 5e-6;
    if (spec.rank > 0) {
      expectNear(relativeError(layers[l].dA, dA), 0, tolerance, "dA");
      expectNear(relativeError(layers[l].dB, dB), 0, tolerance, "dB");
    }
    expectNear(relativeError(layers[l].dScale, dScale), 0, group && spec.learnScales ? tolerance : 0, "ds");
    // Few entries a zero point: nothing averages out.
    if (!spec.symmetric) {
      expectNear(relativeError(layers[l].dZero, dZero), 0, spec.trainsZeroPoints() ? 2 * tolerance : 0, "dz");
    }
  }
  context.clear();
  return clippedEntries;
}

QuantSpec makeSpec(Granularity granularity, int64_t group, int rank, Storage storage = Storage::FixedPoint) {
  QuantSpec spec;
  spec.bits = 3;
  spec.fractionBits = 5;
  spec.granularity = granularity;
  spec.groupSize = group;
  spec.rank = rank;
  spec.alpha = 1.5F;
  spec.storage = storage;
  spec.range = RangeMethod::Lp3;
  return spec;
}

void nothingClipped() {
  for (const Granularity granularity : {Granularity::Tensor, Granularity::Channel}) {
    QuantSpec spec = makeSpec(granularity, 0, 5);
    spec.bits = 7;
    spec.fractionBits = 1;
    Setting setting;
    setting.lowRankSize = 0.05F;
    spec.range = RangeMethod::MinMax;
    expectEqual(check({{spec, 40}}, setting, 3), int64_t{0}, "entries clipped");
  }
}

void sparse() {
  for (const Storage storage : {Storage::FixedPoint, Storage::Integer, Storage::F32, Storage::BF16}) {
    for (const Granularity granularity : {Granularity::Tensor, Granularity::Channel}) {
      Setting setting;
      const int64_t clipped = check({{makeSpec(granularity, 0, 5, storage), 40}}, setting, 11);
      expect(clipped > 20 && clipped < clippedCapacity(40, setting.n),
             "some entries are clipped: " + std::to_string(clipped));
    }
  }
}

void severalLinearsShareTheInput() {
  for (const int threads : {1, 2, 3}) {
    Setting setting;
    setting.threads = threads;
    check({{makeSpec(Granularity::Channel, 0, 5), 40},
           {makeSpec(Granularity::Tensor, 0, 16), 24},
           {makeSpec(Granularity::Channel, 0, 0), 9},
           {makeSpec(Granularity::Group, 43, 3), 17}},
          setting, 21);
  }
}

void aboveTheCapacity() {
  for (const Granularity granularity : {Granularity::Tensor, Granularity::Channel}) {
    Setting setting;
    setting.countOnly = true;
    setting.lowRankSize = 2;
    // More rows than one tile holds.
    expect(check({{makeSpec(granularity, 0, 5), 150}}, setting, 31) > 1000, "many entries are clipped");
  }
}

void groupScales() {
  uint32_t seed = 41;
  for (const int64_t group : {int64_t{4}, int64_t{43}, int64_t{86}, int64_t{172}}) {
    for (const ScaleDomain domain : {ScaleDomain::Linear, ScaleDomain::Log}) {
      for (const Storage storage : {Storage::FixedPoint, Storage::Integer, Storage::F16}) {
        for (const int rank : {0, 5}) {
          for (const bool learn : {true, false}) {
            QuantSpec spec = makeSpec(Granularity::Group, group, rank, storage);
            spec.scaleDomain = domain;
            spec.learnScales = learn;
            Setting setting;
            setting.tokens = 40;
            setting.lowRankSize = 1;
            check({{spec, 13}}, setting, ++seed);
          }
        }
      }
    }
  }
}

/// Zero points are learned beside and without A and B, by all three ways to the gradient.
void zeroPoints() {
  uint32_t seed = 101;
  const auto asymmetric = [](Granularity granularity, int64_t group, int rank, Storage storage) {
    QuantSpec spec = makeSpec(granularity, group, rank, storage);
    spec.symmetric = false;
    return spec;
  };
  for (const Storage storage : {Storage::FixedPoint, Storage::Integer, Storage::F32, Storage::BF16, Storage::F16}) {
    for (const int rank : {0, 5}) {
      for (const Granularity granularity : {Granularity::Tensor, Granularity::Channel}) {
        const QuantSpec spec = asymmetric(granularity, 0, rank, storage);
        Setting setting;
        setting.tokens = 60;
        expect(check({{spec, 40}}, setting, ++seed) > 20, "some entries are clipped");
        setting.countOnly = true;
        check({{spec, 150}}, setting, ++seed);
      }
      for (const int64_t group : {int64_t{4}, int64_t{43}, int64_t{172}}) {
        QuantSpec spec = asymmetric(Granularity::Group, group, rank, storage);
        Setting setting;
        setting.tokens = 40;
        check({{spec, 13}}, setting, ++seed);
        spec.learnScales = spec.learnZeroPoints = false;
        check({{spec, 13}}, setting, ++seed);
      }
    }
  }
  Setting setting;
  setting.tokens = 40;
  setting.type = DType::BF16;
  check({{asymmetric(Granularity::Channel, 0, 5, Storage::FixedPoint), 40},
         {asymmetric(Granularity::Group, 43, 5, Storage::FixedPoint), 24},
         {makeSpec(Granularity::Channel, 0, 3), 20}},
        setting, ++seed);
}

void wideRows() {
  // Rows longer than one chunk, groups that straddle its end.
  Setting setting;
  setting.tokens = 20;
  setting.n = 1032;
  check({{makeSpec(Granularity::Channel, 0, 8), 12}, {makeSpec(Granularity::Group, 86, 8), 12}}, setting, 61);
}

void bf16Operands() {
  Setting setting;
  setting.type = DType::BF16;
  check({{makeSpec(Granularity::Channel, 0, 5), 40}, {makeSpec(Granularity::Group, 43, 5), 24}}, setting, 71);
  setting.countOnly = true;
  check({{makeSpec(Granularity::Tensor, 0, 5), 40}}, setting, 72);
  // More ranks, columns and tokens than a block of tiles holds, and none that fills one; more linears than share tiles.
  setting.countOnly = false;
  setting.tokens = 555;
  setting.n = 100;
  const auto spec = [](int rank) { return makeSpec(Granularity::Channel, 0, rank); };
  for (const int threads : {1, 2}) {
    setting.threads = threads;
    check({{spec(40), 70}, {spec(3), 33}, {spec(32), 64}}, setting, 73);
  }
  check({{spec(2), 20}, {spec(3), 33}, {spec(4), 16}, {spec(5), 8}}, setting, 74);
  // So many columns that the tokens are taken in chunks.
  setting.tokens = 300;
  setting.n = 40;
  check({{spec(3), 6200}}, setting, 75);
}

}  // namespace

int main(int argc, char** argv) {
  return run({{"nothing clipped: thin products", nothingClipped},
              {"sparse correction", sparse},
              {"several linears share the input", severalLinearsShareTheInput},
              {"above the capacity: dense tiles", aboveTheCapacity},
              {"group scales: dense tiles", groupScales},
              {"zero points", zeroPoints},
              {"rows longer than a chunk", wideRows},
              {"bf16 operands", bf16Operands}},
             argc, argv);
}
