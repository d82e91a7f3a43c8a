// Distillation through the whole engine on a small random decoder: what the float model teaches, losses and gradients
// of steps, and bad input.
#include <algorithm>
#include <limits>
#include <memory>
#include <numeric>

#include "core/error.h"
#include "test/small_engine.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

EngineConfig configure(const RandomCheckpoint& checkpoint, const Distillation& distillation) {
  QuantSpec spec;
  spec.bits = 2;
  spec.fractionBits = 6;
  spec.rank = 4;
  spec.alpha = 4;
  EngineConfig config = configure(checkpoint, smallModel(), spec);
  config.shape.distillation = distillation;
  return config;
}

std::unique_ptr<Engine> loaded(const EngineConfig& config) {
  std::unique_ptr<Engine> engine(new Engine(open(config)));
  engine->load({}, {});
  return engine;
}

void teaches() {
  const RandomCheckpoint checkpoint(smallModel());
  constexpr int64_t k = 5;
  for (const DType compute : {DType::F32, DType::BF16}) {
    EngineConfig config = configure(checkpoint, {.classes = k, .weight = 0.5F, .temperature = 2});
    config.shape.computeType = compute;
    const auto engine = loaded(config);
    // Three sequences: the last micro-batch is partial.
    const RandomTokens tokens(3, kLength, config.shape.model.vocabSize, true);
    const TeacherKnowledge known = engine->teach(tokens.batch());
    const std::vector<float> logits = engine->logits(tokens.batch(), WeightForm::Float);
    const int64_t vocab = config.shape.model.vocabSize;
    for (int64_t row = 0; row < 3 * kLength; ++row) {
      const float* z = logits.data() + row * vocab;
      std::vector<int32_t> order(static_cast<size_t>(vocab));
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return z[a] > z[b]; });
      std::sort(order.begin(), order.begin() + k);
      double total = 0;
      double rest = 0;
      for (int64_t j = 0; j < vocab; ++j) {
        const double share = std::exp(double{z[order[static_cast<size_t>(j)]]} / 2);
        total += share;
        if (j >= k) rest += share;
      }
      for (int64_t i = 0; i < k; ++i) {
        expectEqual(known.classes[static_cast<size_t>(row * k + i)], order[static_cast<size_t>(i)], "class");
        expectNear(known.logProbabilities[static_cast<size_t>(row * (k + 1) + i)],
                   double{z[order[static_cast<size_t>(i)]]} / 2 - std::log(total), 1e-5, "logarithm");
      }
      expectNear(known.logProbabilities[static_cast<size_t>(row * (k + 1) + k)], std::log(rest / total), 1e-5, "rest");
    }
  }
}

void steps() {
  const RandomCheckpoint checkpoint(smallModel());
  const RandomTokens tokens(4, kLength, smallModel().vocabSize);
  for (const float weight : {0.0F, 0.5F, 1.0F}) {
    for (const DType compute : {DType::F32, DType::BF16}) {
      EngineConfig config = configure(checkpoint, {.classes = 8, .weight = weight, .temperature = 1.5F});
      config.shape.computeType = compute;
      const auto engine = loaded(config);
      EngineConfig without = config;
      without.shape.distillation = {};
      const auto plain = loaded(without);
      const TeacherKnowledge known = engine->teach(tokens.batch());
      const double before = engine->evaluate(tokens.batch(), WeightForm::Trained).lossSum;
      const StepResult first = engine->trainStep(withTeacher(tokens.batch(), known), optimizer);
      const StepResult same = plain->trainStep(tokens.batch(), optimizer);
      expectNear(first.crossEntropy, before / static_cast<double>(first.tokens), 1e-5, "cross-entropy of a step");
      expectNear(first.loss, (1 - weight) * first.crossEntropy + weight * 2.25 * first.divergence, 1e-6, "loss");
      expect(first.divergence > 1e-3, "the quantized model follows the float one already");
      expectEqual(same.loss, same.crossEntropy, "loss without distillation");
      if (weight == 0) {
        // The same gradient, computed another way: rounding alone, in bf16 that of the gradient of the logits.
        expectNear(first.gradientNorm, same.gradientNorm, (compute == DType::F32 ? 1e-5 : 1e-3) * same.gradientNorm,
                   "gradient of cross-entropy alone");
      }
      StepResult last = first;
      for (int step = 0; step < 12; ++step) {
        last = engine->trainStep(withTeacher(tokens.batch(), known), optimizer);
        expect(!last.skipped, "a step was skipped");
      }
      expect(last.loss < first.loss, "training did not lower the loss");
      if (weight == 1) expect(last.divergence < first.divergence, "training did not lower the divergence");
    }
  }
}

