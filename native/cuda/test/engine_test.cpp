// The engine on CUDA against the engine on the CPU: the same small random decoders, tensor by tensor in float32, within
// the noise of bf16 in bf16; the same bits when repeated.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

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

ModelShape wideModel() {
  ModelShape m;
  m.hiddenSize = 256;
  m.intermediateSize = 384;
  m.layers = 2;
  m.heads = 4;
  m.kvHeads = 2;
  m.headDim = 64;
  m.vocabSize = 515;
  return m;
}

/// Widths that no vector access and no tile likes.
ModelShape oddModel() {
  ModelShape m;
  m.hiddenSize = 44;
  m.intermediateSize = 86;
  m.layers = 2;
  m.heads = 4;
  m.kvHeads = 2;
  m.headDim = 22;
  m.vocabSize = 37;
  m.qkvBias = m.outputBias = m.mlpBias = m.qkNorm = true;
  return m;
}

QuantSpec specOf(int bits, Storage storage, int64_t group, ScaleDomain domain = ScaleDomain::Linear) {
  QuantSpec spec;
  spec.bits = bits;
  spec.fractionBits = 8 - bits;
  spec.storage = storage;
  spec.granularity = group == 0 ? Granularity::Tensor : group < 0 ? Granularity::Channel : Granularity::Group;
  spec.groupSize = group > 0 ? group : 0;
  spec.range = RangeMethod::Lp3;
  spec.scaleDomain = domain;
  spec.rank = 8;
  spec.alpha = 8;
  return spec;
}

struct Case {
  std::string label;
  ModelShape model;
  QuantSpec spec;
  int64_t length = 70;
  bool checkpoint = false;
  bool recompute = true;
  bool documents = false;
  bool onHost = false;
  FloatGroups floats = {};
  ActivationSpec activations = {};
};

ActivationSpec activationsOf(int bits, int kvBits) {
  ActivationSpec spec;
  spec.bits.fill(bits);
  spec.bits[static_cast<size_t>(ActivationSite::Keys)] = kvBits;
  spec.bits[static_cast<size_t>(ActivationSite::Values)] = kvBits;
  return spec;
}

ActivationSpec staticRanges(int bits, bool symmetric, bool learn) {
  ActivationSpec spec = activationsOf(bits, bits);
  spec.staticRanges = true;
  spec.symmetric = symmetric;
  spec.learnRanges = learn;
  spec.gradientScaling = symmetric;
  return spec;
}

EngineConfig configure(const Case& c, const RandomCheckpoint& checkpoint, Device device, DType type) {
  EngineConfig config;
  config.shape.model = c.model;
  config.shape.linears.assign(static_cast<size_t>(c.model.layers * linearsPerLayer), c.spec);
  config.shape.linears[3] = std::nullopt;  // one linear stays in float
  config.shape.floatGroups = c.floats;
  config.shape.activations = c.activations;
  config.shape.threads = 2;
  config.shape.microBatch = 2;
  config.shape.sequenceLength = c.length;
  config.shape.checkpointBlocks = c.checkpoint;
  config.shape.device = device;
  config.shape.computeType = type;
  if (device == Device::Cuda) {
    config.shape.residualType = type;
    config.shape.recomputeElementwise = c.recompute;
    config.shape.embeddingsOnHost = c.onHost;
    config.shape.optimizerOnHost = c.onHost;
  }
  config.tensors = checkpoint.tensors;
  config.seed = 3;
  return config;
}

Engine open(const EngineConfig& config) {
  if (config.shape.device == Device::Cpu) {
    return {config, std::make_unique<cpu::CpuBackend>(
                        cpu::CpuOptions{.threads = 2, .computeType = config.shape.computeType, .oneDnnPath = {}})};
  }
  return {config,
          library->createBackend(
              {.library = {}, .cublasLt = cublasLtPath(), .index = 0, .computeType = config.shape.computeType})};
}

/// Static ranges of an engine that has been loaded, where its activations have any.
void calibrate(Engine& engine, const RandomTokens& tokens) {
  if (engine.shape().activations.staticRanges) engine.calibrateActivations(tokens.batch());
}

bool ofLinear(const Engine& engine, const ParameterInfo& p) {
  return p.linear < engine.shape().linears.size();
}

