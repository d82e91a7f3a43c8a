// Cross-entropy, the squared norm and AdamW against double, and the accuracy of the vectorized exponential they share.
#include <array>
#include <tuple>

#include "test/dense.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

double lossOf(Backend& backend, Matrix logits, const int32_t* targets) {
  double sum = 0;
  backend.crossEntropy(logits, targets, 0, {}, &sum);
  return sum;
}

void crossEntropy() {
  for (const int threads : {1, 2}) {
    for (const auto& [rows, vocab, scale] :
         {std::tuple<int64_t, int64_t, double>{1, 1, 1}, {5, 7, 30}, {33, 1000, 5}, {1500, 19, 3}, {3, 131072, 10}}) {
      Random random(static_cast<uint64_t>(vocab));
      Tensor logits = Tensor::random(random, DType::F32, rows, vocab, scale);
      if (rows == 5) {
        logits.set(0, 1000);  // far above the others, and far below
        logits.set(8, -1000);
      }
      const Tensor before = logits;
      std::vector<int32_t> targets(static_cast<size_t>(rows));
      for (size_t i = 0; i < targets.size(); ++i) {
        targets[i] = i % 3 == 1 ? -1 : static_cast<int32_t>(random.below(vocab));
      }
      const auto backend = makeBackend(threads, DType::F32);
      const float gradientScale = 0.25F;
      const double evaluated = lossOf(*backend, logits.matrix(), targets.data());
      std::vector<double> rowLoss;
      for (int64_t t = 0; t < rows; ++t) {
        rowLoss.push_back(lossOf(*backend, logits.matrix().slice(t, 1), targets.data() + t));
      }
      std::vector<float> losses(static_cast<size_t>(rows), NAN);
      backend->rowLosses(logits.matrix(), targets.data(), losses.data());
      for (size_t t = 0; t < losses.size(); ++t) expectEqual(double{losses[t]}, rowLoss[t], "losses of all rows");
      expect(logits == before, "logits are left alone without gradient");
      Tensor narrow(DType::BF16, rows, vocab);
      Tensor overwritten = before;
      double total = 0;
      backend->crossEntropy(overwritten.matrix(), targets.data(), gradientScale, narrow.matrix(), &total);
      expectEqual(total, evaluated, "loss with the gradient elsewhere");
      total = 1;
      backend->crossEntropy(logits.matrix(), targets.data(), gradientScale, logits.matrix(), &total);
      expectEqual(total, 1 + evaluated, "loss with the gradient in place, added");
      total -= 1;
      double expected = 0;
      for (int64_t t = 0; t < rows; ++t) {
        const int32_t target = targets[static_cast<size_t>(t)];
        double top = -INFINITY;
        for (int64_t j = 0; j < vocab; ++j) top = std::max(top, before.at(t, j));
        double sum = 0;
        for (int64_t j = 0; j < vocab; ++j) sum += std::exp(before.at(t, j) - top);
        const double lse = top + std::log(sum);
        const double loss = target < 0 ? 0 : lse - before.at(t, target);
        expected += loss;
        // lse is rounded to float32 once, the loss once more.
        expectNear(rowLoss[static_cast<size_t>(t)], loss, 0x1p-22 * (1 + std::abs(lse)), "loss of a row");
        for (int64_t j = 0; j < vocab; ++j) {
          const double p = std::exp(before.at(t, j) - lse);
          const double gradient = target < 0 ? 0 : (p - (j == target ? 1 : 0)) * double{gradientScale};
          const double relative = 0x1p-22 * (2 + std::abs(before.at(t, j)) + std::abs(lse));
          expectNear(narrow.at(t, j), logits.at(t, j), 0x1p-8 * std::abs(logits.at(t, j)) + 1e-38, "bf16 gradient");
          expectNear(logits.at(t, j), gradient,
                     double{gradientScale} * (p * relative + 0x1p-23 * (j == target ? 1 : 0)) + 1e-38, "gradient");
        }
      }
      expectNear(total, expected, 0x1p-22 * static_cast<double>(rows) * 12, "loss");
    }
  }
  // The sum is that of the rows in their order: no thread count changes a bit.
  Random random(9);
  Tensor logits = Tensor::random(random, DType::F32, 700, 50, 4);
  std::vector<int32_t> targets(700, 3);
  const double one = lossOf(*makeBackend(1, DType::F32), logits.matrix(), targets.data());
  const double two = lossOf(*makeBackend(2, DType::F32), logits.matrix(), targets.data());
  expectEqual(one, two, "loss for one and two threads");
}

