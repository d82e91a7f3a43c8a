// Scales and zero points through the whole engine: trained, kept, merged and resumed.
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "test/small_engine.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

/// A file with the merged integers, scales and zero points of a linear, as a run leaves them.
class MergedFile {
 public:
  MergedFile(Engine& engine, size_t linear)
      : path_(std::filesystem::temp_directory_path() / ("lrqat-merged-" + std::to_string(::getpid()))) {
    const auto codes = engine.merge(linear);
    const auto scales = engine.scales(linear);
    const auto zeroPoints = engine.zeroPoints(linear);
    source_ = {.file = path_.string(),
               .codesOffset = 3,
               .scalesOffset = 3 + static_cast<int64_t>(codes.size()),
               .zeroPointsOffset = 3 + static_cast<int64_t>(codes.size() + scales.size() * 4)};
    std::ofstream out(path_, std::ios::binary);
    out.write("abc", 3);
    out.write(reinterpret_cast<const char*>(codes.data()), static_cast<std::streamsize>(codes.size()));
    out.write(reinterpret_cast<const char*>(scales.data()), static_cast<std::streamsize>(scales.size() * 4));
    out.write(reinterpret_cast<const char*>(zeroPoints.data()), static_cast<std::streamsize>(zeroPoints.size()));
  }
  ~MergedFile() { std::filesystem::remove(path_); }
  MergedFile(const MergedFile&) = delete;
  MergedFile& operator=(const MergedFile&) = delete;
  const MergedSource& source() const { return source_; }

 private:
  std::filesystem::path path_;
  MergedSource source_;
};

/// One linear has zero points that training moves; merging loses nothing, and a resumed engine goes on with the same
/// bits.
void asymmetricWeights() {
  const ModelShape model = smallModel();
  const RandomCheckpoint weights(model);
  for (const int64_t group : {int64_t{0}, int64_t{-1}, int64_t{4}}) {
    for (const Storage storage : {Storage::FixedPoint, Storage::Integer, Storage::F16}) {
      // Each kind of scale with two of the storages, each storage with two of the scales.
      const Storage leftOut = group == 0 ? Storage::Integer : group < 0 ? Storage::F16 : Storage::FixedPoint;
      if (storage == leftOut) continue;
      QuantSpec spec;
      spec.bits = 2;
      spec.fractionBits = 6;
      spec.storage = storage;
      spec.symmetric = false;
      spec.granularity = group == 0 ? Granularity::Tensor : group < 0 ? Granularity::Channel : Granularity::Group;
      spec.groupSize = group > 0 ? group : 0;
      spec.range = RangeMethod::Lp24;
      spec.rank = 4;
      spec.alpha = 4;
      EngineConfig config = configure(weights, model, spec);
      config.shape.checkpointBlocks = group == 0;
      config.shape.threads = 1;
      context = "asymmetric, storage " + std::to_string(static_cast<int>(storage)) + ", group " + std::to_string(group);
      trainEvaluateMerge(config);

      config.shape.linears.assign(config.shape.linears.size(), std::nullopt);
      constexpr size_t linear = 4;
      config.shape.linears[linear] = spec;
      OptimizerSettings settings = optimizer;
      settings.zeroPointLearningRate = 0.6;
      // Φ0 of fixed point and integers starts inside the grid: only what A·B pushes out of it moves a zero point.
      settings.lowRankLearningRate = 0.2;
      const RandomTokens four = tokensOf(4, model);
      Engine engine = open(config);
      engine.load({}, {});
      const auto before = engine.zeroPoints(linear);
      bool moved = false;
      for (int step = 0; step < 6; ++step) {
        engine.trainStep(four.batch(), settings);
        const bool apart = engine.zeroPoints(linear) != before;
        expectEqual(engine.layerStatistics().front().statistics.zeroPointDrift > 0, apart, "drift");
        moved = moved || apart;
      }
      expect(moved, "zero points move");
      const MergedFile merged(engine, linear);
      engine.attachMerged({{engine.linearName(linear), merged.source()}});
      expectEqual(engine.evaluate(four.batch(), WeightForm::Merged).lossSum,
                  engine.evaluate(four.batch(), WeightForm::Trained).lossSum, "merged loss");

      Engine again = open(config);
      const auto stored = engine.initialScales(linear);
      expectThrows<Error>([&] { again.load({{{again.linearName(linear), stored}}, {}}, {}); }, "no zero points");
      again.load({{{again.linearName(linear), stored}}, {{again.linearName(linear), engine.initialZeroPoints(linear)}}},
                 {});
      expect(again.baseDigest() == engine.baseDigest(), "the same base");
      for (const ParameterInfo& p : engine.parameters()) {
        for (const StateKind kind : {StateKind::Value, StateKind::Moment1, StateKind::Moment2}) {
          again.writeState(p.linear, p.kind, kind, engine.readState(p.linear, p.kind, kind));
        }
      }
      again.setOptimizerStep(engine.optimizerStep());
      engine.trainStep(four.batch(), settings);
      again.trainStep(four.batch(), settings);
      for (const ParameterInfo& p : engine.parameters()) {
        expect(
            engine.readState(p.linear, p.kind, StateKind::Value) == again.readState(p.linear, p.kind, StateKind::Value),
            "the same bits after a resume");
      }
    }
  }
}

