// Gradients of A, B and group scales on the device against the closed forms of lr-qat.md §2.1 with a dense G in double.
#include <cstdlib>
#include <memory>
#include <optional>

#include "cuda/kernels/clipped_entries.h"
#include "cuda/kernels/low_rank_products.h"
#include "cuda/low_rank.h"
#include "cuda/test/low_rank_problem.h"

using namespace lrqat;
using namespace lrqat::cuda;
using namespace lrqat::test;

namespace {

std::unique_ptr<GuardedMemory> workspace;
std::unique_ptr<Gemm> gemm;

/// cuBLASLt of LRQAT_CUBLASLT, or of the loader's path.
bool openLibrary() {
  workspace = std::make_unique<GuardedMemory>(Gemm::workspaceBytes);
  const char* chosen = std::getenv("LRQAT_CUBLASLT");
  std::vector<std::string> names{"libcublasLt.so.13", "libcublasLt.so.12"};
  if (chosen) names = {chosen};
  for (const std::string& name : names) {
    try {
      gemm = std::make_unique<Gemm>(name, workspace->data(), Gemm::workspaceBytes);
      return true;
    } catch (const Error& error) {
      std::printf("%s\n", error.what());
    }
  }
  return false;
}

struct Setting {
  int64_t tokens = 300;  // no multiple of anything
  int64_t n = 172;
  DType type = DType::BF16;
  Clipping clipping = {};
  bool forceDense = false;
};

struct LinearSetting {
  QuantSpec spec;
  int64_t m;
};

struct Outcome {
  int64_t clipped = 0;
  std::vector<ProblemLinear::Gradients> gradients;
};

std::string describe(const QuantSpec& spec, int64_t m, const Setting& setting) {
  std::string text = std::to_string(m) + "x" + std::to_string(setting.n) + " T" + std::to_string(setting.tokens);
  text += setting.type == DType::BF16 ? " bf16" : " float32";
  if (spec.granularity == Granularity::Group) text += " g" + std::to_string(spec.groupSize);
  if (setting.forceDense) text += " dense";
  return text + " r" + std::to_string(spec.rank);
}

/// Runs the gradient of linears that share X twice, in scratch of exactly the planned size, and compares with double
/// and to the bit with itself.
Outcome check(const std::vector<LinearSetting>& linears, const Setting& setting, uint32_t seed) {
  std::vector<float> x = randomNormal(static_cast<size_t>(setting.tokens * setting.n), seed + 500);
  for (float& value : x) value = stored(value, setting.type);
  const GuardedMemory xMemory = upload(x, setting.type);
  const Matrix xMatrix{xMemory.data(), setting.type, setting.tokens, setting.n};

  std::vector<ProblemLinear> problems;
  std::vector<int64_t> counts;
  int64_t widest = 0;
  int64_t rankSum = 0;
  Outcome outcome;
  for (size_t l = 0; l < linears.size(); ++l) {
    const auto& [spec, m] = linears[l];
    context = describe(spec, m, setting);
    problems.emplace_back(spec, m, x, setting.tokens, setting.n, setting.type, setting.clipping,
                          seed + 10 * static_cast<uint32_t>(l));
    widest = std::max(widest, m);
    rankSum += paddedRank(spec.rank);
    counts.push_back(setting.forceDense ? m * setting.n : problems.back().clipped());
    outcome.clipped += problems.back().clipped();
  }
  std::vector<LowRankTask> tasks;
  for (const ProblemLinear& problem : problems) tasks.push_back(problem.task());

  const int64_t bytes = LowRankGradient::scratchBytes(setting.tokens, setting.n, widest, rankSum);
  GuardedMemory scratchMemory(static_cast<size_t>(bytes));
  LowRankGradient gradient(*gemm);
  const auto runOnce = [&] {
    for (ProblemLinear& problem : problems) problem.reset();
    scratchMemory.poison();
    Scratch scratch(scratchMemory.data(), bytes);
    gradient.run(xMatrix, tasks, counts, setting.type == DType::F32, scratch, nullptr);
    LRQAT_CUDA(cudaDeviceSynchronize());
    std::vector<ProblemLinear::Gradients> result;
    for (const ProblemLinear& problem : problems) result.push_back(problem.read());
    return result;
  };
  outcome.gradients = runOnce();
  const auto again = runOnce();
  // What a recorded step gives: no exact numbers, but the most that the sparse form takes.
  for (size_t l = 0; l < linears.size(); ++l) {
    const int64_t capacity = LowRankGradient::sparseCapacity(linears[l].m, setting.n);
    if (counts[l] <= capacity) counts[l] = capacity;
  }
  const auto withRoom = runOnce();
  scratchMemory.read<char>();
  // float32: sums of hundreds of products, relative to the largest element. bf16: operands are exact in the reference;
  // the factors and U, V are halves with 16 bits of mantissa, so an element is off by some 2^-17 of the terms' size.
  const double tolerance = setting.type == DType::BF16 ? 5e-5 : 1e-5;
  for (size_t l = 0; l < linears.size(); ++l) {
    context = describe(linears[l].spec, linears[l].m, setting);
    problems[l].expectGradients(outcome.gradients[l], tolerance);
    expect(outcome.gradients[l] == again[l], "the second run gives the same bits");
    expect(outcome.gradients[l] == withRoom[l], "room for more clipped entries changes nothing");
  }
  context.clear();
  return outcome;
}

QuantSpec makeSpec(Granularity granularity, int64_t group, int rank, Storage storage = Storage::F32) {
  QuantSpec spec;
  spec.bits = 4;
  spec.fractionBits = 4;
  spec.granularity = granularity;
  spec.groupSize = group;
  spec.rank = rank;
  spec.alpha = 1.5F;
  spec.storage = storage;
  return spec;
}

const auto channel = Granularity::Channel;
const auto tensor = Granularity::Tensor;
constexpr DType bothTypes[] = {DType::BF16, DType::F32};

void nothingClipped() {
  for (const DType type : bothTypes) {
    for (const int rank : {1, 5, 16, 32, 33, 64}) {
      for (const auto& [tokens, n] : {std::pair<int64_t, int64_t>{300, 172}, {77, 256}, {1, 8}, {130, 45}}) {
        if (rank > n) continue;
        const Outcome outcome =
            check({{makeSpec(rank % 2 ? channel : tensor, 0, rank), 70}}, {.tokens = tokens, .n = n, .type = type}, 3);
        expectEqual(outcome.clipped, int64_t{0}, "entries clipped");
      }
    }
  }
}

const std::vector<LinearSetting> three = {
    {makeSpec(channel, 0, 5), 140}, {makeSpec(tensor, 0, 16), 24}, {makeSpec(channel, 0, 64), 201}};

void severalLinearsShareTheInput() {
  for (const DType type : bothTypes) {
    for (const int64_t n : {int64_t{172}, int64_t{320}}) {
      for (const double fraction : {0.0, 0.01}) {
        const Setting setting{.n = n, .type = type, .clipping = {.fraction = fraction}};
        check(three, setting, 20);
        check({three[0], three[1]}, setting, 21);
        check({three[1], {makeSpec(channel, 0, 0), 9}, three[0]}, setting, 22);
        check({three[2], {makeSpec(Granularity::Group, n == 172 ? 43 : 32, 3), 17}, three[1]}, setting, 23);
      }
    }
  }
}

void sparse() {
  for (const DType type : bothTypes) {
    for (const Storage storage : {Storage::F32, Storage::FixedPoint}) {
      for (const Granularity granularity : {tensor, channel}) {
        for (const int rank : {5, 64}) {
          const Outcome outcome = check({{makeSpec(granularity, 0, rank, storage), 150}},
                                        {.type = type, .clipping = {.fraction = 0.02}}, 11);
          expect(outcome.clipped > 100 && outcome.clipped < LowRankGradient::sparseCapacity(150, 172),
                 "some entries are clipped: " + std::to_string(outcome.clipped));
        }
      }
    }
  }
}

void oneEntry() {
  // Lists with a single entry, at the very end of the mask.
  for (const DType type : bothTypes) {
    check({{makeSpec(channel, 0, 3), 33}}, {.tokens = 9, .n = 65, .type = type, .clipping = {.row = 32}}, 12);
    check({{makeSpec(channel, 0, 3), 1}}, {.tokens = 1, .n = 33, .type = type, .clipping = {.column = 32}}, 13);
  }
}

void severalPanelsAndUnits() {
  // More than one panel of columns, range of rows and unit of entries; whole rows and columns clipped.
  for (const DType type : bothTypes) {
    Setting setting{
        .tokens = 19, .n = 4200, .type = type, .clipping = {.fraction = 0.006, .row = 2053, .column = 4191}};
    const Outcome outcome = check({{makeSpec(channel, 0, 4), 2100}}, setting, 51);
    expect(outcome.clipped > 50000 && outcome.clipped < LowRankGradient::sparseCapacity(2100, 4200),
           "many entries are clipped: " + std::to_string(outcome.clipped));
    setting.clipping = {.fraction = 0.0002};
    check({{makeSpec(channel, 0, 4), 2100}}, setting, 52);
    setting.forceDense = true;
    setting.tokens = 5;
    check({{makeSpec(channel, 0, 4), 2100}}, setting, 53);
  }
}

void longSums() {
  // More tokens than one split of the thin products, and products of several splits over columns.
  for (const int64_t tokens : {int64_t{1500}, int64_t{2048}}) {
    check({{makeSpec(channel, 0, 32), 300}, {makeSpec(channel, 0, 32), 40}},
          {.tokens = tokens, .n = 1032, .clipping = {.fraction = 0.002}}, 81);
  }
}

void aboveTheCapacity() {
  for (const DType type : bothTypes) {
    for (const Granularity granularity : {tensor, channel}) {
      const Outcome outcome =
          check({{makeSpec(granularity, 0, 5), 150}}, {.type = type, .clipping = {.fraction = 0.1}}, 31);
      expect(outcome.clipped > LowRankGradient::sparseCapacity(150, 172), "more entries than the capacity are clipped");
    }
  }
}

void denseEqualsSparse() {
  for (const DType type : bothTypes) {
    Setting setting{.type = type, .clipping = {.fraction = 0.02}};
    const Outcome sparseForm = check({{makeSpec(channel, 0, 7), 150}}, setting, 35);
    setting.forceDense = true;
    const Outcome denseForm = check({{makeSpec(channel, 0, 7), 150}}, setting, 35);
    expectNear(relativeError(sparseForm.gradients[0].dA, denseForm.gradients[0].dA), 0, 1e-4, "dA of both forms");
    expectNear(relativeError(sparseForm.gradients[0].dB, denseForm.gradients[0].dB), 0, 1e-4, "dB of both forms");
  }
}

void groupScales() {
  uint32_t seed = 41;
  for (const DType type : bothTypes) {
    for (const auto& [n, group] : {std::pair<int64_t, int64_t>{172, 4},
                                   {172, 43},
                                   {172, 86},
                                   {172, 172},
                                   {256, 8},
                                   {256, 32},
                                   {256, 128},
                                   {45, 15}}) {
      for (const ScaleDomain domain : {ScaleDomain::Linear, ScaleDomain::Log}) {
        for (const int rank : {0, 5, 33}) {
          for (const bool learn : {true, false}) {
            QuantSpec spec = makeSpec(Granularity::Group, group, rank, seed % 2 ? Storage::F32 : Storage::FixedPoint);
            spec.scaleDomain = domain;
            spec.learnScales = learn;
            check({{spec, 131}}, {.tokens = 40, .n = n, .type = type, .clipping = {.fraction = 0.05}}, ++seed);
          }
        }
      }
    }
  }
}

QuantSpec aroundZeroPoints(QuantSpec spec) {
  spec.symmetric = false;
  return spec;
}

/// Every kernel of zero points once, small enough for a race checker.
void fewZeroPoints() {
  uint32_t seed = 900;
  for (const Granularity granularity : {tensor, channel}) {
    for (const double fraction : {0.02, 0.1}) {
      check({{aroundZeroPoints(makeSpec(granularity, 0, 5)), 45}},
            {.tokens = 20, .n = 72, .clipping = {.fraction = fraction}}, ++seed);
    }
  }
  check({{aroundZeroPoints(makeSpec(Granularity::Group, 24, 5)), 45}},
        {.tokens = 20, .n = 72, .clipping = {.fraction = 0.05}}, ++seed);
}

/// Gradients of zero points: sparse, dense and of groups; beside linears without; rank 0, which only the dense form
/// takes.
void zeroPoints() {
  uint32_t seed = 600;
  const auto around = aroundZeroPoints;
  for (const DType type : bothTypes) {
    for (const Storage storage : {Storage::F32, Storage::FixedPoint}) {
      for (const Granularity granularity : {tensor, channel}) {
        for (const double fraction : {0.02, 0.1}) {
          const QuantSpec spec = around(makeSpec(granularity, 0, 5, storage));
          check({{spec, 150}}, {.type = type, .clipping = {.fraction = fraction, .row = 3}}, ++seed);
          check({{makeSpec(channel, 0, 3), 40}, {spec, 70}}, {.type = type, .clipping = {.fraction = fraction}},
                ++seed);
        }
      }
      for (const int64_t group : {4, 43, 86}) {
        check({{around(makeSpec(Granularity::Group, group, 5, storage)), 131}},
              {.tokens = 40, .type = type, .clipping = {.fraction = 0.05}}, ++seed);
      }
      check({{around(makeSpec(Granularity::Group, 128, 33, storage)), 131}},
            {.tokens = 40, .n = 256, .type = type, .clipping = {.fraction = 0.05}}, ++seed);
    }
    for (const Granularity granularity : {tensor, channel}) {
      check({{around(makeSpec(granularity, 0, 0)), 60}}, {.type = type, .clipping = {.fraction = 0.05}}, ++seed);
    }
    // Several panels of columns and rows.
    check({{around(makeSpec(channel, 0, 4)), 2100}},
          {.tokens = 19, .n = 4200, .type = type, .clipping = {.fraction = 0.002, .row = 2053}}, ++seed);
    QuantSpec eight = around(makeSpec(Granularity::Group, 32, 5));
    eight.bits = 8;
    eight.fractionBits = 0;
    check({{eight, 50}}, {.n = 64, .type = type, .clipping = {.fraction = 0.05}}, ++seed);
  }
}

void report() {
  std::printf("largest relative error seen: %.2e\n", ProblemLinear::worst());
}

}  // namespace

int main(int argc, char** argv) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("skipped: no CUDA device\n");
    return 0;
  }
  if (!openLibrary()) {
    std::printf("skipped: no cuBLASLt; LRQAT_CUBLASLT names one\n");
    return 0;
  }
  return run({{"nothing clipped: thin products", nothingClipped},
              {"sparse correction", sparse},
              {"a single clipped row or column", oneEntry},
              {"several linears share the input", severalLinearsShareTheInput},
              {"several panels, ranges and units", severalPanelsAndUnits},
              {"long sums", longSums},
              {"above the capacity: dense panels", aboveTheCapacity},
              {"dense and sparse agree", denseEqualsSparse},
              {"group scales", groupScales},
              {"zero points", zeroPoints},
              {"a few zero points", fewZeroPoints},
              {"errors", report}},
             argc, argv);
}
