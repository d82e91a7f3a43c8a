// Training steps at the shapes of real models with random weights: tokens a second, memory against plan, time by
// operation, beside the GEMM and copy rates of the same run. One line a setting.
//   bench_engine [--model 7b] [--micro-batches 1,4,8] [--sequence 1024] [--checkpointing none,block] [--bits 4]
//                [--group 0] [--rank 32] [--storage integer] [--clipped 0] [--host none|embeddings|optimizer]
//                [--scales learned|frozen] [--grid symmetric|asymmetric] [--graphs on|off] [--steps 5] [--profile]
//                [--load] [--limit GiB] [--card GiB] [--train norms,head,embeddings] [--method lr-qat|peqa|lsq]
//                [--activations none|a8|a8-kv4|a4] [--ranges token|static|learned] [--teacher 0] [--accumulate 1]
// --checkpointing also takes a number: so many of the last blocks are kept. --load writes a whole checkpoint and times
// reading it, range search included; else all layers share one layer's weights. --limit refuses settings whose plan is
// larger. --method: peqa trains scales alone, lsq the weights themselves. --teacher trains with distillation from so
// many classes. --accumulate: micro-batches of a step. --card leaves only so much memory of the device free, as on a
// smaller card, before the engine is opened.
#include <unistd.h>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <thread>

#include "core/cuda_library.h"
#include "core/engine.h"
#include "core/error.h"
#include "core/half.h"
#include "core/timed_backend.h"
#include "cuda/test/library_path.h"

using namespace lrqat;

namespace {

using Clock = std::chrono::steady_clock;
constexpr double GiB = 1073741824.0;

double secondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Options {
  std::map<std::string, std::string> values;

  Options(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
      const std::string key = argv[i];
      const bool flag = i + 1 == argc || std::string(argv[i + 1]).starts_with("--");
      values[key] = flag ? "1" : argv[++i];
    }
  }
  std::string text(const std::string& key, const std::string& otherwise) const {
    const auto found = values.find(key);
    return found == values.end() ? otherwise : found->second;
  }
  double number(const std::string& key, double otherwise) const {
    const auto found = values.find(key);
    return found == values.end() ? otherwise : std::stod(found->second);
  }
  /// The first of the values unless another one is given.
  std::string oneOf(const std::string& key, std::initializer_list<const char*> choices) const {
    const std::string given = text(key, *choices.begin());
    std::string all;
    for (const char* choice : choices) {
      if (given == choice) return given;
      all += (all.empty() ? "" : ", ") + std::string(choice);
    }
    throw Error(ErrorCode::InvalidArgument, key + " " + given + ": there are " + all);
  }
  std::vector<std::string> list(const std::string& key, const std::string& otherwise) const {
    std::vector<std::string> out;
    std::stringstream stream(text(key, otherwise));
    for (std::string item; std::getline(stream, item, ',');) out.push_back(item);
    return out;
  }
};

ModelShape modelOf(const std::string& name) {
  struct Row {
    const char* name;
    int64_t hidden, mlp, layers, heads, kvHeads, headDim, vocab;
  };
  constexpr Row rows[] = {{"1b", 2048, 8192, 16, 32, 8, 64, 128256},   {"7b", 4096, 11008, 32, 32, 32, 128, 32000},
                          {"8b", 4096, 14336, 32, 32, 8, 128, 128256}, {"13b", 5120, 13824, 40, 40, 40, 128, 32000},
                          {"70b", 8192, 28672, 80, 64, 8, 128, 32000}, {"small", 512, 1408, 8, 8, 4, 64, 8192}};
  for (const Row& row : rows) {
    if (name != row.name) continue;
    ModelShape m;
    m.hiddenSize = row.hidden;
    m.intermediateSize = row.mlp;
    m.layers = row.layers;
    m.heads = row.heads;
    m.kvHeads = row.kvHeads;
    m.headDim = row.headDim;
    m.vocabSize = row.vocab;
    return m;
  }
  throw Error(ErrorCode::InvalidArgument, "unknown model " + name + "; there are 1b, 7b, 8b, 13b, 70b, small");
}

