// The same bits from engines on CUDA: when a training is repeated, from recorded micro-batches as without, and with the
// products' algorithms that another engine chose.
#include <algorithm>

#include "core/error.h"
#include "core/timed_backend.h"
#include "cuda/test/engine_cases.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

void repeated(const EngineCase& c) {
  context = c.label + ", repeated";
  const RandomCheckpoint checkpoint(c.model);
  const RandomTokens four(4, c.length, c.model.vocabSize, c.documents);
  std::vector<double> losses;
  std::vector<std::vector<std::byte>> merged;
  for (int repeat = 0; repeat < 2; ++repeat) {
    Engine engine = open(configure(c, checkpoint, Device::Cuda, DType::BF16));
    engine.load({}, {});
    calibrate(engine, four);
    double loss = 0;
    for (int step = 0; step < 4; ++step) {
      const StepResult result = engine.trainStep(four.batch(), optimizer);
      loss = loss * 3 + result.loss + result.gradientNorm;
    }
    losses.push_back(loss);
    merged.push_back(engine.merge(0));
  }
  expect(losses[0] == losses[1], "loss and norm bit for bit");
  expect(merged[0] == merged[1], "integers bit for bit");
}

void sameBits() {
  for (const EngineCase& c : engineCases()) repeated(c);
  for (const EngineCase& c : activationCases()) repeated(c);
}

struct Trained {
  std::vector<double> losses;
  std::vector<std::vector<float>> values;
  int64_t repeats = 0;
};

/// Waited: for each operation before the next one.
enum class Work : uint8_t { Recorded, Plain, Waited };

/// Steps that move many integers, so that weights begin to clip on the way; micro-batches of two kinds in turn.
Trained trained(const EngineCase& c, const RandomCheckpoint& checkpoint, DType type, Work work) {
  EngineConfig config = configure(c, checkpoint, Device::Cuda, type);
  config.shape.linears[3] = c.spec;
  auto backend = backendOf(config, work == Work::Recorded);
  const Backend& device = *backend;
  if (work == Work::Waited) backend = std::make_unique<TimedBackend>(std::move(backend));
  Engine engine(config, std::move(backend));
  engine.load({}, {});
  const RandomTokens tokens(4, c.length, c.model.vocabSize, c.documents);
  const RandomTokens shorter(2, c.length / 2, c.model.vocabSize, false);
  calibrate(engine, tokens);
  Trained out;
  OptimizerSettings settings = optimizer;
  for (int step = 0; step < 40; ++step) {
    // Leaps between rests, in which a recording can be made.
    settings.lowRankLearningRate = step % 8 == 0 ? 3e-2 : 1e-5;
    for (const RandomTokens* batch : {&tokens, &shorter}) {
      const StepResult result = engine.trainStep(batch->batch(), settings);
      out.losses.push_back(result.loss);
      out.losses.push_back(result.gradientNorm);
    }
  }
  for (const ParameterInfo& p : engine.parameters())
    out.values.push_back(engine.readState(p.linear, p.kind, StateKind::Value));
  out.repeats = device.repeats();
  return out;
}

/// Small enough for a sanitizer: a few steps, most of them from recordings.
void recordedBriefly() {
  EngineCase c{.label = "brief", .model = oddModel(), .spec = specOf(3, Storage::FixedPoint, -1), .length = 23};
  c.checkpoint = true;
  for (const bool symmetric : {true, false}) {
    c.spec.symmetric = symmetric;
    context = symmetric ? "brief" : "brief, zero points";
    const RandomCheckpoint checkpoint(c.model);
    Engine engine = open(configure(c, checkpoint, Device::Cuda, DType::BF16));
    engine.load({}, {});
    const RandomTokens tokens(2, c.length, c.model.vocabSize);
    for (int step = 0; step < 6; ++step) {
      expect(!engine.trainStep(tokens.batch(), optimizer).skipped, "a step was skipped");
    }
  }
}

