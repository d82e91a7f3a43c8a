// What is trained beside the linears: gradients against float64 on random shapes and against differences of the loss,
// the forms that evaluate without training, and state that is written back.
#include "core/error.h"
#include "test/small_engine.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

std::unique_ptr<cpu::CpuBackend> backendOf(int threads) {
  return std::make_unique<cpu::CpuBackend>(
      cpu::CpuOptions{.threads = threads, .computeType = DType::F32, .oneDnnPath = {}});
}

/// Float32 products, double sums: an error of the size of what is summed.
constexpr double kTolerance = 3e-7;

void normWeights() {
  for (const auto& [rows, cols] : {std::array<int64_t, 2>{1, 1}, {3, 17}, {70, 48}, {129, 33}, {5, 172}}) {
    context = std::to_string(rows) + "x" + std::to_string(cols);
    const auto width = static_cast<size_t>(cols);
    auto x = randomNormal(static_cast<size_t>(rows) * width, 1);
    auto dy = randomNormal(x.size(), 2);
    const auto rstd = randomNormal(static_cast<size_t>(rows), 3);
    const auto before = randomNormal(width, 4);
    std::vector<double> expected(before.begin(), before.end());
    std::vector<double> sizes(width, 1);
    for (size_t t = 0; t < static_cast<size_t>(rows); ++t) {
      for (size_t j = 0; j < width; ++j) {
        const size_t at = t * width + j;
        const double term = static_cast<double>(dy[at]) * static_cast<double>(x[at]) * static_cast<double>(rstd[t]);
        expected[j] += term;
        sizes[j] += std::abs(term);
      }
    }
    std::vector<float> first;
    for (const int threads : {1, 2}) {
      std::vector<float> gradient = before;
      backendOf(threads)->rmsNormWeightGradient({dy.data(), DType::F32, rows, cols}, {x.data(), DType::F32, rows, cols},
                                                rstd.data(), gradient.data());
      for (size_t j = 0; j < width; ++j) {
        expectNear(static_cast<double>(gradient[j]), expected[j], kTolerance * sizes[j], "dw of a norm");
      }
      if (threads == 1) first = gradient;
      expect(gradient == first, "the same bits with two threads");
    }
  }
}

void embeddingRows() {
  for (const auto& [rows, cols, vocab] : {std::array<int64_t, 3>{1, 1, 1}, {50, 44, 7}, {130, 33, 300}}) {
    context = std::to_string(rows) + " rows of " + std::to_string(cols) + ", " + std::to_string(vocab) + " ids";
    auto dX = randomNormal(static_cast<size_t>(rows * cols), 1);
    const auto before = randomNormal(static_cast<size_t>(vocab * cols), 2);
    std::vector<int32_t> ids;
    for (int64_t t = 0; t < rows; ++t) ids.push_back(static_cast<int32_t>(t * t * 7 % vocab));
    std::vector<float> expected = before;  // in the order of the rows: the bits of a loop
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t j = 0; j < cols; ++j) {
        expected[static_cast<size_t>(ids[static_cast<size_t>(t)] * cols + j)] += dX[static_cast<size_t>(t * cols + j)];
      }
    }
    for (const int threads : {1, 2}) {
      std::vector<float> gradient = before;
      backendOf(threads)->embedGradient({dX.data(), DType::F32, rows, cols}, ids.data(),
                                        {gradient.data(), DType::F32, vocab, cols});
      expect(gradient == expected, "rows of the table");
    }
  }
}

ModelShape modelOf(bool tied, bool qkNorm) {
  ModelShape m = smallModel();
  m.tiedEmbeddings = tied;
  m.qkNorm = qkNorm;
  m.qkvBias = qkNorm;
  return m;
}

EngineConfig configure(const RandomCheckpoint& checkpoint, const ModelShape& model,
                       const std::optional<QuantSpec>& spec, int64_t length) {
  EngineConfig config = configure(checkpoint, model, spec.value_or(QuantSpec{}));
  if (!spec) config.shape.linears.assign(config.shape.linears.size(), std::nullopt);
  config.shape.floatGroups = {.norms = true, .head = !model.tiedEmbeddings, .embeddings = true};
  config.shape.sequenceLength = length;
  return config;
}

