// Softmax cross-entropy against double: every path of the vocabulary's width, ignored targets, gradients in place and
// in bf16.
#include "cuda/kernels/loss.h"

#include <algorithm>

#include "cuda/test/elementwise.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

constexpr int64_t shapes[][2] = {{1, 1},      {5, 3},     {9, 1000},  {300, 517}, {3, 8200},  {5, 32000},
                                 {401, 9000}, {3, 32001}, {2, 32768}, {2, 50257}, {3, 128256}};

void check(int64_t rows, int64_t vocab, double scale, double offset) {
  Random random(static_cast<uint64_t>(rows * 7 + vocab));
  std::vector<double> numbers(static_cast<size_t>(rows * vocab));
  for (double& number : numbers) number = random.uniform() * scale + offset;
  Tensor logits(DType::F32, rows, vocab);
  logits.set(numbers);
  const std::vector<double> x = logits.values();
  std::vector<int32_t> targets(static_cast<size_t>(rows));
  for (int32_t& target : targets) target = static_cast<int32_t>(random.below(vocab));
  if (rows > 2) targets[1] = -1;
  if (rows > 100) {
    for (size_t t = 64; t < 96; ++t) targets[t] = -1;
  }
  targets.back() = static_cast<int32_t>(vocab) - 1;
  DeviceMemory targetMemory(targets.size() * 4);
  targetMemory.write(targets.data());
  const auto* deviceTargets = reinterpret_cast<const int32_t*>(targetMemory.data());
  DeviceMemory sum(8);
  const ScratchMemory memory(cuda::crossEntropyScratchBytes(rows));
  const double start = 3.25;
  const float gradientScale = 0.37F;
  const auto call = [&](Matrix values, Matrix gradient) {
    sum.write(&start);
    cuda::Scratch scratch = memory.scratch();
    cuda::crossEntropy(values, deviceTargets, gradientScale, gradient, reinterpret_cast<double*>(sum.data()), scratch,
                       nullptr);
    double total;
    std::memcpy(&total, sum.read().data(), 8);
    return total;
  };

  double expectedSum = start;
  std::vector<double> rowLoss(targets.size());
  double lossSize = 1;
  std::vector<double> expected(x.size());
  const auto width = static_cast<size_t>(vocab);
  for (size_t t = 0; t < targets.size(); ++t) {
    if (targets[t] < 0) continue;
    const double* row = &x[t * width];
    const double top = *std::max_element(row, row + width);
    double total = 0;
    for (size_t j = 0; j < width; ++j) total += std::exp(row[j] - top);
    const double lse = top + std::log(total);
    rowLoss[t] = lse - row[targets[t]];
    expectedSum += rowLoss[t];
    lossSize += std::abs(lse) + std::abs(row[targets[t]]);
    for (size_t j = 0; j < width; ++j) expected[t * width + j] = std::exp(row[j] - lse) * double{gradientScale};
    expected[t * width + static_cast<size_t>(targets[t])] -= double{gradientScale};
  }

  const double loss = call(logits.matrix(), {});
  // x − maximum is rounded to float32: an error of half a unit of the spread in every exponential.
  const double tolerance = 0x1p-24 * (8 + 2 * std::abs(scale)) * lossSize;
  expectNear(loss, expectedSum, tolerance, "loss");

  Tensor losses(DType::F32, 1, rows);
  cuda::Scratch scratch = memory.scratch();
  cuda::rowLosses(logits.matrix(), deviceTargets, static_cast<float*>(losses.matrix().data), scratch, nullptr);
  for (size_t t = 0; t < targets.size(); ++t) {
    // Rounded to float32 once more.
    const double slack = tolerance + 0x1p-24 * std::abs(rowLoss[t]);
    expectNear(losses.values()[t], rowLoss[t], slack, "loss of a row");
  }

  const auto near = [&](const std::vector<double>& values, DType type) {
    for (size_t i = 0; i < values.size(); ++i) {
      const double size = std::abs(expected[i]) + (expected[i] < 0 ? double{gradientScale} : 0);
      expectNear(values[i], expected[i], allowed(type, expected[i], size * (2 + 4 * std::abs(scale)), 8), "gradient");
    }
  };
  for (const DType type : {DType::F32, DType::BF16}) {
    Tensor gradient(type, rows, vocab);
    const double again = call(logits.matrix(), gradient.matrix());
    expectEqual(again, loss, "the loss has the same bits with a gradient");
    near(gradient.values(), type);
    const auto bytes = gradient.bytes();
    gradient.poison();
    call(logits.matrix(), gradient.matrix());
    expectSameBytes(gradient.bytes(), bytes, "gradient repeated");
    if (type != DType::F32) continue;
    const double inPlace = call(logits.matrix(), logits.matrix());
    expectEqual(inPlace, loss, "loss in place");
    expectSameBytes(logits.bytes(), bytes, "gradient in place");
    logits.set(numbers);
  }
  memory.checkGuards();
}

void loss() {
  for (const auto& [rows, vocab] : shapes) {
    context = std::to_string(rows) + "x" + std::to_string(vocab);
    check(rows, vocab, 12, 0);
  }
}

void largeLogits() {
  for (const int64_t vocab : {int64_t{700}, int64_t{32000}, int64_t{40000}}) {
    context = std::to_string(vocab);
    check(4, vocab, 80, -1000);
    check(4, vocab, 80, 1000);
  }
}

void notFinite() {
  for (const int64_t vocab : {int64_t{64}, int64_t{32000}, int64_t{32001}}) {
    context = std::to_string(vocab);
    std::vector<double> numbers(static_cast<size_t>(vocab), 0.5);
    numbers[3] = std::nan("");
    Tensor logits(DType::F32, 1, vocab);
    logits.set(numbers);
    const int32_t target = 5;
    DeviceMemory targetMemory(4);
    targetMemory.write(&target);
    DeviceMemory sum(8);
    const double zero = 0;
    sum.write(&zero);
    const ScratchMemory memory(cuda::crossEntropyScratchBytes(1));
    cuda::Scratch scratch = memory.scratch();
    cuda::crossEntropy(logits.matrix(), reinterpret_cast<const int32_t*>(targetMemory.data()), 1, {},
                       reinterpret_cast<double*>(sum.data()), scratch, nullptr);
    double total;
    std::memcpy(&total, sum.read().data(), 8);
    expect(std::isnan(total), "a logit that is not a number makes the loss none");
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (skippedWithoutGpu()) return 0;
  return run(
      {{"cross-entropy", loss}, {"cross-entropy of large logits", largeLogits}, {"cross-entropy of NaN", notFinite}},
      argc, argv);
}