/// The same bits with recorded micro-batches as without.
void recorded() {
  int64_t repeats = 0;
  std::vector<EngineCase> list = engineCases();
  ActivationSpec fractional = activationsOf(8, 8);
  fractional.fractionalZeroPoint = true;
  for (const auto& [label, activations] : {std::pair{"a4", activationsOf(4, 4)},
                                           {"a8, fractional zero points", fractional},
                                           {"a8, static, learned", staticRanges(8, false, true)}}) {
    list.push_back({.label = label, .model = wideModel(), .spec = specOf(4, Storage::Integer, -1)});
    list.back().activations = activations;
  }
  for (const EngineCase& c : list) {
    const RandomCheckpoint checkpoint(c.model);
    for (const DType type : {DType::BF16, DType::F32}) {
      context = c.label + (type == DType::BF16 ? ", bf16" : ", float32");
      const Trained with = trained(c, checkpoint, type, Work::Recorded);
      const Trained without = trained(c, checkpoint, type, Work::Plain);
      expect(without.repeats == 0, "nothing is recorded unless asked for");
      expect(with.losses == without.losses, "losses and norms bit for bit");
      expect(with.values == without.values, "trained values bit for bit");
      std::printf("  %s: %lld of %d micro-batches from a graph\n", context.c_str(),
                  static_cast<long long>(with.repeats), 40 * 3);
      repeats += with.repeats;
    }
  }
  expect(repeats > 0, "some micro-batches were repeated from a recording");
}

/// Kernels that begin before those in front of them have ended read nothing too soon: the same bits as when each
/// operation is waited for, although every step changes what the first rebuilds of the next one read.
void begunEarly() {
  for (const auto& [label, group, symmetric] :
       {std::tuple{"channel", int64_t{-1}, true}, std::tuple{"groups", int64_t{32}, true},
        std::tuple{"zero points", int64_t{-1}, false}}) {
    for (const bool checkpoint : {false, true}) {
      EngineCase c{.label = label, .model = wideModel(), .spec = specOf(4, Storage::Integer, group)};
      c.spec.symmetric = symmetric;
      c.checkpoint = checkpoint;
      c.floats = {.norms = checkpoint, .head = checkpoint, .embeddings = checkpoint};
      context = c.label + (checkpoint ? ", block checkpointing" : "");
      const RandomCheckpoint weights(c.model);
      const Trained waited = trained(c, weights, DType::BF16, Work::Waited);
      for (const Work work : {Work::Recorded, Work::Plain}) {
        const Trained found = trained(c, weights, DType::BF16, work);
        expect(found.losses == waited.losses, "losses and norms bit for bit");
        expect(found.values == waited.values, "trained values bit for bit");
      }
    }
  }
}

/// The choices of one engine serve another.
void algorithms() {
  const EngineCase c{.label = "algorithms", .model = wideModel(), .spec = specOf(4, Storage::Integer, -1)};
  context = c.label;
  const RandomCheckpoint checkpoint(c.model);
  const RandomTokens four(4, c.length, c.model.vocabSize);
  std::string chosen;
  std::vector<double> losses;
  for (int attempt = 0; attempt < 2; ++attempt) {
    Engine engine = open(configure(c, checkpoint, Device::Cuda, DType::BF16));
    engine.load({}, {});
    if (attempt == 1) {
      expect(engine.takeAlgorithms(chosen), "the same library takes them");
      expect(engine.algorithms() == chosen, "all that was taken is told again");
    }
    double loss = 0;
    for (int step = 0; step < 4; ++step) loss = loss * 3 + engine.trainStep(four.batch(), optimizer).gradientNorm;
    losses.push_back(loss);
    if (attempt == 0) chosen = engine.algorithms();
    expect(engine.algorithms() == chosen, "nothing new is chosen for the same shapes");
  }
  expect(losses[0] == losses[1], "the same bits");
  expect(std::count(chosen.begin(), chosen.end(), '\n') > 5, "several products have been chosen");
  Engine engine = open(configure(c, checkpoint, Device::Cuda, DType::BF16));
  const std::string lines = chosen.substr(chosen.find('\n'));
  expect(!engine.takeAlgorithms("cuBLASLt 0.0.1" + lines), "those of another version are not taken");
  expect(engine.algorithms().empty(), "nothing has been taken");
  for (const std::string& damaged :
       {std::string("nonsense"), chosen.substr(0, chosen.size() - 9), chosen + "1 2 3\n"}) {
    try {
      engine.takeAlgorithms(damaged);
      fail("damaged choices were taken");
    } catch (const Error& error) {
      expect(error.code() == ErrorCode::InvalidArgument, std::string("damaged, not: ") + error.what());
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  library = openLibrary();
  if (!library) return 0;
  return run({{"the same bits when repeated", sameBits},
              {"the same bits from graphs", recorded},
              {"the same bits as work that is waited for", begunEarly},
              {"a few recorded steps", recordedBriefly},
              {"algorithms of products are taken again", algorithms}},
             argc, argv);
}
