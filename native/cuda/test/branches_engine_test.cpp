// Branches of one beginning (TokenBatch::hiddenFrom) on CUDA: losses of single tokens against those of the engine on
// the CPU, and against each branch behind a beginning of its own.
#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "core/error.h"
#include "cuda/test/engines.h"
#include "test/check.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

constexpr int64_t kLength = 70;

EngineCase caseOf(const ModelShape& model) {
  return {.label = "branches", .model = model, .spec = specOf(3, Storage::FixedPoint, -1), .length = kLength};
}

std::unique_ptr<Engine> evaluating(const RandomCheckpoint& checkpoint, const ModelShape& model, Device device,
                                   DType type) {
  EngineConfig config = configure(caseOf(model), checkpoint, device, type);
  config.shape.training = false;
  auto engine = std::make_unique<Engine>(config, backendOf(config));
  engine->load({}, {});
  return engine;
}

/// Sequences of one group each: a beginning and branches, all random.
struct Branches {
  RandomTokens tokens;
  std::vector<int32_t> from;
  std::vector<int32_t> to;

  static constexpr int64_t starts[3][4] = {{20, 31, 32, 60}, {1, 2, 40, 69}, {50, 51, 52, 53}};

  explicit Branches(int64_t vocab) : tokens(3, kLength, vocab) {
    for (const auto& of : starts) {
      for (int64_t i = 0; i < kLength; ++i) {
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
      for (int64_t i = 0; i < kLength; ++i) {
        if (i >= beginning && i < branch) continue;
        const auto place = static_cast<size_t>(sequence * kLength + i);
        ids.push_back(tokens.tokens[place]);
        targets.push_back(tokens.targets[place]);
      }
      const TokenBatch batch{1, static_cast<int64_t>(ids.size()), ids, targets, {}};
      const std::vector<float> all = engine.tokenLosses(batch, WeightForm::RoundToNearest);
      for (int64_t i = branch; i < kLength; ++i) {
        losses.emplace_back(static_cast<size_t>(sequence * kLength + i),
                            all[static_cast<size_t>(beginning + i - branch)]);
      }
    }
    return losses;
  }
};

void compare() {
  for (const ModelShape& shape : {wideModel(), oddModel()}) {
    const RandomCheckpoint checkpoint(shape);
    const Branches branches(shape.vocabSize);
    const auto host = evaluating(checkpoint, shape, Device::Cpu, DType::F32);
    const std::vector<float> expected = host->tokenLosses(branches.batch(), WeightForm::RoundToNearest);
    for (const DType type : {DType::F32, DType::BF16}) {
      context = std::to_string(shape.headDim) + (type == DType::BF16 ? ", bf16" : ", float32");
      // float32: sums in another order. bf16: every activation is rounded to 2^-9, and logits reach 20.
      const double tolerance = type == DType::F32 ? 2e-4 : 0.3;
      const auto device = evaluating(checkpoint, shape, Device::Cuda, type);
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
  const ModelShape shape = wideModel();
  const RandomCheckpoint checkpoint(shape);
  const Branches branches(shape.vocabSize);
  Engine engine = open(configure(caseOf(shape), checkpoint, Device::Cuda, DType::BF16));
  engine.load({}, {});
  expectThrows<Error>([&] { engine.tokenLosses(branches.batch(), WeightForm::Float); }, "an engine that trains");
}

}  // namespace

int main(int argc, char** argv) {
  library = openLibrary();
  if (!library) return 0;
  return run({{"branches", compare}, {"branches of an engine that trains", refused}}, argc, argv);
}
