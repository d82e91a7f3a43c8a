// Distillation of the engine on CUDA against that on the CPU: what the float model teaches, losses and gradients of
// steps; the same bits from recorded micro-batches as without.
#include <cmath>
#include <memory>
#include <utility>

#include "cuda/test/engines.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

constexpr int64_t kLength = 70;

std::unique_ptr<Engine> open(const RandomCheckpoint& checkpoint, const ModelShape& model,
                             const Distillation& distillation, Device device, DType type, bool graphs = true) {
  EngineCase c{.label = {}, .model = model, .spec = specOf(2, Storage::FixedPoint, -1)};
  c.spec.range = RangeMethod::MinMax;
  EngineConfig config = configure(c, checkpoint, device, type);
  config.shape.linears[3] = c.spec;
  config.shape.distillation = distillation;
  auto engine = std::make_unique<Engine>(config, backendOf(config, graphs));
  engine->load({}, {});
  return engine;
}

void compare() {
  for (const auto& [vocab, distillation] :
       {std::pair<int64_t, Distillation>{515, {16, 0.5F, 1}}, {1024, {64, 1, 2}}, {37, {37, 0.3F, 0.7F}}}) {
    ModelShape shape = wideModel();
    shape.vocabSize = vocab;
    const RandomCheckpoint checkpoint(shape);
    const RandomTokens four(4, kLength, vocab, true);
    const RandomTokens three(3, kLength, vocab, true);
    const auto host = open(checkpoint, shape, distillation, Device::Cpu, DType::F32);
    const TeacherKnowledge expected = host->teach(three.batch());
    const TeacherKnowledge known = host->teach(four.batch());
    const StepResult first = host->trainStep(withTeacher(four.batch(), known), optimizer);
    for (const DType type : {DType::F32, DType::BF16}) {
      context = std::to_string(vocab) + (type == DType::BF16 ? ", bf16" : ", float32");
      // float32: sums in another order. bf16: every activation is rounded to 2^-9.
      const double tolerance = type == DType::F32 ? 1e-4 : 5e-2;
      const auto device = open(checkpoint, shape, distillation, Device::Cuda, type);
      const TeacherKnowledge actual = device->teach(three.batch());
      int64_t others = 0;
      for (size_t i = 0; i < expected.classes.size(); ++i) others += actual.classes[i] != expected.classes[i] ? 1 : 0;
      // Logits within rounding of the k-th largest may change places with it, and shift those between in the row.
      expectNear(static_cast<double>(others) / static_cast<double>(expected.classes.size()), 0,
                 type == DType::F32 ? 1e-2 : 0.5, "share of other classes");
      const int64_t k = distillation.classes;
      for (size_t row = 0; row < three.tokens.size(); ++row) {
        const size_t rest = row * static_cast<size_t>(k + 1) + static_cast<size_t>(k);
        if (k < vocab) {
          expectNear(std::exp(double{actual.logProbabilities[rest]}), std::exp(double{expected.logProbabilities[rest]}),
                     tolerance, "share of the rest");
        }
      }
      const StepResult step = device->trainStep(withTeacher(four.batch(), known), optimizer);
      expectNear(step.crossEntropy, first.crossEntropy, tolerance * first.crossEntropy, "cross-entropy");
      expectNear(step.divergence, first.divergence, tolerance * first.divergence, "divergence");
      expectNear(step.loss, first.loss, tolerance * first.loss, "loss");
      expectNear(step.gradientNorm, first.gradientNorm, (type == DType::F32 ? 2e-3 : 6e-2) * first.gradientNorm,
                 "gradient norm");
      std::printf("  %s: loss %.6f and %.6f, divergence %.6f and %.6f, norm %.5f and %.5f, %lld other classes\n",
                  context.c_str(), step.loss, first.loss, step.divergence, first.divergence, step.gradientNorm,
                  first.gradientNorm, static_cast<long long>(others));
    }
  }
}

void repeated() {
  const ModelShape shape = wideModel();
  const RandomCheckpoint checkpoint(shape);
  const RandomTokens four(4, kLength, shape.vocabSize);
  const Distillation distillation{16, 0.5F, 2};
  for (const DType type : {DType::F32, DType::BF16}) {
    context = type == DType::BF16 ? "repeated, bf16" : "repeated, float32";
    std::vector<double> losses[3];
    std::vector<float> taught[3];
    for (const int run : {0, 1, 2}) {
      const auto engine = open(checkpoint, shape, distillation, Device::Cuda, type, run < 2);
      const TeacherKnowledge known = engine->teach(four.batch());
      taught[run] = known.logProbabilities;
      for (int step = 0; step < 8; ++step) {
        const StepResult result = engine->trainStep(withTeacher(four.batch(), known), optimizer);
        losses[run].insert(losses[run].end(), {result.loss, result.divergence, result.gradientNorm});
      }
      expect(losses[run][21] < losses[run][0], "training did not lower the loss");
    }
    expect(taught[0] == taught[1] && taught[0] == taught[2], "what is taught, bit for bit");
    expect(losses[0] == losses[1], "the same bits again");
    expect(losses[0] == losses[2], "the same bits without recordings");
  }
}

}  // namespace

int main(int argc, char** argv) {
  library = openLibrary();
  if (!library) return 0;
  return run({{"against the CPU", compare}, {"repeated", repeated}}, argc, argv);
}