/// Random bf16 weights in one file; layers share their values unless the whole checkpoint is wanted.
class Checkpoint {
 public:
  Checkpoint(const ModelShape& m, bool whole) {
    path_ = std::filesystem::temp_directory_path() / ("lrqat-bench-" + std::to_string(::getpid()));
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    pool_.resize((size_t{1} << 22) + 12345);
    for (uint16_t& value : pool_) value = bf16FromFloat(normal(random) * 0.02F);
    std::ofstream file(path_, std::ios::binary);
    const std::vector<uint16_t> ones(static_cast<size_t>(m.hiddenSize), bf16FromFloat(1));
    const int64_t norm = append(file, ones.data(), m.hiddenSize);
    add("model.embed_tokens.weight", weights(file, m.vocabSize * m.hiddenSize), {m.vocabSize, m.hiddenSize});
    add("lm_head.weight", weights(file, m.vocabSize * m.hiddenSize), {m.vocabSize, m.hiddenSize});
    add("model.norm.weight", norm, {m.hiddenSize});
    std::map<Linear, int64_t> shared;
    for (int64_t layer = 0; layer < m.layers; ++layer) {
      add(layerPrefix(layer) + "input_layernorm.weight", norm, {m.hiddenSize});
      add(layerPrefix(layer) + "post_attention_layernorm.weight", norm, {m.hiddenSize});
      for (const Linear linear : allLinears) {
        const int64_t count = outputs(m, linear) * inputs(m, linear);
        if (whole || layer == 0) shared[linear] = weights(file, count);
        add(layerPrefix(layer) + name(linear) + ".weight", shared[linear], {outputs(m, linear), inputs(m, linear)});
      }
    }
  }
  ~Checkpoint() { std::filesystem::remove(path_); }
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  std::vector<TensorSource> tensors;
  double bytes() const { return static_cast<double>(size_); }

 private:
  int64_t append(std::ofstream& file, const uint16_t* values, int64_t count) {
    const int64_t offset = size_;
    file.write(reinterpret_cast<const char*>(values), static_cast<std::streamsize>(count * 2));
    size_ += count * 2;
    return offset;
  }
  int64_t weights(std::ofstream& file, int64_t count) {
    const int64_t offset = size_;
    const auto pool = static_cast<int64_t>(pool_.size());
    for (int64_t done = 0; done < count; done += pool) append(file, pool_.data(), std::min(pool, count - done));
    return offset;
  }
  void add(const std::string& tensorName, int64_t offset, std::vector<int64_t> shape) {
    int64_t count = 1;
    for (const int64_t extent : shape) count *= extent;
    tensors.push_back({tensorName, path_.string(), offset, count * 2, DType::BF16, std::move(shape)});
  }

  std::filesystem::path path_;
  std::vector<uint16_t> pool_;
  int64_t size_ = 0;
};

QuantSpec specOf(const Options& options) {
  QuantSpec spec;
  spec.bits = static_cast<int>(options.number("--bits", 4));
  spec.groupSize = static_cast<int64_t>(options.number("--group", 0));
  spec.granularity = spec.groupSize > 0 ? Granularity::Group : Granularity::Channel;
  const std::string storage = options.oneOf("--storage", {"integer", "fixed-point", "bf16"});
  const std::string method = options.oneOf("--method", {"lr-qat", "peqa", "lsq"});
  spec.storage = method == "lsq"            ? Storage::Trained
                 : storage == "fixed-point" ? Storage::FixedPoint
                 : storage == "bf16"        ? Storage::BF16
                                            : Storage::Integer;
  spec.fractionBits = 8 - spec.bits;
  spec.range = RangeMethod::Lp4;
  spec.rank = method == "lr-qat" ? static_cast<int>(options.number("--rank", 32)) : 0;
  spec.alpha = 1;
  spec.learnScales = options.oneOf("--scales", {"learned", "frozen"}) == "learned";
  spec.symmetric = options.oneOf("--grid", {"symmetric", "asymmetric"}) == "symmetric";
  return spec;
}