/// With all linears in float a step's gradients are those of the float model, which parameterGradients sums in float64.
void gradientsOfTheFloatModel() {
  for (const bool tied : {false, true}) {
    for (const int64_t length : {int64_t{12}, int64_t{7}}) {
      for (const bool checkpointed : {false, true}) {
        context = std::string(tied ? "tied" : "own head") + ", length " + std::to_string(length) +
                  (checkpointed ? ", block checkpointing" : "");
        const ModelShape model = modelOf(tied, false);
        const RandomCheckpoint checkpoint(model);
        EngineConfig config = configure(checkpoint, model, std::nullopt, length);
        config.shape.checkpointBlocks = checkpointed;
        Engine engine = open(config);
        engine.load({}, {});
        const RandomTokens tokens(2, length, model.vocabSize);
        const auto expected = engine.parameterGradients(tokens.batch());
        const StepResult result = engine.trainStep(tokens.batch(), {});
        double squares = 0;
        expectEqual(engine.parameters().size(), static_cast<size_t>(tied ? 6 : 7), "trained tensors");
        for (const ParameterInfo& p : engine.parameters()) {
          const std::string name = engine.linearName(p.linear) + ".weight";
          const auto gradient = engine.readState(p.linear, p.kind, StateKind::Gradient);
          const std::vector<float>& wanted = expected.at(name);
          expectEqual(gradient.size(), wanted.size(), "size of " + name);
          double largest = 0;
          for (const float value : wanted) largest = std::max(largest, std::abs(static_cast<double>(value)));
          for (size_t i = 0; i < wanted.size(); ++i) {
            squares += static_cast<double>(gradient[i]) * static_cast<double>(gradient[i]);
            expectNear(static_cast<double>(gradient[i]), static_cast<double>(wanted[i]), 2e-6 * largest, name);
          }
        }
        expectNear(result.gradientNorm, std::sqrt(squares), 1e-6 * std::sqrt(squares), "norm over what is trained");
      }
    }
  }
}

/// Central differences of the loss, for what parameterGradients does not know: the norms of heads.
void gradientsOfHeadNorms() {
  const ModelShape model = modelOf(false, true);
  const RandomCheckpoint checkpoint(model);
  const int64_t length = 12;
  Engine engine = open(configure(checkpoint, model, std::nullopt, length));
  engine.load({}, {});
  const RandomTokens tokens(2, length, model.vocabSize);
  engine.trainStep(tokens.batch(), {});
  int checked = 0;
  for (const ParameterInfo& p : engine.parameters()) {
    const std::string& name = engine.linearName(p.linear);
    if (!name.ends_with("norm")) continue;
    context = name;
    const auto gradient = engine.readState(p.linear, p.kind, StateKind::Gradient);
    const auto values = engine.readState(p.linear, p.kind, StateKind::Value);
    double largest = 0;
    for (const float value : gradient) largest = std::max(largest, std::abs(static_cast<double>(value)));
    for (size_t i = 0; i < values.size(); i += 5) {
      // Rounding of the loss (1e-7 of it) over the step against its square: both about 1e-4.
      constexpr float step = 1e-2F;
      const auto lossAt = [&](float value) {
        std::vector<float> moved = values;
        moved[i] = value;
        engine.writeState(p.linear, p.kind, StateKind::Value, moved);
        const EvaluationResult result = engine.evaluate(tokens.batch(), WeightForm::Trained);
        return result.lossSum / static_cast<double>(result.tokens);
      };
      const double slope = (lossAt(values[i] + step) - lossAt(values[i] - step)) / static_cast<double>(2 * step);
      expectNear(static_cast<double>(gradient[i]), slope, 1e-3 + 1e-2 * largest, "slope");
      ++checked;
    }
    engine.writeState(p.linear, p.kind, StateKind::Value, values);
  }
  expect(checked > 20, "slopes were compared");
}

QuantSpec fourBits() {
  QuantSpec spec;
  spec.rank = 4;
  spec.alpha = 4;
  return spec;
}

const OptimizerSettings rates{.lowRankLearningRate = 1e-2,
                              .scaleLearningRate = 1e-4,
                              .normLearningRate = 1e-3,
                              .headLearningRate = 2e-3,
                              .embeddingLearningRate = 3e-3,
                              .gradientClip = 1.0};