/// ‖a − b‖ / ‖b‖ over all trained tensors of a kind and group.
double distance(const Engine& a, const Engine& b, ParameterKind kind, std::optional<FloatGroup> group,
                StateKind state) {
  double difference = 0;
  double size = 0;
  for (const ParameterInfo& p : b.parameters()) {
    if (p.kind != kind || p.group != group) continue;
    const auto x = a.readState(p.linear, kind, state);
    const auto y = b.readState(p.linear, kind, state);
    for (size_t i = 0; i < y.size(); ++i) {
      difference += std::pow(static_cast<double>(x[i]) - static_cast<double>(y[i]), 2);
      size += std::pow(static_cast<double>(y[i]), 2);
    }
  }
  return size == 0 ? std::sqrt(difference) : std::sqrt(difference / size);
}

double flippedShare(Engine& a, Engine& b) {
  int64_t bytes = 0;
  int64_t different = 0;
  for (const ParameterInfo& p : b.parameters()) {
    if (p.kind != ParameterKind::Scale || !ofLinear(b, p)) continue;
    const auto x = a.merge(p.linear);
    const auto y = b.merge(p.linear);
    expectEqual(x.size(), y.size(), "merged bytes");
    for (size_t i = 0; i < y.size(); ++i) different += x[i] != y[i] ? 1 : 0;
    bytes += static_cast<int64_t>(y.size());
  }
  return bytes == 0 ? 0 : static_cast<double>(different) / static_cast<double>(bytes);
}

const OptimizerSettings optimizer{.lowRankLearningRate = 2e-3F,
                                  .scaleLearningRate = 1e-4F,
                                  .zeroPointLearningRate = 1e-2F,
                                  .weightLearningRate = 1e-4F,
                                  .normLearningRate = 1e-4F,
                                  .headLearningRate = 1e-4F,
                                  .embeddingLearningRate = 1e-4F,
                                  .activationLearningRate = 1e-4F,
                                  .gradientClip = 1.0};

struct Tolerance {
  double loss, gradient, flipped;
};

/// float32: sums in another order. A weight within such a difference of a tie may round the other way, which moves its
/// gradient and everything after it by as much as one integer of 2^15 can. bf16: every activation is rounded to 2^-9.
constexpr Tolerance float32{2e-5, 2e-3, 1e-3};
constexpr Tolerance bfloat16{2e-2, 6e-2, 6e-2};

/// With quantized activations as many numbers again lie near ties, where a difference is worth a step of a grid.
Tolerance toleranceOf(const Case& c, DType type) {
  const Tolerance plain = type == DType::F32 ? float32 : bfloat16;
  if (c.activations.sites() == 0) return plain;
  if (type == DType::F32) return {2e-3, 0.1, 2e-2};
  return {plain.loss * 4, plain.gradient * 4, plain.flipped * 4};
}