/// The presets of `quantization.activations`.
ActivationSpec activationsOf(const Options& options) {
  ActivationSpec spec;
  const std::string preset = options.oneOf("--activations", {"none", "a8", "a8-kv4", "a4"});
  if (preset == "none") return spec;
  spec.bits.fill(preset == "a4" ? 4 : 8);
  if (preset == "a8-kv4") {
    spec.bits[static_cast<size_t>(ActivationSite::Keys)] = 4;
    spec.bits[static_cast<size_t>(ActivationSite::Values)] = 4;
  }
  const std::string ranges = options.oneOf("--ranges", {"token", "static", "learned"});
  spec.staticRanges = ranges != "token";
  spec.learnRanges = ranges == "learned";
  return spec;
}

/// What is trained otherwise than usual.
std::string described(const Options& options) {
  std::string out;
  for (const char* key : {"--method", "--train", "--activations", "--ranges", "--teacher", "--accumulate"}) {
    if (options.values.contains(key)) out += std::string(", ") + (key + 2) + " " + options.text(key, "");
  }
  return out;
}

struct Rates {
  double gemm = 0;  // FLOP/s of cuBLASLt alone at the step's own products
  double copy = 0;  // bytes/s, read and written
};

Rates ceilings(const CudaLibrary& library, const ModelShape& m, int64_t tokens) {
  const auto backend = library.createBackend({.library = {}, .cublasLt = test::cublasLtPath()});
  const int64_t scratch = int64_t{64} << 20;
  backend->setScratch(backend->allocate(scratch, "scratch", MemoryPlace::Device), scratch);
  const int64_t widest = std::max(m.intermediateSize, m.queryWidth());
  void* x = backend->allocate(tokens * widest * 2, "x", MemoryPlace::Device);
  void* y = backend->allocate(tokens * widest * 2, "y", MemoryPlace::Device);
  void* w = backend->allocate(widest * m.hiddenSize * 2, "w", MemoryPlace::Device);
  std::vector<uint16_t> noise(static_cast<size_t>(widest * std::max(tokens, m.hiddenSize)));
  uint32_t state = 1;
  for (uint16_t& value : noise) {
    state = state * 1664525U + 1013904223U;
    value = bf16FromFloat(static_cast<float>(state >> 8) * 0x1p-24F - 0.5F);
  }
  backend->upload(x, noise.data(), tokens * widest * 2);
  backend->upload(w, noise.data(), widest * m.hiddenSize * 2);
  double flops = 0;
  double seconds = 0;
  for (const Linear linear : allLinears) {
    const int64_t rows = outputs(m, linear);
    const int64_t cols = inputs(m, linear);
    for (const bool forward : {true, false}) {
      const Matrix weight{w, DType::BF16, rows, cols};
      const Matrix in{x, DType::BF16, tokens, forward ? cols : rows};
      const Matrix out{y, DType::BF16, tokens, forward ? rows : cols};
      const auto once = [&] { backend->gemm(in, false, weight, forward, out, false); };
      for (int i = 0; i < 3; ++i) once();
      backend->synchronize();
      const auto start = Clock::now();
      constexpr int repeats = 20;
      for (int i = 0; i < repeats; ++i) once();
      backend->synchronize();
      seconds += secondsSince(start) / repeats;
      flops += 2.0 * static_cast<double>(rows * cols * tokens);
    }
  }
  constexpr int64_t copied = int64_t{1} << 30;
  void* from = backend->allocate(copied, "from", MemoryPlace::Device);
  void* to = backend->allocate(copied, "to", MemoryPlace::Device);
  backend->copy(to, from, copied);
  backend->synchronize();
  const auto start = Clock::now();
  for (int i = 0; i < 10; ++i) backend->copy(to, from, copied);
  backend->synchronize();
  return {.gemm = flops / seconds, .copy = 20.0 * static_cast<double>(copied) / secondsSince(start)};
}

