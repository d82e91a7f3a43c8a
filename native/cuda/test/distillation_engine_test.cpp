// Distillation of the engine on CUDA against that on the CPU: what the float model teaches, losses and gradients of
// steps; the same bits from recorded micro-batches as without.
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "core/cuda_library.h"
#include "core/engine.h"
#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cuda/test/library_path.h"
#include "test/check.h"
#include "test/small_model.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

std::optional<CudaLibrary> library;

ModelShape model(int64_t vocab) {
  ModelShape m;
  m.hiddenSize = 256;
  m.intermediateSize = 384;
  m.layers = 2;
  m.heads = 4;
  m.kvHeads = 2;
  m.headDim = 64;
  m.vocabSize = vocab;
  return m;
}

constexpr int64_t length = 70;

EngineConfig configure(const RandomCheckpoint& checkpoint, const ModelShape& shape, const Distillation& distillation,
                       Device device, DType type) {
  EngineConfig config;
  config.shape.model = shape;
  QuantSpec spec;
  spec.bits = 2;
  spec.fractionBits = 6;
  spec.rank = 8;
  spec.alpha = 8;
  config.shape.linears.assign(static_cast<size_t>(shape.layers * linearsPerLayer), spec);
  config.shape.threads = 2;
  config.shape.microBatch = 2;
  config.shape.sequenceLength = length;
  config.shape.distillation = distillation;
  config.shape.device = device;
  config.shape.computeType = type;
  if (device == Device::Cuda) {
    config.shape.residualType = type;
    config.shape.recomputeElementwise = true;
  }
  config.tensors = checkpoint.tensors;
  config.seed = 3;
  return config;
}

std::unique_ptr<Engine> open(const EngineConfig& config, bool graphs = true) {
  std::unique_ptr<Backend> backend;
  const DType type = config.shape.computeType;
  if (config.shape.device == Device::Cpu) {
    backend = std::make_unique<cpu::CpuBackend>(cpu::CpuOptions{.threads = 2, .computeType = type, .oneDnnPath = {}});
  } else {
    backend = library->createBackend(
        {.library = {}, .cublasLt = cublasLtPath(), .index = 0, .computeType = type, .graphs = graphs});
  }
  auto engine = std::make_unique<Engine>(config, std::move(backend));
  engine->load({}, {});
  return engine;
}

TokenBatch withTeacher(TokenBatch batch, const TeacherKnowledge& teacher) {
  batch.teacherClasses = teacher.classes;
  batch.teacherLogProbabilities = teacher.logProbabilities;
  return batch;
}

const OptimizerSettings optimizer{.lowRankLearningRate = 2e-3, .scaleLearningRate = 1e-4, .gradientClip = 1.0};

void compare() {
  for (const auto& [vocab, distillation] :
       {std::pair<int64_t, Distillation>{515, {16, 0.5F, 1}}, {1024, {64, 1, 2}}, {37, {37, 0.3F, 0.7F}}}) {
    const ModelShape shape = model(vocab);
    const RandomCheckpoint checkpoint(shape);
    const RandomTokens four(4, length, vocab, true);
    const RandomTokens three(3, length, vocab, true);
    const auto host = open(configure(checkpoint, shape, distillation, Device::Cpu, DType::F32));
    const TeacherKnowledge expected = host->teach(three.batch());
    const TeacherKnowledge known = host->teach(four.batch());
    const StepResult first = host->trainStep(withTeacher(four.batch(), known), optimizer);
    for (const DType type : {DType::F32, DType::BF16}) {
      context = std::to_string(vocab) + (type == DType::BF16 ? ", bf16" : ", float32");
      // float32: sums in another order. bf16: every activation is rounded to 2^-9.
      const double tolerance = type == DType::F32 ? 1e-4 : 5e-2;
      const auto device = open(configure(checkpoint, shape, distillation, Device::Cuda, type));
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
  const ModelShape shape = model(515);
  const RandomCheckpoint checkpoint(shape);
  const RandomTokens four(4, length, shape.vocabSize);
  const Distillation distillation{16, 0.5F, 2};
  for (const DType type : {DType::F32, DType::BF16}) {
    context = type == DType::BF16 ? "repeated, bf16" : "repeated, float32";
    std::vector<double> losses[3];
    std::vector<float> taught[3];
    for (const int run : {0, 1, 2}) {
      const auto engine = open(configure(checkpoint, shape, distillation, Device::Cuda, type), run < 2);
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
