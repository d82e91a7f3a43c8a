// The engine as a whole on a small random decoder, mostly for the sanitizers: every storage, scale granularity, compute
// type and checkpointing, with partial batches, merging, state, cancellation and bad input. What the numbers must be is
// tested from TypeScript (test/engine, test/goldens).
#include "core/engine.h"

#include <thread>

#include "core/error.h"
#include "core/sha256.h"
#include "cpu/cpu_backend.h"
#include "test/small_model.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

constexpr int64_t kLength = 12;

ModelShape smallModel() {
  ModelShape m;
  m.hiddenSize = 24;
  m.intermediateSize = 40;
  m.layers = 2;
  m.heads = 4;
  m.kvHeads = 2;
  m.headDim = 6;
  m.vocabSize = 37;
  return m;
}

EngineConfig configure(const RandomCheckpoint& checkpoint, const ModelShape& model, const QuantSpec& spec) {
  EngineConfig config;
  config.shape.model = model;
  config.shape.linears.assign(static_cast<size_t>(model.layers * linearsPerLayer), spec);
  config.shape.threads = 2;
  config.shape.microBatch = 2;
  config.shape.sequenceLength = kLength;
  config.tensors = checkpoint.tensors;
  config.seed = 3;
  return config;
}

/// oneDNN compiles each product it has not met, which takes longer than the small models here: `library` only where
/// asked.
Engine open(const EngineConfig& config, bool library = false) {
  cpu::CpuOptions options;
  options.threads = config.shape.threads;
  options.computeType = config.shape.computeType;
  if (const char* path = std::getenv("LRQAT_TEST_ONEDNN"); path && library) options.oneDnnPath = path;
  return {config, std::make_unique<cpu::CpuBackend>(options)};
}

RandomTokens tokensOf(int64_t sequences, const ModelShape& model) {
  return RandomTokens(sequences, kLength, model.vocabSize);
}

const OptimizerSettings optimizer{.lowRankLearningRate = 1e-2, .scaleLearningRate = 1e-4, .gradientClip = 1.0};

void trainEvaluateMerge(const EngineConfig& config) {
  Engine engine = open(config);
  engine.load({}, {});
  const RandomTokens four = tokensOf(4, config.shape.model);
  const RandomTokens three = tokensOf(3, config.shape.model);
  const double before = engine.evaluate(four.batch(), WeightForm::Trained).lossSum;
  // Integer storage moves only once |C| passes one half: larger steps, and more of them.
  const bool integers = config.shape.linears[0]->storage == Storage::Integer;
  OptimizerSettings settings = optimizer;
  if (integers) settings.lowRankLearningRate *= 4;
  for (int step = 0; step < (integers ? 12 : 6); ++step)
    expect(!engine.trainStep(four.batch(), settings).skipped, "a step was skipped");
  expect(engine.evaluate(four.batch(), WeightForm::Trained).lossSum < before, "training did not lower the loss");
  for (const WeightForm form : {WeightForm::Float, WeightForm::RoundToNearest, WeightForm::Trained}) {
    const double loss = engine.evaluate(three.batch(), form).lossSum;
    expect(std::isfinite(loss) && loss > 0, "an evaluation is not finite");
  }
  expectEqual(engine.layerStatistics().size(), static_cast<size_t>(config.shape.model.layers * linearsPerLayer),
              "statistics of all linears");
  for (size_t i = 0; i < static_cast<size_t>(config.shape.model.layers * linearsPerLayer); ++i) {
    expectEqual(engine.merge(i).size(), engine.merge(i).size(), "merged bytes");
    expect(!engine.phi0(i).empty(), "no Φ0");
  }
}

