// The engine as a whole on a small random decoder, mostly for the sanitizers: every storage, scale granularity, compute
// type and checkpointing, with partial batches, merging, cancellation and bad input. What the numbers must be is tested
// from TypeScript (test/engine, test/goldens).
#include "core/engine.h"

#include <thread>

#include "core/error.h"
#include "core/sha256.h"
#include "test/small_engine.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

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
              {"biases, norms, windows and float linears", everyFeature},
              {"cancellation from another thread", cancelledFromAnotherThread},
              {"bad input is refused", badInput}},
             argc, argv);
}
