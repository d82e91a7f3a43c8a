// What the float model gives, and the loss that follows it, against plain references in double: every path of the
// vocabulary's width, ties, ignored targets, gradients in place and in bf16.
#include "cuda/kernels/distillation.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

#include "cuda/test/elementwise.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

double logSumExp(const std::vector<double>& values) {
  const double top = *std::max_element(values.begin(), values.end());
  double sum = 0;
  for (const double value : values) sum += std::exp(value - top);
  return top + std::log(sum);
}

/// Rows in device memory between guards, poisoned.
class DeviceRows {
 public:
  DeviceRows(int64_t rows, int64_t k)
      : k_(k), classes_(static_cast<size_t>(rows * k) * 4), logs_(static_cast<size_t>(rows * (k + 1)) * 4) {}
  TeacherRows view() const {
    return {reinterpret_cast<int32_t*>(classes_.data()), reinterpret_cast<float*>(logs_.data()), k_};
  }
  std::vector<int32_t> classes() const { return values<int32_t>(classes_); }
  std::vector<float> logs() const { return values<float>(logs_); }
  void poison() {
    classes_.poison();
    logs_.poison();
  }

 private:
  template <typename T>
  static std::vector<T> values(const DeviceMemory& memory) {
    const auto bytes = memory.read();
    std::vector<T> out(bytes.size() / sizeof(T));
    std::memcpy(out.data(), bytes.data(), bytes.size());
    return out;
  }
  int64_t k_;
  DeviceMemory classes_;
  DeviceMemory logs_;
};

struct Case {
  int64_t rows, vocab, k;
  double scale;
  float weight, temperature;
};

constexpr Case cases[] = {{1, 1, 1, 1, 0.5F, 1},
                          {5, 7, 7, 30, 0.5F, 1},
                          {9, 1000, 64, 8, 0.25F, 2},
                          {300, 517, 3, 5, 1, 1},
                          {7, 8200, 64, 10, 0, 1},
                          {33, 32000, 64, 10, 0.5F, 1},
                          {5, 32000, 1024, 12, 0.5F, 1.7F},
                          {3, 32001, 64, 4, 0.7F, 0.5F},
                          {2, 50257, 17, 10, 0.9F, 3},
                          {3, 128256, 64, 10, 0.5F, 1},
                          {4, 1024, 1024, 3, 0.6F, 1}};

void taught() {
  for (const Case& c : cases) {
    context = std::to_string(c.rows) + "x" + std::to_string(c.vocab) + ", " + std::to_string(c.k);
    Random random(static_cast<uint64_t>(c.vocab + c.k));
    std::vector<double> numbers(static_cast<size_t>(c.rows * c.vocab));
    for (size_t i = 0; i < numbers.size(); ++i) {
      numbers[i] = random.uniform() * c.scale;
      // The first row has few different values, some alike in their leading digits, and both zeros.
      if (static_cast<int64_t>(i) < c.vocab) {
        numbers[i] = std::round(numbers[i] * 2 / c.scale) + (i % 3 == 0 ? 1e-7 : 0);
      }
    }
    Tensor logits(DType::F32, c.rows, c.vocab);
    logits.set(numbers);
    const std::vector<double> z = logits.values();
    DeviceRows out(c.rows, c.k);
    cuda::teacherRows(logits.matrix(), c.temperature, out.view(), nullptr);
    const auto classes = out.classes();
    const auto logs = out.logs();
    for (int64_t t = 0; t < c.rows; ++t) {
      const double* row = &z[static_cast<size_t>(t * c.vocab)];
      std::vector<int32_t> order(static_cast<size_t>(c.vocab));
      std::iota(order.begin(), order.end(), 0);
      // −0 is less than 0 here, as on the device.
      std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
        return row[a] > row[b] || (row[a] == row[b] && std::signbit(row[b]) && !std::signbit(row[a]));
      });
      std::sort(order.begin(), order.begin() + c.k);
      std::vector<double> all;
      std::vector<double> others;
      for (int64_t j = 0; j < c.vocab; ++j) all.push_back(row[j] / double{c.temperature});
      for (auto j = order.begin() + c.k; j != order.end(); ++j) others.push_back(all[static_cast<size_t>(*j)]);
      const double lse = logSumExp(all);
      // Differences, 1/T and the result are rounded to float32.
      const double slack = 0x1p-22 * (4 + 2 * c.scale / double{c.temperature});
      for (int64_t i = 0; i < c.k; ++i) {
        const auto at = static_cast<size_t>(t * c.k + i);
        expectEqual(classes[at], order[static_cast<size_t>(i)], "class");
        const double expected = all[static_cast<size_t>(order[static_cast<size_t>(i)])] - lse;
        expectNear(double{logs[at + static_cast<size_t>(t)]}, expected, slack, "logarithm");
      }
      const double rest = double{logs[static_cast<size_t>((t + 1) * (c.k + 1) - 1)]};
      if (c.k == c.vocab) {
        expectEqual(rest, -std::numeric_limits<double>::infinity(), "no rest");
      } else {
        expectNear(rest, logSumExp(others) - lse, slack, "rest");
      }
    }
    out.poison();
    logits.set(numbers);
    cuda::teacherRows(logits.matrix(), c.temperature, out.view(), nullptr);
    expect(out.classes() == classes && std::memcmp(out.logs().data(), logs.data(), logs.size() * 4) == 0, "repeated");
  }
}

