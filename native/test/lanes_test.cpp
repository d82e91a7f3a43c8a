// Lanes: the same bits on every number of threads, and the gradients and losses of training without lanes up to the
// order of sums.
#include "core/lanes.h"

#include "core/error.h"
#include "test/small_engine.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

constexpr int64_t kSequences = 8;
constexpr int64_t kClasses = 5;

EngineConfig configure(const RandomCheckpoint& checkpoint, int64_t lanes, int threads) {
  QuantSpec spec;
  spec.bits = 3;
  spec.fractionBits = 5;
  spec.rank = 4;
  spec.alpha = 4;
  EngineConfig config = configure(checkpoint, smallModel(), spec);
  config.shape.microBatch = 4;
  config.shape.keepWeights = true;
  config.shape.lanes = lanes;
  config.shape.threads = threads;
  return config;
}

const OptimizerSettings optimizer{.lowRankLearningRate = 1e-2,
                                  .scaleLearningRate = 1e-3,
                                  .zeroPointLearningRate = 1e-2,
                                  .normLearningRate = 1e-3,
                                  .embeddingLearningRate = 1e-3,
                                  .gradientClip = 1.0};

struct Trained {
  std::vector<double> losses;
  std::vector<double> norms;
  std::vector<std::vector<float>> gradients;  // of the first step
  std::vector<std::vector<float>> values;     // after the last
};

/// Two micro-batches a step, three steps; sequences shorter than planned, with two documents each.
Trained train(const EngineConfig& config) {
  Engine engine = open(config);
  engine.load({}, {});
  const RandomTokens tokens(kSequences, kLength - 1, config.shape.model.vocabSize, true);
  TokenBatch batch = tokens.batch();
  TeacherKnowledge teacher;
  if (config.shape.distillation.classes > 0) {
    teacher = engine.teach(batch);
    batch.teacherClasses = teacher.classes;
    batch.teacherLogProbabilities = teacher.logProbabilities;
  }
  Trained out;
  for (int step = 0; step < 3; ++step) {
    const StepResult result = engine.trainStep(batch, optimizer);
    expect(!result.skipped, "a step was skipped");
    out.losses.push_back(result.loss);
    out.norms.push_back(result.gradientNorm);
    const auto all = [&](StateKind which) {
      std::vector<std::vector<float>> values;
      for (const ParameterInfo& p : engine.parameters()) values.push_back(engine.readState(p.linear, p.kind, which));
      return values;
    };
    if (step == 0) out.gradients = all(StateKind::Gradient);
    if (step == 2) out.values = all(StateKind::Value);
    // Whole micro-batches in between, as evaluations are.
    out.losses.push_back(engine.evaluate(tokens.batch(), WeightForm::Trained).lossSum);
  }
  return out;
}

void expectSameBits(const Trained& actual, const Trained& expected) {
  expect(actual.losses == expected.losses, "losses differ");
  expect(actual.norms == expected.norms, "norms of gradients differ");
  expect(actual.values == expected.values, "trained numbers differ");
}

using Change = std::function<void(EngineShape&)>;

void forEachLinear(EngineShape& shape, const std::function<void(QuantSpec&)>& change) {
  for (auto& spec : shape.linears) change(*spec);
}

const std::vector<std::pair<const char*, Change>>& changes() {
  static const std::vector<std::pair<const char*, Change>> list{
      {"scales of channels", [](EngineShape&) {}},
      {"one scale, learned zero point, block checkpointing",
       [](EngineShape& shape) {
         shape.checkpointBlocks = true;
         forEachLinear(shape, [](QuantSpec& spec) {
           spec.granularity = Granularity::Tensor;
           spec.symmetric = false;
           spec.learnZeroPoints = true;
         });
       }},
      {"groups, with a teacher",
       [](EngineShape& shape) {
         shape.distillation = {.classes = kClasses, .weight = 0.5F, .temperature = 1.5F};
         forEachLinear(shape, [](QuantSpec& spec) {
           spec.granularity = Granularity::Group;
           spec.groupSize = 4;
         });
       }},
      {"norms and embeddings, activations on grids, a float linear",
       [](EngineShape& shape) {
         shape.floatGroups = {.norms = true, .head = false, .embeddings = true};
         shape.activations.bits[static_cast<size_t>(ActivationSite::MlpProduct)] = 8;
         shape.activations.bits[static_cast<size_t>(ActivationSite::AttentionOutput)] = 8;
         shape.linears[3].reset();
       }},
  };
  return list;
}

void sameBitsOnAllThreads() {
  const RandomCheckpoint checkpoint(smallModel());
  for (const auto& [name, change] : changes()) {
    for (const DType type : {DType::F32, DType::BF16}) {
      const auto run = [&, &changeShape = change](int64_t lanes, int threads) {
        EngineConfig config = configure(checkpoint, lanes, threads);
        config.shape.computeType = type;
        changeShape(config.shape);
        return train(config);
      };
      context = std::string(name) + (type == DType::BF16 ? ", bf16" : ", float32");
      const Trained four = run(4, 1);
      expectSameBits(run(4, 2), four);
      expectSameBits(run(4, 3), four);
      expectSameBits(run(4, 4), four);
      const Trained whole = run(1, 2);
      expect(whole.gradients != four.gradients || type == DType::BF16, "the order of sums is the same");
      // Sums of a few hundred terms in another order: float32 differs in the last bits, and in bf16 the terms are the
      // same. With scales of groups, though, sums over the tokens of a (part of a) micro-batch are rounded to bf16
      // before they meet the factors.
      const bool roundsSums = type == DType::BF16 && std::string_view(name).starts_with("groups");
      for (size_t i = 0; i < whole.gradients.size(); ++i) {
        expectNear(relativeError(four.gradients[i], whole.gradients[i]), 0, roundsSums ? 1e-2 : 2e-5,
                   "gradients differ");
      }
      expectNear(four.losses.front(), whole.losses.front(), 1e-6, "loss of the first step");
    }
  }
  context.clear();
}

void refusals() {
  const RandomCheckpoint checkpoint(smallModel());
  const auto refused = [&](const Change& change) {
    EngineConfig config = configure(checkpoint, 2, 2);
    change(config.shape);
    return expectThrows<Error>([&] { (void)train(config); }, "lanes");
  };
  expect(refused([](EngineShape& shape) { shape.lanes = 3; }).find("3 lanes") != std::string::npos, "not divided");
  expect(refused([](EngineShape& shape) { shape.keepWeights = false; }).find("rebuilt weights") != std::string::npos,
         "weights that are not kept");
}

void cancelled() {
  const RandomCheckpoint checkpoint(smallModel());
  const EngineConfig config = configure(checkpoint, 4, 2);
  cpu::CpuOptions options;
  options.threads = config.shape.threads;
  Engine engine(config, std::make_unique<cpu::CpuBackend>(options));
  engine.load({}, {});
  const RandomTokens tokens(kSequences, kLength, config.shape.model.vocabSize);
  engine.cancel();
  expectThrows<Error>([&] { (void)engine.trainStep(tokens.batch(), optimizer); }, "a cancelled step in lanes");
}

}  // namespace

int main(int argc, char** argv) {
  return run({{"the same bits on 1 to 4 threads, the gradients of training without lanes", sameBitsOnAllThreads},
              {"lanes that cannot be are refused", refusals},
              {"a step in lanes is cancelled", cancelled}},
             argc, argv);
}