void compare(const Case& c, DType type) {
  const Tolerance tolerance = toleranceOf(c, type);
  context = c.label + (type == DType::BF16 ? ", bf16" : ", float32");
  const RandomCheckpoint checkpoint(c.model);
  Engine host = open(configure(c, checkpoint, Device::Cpu, DType::F32));
  Engine device = open(configure(c, checkpoint, Device::Cuda, type));
  host.load({}, {});
  device.load({}, {});
  for (const ParameterInfo& p : host.parameters()) {
    if (p.kind != ParameterKind::Scale || !ofLinear(host, p)) continue;
    const auto expected = host.initialScales(p.linear);
    const auto actual = device.initialScales(p.linear);
    expect(std::memcmp(expected.data(), actual.data(), expected.size() * 4) == 0, "s0 bit for bit");
    expect(host.initialZeroPoints(p.linear) == device.initialZeroPoints(p.linear), "z0 bit for bit");
    expect(host.phi0(p.linear) == device.phi0(p.linear), "Φ0 bit for bit");
  }
  const RandomTokens four(4, c.length, c.model.vocabSize, c.documents);
  const RandomTokens three(3, c.length, c.model.vocabSize, c.documents);
  calibrate(host, three);
  calibrate(device, three);
  if (c.activations.staticRanges) {
    const std::vector<float> expected = host.activationRanges();
    const std::vector<float> actual = device.activationRanges();
    for (size_t i = 0; i < expected.size(); ++i) {
      const float size = std::max(std::abs(expected[i / 2 * 2]), std::abs(expected[i / 2 * 2 + 1]));
      // A step of a grid somewhere before, at most.
      expectNear(static_cast<double>(actual[i]), static_cast<double>(expected[i]),
                 (type == DType::F32 ? 1e-2 : 1e-1) * static_cast<double>(size), "range " + std::to_string(i));
    }
    // From here on with the same ones.
    device.setActivationRanges(expected);
  }
  for (const WeightForm form : {WeightForm::Float, WeightForm::RoundToNearest, WeightForm::Trained}) {
    const EvaluationResult expected = host.evaluate(three.batch(), form);
    const EvaluationResult actual = device.evaluate(three.batch(), form);
    expectNear(actual.lossSum, expected.lossSum, tolerance.loss * expected.lossSum,
               "loss of form " + std::to_string(static_cast<int>(form)));
  }
  for (int step = 0; step < 3; ++step) {
    const StepResult expected = host.trainStep(four.batch(), optimizer);
    const StepResult actual = device.trainStep(four.batch(), optimizer);
    expectNear(actual.loss, expected.loss, tolerance.loss * expected.loss, "loss of step " + std::to_string(step));
    expectNear(actual.gradientNorm, expected.gradientNorm, tolerance.gradient * expected.gradientNorm,
               "gradient norm of step " + std::to_string(step));
    // From there on the two have different integers.
    if (step > 0 && (type == DType::BF16 || c.activations.sites() > 0)) continue;
    // A is zero at first, and with it B's gradient.
    for (const ParameterKind kind :
         {ParameterKind::A, ParameterKind::B, ParameterKind::Scale, ParameterKind::ZeroPoint, ParameterKind::Weight}) {
      if (kind == ParameterKind::B && step == 0) continue;
      // Zero points of calibrated activations learn from the few numbers beyond the calibrated range alone; which those
      // are is another matter in bf16. The kernel’s sums are compared with double in activations_test.
      if (kind == ParameterKind::ZeroPoint && type == DType::BF16 && c.activations.staticRanges) continue;
      expectNear(distance(device, host, kind, std::nullopt, StateKind::Gradient), 0, tolerance.gradient * (1 + step),
                 "gradient of kind " + std::to_string(static_cast<int>(kind)) + " in step " + std::to_string(step));
    }
    for (const FloatGroup group : {FloatGroup::Norms, FloatGroup::Head, FloatGroup::Embeddings}) {
      expectNear(distance(device, host, ParameterKind::Weight, group, StateKind::Gradient), 0,
                 tolerance.gradient * (1 + step),
                 "gradient of group " + std::to_string(static_cast<int>(group)) + " in step " + std::to_string(step));
    }
  }
  expectNear(flippedShare(device, host), 0, tolerance.flipped, "share of bytes with other integers");
  const auto expected = host.layerStatistics();
  const auto actual = device.layerStatistics();
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto weights = static_cast<double>(expected[i].weights);
    expectNear(static_cast<double>(actual[i].statistics.clipped), static_cast<double>(expected[i].statistics.clipped),
               tolerance.flipped * weights + 1, "clipped entries of " + expected[i].name);
    expectNear(actual[i].statistics.scaleDrift, expected[i].statistics.scaleDrift, 0.1, "drift of " + expected[i].name);
  }
}