void loss() {
  for (const Case& c : cases) {
    context = std::to_string(c.rows) + "x" + std::to_string(c.vocab) + ", " + std::to_string(c.k);
    Random random(static_cast<uint64_t>(c.vocab * 3 + c.k));
    std::vector<double> numbers(static_cast<size_t>(c.rows * c.vocab));
    std::vector<double> taughtBy(numbers.size());
    for (size_t i = 0; i < numbers.size(); ++i) {
      numbers[i] = random.uniform() * c.scale;
      taughtBy[i] = numbers[i] + random.uniform();
    }
    if (c.rows == 9) numbers[3] = 200;  // far above all others: their shares vanish
    Tensor logits(DType::F32, c.rows, c.vocab);
    DeviceRows teacher(c.rows, c.k);
    logits.set(taughtBy);
    cuda::teacherRows(logits.matrix(), c.temperature, teacher.view(), nullptr);
    const auto classes = teacher.classes();
    const auto logs = teacher.logs();
    logits.set(numbers);
    const std::vector<double> z = logits.values();
    std::vector<int32_t> targets(static_cast<size_t>(c.rows));
    for (size_t t = 0; t < targets.size(); ++t) {
      targets[t] = t % 3 == 1 ? -1 : static_cast<int32_t>(random.below(c.vocab));
      if (t % 3 == 2) targets[t] = classes[t * static_cast<size_t>(c.k)];
    }
    DeviceMemory targetMemory(targets.size() * 4);
    targetMemory.write(targets.data());
    const auto* deviceTargets = reinterpret_cast<const int32_t*>(targetMemory.data());
    DeviceMemory sums(16);
    const ScratchMemory memory(cuda::distillationScratchBytes(c.rows));
    const Distillation distillation{c.k, c.weight, c.temperature};
    const float gradientScale = 0.37F;
    const auto call = [&](Matrix gradient) {
      const std::array<double, 2> start{3.25, 1.5};
      sums.write(start.data());
      cuda::Scratch scratch = memory.scratch();
      cuda::distillationLoss(logits.matrix(), deviceTargets, teacher.view(), distillation, gradientScale, gradient,
                             reinterpret_cast<double*>(sums.data()), scratch, nullptr);
      std::array<double, 2> total;
      std::memcpy(total.data(), sums.read().data(), 16);
      return total;
    };

    std::array<double, 2> expectedSums{3.25, 1.5};
    std::vector<double> expected(z.size());
    std::vector<double> size(z.size());
    double lossSize = 1;
    const double w = double{c.weight};
    const double T = double{c.temperature};
    const auto width = static_cast<size_t>(c.vocab);
    for (size_t t = 0; t < targets.size(); ++t) {
      if (targets[t] < 0) continue;
      const std::vector<double> row(z.begin() + static_cast<std::ptrdiff_t>(t * width),
                                    z.begin() + static_cast<std::ptrdiff_t>((t + 1) * width));
      std::vector<double> tempered;
      for (const double value : row) tempered.push_back(value / T);
      const double lse = logSumExp(row);
      const double temperedLse = logSumExp(tempered);
      const int32_t* own = classes.data() + t * static_cast<size_t>(c.k);
      const float* ownLogs = logs.data() + t * static_cast<size_t>(c.k + 1);
      std::vector<double> share(width, -1);
      double divergence = 0;
      for (int64_t i = 0; i < c.k; ++i) {
        const double p = std::exp(double{ownLogs[i]});
        const auto j = static_cast<size_t>(own[i]);
        share[j] = p;
        if (p > 0) divergence += p * (double{ownLogs[i]} - (tempered[j] - temperedLse));
      }
      std::vector<double> others;
      for (size_t j = 0; j < width; ++j) {
        if (share[j] < 0) others.push_back(tempered[j]);
      }
      double restLog = 0;
      const double restShare = others.empty() ? 0 : std::exp(double{ownLogs[c.k]});
      if (!others.empty()) {
        restLog = logSumExp(others);
        if (restShare > 0) divergence += restShare * (double{ownLogs[c.k]} - (restLog - temperedLse));
      }
      expectedSums[0] += lse - row[static_cast<size_t>(targets[t])];
      expectedSums[1] += divergence;
      lossSize += std::abs(lse) + std::abs(row[static_cast<size_t>(targets[t])]) + std::abs(temperedLse);
      for (size_t j = 0; j < width; ++j) {
        const double plain = (1 - w) * std::exp(row[j] - lse);
        const double q = std::exp(tempered[j] - temperedLse);
        const double follows = share[j] >= 0 ? share[j] : restShare * std::exp(tempered[j] - restLog);
        const double hit = static_cast<int32_t>(j) == targets[t] ? 1 - w : 0;
        expected[t * width + j] = double{gradientScale} * (plain - hit + w * T * (q - follows));
        size[t * width + j] = double{gradientScale} * (plain + hit + w * T * (q + follows));
      }
    }
    const auto near = [&](const std::vector<double>& values, DType type) {
      for (size_t i = 0; i < values.size(); ++i) {
        // Differences of logits are rounded to float32 before they are raised, and divided by T.
        const double slack = size[i] * (4 + 4 * c.scale * std::max(1.0, 1 / T));
        expectNear(values[i], expected[i], allowed(type, expected[i], slack, 8), "gradient");
      }
    };
    const double tolerance = 0x1p-23 * (8 + 2 * c.scale * std::max(1.0, 1 / T)) * lossSize;
    std::array<double, 2> first{};
    for (const DType type : {DType::F32, DType::BF16}) {
      Tensor gradient(type, c.rows, c.vocab);
      logits.set(numbers);
      const auto total = call(gradient.matrix());
      expectNear(total[0], expectedSums[0], tolerance, "cross-entropy");
      expectNear(total[1], expectedSums[1], tolerance, "divergence");
      near(gradient.values(), type);
      const auto bytes = gradient.bytes();
      gradient.poison();
      logits.set(numbers);
      expect(call(gradient.matrix()) == total, "losses repeated");
      expectSameBytes(gradient.bytes(), bytes, "gradient repeated");
      if (type == DType::BF16) {
        expect(total == first, "the losses have the same bits with a gradient in bf16");
        continue;
      }
      first = total;
      logits.set(numbers);
      expect(call(logits.matrix()) == total, "losses in place");
      expectSameBytes(logits.bytes(), bytes, "gradient in place");
    }
    memory.checkGuards();
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (skippedWithoutGpu()) return 0;
  return run({{"what is taught", taught}, {"loss", loss}}, argc, argv);
}