/// Distance in units of the last place of the exact result.
void exponential() {
  // The gradient of logits whose log-sum-exp is 0 is e^x itself.
  const auto backend = makeBackend(1, DType::F32);
  constexpr int64_t count = 200000;
  Random random(17);
  Tensor row(DType::F32, 1, count + 1);
  for (int64_t i = 0; i < count; ++i) row.set(i, -30 - 73 * std::abs(random.uniform()));
  row.set(count, 0);  // with 200000 others below e^-30 the sum rounds to 1 and its logarithm to 0
  const Tensor x = row;
  const int32_t target = static_cast<int32_t>(count);
  double loss = 0;
  backend->crossEntropy(row.matrix(), &target, 1, row.matrix(), &loss);
  expectNear(loss, 0, 1e-7, "log-sum-exp");
  double worst = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double exact = std::exp(x.at(i) - loss);
    const double unit = std::max(0x1p-149, std::ldexp(1.0, std::ilogb(exact) - 23));
    worst = std::max(worst, std::abs(row.at(i) - exact) / unit);
  }
  expect(worst <= 2, "exponential is off by " + std::to_string(worst) + " units in the last place");
}

void squaredNorm() {
  for (const int64_t count : {0, 1, 5, 64, 4096, 100003}) {
    Random random(static_cast<uint64_t>(count) + 1);
    Tensor values = Tensor::random(random, DType::F32, 1, count, 100);
    double expected = 0;
    for (int64_t i = 0; i < count; ++i) expected += values.at(i) * values.at(i);
    const double one = makeBackend(1, DType::F32)->squaredNorm(values.floats(), count);
    const double two = makeBackend(2, DType::F32)->squaredNorm(values.floats(), count);
    expectNear(one, expected, 1e-13 * expected, "squared norm");
    expectEqual(two, one, "squared norm for one and two threads");
  }
}

void adamw() {
  for (const int64_t count : {1, 16, 37, 10007}) {
    Random random(static_cast<uint64_t>(count));
    Tensor value = Tensor::random(random, DType::F32, 1, count);
    Tensor moment1(DType::F32, 1, count);
    Tensor moment2(DType::F32, 1, count);
    std::vector<double> v(static_cast<size_t>(count));
    std::vector<double> m1(v.size());
    std::vector<double> m2(v.size());
    for (size_t i = 0; i < v.size(); ++i) v[i] = value.at(static_cast<int64_t>(i));
    const auto backend = makeBackend(2, DType::F32);
    constexpr double rate = 0.01;
    AdamW settings{.weightDecay = 0.1, .gradientFactor = 0.5F};
    for (int step = 1; step <= 5; ++step) {
      settings.step = step;
      Tensor gradient = Tensor::random(random, DType::F32, 1, count, step == 3 ? 1e-6 : 1);
      const AdamWTensor tensor{value.floats(), gradient.floats(), moment1.floats(), moment2.floats(), count, rate};
      backend->adamw(settings, std::array{tensor});
      for (size_t i = 0; i < v.size(); ++i) {
        const double beta1 = settings.beta1;
        const double beta2 = settings.beta2;
        const double g = gradient.at(static_cast<int64_t>(i)) * 0.5;
        m1[i] = beta1 * m1[i] + (1 - beta1) * g;
        m2[i] = beta2 * m2[i] + (1 - beta2) * g * g;
        v[i] *= 1 - rate * settings.weightDecay;
        v[i] -= rate / (1 - std::pow(beta1, step)) * m1[i] /
                (std::sqrt(m2[i]) / std::sqrt(1 - std::pow(beta2, step)) + settings.epsilon);
        const auto at = static_cast<int64_t>(i);
        expectNear(moment1.at(at), m1[i], 1e-6, "first moment");
        expectNear(moment2.at(at), m2[i], 1e-6 * m2[i] + 1e-12, "second moment");
        expectNear(value.at(at), v[i], 3e-7 * step, "value");
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run(
      {{"cross-entropy", crossEntropy}, {"exponential", exponential}, {"squared norm", squaredNorm}, {"AdamW", adamw}},
      argc, argv);
}