/// Trained A and B after three steps without gradient clipping, whose norm counts the gradients of scales too.
std::vector<std::vector<float>> trainedLowRank(Engine& engine, const RandomTokens& tokens) {
  OptimizerSettings settings = optimizer;
  settings.scaleLearningRate = 0;
  settings.gradientClip.reset();
  for (int step = 0; step < 3; ++step) engine.trainStep(tokens.batch(), settings);
  std::vector<std::vector<float>> values;
  for (const ParameterInfo& p : engine.parameters()) {
    if (p.kind == ParameterKind::A || p.kind == ParameterKind::B) {
      values.push_back(engine.readState(p.linear, p.kind, StateKind::Value));
    }
  }
  return values;
}

/// Scales that are not learned are held once; where moments lie on the host, scales that no step reads do too. Neither
/// changes a bit.
void scalesHeldOnce() {
  const ModelShape model = smallModel();
  const RandomCheckpoint weights(model);
  const RandomTokens four = tokensOf(4, model);
  for (const int64_t group : {int64_t{0}, int64_t{-1}, int64_t{4}}) {
    QuantSpec spec;
    spec.rank = 4;
    spec.alpha = 4;
    spec.granularity = group == 0 ? Granularity::Tensor : group < 0 ? Granularity::Channel : Granularity::Group;
    spec.groupSize = group > 0 ? group : 0;
    spec.scaleFormat = group < 0 ? ScaleFormat::BF16 : ScaleFormat::F32;
    context = "kept scales, group " + std::to_string(group);
    const EngineConfig learned = configure(weights, model, spec);
    EngineConfig onHost = learned;
    onHost.shape.optimizerOnHost = true;
    EngineConfig kept = learned;
    for (auto& linear : kept.shape.linears) linear->learnScales = false;

    Engine engine = open(learned);
    engine.load({}, {});
    Engine host = open(onHost);
    host.load({}, {});
    Engine once = open(kept);
    once.load({}, {});
    const auto expected = trainedLowRank(engine, four);
    expect(trainedLowRank(host, four) == expected, "the same bits with moments and first scales on the host");
    expect(trainedLowRank(once, four) == expected, "the same bits as with a learning rate of 0");
    constexpr size_t linear = 4;
    expect(host.initialScales(linear) == engine.initialScales(linear), "first scales on the host");
    expect(once.scales(linear) == once.initialScales(linear), "the scales of the range search");
    const MemoryParts& parts = engine.memory();
    const int64_t scales = parts.quantizedWeights - host.memory().quantizedWeights;
    expect(scales > 0 && host.memory().optimizer == 0, "moments and scales are not on the device");
    expectEqual(host.memory().host, parts.optimizer + scales, "bytes on the host");
    expectEqual(once.memory().parameters, parts.parameters - 2 * scales, "bytes of scales that are kept");

    EngineConfig one = kept;
    one.shape.linears.assign(one.shape.linears.size(), std::nullopt);
    one.shape.linears[linear] = kept.shape.linears[linear];
    Engine single = open(one);
    single.load({}, {});
    trainedLowRank(single, four);
    const double trained = single.evaluate(four.batch(), WeightForm::Trained).lossSum;
    const MergedFile merged(single, linear);
    single.attachMerged({{single.linearName(linear), merged.source()}});
    expectEqual(single.evaluate(four.batch(), WeightForm::Merged).lossSum, trained, "merged loss");
    expect(single.evaluate(four.batch(), WeightForm::RoundToNearest).lossSum != trained, "round-to-nearest");
    expectEqual(single.evaluate(four.batch(), WeightForm::Trained).lossSum, trained, "loss after other forms");
    MergedSource foreign = merged.source();
    foreign.scalesOffset = 0;
    expectThrows<Error>(
        [&] {
          single.attachMerged({{single.linearName(linear), foreign}});
        },
        "scales of other weights");
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run({{"asymmetric weights: training, merging, resuming", asymmetricWeights},
              {"scales are held once, or on the host", scalesHeldOnce}},
             argc, argv);
}
