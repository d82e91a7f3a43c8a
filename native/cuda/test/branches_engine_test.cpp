// Branches of one beginning (TokenBatch::hiddenFrom) on CUDA: losses of single tokens against those of the engine on
// the CPU, and against each branch behind a beginning of its own.
#include <algorithm>
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

constexpr int64_t length = 70;

ModelShape model(int64_t headDim) {
  ModelShape m;
  m.hiddenSize = headDim * 4;
  m.intermediateSize = 384;
  m.layers = 2;
  m.heads = 4;
  m.kvHeads = 2;
  m.headDim = headDim;
  m.vocabSize = 515;
  m.qkNorm = headDim == 64;
  return m;
}

EngineConfig configure(const RandomCheckpoint& checkpoint, const ModelShape& shape, Device device, DType type) {
  EngineConfig config;
  config.shape.model = shape;
  QuantSpec spec;
  spec.bits = 3;
  spec.fractionBits = 5;
  config.shape.linears.assign(static_cast<size_t>(shape.layers * linearsPerLayer), spec);
  config.shape.threads = 2;
  config.shape.microBatch = 2;
  config.shape.sequenceLength = length;
  config.shape.training = false;
  config.shape.device = device;
  config.shape.computeType = type;
  if (device == Device::Cuda) config.shape.residualType = type;
  config.tensors = checkpoint.tensors;
  return config;
}

std::unique_ptr<Engine> open(const EngineConfig& config) {
  std::unique_ptr<Backend> backend;
  const DType type = config.shape.computeType;
  if (config.shape.device == Device::Cpu) {
    backend = std::make_unique<cpu::CpuBackend>(cpu::CpuOptions{.threads = 2, .computeType = type, .oneDnnPath = {}});
  } else {
    backend = library->createBackend({.library = {}, .cublasLt = cublasLtPath(), .index = 0, .computeType = type});
  }
  auto engine = std::make_unique<Engine>(config, std::move(backend));
  engine->load({}, {});
  return engine;
}

/// Sequences of one group each: a beginning and branches, all random.
struct Branches {
  RandomTokens tokens;
  std::vector<int32_t> from;
  std::vector<int32_t> to;

  static constexpr int64_t starts[3][4] = {{20, 31, 32, 60}, {1, 2, 40, 69}, {50, 51, 52, 53}};

  explicit Branches(int64_t vocab) : tokens(3, length, vocab) {
    for (const auto& of : starts) {
      for (int64_t i = 0; i < length; ++i) {
        const auto* const after = std::upper_bound(std::begin(of), std::end(of), i);
        const bool hides = after - std::begin(of) > 1;
        from.push_back(hides ? static_cast<int32_t>(of[0]) : 0);
        to.push_back(hides ? static_cast<int32_t>(after[-1]) : 0);
      }
    }
  }
  TokenBatch batch() const {
    TokenBatch out = tokens.batch();
    out.hiddenFrom = from;
    out.hiddenTo = to;
    return out;
  }
  /// Losses of the last branch of each sequence behind a beginning of its own.
  std::vector<std::pair<size_t, float>> alone(Engine& engine) const {
    std::vector<std::pair<size_t, float>> losses;
    for (int64_t sequence = 0; sequence < 3; ++sequence) {
      const int64_t beginning = starts[sequence][0];
      const int64_t branch = starts[sequence][3];
      std::vector<int32_t> ids;
      std::vector<int32_t> targets;
      for (int64_t i = 0; i < length; ++i) {
        if (i >= beginning && i < branch) continue;
        const auto place = static_cast<size_t>(sequence * length + i);
        ids.push_back(tokens.tokens[place]);
        targets.push_back(tokens.targets[place]);
      }
      const TokenBatch batch{1, static_cast<int64_t>(ids.size()), ids, targets, {}};
      const std::vector<float> all = engine.tokenLosses(batch, WeightForm::RoundToNearest);
      for (int64_t i = branch; i < length; ++i) {
        losses.emplace_back(static_cast<size_t>(sequence * length + i),
                            all[static_cast<size_t>(beginning + i - branch)]);
      }
    }
    return losses;
  }
};

void compare() {
  for (const int64_t headDim : {64, 22}) {
    const ModelShape shape = model(headDim);
    const RandomCheckpoint checkpoint(shape);
    const Branches branches(shape.vocabSize);
    const auto host = open(configure(checkpoint, shape, Device::Cpu, DType::F32));
    const std::vector<float> expected = host->tokenLosses(branches.batch(), WeightForm::RoundToNearest);
    for (const DType type : {DType::F32, DType::BF16}) {
      context = std::to_string(headDim) + (type == DType::BF16 ? ", bf16" : ", float32");
      // float32: sums in another order. bf16: every activation is rounded to 2^-9, and logits reach 20.
      const double tolerance = type == DType::F32 ? 2e-4 : 0.3;
      const auto device = open(configure(checkpoint, shape, Device::Cuda, type));
      const std::vector<float> actual = device->tokenLosses(branches.batch(), WeightForm::RoundToNearest);
      double squares = 0;
      for (size_t i = 0; i < expected.size(); ++i) {
        expectNear(double{actual[i]}, double{expected[i]}, tolerance, "loss of token " + std::to_string(i));
        squares += std::pow(double{actual[i]} - double{expected[i]}, 2);
      }
      for (const auto& [place, loss] : branches.alone(*device)) {
        expectNear(double{actual[place]}, double{loss}, tolerance, "branch alone, token " + std::to_string(place));
      }
      std::printf("  %s: losses differ by %.2g (root mean square)\n", context.c_str(),
                  std::sqrt(squares / static_cast<double>(expected.size())));
      expect(actual == device->tokenLosses(branches.batch(), WeightForm::RoundToNearest), "the same bits again");
    }
  }
}

void refused() {
  const ModelShape shape = model(64);
  const RandomCheckpoint checkpoint(shape);
  const Branches branches(shape.vocabSize);
  EngineConfig config = configure(checkpoint, shape, Device::Cuda, DType::BF16);
  config.shape.training = true;
  const auto engine = open(config);
  expectThrows<Error>([&] { engine->tokenLosses(branches.batch(), WeightForm::Float); }, "an engine that trains");
}

}  // namespace

int main(int argc, char** argv) {
  library = openLibrary();
  if (!library) return 0;
  return run({{"branches", compare}, {"branches of an engine that trains", refused}}, argc, argv);
}
