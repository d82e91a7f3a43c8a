// The teacher's rows and the mixed loss against plain formulas in double, and their gradient against differences.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>

#include "test/dense.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

double logSumExp(const std::vector<double>& values) {
  const double top = *std::max_element(values.begin(), values.end());
  double sum = 0;
  for (const double value : values) sum += std::exp(value - top);
  return top + std::log(sum);
}

struct Rows {
  std::vector<int32_t> classes;
  std::vector<float> logs;
  int64_t k;

  Rows(int64_t rows, int64_t k_)
      : classes(static_cast<size_t>(rows * k_), -7), logs(static_cast<size_t>(rows * (k_ + 1)), NAN), k(k_) {}
  TeacherRows view() { return {classes.data(), logs.data(), k}; }
};

/// Indices by falling logit, equal ones by rising index.
std::vector<int32_t> ranked(const std::vector<double>& row) {
  std::vector<int32_t> order(row.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return row[static_cast<size_t>(a)] > row[static_cast<size_t>(b)]; });
  return order;
}

std::vector<double> rowOf(const Tensor& t, int64_t row) {
  std::vector<double> out;
  for (int64_t j = 0; j < t.cols(); ++j) out.push_back(t.at(row, j));
  return out;
}

void teacherRows() {
  for (const int threads : {1, 2}) {
    for (const auto& [rows, vocab, k, scale, temperature] :
         {std::tuple<int64_t, int64_t, int64_t, double, float>{3, 7, 7, 5, 1},
          {4, 1, 1, 1, 1},
          {9, 1000, 1, 8, 2},
          {5, 33, 32, 100, 0.5F},
          {7, 5000, 64, 10, 1},
          {2, 40000, 1024, 3, 1.7F}}) {
      Random random(static_cast<uint64_t>(vocab + k));
      Tensor logits = Tensor::random(random, DType::F32, rows, vocab, scale);
      // Ties: few different values, among them those that share their leading digits.
      for (int64_t j = 0; j < vocab; ++j) logits.set(j, std::round(logits.at(j) * 2 / scale) + (j % 3 == 0 ? 1e-7 : 0));
      const Tensor before = logits;
      Rows out(rows, k);
      makeBackend(threads, DType::F32)->teacherRows(logits.matrix(), temperature, out.view());
      for (int64_t t = 0; t < rows; ++t) {
        const std::vector<double> row = rowOf(before, t);
        std::vector<int32_t> order = ranked(row);
        std::sort(order.begin(), order.begin() + k);
        std::vector<double> all;
        std::vector<double> others;
        for (const double z : row) all.push_back(z / double{temperature});
        for (auto j = order.begin() + k; j != order.end(); ++j) others.push_back(all[static_cast<size_t>(*j)]);
        const double lse = logSumExp(all);
        const auto* classes = out.classes.data() + t * k;
        const auto* logs = out.logs.data() + t * (k + 1);
        for (int64_t i = 0; i < k; ++i) {
          expectEqual(classes[i], order[static_cast<size_t>(i)], "class");
          // 1/T and the logarithm are rounded to float32; sums of exponentials are good to 2^-21.
          const double z = all[static_cast<size_t>(classes[i])];
          expectNear(double{logs[i]}, z - lse, 0x1p-21 + 0x1p-22 * (std::abs(z) + std::abs(z - lse)), "logarithm");
        }
        if (k == vocab) {
          expectEqual(double{logs[k]}, -std::numeric_limits<double>::infinity(), "no rest");
        } else {
          const double rest = logSumExp(others) - lse;
          expectNear(double{logs[k]}, rest, 0x1p-20 + 0x1p-21 * (scale * 2 / double{temperature} + std::abs(rest)),
                     "rest");
        }
      }
    }
  }
}

struct Expected {
  double crossEntropy = 0;
  double divergence = 0;
};

/// Loss of a row as it is defined, and its gradient by the formulas of backend.h.
Expected distill(const std::vector<double>& z, int32_t target, const int32_t* classes, const float* logs, int64_t k,
                 double weight, double temperature, std::vector<double>* gradient) {
  const double lse = logSumExp(z);
  std::vector<double> tempered;
  for (const double value : z) tempered.push_back(value / temperature);
  const double temperedLse = logSumExp(tempered);
  std::vector<bool> isClass(z.size());
  for (int64_t i = 0; i < k; ++i) isClass[static_cast<size_t>(classes[i])] = true;
  double restShare = 0;
  std::vector<double> others;
  for (size_t j = 0; j < z.size(); ++j) {
    if (!isClass[j]) others.push_back(tempered[j]);
  }
  const double restLog = others.empty() ? 0 : logSumExp(others) - temperedLse;
  restShare = others.empty() ? 0 : std::exp(double{logs[k]});
  Expected out{lse - z[static_cast<size_t>(target)], 0};
  if (restShare > 0) out.divergence += restShare * (double{logs[k]} - restLog);
  for (int64_t i = 0; i < k; ++i) {
    const double p = std::exp(double{logs[i]});
    if (p > 0) out.divergence += p * (double{logs[i]} - (tempered[static_cast<size_t>(classes[i])] - temperedLse));
  }
  if (!gradient) return out;
  gradient->assign(z.size(), 0);
  for (size_t j = 0; j < z.size(); ++j) {
    const double q = std::exp(tempered[j] - temperedLse);
    const double share = isClass[j] ? 0 : q * (1 - restShare / std::exp(restLog));
    (*gradient)[j] = (1 - weight) * (std::exp(z[j] - lse) - (static_cast<int32_t>(j) == target ? 1 : 0)) +
                     weight * temperature * (isClass[j] ? q : share);
  }
  for (int64_t i = 0; i < k; ++i) {
    (*gradient)[static_cast<size_t>(classes[i])] -= weight * temperature * std::exp(double{logs[i]});
  }
  return out;
}