/// Each storage with each kind of scale, twice: the second time with the other compute type and the other use of block
/// checkpointing, so that each storage and each kind of scale meets both, and both meet each other.
void everyStorage() {
  int walk = 0;
  for (const Storage storage : {Storage::F32, Storage::BF16, Storage::F16, Storage::FixedPoint, Storage::Integer}) {
    for (const int64_t group : {int64_t{0}, int64_t{-1}, int64_t{4}}) {
      ++walk;
      for (const DType type : {DType::F32, DType::BF16}) {
        const bool checkpoint = (type == DType::BF16) == (walk % 2 == 0);
        const ModelShape model = smallModel();
        const RandomCheckpoint weights(model);
        QuantSpec spec;
        spec.bits = 3;
        spec.fractionBits = 5;
        spec.storage = storage;
        spec.granularity = group == 0 ? Granularity::Tensor : group < 0 ? Granularity::Channel : Granularity::Group;
        spec.groupSize = group > 0 ? group : 0;
        spec.rank = 4;
        spec.alpha = 4;
        // Log scales where they exist, so that both domains are walked through.
        spec.scaleDomain = checkpoint ? ScaleDomain::Log : ScaleDomain::Linear;
        EngineConfig config = configure(weights, model, spec);
        config.shape.computeType = type;
        config.shape.checkpointBlocks = checkpoint;
        // Two threads in half of the walks: at these sizes waking the second one costs more than all the arithmetic.
        config.shape.threads = checkpoint ? 2 : 1;
        context = "storage " + std::to_string(static_cast<int>(storage)) + ", group " + std::to_string(group) +
                  (type == DType::BF16 ? ", bf16" : ", float32") + (checkpoint ? ", block checkpointing" : "");
        trainEvaluateMerge(config);
      }
    }
  }
}

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

