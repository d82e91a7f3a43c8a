// Quantized activations through the whole engine: dynamic, static and learned ranges.
#include "core/error.h"
#include "test/small_engine.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

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

}  // namespace

int main(int argc, char** argv) {
  return run({{"quantized activations", quantizedActivations},
              {"static ranges", staticRanges},
              {"gradients of learned grids", learnedGridGradients}},
             argc, argv);
}