/// The formulas of the gradient are those of the loss.
void derivation() {
  Random random(3);
  for (const auto& [k, weight, temperature] :
       {std::tuple<int64_t, double, double>{3, 0.3, 2}, {8, 1, 0.7}, {1, 0.9, 1}}) {
    std::vector<double> z(8);
    for (double& value : z) value = 3 * random.uniform();
    std::vector<int32_t> classes{0, 2, 5, 6, 7};
    if (k == 8) classes = {0, 1, 2, 3, 4, 5, 6, 7};
    std::vector<float> logs;
    for (int64_t i = 0; i < k; ++i) logs.push_back(static_cast<float>(std::log(0.9 / static_cast<double>(k))));
    logs.push_back(k == 8 ? -std::numeric_limits<float>::infinity() : static_cast<float>(std::log(0.1)));
    if (k == 8) {
      for (int64_t i = 0; i < k; ++i) logs[static_cast<size_t>(i)] = static_cast<float>(std::log(1.0 / 8));
    }
    std::vector<double> gradient;
    const int32_t target = 2;
    const auto mixed = [&](const std::vector<double>& at) {
      const Expected e = distill(at, target, classes.data(), logs.data(), k, weight, temperature, nullptr);
      return (1 - weight) * e.crossEntropy + weight * temperature * temperature * e.divergence;
    };
    (void)distill(z, target, classes.data(), logs.data(), k, weight, temperature, &gradient);
    for (size_t j = 0; j < z.size(); ++j) {
      constexpr double step = 1e-5;
      std::vector<double> up = z;
      std::vector<double> down = z;
      up[j] += step;
      down[j] -= step;
      // The teacher's shares are rounded to float32 and sum to 1 within 2^-24.
      expectNear(gradient[j], (mixed(up) - mixed(down)) / (2 * step), 1e-6, "derivative");
    }
  }
}

void loss() {
  for (const int threads : {1, 2}) {
    for (const auto& [rows, vocab, k, scale, weight, temperature] :
         {std::tuple<int64_t, int64_t, int64_t, double, float, float>{1, 1, 1, 1, 0.5F, 1},
          {5, 7, 7, 30, 0.5F, 1},
          {33, 1000, 64, 5, 0.25F, 2},
          {700, 19, 4, 3, 1, 1},
          {700, 19, 4, 3, 0, 1},
          {3, 40000, 1024, 10, 0.7F, 0.5F},
          {9, 300, 5, 60, 0.9F, 1}}) {
      Random random(static_cast<uint64_t>(vocab + k));
      Tensor teacherLogits = Tensor::random(random, DType::F32, rows, vocab, scale);
      Tensor logits(DType::F32, rows, vocab);
      for (int64_t i = 0; i < rows * vocab; ++i) logits.set(i, teacherLogits.at(i) + random.uniform());
      if (rows == 9) logits.set(3, 200);  // far above all others: their shares vanish
      const Tensor before = logits;
      std::vector<int32_t> targets(static_cast<size_t>(rows));
      for (size_t i = 0; i < targets.size(); ++i) {
        targets[i] = i % 3 == 1 ? -1 : static_cast<int32_t>(random.below(vocab));
      }
      const auto backend = makeBackend(threads, DType::F32);
      Rows teacher(rows, k);
      backend->teacherRows(teacherLogits.matrix(), temperature, teacher.view());
      const Distillation distillation{.classes = k, .weight = weight, .temperature = temperature};
      const float gradientScale = 0.25F;
      std::array<double, 2> sums{1, 2};
      Tensor narrow(DType::BF16, rows, vocab);
      Tensor overwritten = before;
      backend->distillationLoss(overwritten.matrix(), targets.data(), teacher.view(), distillation, gradientScale,
                                narrow.matrix(), sums.data());
      std::array<double, 2> again{1, 2};
      backend->distillationLoss(logits.matrix(), targets.data(), teacher.view(), distillation, gradientScale,
                                logits.matrix(), again.data());
      expectEqual(again[0], sums[0], "cross-entropy with the gradient in place");
      expectEqual(again[1], sums[1], "divergence with the gradient in place");
      Expected expected;
      double tolerance = 0;
      for (int64_t t = 0; t < rows; ++t) {
        const int32_t target = targets[static_cast<size_t>(t)];
        std::vector<double> gradient(static_cast<size_t>(vocab));
        double widest = 0;
        for (int64_t j = 0; j < vocab; ++j) widest = std::max(widest, std::abs(before.at(t, j)));
        if (target >= 0) {
          const Expected row =
              distill(rowOf(before, t), target, teacher.classes.data() + t * k, teacher.logs.data() + t * (k + 1), k,
                      double{weight}, double{temperature}, &gradient);
          expected.crossEntropy += row.crossEntropy;
          expected.divergence += row.divergence;
          tolerance += 0x1p-20 * (1 + widest / double{temperature});
        }
        for (int64_t j = 0; j < vocab; ++j) {
          // A share is off by the rounding of its exponent (sums, 1/T and the logarithm in float32), relative to what
          // is subtracted: shares of the student or of the teacher.
          const double exact = gradient[static_cast<size_t>(j)] * double{gradientScale};
          const double slack = double{gradientScale} * 0x1p-20 * (1 + widest / double{temperature}) *
                               (1 + double{temperature}) * (std::abs(gradient[static_cast<size_t>(j)]) + 0x1p-10);
          expectNear(logits.at(t, j), exact, slack, "gradient");
          // Subnormal numbers may become zero.
          expectNear(narrow.at(t, j), logits.at(t, j), 0x1p-8 * std::abs(logits.at(t, j)) + 0x1p-126, "bf16 gradient");
          if (vocab > 2000 && j > 50) j += 97;
        }
      }
      expectNear(sums[0] - 1, expected.crossEntropy, tolerance + 1e-6, "cross-entropy");
      expectNear(sums[1] - 2, expected.divergence, tolerance + 1e-6, "divergence");
    }
  }
}