std::vector<float> gradientsOf(const EngineConfig& config, const TokenBatch& batch) {
  Engine engine = open(config);
  engine.load({}, {});
  // A starts at zero, and so would B's gradient.
  for (const ParameterInfo& p : engine.parameters()) {
    if (p.kind != ParameterKind::A) continue;
    engine.writeState(p.linear, p.kind, StateKind::Value,
                      randomNormal(static_cast<size_t>(p.count()), static_cast<uint32_t>(p.linear), 0.3F));
  }
  expect(!engine.trainStep(batch, optimizer).skipped, "a step was skipped");
  std::vector<float> all;
  for (const ParameterInfo& p : engine.parameters()) {
    const auto values = engine.readState(p.linear, p.kind, StateKind::Gradient);
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

/// Quantized activations: every place counts, what is made again in the backward has the same bits, and neither the
/// float model nor linears looked at alone know of them. (What the numbers must be is tested against the goldens.)
void quantizedActivations() {
  for (const bool features : {false, true}) {
    ModelShape model = smallModel();
    model.layers = 3;
    model.qkNorm = model.qkvBias = features;
    const RandomCheckpoint weights(model);
    const RandomTokens tokens = tokensOf(2, model);
    QuantSpec spec;
    spec.rank = 4;
    spec.alpha = 4;
    for (const DType type : {DType::F32, DType::BF16}) {
      context = type == DType::BF16 ? "bf16" : "float32";
      EngineConfig config = configure(weights, model, spec);
      config.shape.computeType = type;
      config.shape.threads = 1;
      Engine plain = open(config);
      plain.load({}, {});
      const double unquantized = plain.evaluate(tokens.batch(), WeightForm::Trained).lossSum;
      const double floating = plain.evaluate(tokens.batch(), WeightForm::Float).lossSum;
      const std::vector<std::string> one{plain.linearName(3)};
      const double alone = plain.evaluate(tokens.batch(), WeightForm::RoundToNearest, one).lossSum;
      const std::vector<float> without = gradientsOf(config, tokens.batch());
      for (size_t site = 0; site < activationSiteCount; ++site) {
        config.shape.activations = {};
        config.shape.activations.bits[site] = 3;
        Engine engine = open(config);
        engine.load({}, {});
        expect(engine.evaluate(tokens.batch(), WeightForm::Trained).lossSum != unquantized, "a site without effect");
        expect(engine.evaluate(tokens.batch(), WeightForm::RoundToNearest).lossSum != unquantized,
               "round-to-nearest without activations");
        expectEqual(engine.evaluate(tokens.batch(), WeightForm::Float).lossSum, floating, "the float model");
        expectEqual(engine.evaluate(tokens.batch(), WeightForm::RoundToNearest, one).lossSum, alone,
                    "one linear alone");
        expect(gradientsOf(config, tokens.batch()) != without, "a site without effect on gradients");
      }
      config.shape.activations.bits.fill(4);
      config.shape.activations.bits[static_cast<size_t>(ActivationSite::Keys)] = 3;
      for (const bool fractional : {false, true}) {
        config.shape.activations.fractionalZeroPoint = fractional;
        config.shape.checkpointBlocks = config.shape.recomputeElementwise = false;
        config.shape.threads = 1;
        const std::vector<float> kept = gradientsOf(config, tokens.batch());
        config.shape.recomputeElementwise = true;
        expect(gradientsOf(config, tokens.batch()) == kept, "element-wise operations made again: other bits");
        config.shape.checkpointBlocks = true;
        expect(gradientsOf(config, tokens.batch()) == kept, "blocks and operations made again: other bits");
        config.shape.recomputeElementwise = false;
        expect(gradientsOf(config, tokens.batch()) == kept, "blocks made again: other bits");
        config.shape.keptBlocks = 2;
        expect(gradientsOf(config, tokens.batch()) == kept, "one of three blocks made again: other bits");
        config.shape.keptBlocks = 1;
      }
      trainEvaluateMerge(config);
    }
  }
}

EngineConfig withStaticRanges(EngineConfig config, bool symmetric, bool learn) {
  config.shape.activations.bits.fill(5);
  config.shape.activations.staticRanges = true;
  config.shape.activations.symmetric = symmetric;
  config.shape.activations.learnRanges = learn;
  return config;
}

/// Ranges of one calibration: the same for every way to lay out the engine, needed before anything but the float model,
/// and the same grids when they are set instead.
void staticRanges() {
  ModelShape model = smallModel();
  model.qkNorm = true;
  const RandomCheckpoint weights(model);
  const RandomTokens tokens = tokensOf(4, model);
  QuantSpec spec;
  spec.rank = 4;
  spec.alpha = 4;
  for (const bool symmetric : {false, true}) {
    for (const bool learn : {false, true}) {
      context = std::string(symmetric ? "symmetric" : "asymmetric") + (learn ? ", learned" : "");
      EngineConfig config = withStaticRanges(configure(weights, model, spec), symmetric, learn);
      Engine engine = open(config);
      engine.load({}, {});
      engine.evaluate(tokens.batch(), WeightForm::Float);
      expectThrows<Error>([&] { engine.evaluate(tokens.batch(), WeightForm::Trained); }, "no ranges yet");
      engine.calibrateActivations(tokens.batch());
      const std::vector<float> ranges = engine.activationRanges();
      expectEqual(ranges.size(), size_t{2 * 8 * 2}, "layers · sites · 2");
      for (size_t i = 0; i < ranges.size(); i += 2) expect(ranges[i] < ranges[i + 1], "a range");
      const double trained = engine.evaluate(tokens.batch(), WeightForm::Trained).lossSum;
      const double rounded = engine.evaluate(tokens.batch(), WeightForm::RoundToNearest).lossSum;
      expectThrows<Error>([&] { engine.setActivationRanges(std::span(ranges).subspan(1)); }, "too few");
      std::vector<float> turned = ranges;
      std::swap(turned[0], turned[1]);
      expectThrows<Error>([&] { engine.setActivationRanges(turned); }, "no range");

      std::vector<std::vector<float>> parameters;
      for (const int variant : {0, 1, 2, 3}) {
        EngineConfig other = config;
        other.shape.microBatch = variant == 1 ? 1 : 2;
        other.shape.checkpointBlocks = variant == 2;
        other.shape.recomputeElementwise = variant == 3;
        other.shape.threads = variant == 1 ? 2 : 1;
        Engine second = open(other);
        second.load({}, {});
        if (variant == 0) {
          second.setActivationRanges(ranges);
        } else {
          second.calibrateActivations(tokens.batch());
        }
        expect(second.activationRanges() == ranges, "other ranges, variant " + std::to_string(variant));
        expectEqual(second.evaluate(tokens.batch(), WeightForm::Trained).lossSum, trained, "other grids");
        OptimizerSettings settings = optimizer;
        settings.activationLearningRate = 1e-2;
        for (int step = 0; step < 2; ++step) {
          expect(!second.trainStep(tokens.batch(), settings).skipped, "a step was skipped");
        }
        expectEqual(second.evaluate(tokens.batch(), WeightForm::RoundToNearest).lossSum, rounded,
                    "round-to-nearest has the ranges of the calibration");
        std::vector<float> all;
        for (const ParameterInfo& p : second.parameters()) {
          const auto values = second.readState(p.linear, p.kind, StateKind::Value);
          all.insert(all.end(), values.begin(), values.end());
        }
        // Another size of micro-batches adds in another order.
        if (variant != 1) parameters.push_back(std::move(all));
        std::map<std::string, MergedSource> none;
        second.attachMerged(none);
      }
      for (const auto& values : parameters) expect(values == parameters.front(), "made again: other bits");
    }
  }
}

/// Where every number of a tensor is clipped its value is proportional to the scale, and the gradient of a learned grid
/// is the derivative of the loss: by differences, site by site.
void learnedGridGradients() {
  ModelShape model = smallModel();
  model.qkNorm = true;
  const RandomCheckpoint weights(model);
  const RandomTokens tokens = tokensOf(2, model);
  QuantSpec spec;
  spec.rank = 0;
  spec.learnScales = false;
  for (size_t site = 0; site < activationSiteCount; ++site) {
    for (const bool recompute : {false, true}) {
      EngineConfig config = configure(weights, model, spec);
      config.shape.recomputeElementwise = recompute;
      config.shape.activations.bits[site] = 3;
      config.shape.activations.staticRanges = config.shape.activations.learnRanges = true;
      Engine engine = open(config);
      engine.load({}, {});
      engine.calibrateActivations(tokens.batch());
      const size_t owner = engine.parameterIndex("activations");
      const auto lossAt = [&](float scale0, float scale1, float zero1) {
        engine.writeState(owner, ParameterKind::Scale, StateKind::Value, std::vector<float>{scale0, scale1});
        engine.writeState(owner, ParameterKind::ZeroPoint, StateKind::Value, std::vector<float>{2, zero1});
        return engine.trainStep(tokens.batch(), {}).loss;
      };
      const float small = 1e-4F;
      lossAt(small, small, 3);
      const std::vector<float> scales = engine.readState(owner, ParameterKind::Scale, StateKind::Gradient);
      const std::vector<float> zeros = engine.readState(owner, ParameterKind::ZeroPoint, StateKind::Gradient);
      const auto step = static_cast<double>(small);
      const double byScale0 = (lossAt(2 * small, small, 3) - lossAt(0.5F * small, small, 3)) / (1.5 * step);
      const double byScale1 = (lossAt(small, 2 * small, 3) - lossAt(small, 0.5F * small, 3)) / (1.5 * step);
      const double byZero1 = (lossAt(small, small, 4) - lossAt(small, small, 2)) / 2;
      context = "site " + std::to_string(site) + (recompute ? ", made again" : "");
      // A few numbers near zero are inside the grid, and all that follows bends a little between the two places.
      const double size = std::max(std::abs(byScale0), std::abs(byScale1));
      expectNear(static_cast<double>(scales[0]), byScale0, 0.08 * size + 1e-3, "scale, first block");
      expectNear(static_cast<double>(scales[1]), byScale1, 0.08 * size + 1e-3, "scale, second block");
      expectNear(static_cast<double>(zeros[1]), byZero1, 0.05 * std::abs(byZero1) + 2e-8, "zero point");
    }
  }
}

void everyFeature() {
  ModelShape model = smallModel();
  model.qkvBias = model.outputBias = model.mlpBias = model.qkNorm = model.tiedEmbeddings = true;
  model.slidingWindow = 4;
  const RandomCheckpoint weights(model);
  QuantSpec spec;
  spec.rank = 4;
  EngineConfig config = configure(weights, model, spec);
  config.shape.linears[3] = std::nullopt;  // one linear stays in float
  Engine engine = open(config, true);
  engine.load({}, {});
  const RandomTokens tokens = tokensOf(2, model);
  expect(!engine.trainStep(tokens.batch(), optimizer).skipped, "a step was skipped");
  expect(!engine.parameterGradients(tokens.batch()).empty(), "no dense gradients");
  expectEqual(engine.logits(tokens.batch(), WeightForm::Float).size(),
              static_cast<size_t>(2 * kLength * model.vocabSize), "logits");
  expectThrows<Error>([&] { engine.linearIndex("model.layers.0.self_attn.o_proj"); }, "a float linear has no state");
}

void cancelledFromAnotherThread() {
  const ModelShape model = smallModel();
  const RandomCheckpoint weights(model);
  QuantSpec spec;
  spec.rank = 4;
  const EngineConfig config = configure(weights, model, spec);
  Engine engine = open(config);
  engine.load({}, {});
  const RandomTokens many = tokensOf(2000, model);
  std::thread canceller([&] { engine.cancel(); });
  expectThrows<Error>(
      [&] {
        for (int step = 0; step < 1000; ++step) engine.trainStep(many.batch(), optimizer);
      },
      "cancelling");
  canceller.join();
  engine.clearCancel();
  const RandomTokens two = tokensOf(2, model);
  expect(!engine.trainStep(two.batch(), optimizer).skipped, "the engine goes on after a cancelled step");
}

void badInput() {
  const ModelShape model = smallModel();
  const RandomCheckpoint weights(model);
  QuantSpec spec;
  const EngineConfig good = configure(weights, model, spec);
  const auto refused = [&](const char* what, auto change) {
    EngineConfig config = good;
    change(config);
    expectThrows<Error>([&] { open(config); }, what);
  };
  refused("a tensor beyond the end of its file", [](EngineConfig& c) { c.tensors[0].offset = int64_t{1} << 40; });
  refused("an offset that overflows", [](EngineConfig& c) { c.tensors[0].offset = INT64_MAX; });
  refused("a size that is not the shape's", [](EngineConfig& c) { c.tensors[0].bytes -= 4; });
  refused("a shape that overflows", [](EngineConfig& c) { c.tensors[0].shape = {int64_t{1} << 40, int64_t{1} << 40}; });
  refused("a negative shape", [](EngineConfig& c) {
    for (int64_t& extent : c.tensors[0].shape) extent = -extent;
  });
  refused("another shape", [](EngineConfig& c) {
    c.tensors[0].shape = {c.tensors[0].shape[1], c.tensors[0].shape[0]};
  });
  refused("a missing tensor", [](EngineConfig& c) { c.tensors.pop_back(); });
  refused("a missing file", [](EngineConfig& c) { c.tensors[0].file += ".gone"; });
  refused("a wrong plan", [](EngineConfig& c) { c.plan = MemoryParts{}; });

  Engine engine = open(good);
  const RandomTokens tokens = tokensOf(2, model);
  expectThrows<Error>([&] { engine.evaluate(tokens.batch(), WeightForm::Float); }, "evaluation before load");
  engine.load({}, {});
  RandomTokens outside = tokensOf(2, model);
  outside.tokens[3] = static_cast<int32_t>(model.vocabSize);
  expectThrows<Error>([&] { engine.evaluate(outside.batch(), WeightForm::Float); }, "a token outside the vocabulary");
  expectThrows<Error>(
      [&] {
        engine.attachMerged({{engine.linearName(0), {weights.tensors[0].file, -1, 0}}});
      },
      "merged integers before the file");
}

void digests() {
  // FIPS 180-4 examples.
  Sha256 empty;
  expect(empty.finish() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "digest of nothing");
  Sha256 pieces;
  const std::string text = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
  for (const char c : text) pieces.update(&c, 1);
  expect(pieces.finish() == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1", "digest in pieces");
}

}  // namespace

int main(int argc, char** argv) {
  return run({{"SHA-256 of the standard's examples", digests},
              {"training, evaluation and merging for every storage", everyStorage},
              {"asymmetric weights: training, merging, resuming", asymmetricWeights},
              {"scales are held once, or on the host", scalesHeldOnce},
              {"quantized activations", quantizedActivations},
              {"static ranges", staticRanges},
              {"gradients of learned grids", learnedGridGradients},
              {"biases, norms, windows and float linears", everyFeature},
              {"cancellation from another thread", cancelledFromAnotherThread},
              {"bad input is refused", badInput}},
             argc, argv);
}