/// Each group moves at its own rate; forms without training are those of the checkpoint; state that is put into another
/// engine goes on with the same bits.
void trainingAndResuming(DType type, bool tied) {
  context = std::string(type == DType::BF16 ? "bf16" : "float32") + (tied ? ", tied" : "");
  const ModelShape model = modelOf(tied, !tied);
  const RandomCheckpoint checkpoint(model);
  const int64_t length = 12;
  EngineConfig config = configure(checkpoint, model, fourBits(), length);
  config.shape.computeType = type;
  config.shape.embeddingsOnHost = true;  // a trained table has its own memory all the same
  const RandomTokens tokens(4, length, model.vocabSize);
  Engine whole = open(config);
  whole.load({}, {});
  const auto loss = [&](Engine& engine, WeightForm form) { return engine.evaluate(tokens.batch(), form).lossSum; };
  const double floatLoss = loss(whole, WeightForm::Float);
  const double nearest = loss(whole, WeightForm::RoundToNearest);
  const double before = loss(whole, WeightForm::Trained);
  std::vector<std::vector<float>> start;
  for (const ParameterInfo& p : whole.parameters())
    start.push_back(whole.readState(p.linear, p.kind, StateKind::Value));
  for (int step = 0; step < 2; ++step) expect(!whole.trainStep(tokens.batch(), rates).skipped, "skipped");

  Engine resumed = open(config);
  resumed.load({}, {});
  for (const ParameterInfo& p : whole.parameters()) {
    for (const StateKind state : {StateKind::Value, StateKind::Moment1, StateKind::Moment2}) {
      resumed.writeState(p.linear, p.kind, state, whole.readState(p.linear, p.kind, state));
    }
  }
  resumed.setOptimizerStep(whole.optimizerStep());
  for (Engine* engine : {&whole, &resumed}) {
    for (int step = 0; step < 2; ++step) engine->trainStep(tokens.batch(), rates);
  }
  for (size_t i = 0; i < start.size(); ++i) {
    const ParameterInfo& p = whole.parameters()[i];
    const auto values = whole.readState(p.linear, p.kind, StateKind::Value);
    expect(values == resumed.readState(p.linear, p.kind, StateKind::Value), "resumed: " + whole.linearName(p.linear));
    if (!p.group) continue;
    const double rate = *p.group == FloatGroup::Norms  ? rates.normLearningRate
                        : *p.group == FloatGroup::Head ? rates.headLearningRate
                                                       : rates.embeddingLearningRate;
    double largest = 0;
    for (size_t k = 0; k < values.size(); ++k) {
      largest = std::max(largest, std::abs(static_cast<double>(values[k]) - static_cast<double>(start[i][k])));
    }
    // A step of Adam is at most the learning rate (its first ones; later ones little more).
    expect(largest > 2 * rate && largest < 4.5 * rate, whole.linearName(p.linear) + " moves at its rate");
  }
  expectEqual(loss(whole, WeightForm::Float), floatLoss, "the float model is that of the checkpoint");
  expectEqual(loss(whole, WeightForm::RoundToNearest), nearest, "so is its rounding");
  expect(loss(whole, WeightForm::Trained) < before, "training has lowered the loss");
  expectEqual(loss(whole, WeightForm::Trained), loss(resumed, WeightForm::Trained), "evaluation of both");

  EngineConfig only = config;
  only.shape.training = false;
  Engine evaluating = open(only);
  evaluating.load({}, {});
  for (const ParameterInfo& p : whole.parameters()) {
    evaluating.writeState(p.linear, p.kind, StateKind::Value, whole.readState(p.linear, p.kind, StateKind::Value));
  }
  expectEqual(loss(evaluating, WeightForm::Trained), loss(whole, WeightForm::Trained), "an engine that only evaluates");
}

void badInput() {
  const ModelShape model = modelOf(true, false);
  const RandomCheckpoint checkpoint(model);
  EngineConfig config = configure(checkpoint, model, fourBits(), 8);
  config.shape.floatGroups.head = true;
  expectThrows<Error>([&] { open(config); }, "a head of its own with tied embeddings");
  config.shape.floatGroups = {.norms = true};
  Engine engine = open(config);
  expectThrows<Error>([&] { engine.parameterIndex("model.embed_tokens"); }, "a tensor that is not trained");
  const size_t norm = engine.parameterIndex("model.norm");
  expectThrows<Error>([&] { engine.readState(norm, ParameterKind::A, StateKind::Value); }, "A of a norm");
  expectThrows<Error>([&] { engine.merge(engine.linearIndex("model.norm")); }, "a norm is no linear");
}

}  // namespace

int main(int argc, char** argv) {
  return run({{"weights of norms", normWeights},
              {"rows of the embedding table", embeddingRows},
              {"gradients of the float model", gradientsOfTheFloatModel},
              {"gradients of the norms of heads", gradientsOfHeadNorms},
              {"training and resuming",
               [] {
                 for (const DType type : {DType::F32, DType::BF16}) {
                   for (const bool tied : {false, true}) trainingAndResuming(type, tied);
                 }
               }},
              {"bad input", badInput}},
             argc, argv);
}