/// Without weight it is the cross-entropy; with the whole vocabulary and equal logits the divergence is nothing.
void limits() {
  Random random(8);
  const int64_t rows = 40;
  const int64_t vocab = 500;
  const Tensor before = Tensor::random(random, DType::F32, rows, vocab, 4);
  const std::vector<int32_t> targets(static_cast<size_t>(rows), 17);
  const auto backend = makeBackend(2, DType::F32);
  for (const int64_t k : {int64_t{1}, int64_t{30}, vocab}) {
    Tensor teacherLogits = before;
    Rows teacher(rows, k);
    backend->teacherRows(teacherLogits.matrix(), 1, teacher.view());
    Tensor plain = before;
    Tensor mixed = before;
    double plainSum = 0;
    std::array<double, 2> sums{};
    backend->crossEntropy(plain.matrix(), targets.data(), 1, plain.matrix(), &plainSum);
    backend->distillationLoss(mixed.matrix(), targets.data(), teacher.view(), {.classes = k, .weight = 0}, 1,
                              mixed.matrix(), sums.data());
    expectNear(sums[0], plainSum, 1e-5, "cross-entropy alone");
    expectNear(sums[1], 0, 1e-5, "divergence from itself");
    for (int64_t i = 0; i < rows * vocab; ++i) {
      // Both round the logarithm of a sum to float32, of the rest here and of all there: to 2^-21 each, below 16.
      expectNear(mixed.at(i), plain.at(i), 0x1p-19 * std::abs(plain.at(i)) + 1e-9, "gradient of cross-entropy alone");
    }
    Tensor follow = before;
    backend->distillationLoss(follow.matrix(), targets.data(), teacher.view(), {.classes = k, .weight = 1}, 1,
                              follow.matrix(), sums.data());
    for (int64_t i = 0; i < rows * vocab; ++i) expectNear(follow.at(i), 0, 1e-6, "nothing to follow");
  }
  // No thread count changes a bit.
  std::array<std::array<double, 2>, 2> sums{};
  std::vector<Tensor> gradients;
  for (const int threads : {1, 2}) {
    const auto own = makeBackend(threads, DType::F32);
    Tensor teacherLogits = before;
    Rows teacher(rows, 8);
    own->teacherRows(teacherLogits.matrix(), 1.5F, teacher.view());
    Tensor logits = Tensor(before);
    for (int64_t i = 0; i < rows * vocab; ++i) logits.set(i, before.at(i) * 0.9);
    own->distillationLoss(logits.matrix(), targets.data(), teacher.view(),
                          {.classes = 8, .weight = 0.5F, .temperature = 1.5F}, 1, logits.matrix(),
                          sums[static_cast<size_t>(threads - 1)].data());
    gradients.push_back(logits);
  }
  expect(sums[0] == sums[1] && gradients[0] == gradients[1], "one and two threads");
}

}  // namespace

int main(int argc, char** argv) {
  return run({{"teacher's rows", teacherRows}, {"derivation", derivation}, {"loss", loss}, {"limits", limits}}, argc,
             argv);
}