void repeated(const Case& c) {
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

std::vector<Case> cases();

struct Trained {
  std::vector<double> losses;
  std::vector<std::vector<float>> values;
  int64_t repeats = 0;
};

/// Steps that move many integers, so that weights begin to clip on the way; micro-batches of two kinds in turn.
Trained trained(const Case& c, const RandomCheckpoint& checkpoint, DType type, bool graphs) {
  EngineConfig config = configure(c, checkpoint, Device::Cuda, type);
  config.shape.linears[3] = c.spec;
  auto backend = library->createBackend(
      {.library = {}, .cublasLt = cublasLtPath(), .index = 0, .computeType = type, .graphs = graphs});
  const Backend& device = *backend;
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
  Case c{.label = "brief", .model = oddModel(), .spec = specOf(3, Storage::FixedPoint, -1), .length = 23};
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
  std::vector<Case> list = cases();
  ActivationSpec fractional = activationsOf(8, 8);
  fractional.fractionalZeroPoint = true;
  for (const auto& [label, activations] : {std::pair{"a4", activationsOf(4, 4)},
                                           {"a8, fractional zero points", fractional},
                                           {"a8, static, learned", staticRanges(8, false, true)}}) {
    list.push_back({.label = label, .model = wideModel(), .spec = specOf(4, Storage::Integer, -1)});
    list.back().activations = activations;
  }
  for (const Case& c : list) {
    const RandomCheckpoint checkpoint(c.model);
    for (const DType type : {DType::BF16, DType::F32}) {
      context = c.label + (type == DType::BF16 ? ", bf16" : ", float32");
      const Trained with = trained(c, checkpoint, type, true);
      const Trained without = trained(c, checkpoint, type, false);
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

std::vector<Case> cases() {
  std::vector<Case> list;
  for (const Storage storage : {Storage::F32, Storage::BF16, Storage::F16, Storage::FixedPoint, Storage::Integer}) {
    for (const int64_t group : {int64_t{0}, int64_t{-1}, int64_t{32}}) {
      list.push_back(
          {.label = "storage " + std::to_string(static_cast<int>(storage)) + ", group " + std::to_string(group),
           .model = wideModel(),
           .spec = specOf(3, storage, group)});
    }
  }
  list.push_back({.label = "no recomputation, 2 bits, log scales",
                  .model = wideModel(),
                  .spec = specOf(2, Storage::F32, -1, ScaleDomain::Log),
                  .recompute = false});
  list.push_back({.label = "block checkpointing",
                  .model = wideModel(),
                  .spec = specOf(4, Storage::Integer, -1),
                  .checkpoint = true});
  list.push_back({.label = "state and embeddings on the host",
                  .model = wideModel(),
                  .spec = specOf(4, Storage::FixedPoint, -1),
                  .checkpoint = true,
                  .onHost = true});
  list.push_back(
      {.label = "documents", .model = wideModel(), .spec = specOf(4, Storage::Integer, -1), .documents = true});
  Case windows{.label = "sliding window, tied", .model = wideModel(), .spec = specOf(4, Storage::Integer, -1)};
  windows.model.slidingWindow = 17;
  windows.model.tiedEmbeddings = true;
  list.push_back(windows);
  for (const Storage storage : {Storage::F16, Storage::FixedPoint, Storage::Integer}) {
    for (const int64_t group : {int64_t{0}, int64_t{-1}, int64_t{32}}) {
      Case c{.label = "zero points, storage " + std::to_string(static_cast<int>(storage)) + ", group " +
                      std::to_string(group),
             .model = wideModel(),
             .spec = specOf(3, storage, group)};
      c.spec.symmetric = false;
      list.push_back(c);
    }
  }
  Case kept{.label = "kept scales of groups, block checkpointing",
            .model = wideModel(),
            .spec = specOf(4, Storage::Integer, 32),
            .checkpoint = true};
  kept.spec.learnScales = false;
  list.push_back(kept);
  list.push_back({.label = "groups, state and first scales on the host",
                  .model = wideModel(),
                  .spec = specOf(4, Storage::Integer, 32),
                  .checkpoint = true,
                  .onHost = true});
  list.push_back({.label = "scales alone", .model = wideModel(), .spec = specOf(4, Storage::Integer, -1)});
  list.back().spec.rank = 0;
  list.push_back({.label = "scales of groups alone", .model = wideModel(), .spec = specOf(4, Storage::Integer, 32)});
  list.back().spec.rank = 0;
  for (const int64_t group : {int64_t{0}, int64_t{-1}, int64_t{32}}) {
    for (const bool symmetric : {true, false}) {
      Case c{.label = std::string("trained weights") + (symmetric ? "" : " with zero points") + ", group " +
                      std::to_string(group),
             .model = wideModel(),
             .spec = specOf(3, Storage::Trained, group)};
      c.spec.rank = 0;
      c.spec.symmetric = symmetric;
      c.spec.gradientScaling = group > 0;
      c.checkpoint = group < 0;
      c.onHost = group < 0 && symmetric;
      list.push_back(c);
    }
  }
  list.push_back({.label = "norms, head and embeddings",
                  .model = wideModel(),
                  .spec = specOf(4, Storage::FixedPoint, -1),
                  .floats = {.norms = true, .head = true, .embeddings = true}});
  list.push_back({.label = "everything, block checkpointing, odd widths",
                  .model = oddModel(),
                  .spec = specOf(3, Storage::Trained, 2),
                  .length = 23,
                  .checkpoint = true,
                  .floats = {.norms = true, .head = true, .embeddings = true}});
  list.back().spec.rank = 0;
  Case table{.label = "tied embeddings, state on the host",
             .model = wideModel(),
             .spec = specOf(4, Storage::Integer, -1),
             .checkpoint = true,
             .onHost = true,
             .floats = {.embeddings = true}};
  table.model.tiedEmbeddings = true;
  list.push_back(table);
  list.push_back(
      {.label = "odd widths", .model = oddModel(), .spec = specOf(3, Storage::FixedPoint, -1), .length = 23});
  list.push_back(
      {.label = "odd widths, groups", .model = oddModel(), .spec = specOf(3, Storage::F32, 2), .length = 23});
  return list;
}

/// Every site and kind of grid. A number within an ulp of a tie goes the other way, which is worth a step of its grid
/// and moves all behind it: with few bits nothing of two sums in different orders can be compared any more, hence 7
/// and 8. Nor with fractional zero points, where an ulp decides whether the smallest or the largest number of a token
/// has a gradient; their grids are compared to the bit in activations_test.cu.
std::vector<Case> activationCases() {
  std::vector<Case> list;
  for (const auto& [label, activations] : {std::pair{"a8, 7 bits in the cache", activationsOf(8, 7)},
                                           {"a8, static", staticRanges(8, false, false)},
                                           {"a8, static, symmetric", staticRanges(8, true, false)},
                                           {"a8, static, learned", staticRanges(8, false, true)},
                                           {"a8, static, symmetric, learned", staticRanges(8, true, true)}}) {
    Case c{.label = label, .model = wideModel(), .spec = specOf(4, Storage::Integer, -1)};
    c.activations = activations;
    list.push_back(c);
    c.label += ", block checkpointing, head norms";
    c.model.qkNorm = true;
    c.checkpoint = true;
    list.push_back(c);
    c.label = std::string(label) + ", odd widths, everything kept";
    c.model = oddModel();
    c.length = 23;
    c.checkpoint = false;
    c.recompute = false;
    list.push_back(c);
  }
  return list;
}

void quantizedActivations() {
  for (const Case& c : activationCases()) {
    compare(c, DType::F32);
    compare(c, DType::BF16);
    repeated(c);
  }
}

void inFloat32() {
  for (const Case& c : cases()) compare(c, DType::F32);
}

void inBf16() {
  for (const Case& c : cases()) compare(c, DType::BF16);
}

void sameBits() {
  for (const Case& c : cases()) repeated(c);
}

/// The choices of one engine serve another.
void algorithms() {
  const Case c{.label = "algorithms", .model = wideModel(), .spec = specOf(4, Storage::Integer, -1)};
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

/// What an engine on the CPU has found, in memory and, for Φ0, in a file, as a run stores it.
class StoredStart {
 public:
  explicit StoredStart(const Engine& engine)
      : path_(std::filesystem::temp_directory_path() / ("lrqat-start-" + std::to_string(::getpid()))) {
    std::ofstream out(path_, std::ios::binary);
    int64_t offset = 0;
    const EngineShape& shape = engine.shape();
    for (size_t i = 0; i < shape.linears.size(); ++i) {
      const auto& spec = shape.linears[i];
      if (!spec) continue;
      const std::string& name = engine.linearName(i);
      ranges_.scales[name] = engine.initialScales(i);
      if (!spec->symmetric) ranges_.zeroPoints[name] = engine.initialZeroPoints(i);
      const auto codes = engine.phi0(i);
      ranges_.phi0[name] = {path_.string(), offset};
      out.write(reinterpret_cast<const char*>(codes.data()), static_cast<std::streamsize>(codes.size()));
      offset += static_cast<int64_t>(codes.size());
      if (spec->rank == 0) continue;
      for (const ParameterKind kind : {ParameterKind::A, ParameterKind::B}) {
        factors_.push_back({i, kind, engine.readState(i, kind, StateKind::Value)});
      }
    }
  }
  ~StoredStart() { std::filesystem::remove(path_); }
  StoredStart(const StoredStart&) = delete;
  StoredStart& operator=(const StoredStart&) = delete;

  void load(Engine& engine) const {
    engine.load(ranges_, {});
    for (const Factor& factor : factors_)
      engine.writeState(factor.linear, factor.kind, StateKind::Value, factor.values);
  }

 private:
  struct Factor {
    size_t linear;
    ParameterKind kind;
    std::vector<float> values;
  };
  std::filesystem::path path_;
  StoredRanges ranges_;
  std::vector<Factor> factors_;
};

/// Starts are found on the CPU, linear by linear, and stored; an engine on the device that loads them has the integers
/// of one on the CPU to the bit, and trains from there as that one does.
void startsFoundOnTheCpu() {
  struct Start {
    std::string label;
    StartSettings settings;
    Storage storage;
    int rank = 8;
  };
  const std::vector<Start> starts{
      {"GPTQ, integers", {.gptq = true}, Storage::Integer},
      {"GPTQ in activation order, fixed point", {.gptq = true, .activationOrder = true}, Storage::FixedPoint},
      {"singular values, fp16", {.lowRank = true, .iterations = 2}, Storage::F16},
      {"GPTQ and singular values, fixed point", {.gptq = true, .lowRank = true}, Storage::FixedPoint},
      {"GPTQ alone", {.gptq = true}, Storage::Integer, 0}};
  for (const Start& start : starts) {
    for (const int64_t group : {int64_t{-1}, int64_t{32}}) {
      for (const bool symmetric : {true, false}) {
        Case c{.label = start.label + ", group " + std::to_string(group) + (symmetric ? "" : ", zero points"),
               .model = wideModel(),
               .spec = specOf(3, start.storage, group)};
        c.spec.symmetric = symmetric;
        c.spec.rank = start.rank;
        const bool trains = start.rank > 0;
        c.spec.learnScales = trains;
        c.spec.learnZeroPoints = trains;
        context = c.label;
        const RandomCheckpoint checkpoint(c.model);
        const RandomTokens four(4, c.length, c.model.vocabSize);
        EngineConfig finding = configure(c, checkpoint, Device::Cpu, DType::F32);
        finding.shape.training = false;
        Engine finder = open(finding);
        finder.load({}, {});
        const auto nearest = finder.merge(0);
        finder.findStart(start.settings, four.batch(), {});
        if (start.settings.gptq) expect(finder.merge(0) != nearest, "GPTQ rounds some weights otherwise");
        const StoredStart stored(finder);

        EngineConfig onHost = configure(c, checkpoint, Device::Cpu, DType::F32);
        EngineConfig onDevice = configure(c, checkpoint, Device::Cuda, DType::F32);
        onHost.shape.training = onDevice.shape.training = trains;
        Engine host = open(onHost);
        Engine device = open(onDevice);
        stored.load(host);
        stored.load(device);
        expect(device.baseDigest() == finder.baseDigest(), "digest of the base");
        for (size_t i = 0; i < onHost.shape.linears.size(); ++i) {
          if (!onHost.shape.linears[i]) continue;
          expect(device.phi0(i) == finder.phi0(i), "Φ0 bit for bit");
          expect(device.merge(i) == finder.merge(i), "integers bit for bit");
          expect(device.scales(i) == finder.scales(i), "scales bit for bit");
          expect(device.zeroPoints(i) == finder.zeroPoints(i), "zero points");
        }
        const double expected = host.evaluate(four.batch(), WeightForm::Trained).lossSum;
        expectNear(device.evaluate(four.batch(), WeightForm::Trained).lossSum, expected, float32.loss * expected,
                   "loss");
        for (int step = 0; trains && step < 2; ++step) {
          const StepResult wanted = host.trainStep(four.batch(), optimizer);
          const StepResult actual = device.trainStep(four.batch(), optimizer);
          expectNear(actual.loss, wanted.loss, float32.loss * wanted.loss, "loss of a step");
          expectNear(actual.gradientNorm, wanted.gradientNorm, float32.gradient * wanted.gradientNorm, "gradient norm");
        }
      }
    }
  }
}

void outOfMemory() {
  const Case c{.label = "", .model = wideModel(), .spec = specOf(4, Storage::Integer, -1)};
  const RandomCheckpoint checkpoint(c.model);
  EngineConfig config = configure(c, checkpoint, Device::Cuda, DType::BF16);
  config.shape.microBatch = int64_t{1} << 22;
  try {
    open(config);
    fail("more memory than a GPU has was not refused");
  } catch (const Error& error) {
    expect(error.code() == ErrorCode::OutOfMemory, std::string("out of memory, not: ") + error.what());
  }
  Engine engine = open(configure(c, checkpoint, Device::Cuda, DType::BF16));  // the device goes on working
  engine.load({}, {});
}

}  // namespace

int main(int argc, char** argv) {
  library = openLibrary();
  if (!library) return 0;
  return run({{"quantized activations", quantizedActivations},
              {"float32 against the CPU", inFloat32},
              {"bf16 against the CPU in float32", inBf16},
              {"the same bits when repeated", sameBits},
              {"the same bits from graphs", recorded},
              {"a few recorded steps", recordedBriefly},
              {"algorithms of products are taken again", algorithms},
              {"starts found on the CPU", startsFoundOnTheCpu},
              {"out of memory", outOfMemory}},
             argc, argv);
}