/// Standard deviation of C where entries shall clip, in grid steps; P(C > ½) is pushedShare.
constexpr double pushDeviation = 0.35;
constexpr double pushedShare = 0.0766;

/// Makes entries clip: a low-rank term that pushes pushedShare of the integers at an end of the grid over it.
void pushOut(Engine& engine, double share) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (const ParameterInfo& p : engine.parameters()) {
    if (p.kind != ParameterKind::A) continue;
    const double rank = static_cast<double>(p.cols);
    // C = γ·Σ A·B with γ = 1/r and B uniform in ±1/√n, whose variance is 1/(3n).
    const auto shape = engine.parameters()[static_cast<size_t>(&p - engine.parameters().data()) + 1];
    const double deviation = pushDeviation * rank / std::sqrt(rank) * std::sqrt(3.0 * static_cast<double>(shape.cols));
    std::vector<float> a(static_cast<size_t>(p.count()));
    for (float& value : a) value = static_cast<float>(share > 0 ? deviation : 0) * normal(random);
    engine.writeState(p.linear, ParameterKind::A, StateKind::Value, a);
  }
}

std::map<std::string, std::vector<float>> narrowScales(const ModelShape& m, const QuantSpec& spec, double share) {
  // So many integers at the ends that pushOut clips `share` of all; quantile of the normal distribution by bisection.
  const double ends = std::min(0.9, share / pushedShare);
  double low = 0;
  double high = 10;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (std::erfc(middle / std::sqrt(2.0)) > ends ? low : high) = middle;
  }
  const float scale = static_cast<float>(0.02 * low / (spec.qmax() - 0.5));
  std::map<std::string, std::vector<float>> scales;
  for (int64_t layer = 0; layer < m.layers; ++layer) {
    for (const Linear linear : allLinears) {
      const int64_t count = spec.scaleCount(outputs(m, linear), inputs(m, linear));
      scales[layerPrefix(layer) + name(linear)] = std::vector<float>(static_cast<size_t>(count), scale);
    }
  }
  return scales;
}

void printProfile(const TimedBackend& timed, double stepSeconds) {
  std::vector<std::pair<double, std::string>> parts;
  double sum = 0;
  for (const auto& [operation, timing] : timed.timings()) {
    parts.emplace_back(timing.seconds, operation + " ×" + std::to_string(timing.calls));
    sum += timing.seconds;
  }
  std::sort(parts.rbegin(), parts.rend());
  for (const auto& [seconds, label] : parts) {
    if (seconds > 0.002 * sum)
      std::printf("    %8.2f ms  %4.1f %%  %s\n", seconds * 1e3, 100 * seconds / sum, label.c_str());
  }
  std::printf("    %8.2f ms in all, each operation waited for (step with them: %.2f ms)\n", sum * 1e3,
              stepSeconds * 1e3);
}