/// Neither the size of micro-batches nor kept weights change what a step is.
void microBatches() {
  const RandomCheckpoint checkpoint(smallModel());
  const RandomTokens tokens(4, kLength, smallModel().vocabSize, true);
  EngineConfig config = configure(checkpoint, {.classes = 3, .weight = 0.7F});
  const auto engine = loaded(config);
  const TeacherKnowledge known = engine->teach(tokens.batch());
  const StepResult one = engine->trainStep(withTeacher(tokens.batch(), known), optimizer);
  config.shape.keepWeights = true;
  const auto keeping = loaded(config);
  expect(keeping->teach(tokens.batch()).logProbabilities == known.logProbabilities, "teacher with kept weights");
  const StepResult kept = keeping->trainStep(withTeacher(tokens.batch(), known), optimizer);
  expectEqual(kept.loss, one.loss, "loss with kept weights");
  expectEqual(kept.gradientNorm, one.gradientNorm, "gradient with kept weights");
  config.shape.microBatch = 4;
  const auto wide = loaded(config);
  const StepResult four = wide->trainStep(withTeacher(tokens.batch(), known), optimizer);
  expectNear(four.loss, one.loss, 1e-6, "loss of one micro-batch");
  expectNear(four.gradientNorm, one.gradientNorm, 1e-5 * one.gradientNorm, "gradient of one micro-batch");
}

void badInput() {
  const RandomCheckpoint checkpoint(smallModel());
  const RandomTokens tokens(2, kLength, smallModel().vocabSize);
  const auto engine = loaded(configure(checkpoint, {.classes = 4, .weight = 0.5F}));
  const auto plain = loaded(configure(checkpoint, {}));
  const TeacherKnowledge known = engine->teach(tokens.batch());
  const auto refuses = [&](const char* what, const std::function<void()>& call) {
    (void)expectThrows<Error>(call, what);
  };
  refuses("teach without distillation", [&] { (void)plain->teach(tokens.batch()); });
  refuses("a teacher that is not wanted",
          [&] { (void)plain->trainStep(withTeacher(tokens.batch(), known), optimizer); });
  refuses("no teacher", [&] { (void)engine->trainStep(tokens.batch(), optimizer); });
  const auto broken = [&](const char* what, auto&& change) {
    TeacherKnowledge changed = known;
    change(changed);
    refuses(what, [&] { (void)engine->trainStep(withTeacher(tokens.batch(), changed), optimizer); });
  };
  broken("too short", [](TeacherKnowledge& t) { t.classes.pop_back(); });
  broken("negative class", [](TeacherKnowledge& t) { t.classes[0] = -1; });
  broken("class outside the vocabulary", [](TeacherKnowledge& t) { t.classes[7] = 37; });
  broken("a class twice", [](TeacherKnowledge& t) { t.classes[5] = t.classes[4]; });
  broken("NaN", [](TeacherKnowledge& t) { t.logProbabilities[3] = std::numeric_limits<float>::quiet_NaN(); });
  broken("a share above 1", [](TeacherKnowledge& t) { t.logProbabilities[4] = 0.5F; });
  expect(!engine->trainStep(withTeacher(tokens.batch(), known), optimizer).skipped, "a good step after bad ones");
}

}  // namespace

int main(int argc, char** argv) {
  return run({{"what is taught", teaches}, {"steps", steps}, {"micro-batches", microBatches}, {"bad input", badInput}},
             argc, argv);
}