void measure(const CudaLibrary& library, const Options& options, const ModelShape& m, const Checkpoint& checkpoint,
             int64_t microBatch, const std::string& mode, const Rates& rates) {
  const QuantSpec spec = specOf(options);
  EngineConfig config;
  config.shape.model = m;
  config.shape.linears.assign(static_cast<size_t>(m.layers * linearsPerLayer), spec);
  config.shape.device = Device::Cuda;
  config.shape.computeType = DType::BF16;
  config.shape.residualType = DType::BF16;
  config.shape.microBatch = microBatch;
  config.shape.threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  config.shape.sequenceLength = static_cast<int64_t>(options.number("--sequence", 1024));
  const bool checkpointing = mode != "none";
  config.shape.checkpointBlocks = checkpointing;
  config.shape.keptBlocks = checkpointing && mode != "block" ? std::stoll(mode) : 1;
  config.shape.recomputeElementwise = true;
  const std::string host = options.oneOf("--host", {"none", "embeddings", "optimizer"});
  config.shape.embeddingsOnHost = host != "none";
  config.shape.optimizerOnHost = host == "optimizer";
  for (const std::string& group : options.list("--train", "")) {
    config.shape.floatGroups.norms |= group == "norms";
    config.shape.floatGroups.head |= group == "head";
    config.shape.floatGroups.embeddings |= group == "embeddings";
  }
  config.shape.activations = activationsOf(options);
  const auto teacherClasses = static_cast<int64_t>(options.number("--teacher", 0));
  if (teacherClasses > 0) config.shape.distillation = {teacherClasses, 0.5F, 1};
  config.tensors = checkpoint.tensors;
  const std::string setting = options.text("--model", "7b") + ", micro-batch " + std::to_string(microBatch) +
                              (mode == "none" || mode == "block" ? ", " + mode : ", " + mode + " kept") +
                              (host == "none" ? "" : ", host " + host) + described(options);

  std::unique_ptr<Backend> filler;
  if (const double card = options.number("--card", 0); card > 0) {
    filler = library.createBackend({.library = {}, .cublasLt = test::cublasLtPath()});
    const int64_t available = library.devices().front().freeBytes;
    filler->allocate(available - static_cast<int64_t>(card * GiB), "what the card does not have", MemoryPlace::Device);
    filler->synchronize();
    std::printf("%.2f GiB of the device are free\n", static_cast<double>(library.devices().front().freeBytes) / GiB);
  }
  const int64_t freeBefore = library.devices().front().freeBytes;
  auto backend = library.createBackend(
      {.library = {}, .cublasLt = test::cublasLtPath(), .graphs = options.oneOf("--graphs", {"on", "off"}) == "on"});
  const Backend& device = *backend;
  const double limit = options.number("--limit", 1e9);
  const MemoryParts parts = memoryParts(config.shape, backend->scratchBytes(config.shape));
  const auto gib = [](int64_t bytes) { return static_cast<double>(bytes) / GiB; };
  if (gib(parts.total()) > limit) {
    std::printf("%-34s  needs %.2f GiB, above the limit of %.2f\n", setting.c_str(), gib(parts.total()), limit);
    return;
  }
  TimedBackend* timed = nullptr;
  if (options.values.contains("--profile")) {
    auto wrapped = std::make_unique<TimedBackend>(std::move(backend));
    timed = wrapped.get();
    backend = std::move(wrapped);
  }
  Engine engine(config, std::move(backend));
  const double share = options.number("--clipped", 0);
  const auto loading = Clock::now();
  engine.load({share > 0 ? narrowScales(m, spec, share) : std::map<std::string, std::vector<float>>{}, {}}, {});
  const double loadSeconds = secondsSince(loading);
  if (share > 0) pushOut(engine, share);

  std::mt19937 random(3);
  const int64_t length = config.shape.sequenceLength;
  const int64_t sequences = microBatch * static_cast<int64_t>(options.number("--accumulate", 1));
  std::vector<int32_t> tokens(static_cast<size_t>(sequences * length));
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % static_cast<uint32_t>(m.vocabSize));
  std::vector<int32_t> targets(tokens.begin() + 1, tokens.end());
  targets.push_back(-1);
  TokenBatch batch{sequences, length, tokens, targets, {}};
  TeacherKnowledge teacher;
  if (teacherClasses > 0) teacher = engine.teach(batch);
  batch.teacherClasses = teacher.classes;
  batch.teacherLogProbabilities = teacher.logProbabilities;
  if (config.shape.activations.staticRanges) engine.calibrateActivations(batch);
  // Rates of 0 keep the share of clipped entries where it was put.
  const OptimizerSettings settings{.lowRankLearningRate = share > 0 ? 0 : 1e-3F,
                                   .scaleLearningRate = share > 0 ? 0 : 1e-5F,
                                   .weightLearningRate = 5e-5,
                                   .normLearningRate = 5e-5,
                                   .headLearningRate = 5e-5,
                                   .embeddingLearningRate = 5e-5,
                                   .activationLearningRate = 1e-5,
                                   .gradientClip = 1.0};
  StepResult result = engine.trainStep(batch, settings);
  // A graph is recorded in the third step.
  for (int step = 0; step < 3; ++step) engine.trainStep(batch, settings);
  if (timed) timed->reset();
  const int steps = static_cast<int>(options.number("--steps", 5));
  std::vector<double> times;
  for (int step = 0; step < steps; ++step) {
    const auto start = Clock::now();
    result = engine.trainStep(batch, settings);
    times.push_back(secondsSince(start));
    if (timed && step + 1 < steps) timed->reset();
  }
  const int64_t taken = freeBefore - library.devices().front().freeBytes;
  std::sort(times.begin(), times.end());
  const double median = times[times.size() / 2];
  const double tokensPerSecond = static_cast<double>(sequences * length) / median;
  double clipped = 0;
  double weights = 0;
  if (share > 0) {
    for (const LayerStatistics& layer : engine.layerStatistics()) {
      clipped += static_cast<double>(layer.statistics.clipped);
      weights += static_cast<double>(layer.weights);
    }
  }
  double linearFlops = 0;
  for (const Linear linear : allLinears)
    linearFlops += 2.0 * static_cast<double>(outputs(m, linear) * inputs(m, linear));
  const double products =
      linearFlops * static_cast<double>(m.layers * sequences * length) *
      (2 + (spec.trainsWeights() ? 1 : 0) +
       (checkpointing ? static_cast<double>(m.layers - config.shape.keptBlocks) / static_cast<double>(m.layers) : 0));
  std::printf(
      "%-34s  %8.0f tokens/s  %7.2f ms (%.2f–%.2f)  %6.2f GiB planned, %6.2f taken  products at ceiling %4.1f %%"
      "  loss %.6f  loaded in %.1f s, %lld graphs launched%s\n",
      setting.c_str(), tokensPerSecond, median * 1e3, times.front() * 1e3, times.back() * 1e3, gib(parts.total()),
      gib(taken), 100 * products / rates.gemm / median, result.loss, loadSeconds,
      static_cast<long long>(timed ? 0 : device.repeats()),
      share > 0 ? (", clipped " + std::to_string(100 * clipped / weights) + " %").c_str() : "");
  std::printf(
      "    plan: weights %.2f, parameters %.2f, gradients %.2f, optimizer %.2f, embeddings %.2f, activations %.2f, "
      "workspace %.2f, host %.2f GiB\n",
      gib(parts.quantizedWeights), gib(parts.parameters), gib(parts.gradients), gib(parts.optimizer),
      gib(parts.embeddings), gib(parts.activations), gib(parts.workspace), gib(parts.host));
  if (timed) printProfile(*timed, median);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Options options(argc, argv);
    const auto library = test::openLibrary();
    if (!library) return 0;
    const CudaDeviceInfo device = library->devices().front();
    const ModelShape m = modelOf(options.text("--model", "7b"));
    const auto microBatches = options.list("--micro-batches", "1,4,8");
    const Checkpoint checkpoint(m, options.values.contains("--load"));
    std::printf("%s, compute capability %d.%d; checkpoint %.2f GB\n", device.name, device.computeMajor,
                device.computeMinor, checkpoint.bytes() / 1e9);
    for (const std::string& microBatch : microBatches) {
      const int64_t sequences = std::stoll(microBatch);
      const Rates rates = ceilings(*library, m, sequences * static_cast<int64_t>(options.number("--sequence", 1024)));
      std::printf("ceiling at micro-batch %lld: GEMM %.0f TFLOP/s at the step's shapes, copy %.2f TB/s\n",
                  static_cast<long long>(sequences), rates.gemm / 1e12, rates.copy / 1e12);
      for (const std::string& mode : options.list("--checkpointing", "none,block")) {
        try {
          measure(*library, options, m, checkpoint, sequences, mode, rates);
        } catch (const Error& error) {
          std::printf("micro-batch %s, %s: %s\n", microBatch.c_str(), mode.c_str(), error.what());
        }
      }
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
