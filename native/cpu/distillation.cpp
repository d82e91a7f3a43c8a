#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/half.h"
#include "cpu/cpu_backend.h"
#include "cpu/kernels/loss.h"

namespace lrqat::cpu {

namespace {

/// Stands for a logit that is not to count: e to its power is 0, and it stays finite in every difference.
constexpr float leftOut = -1e30F;

/// Grows with the number, for every bit pattern.
uint32_t orderOf(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000U;
}

/// The k largest of `row` by index. Digit by digit from the top the order of the k-th largest is found, counting what
/// has the digits so far: no memory beside the counts, and no order among threads.
void largest(const float* row, int64_t n, int64_t k, int32_t* indices) {
  constexpr int digitBits = 11;
  uint32_t known = 0;
  uint32_t mask = 0;
  int64_t wanted = k;  // among those with the known digits
  for (const int shift : {21, 10, 0}) {
    const uint32_t digitMask = shift == 0 ? (1U << 10) - 1 : (1U << digitBits) - 1;
    std::array<int64_t, size_t{1} << digitBits> counts{};
    for (int64_t i = 0; i < n; ++i) {
      const uint32_t order = orderOf(row[i]);
      if ((order & mask) == known) ++counts[order >> shift & digitMask];
    }
    uint32_t digit = digitMask;
    while (counts[digit] < wanted) wanted -= counts[digit--];
    known |= digit << shift;
    mask |= digitMask << shift;
  }
  for (int64_t i = 0, found = 0; found < k; ++i) {
    const uint32_t order = orderOf(row[i]);
    if (order < known || (order == known && wanted-- <= 0)) continue;
    indices[found++] = static_cast<int32_t>(i);
  }
}

double logAddExp(double a, double b) {
  const double top = std::max(a, b);
  if (std::isinf(top)) return top;
  return top + std::log(std::exp(a - top) + std::exp(b - top));
}

/// ln Σ exp(value·factor).
double logSumExp(const float* values, int64_t count, double factor) {
  double top = -INFINITY;
  for (int64_t i = 0; i < count; ++i) top = std::max(top, factor * static_cast<double>(values[i]));
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += std::exp(factor * static_cast<double>(values[i]) - top);
  return top + std::log(sum);
}

/// A row whose k classes have been taken out: their logits, and the logarithms of the sums over the others and over all
/// (of exp(z·factor)). Taking them out rather than subtracting their sum leaves a small rest its digits.
class SplitRow {
 public:
  SplitRow(const LossKernels& kernels, float* row, int64_t n, const int32_t* classes, int64_t k)
      : kernels_(kernels), row_(row), n_(n), k_(k) {
    for (int64_t i = 0; i < k; ++i) held_[static_cast<size_t>(i)] = row[classes[i]];
    for (int64_t i = 0; i < k; ++i) row[classes[i]] = leftOut;
  }

  struct Sums {
    double rest;  // −∞ where there is none
    double all;
  };
  Sums sums(float factor) const {
    const double rest = k_ == n_ ? -INFINITY : kernels_.logSumExpOf(row_, n_, factor);
    return {rest, logAddExp(rest, logSumExp(held_.data(), k_, static_cast<double>(factor)))};
  }
  double held(int64_t i) const { return static_cast<double>(held_[static_cast<size_t>(i)]); }

 private:
  const LossKernels& kernels_;
  const float* row_;
  int64_t n_;
  int64_t k_;
  std::array<float, maxTeacherClasses> held_;
};

void put(const Matrix& row, int64_t column, double value) {
  const auto single = static_cast<float>(value);
  if (row.type == DType::F32) {
    static_cast<float*>(row.data)[column] = single;
  } else {
    static_cast<uint16_t*>(row.data)[column] = bf16FromFloat(single);
  }
}

struct RowLoss {
  double crossEntropy = 0;
  double divergence = 0;
};

/// `row`: logits, overwritten; perhaps the memory of `out`.
RowLoss distillRow(const LossKernels& kernels, float* row, int64_t n, int32_t target, const TeacherRows& teacher,
                   const Distillation& distillation, float gradientScale, const Matrix& out) {
  const int64_t k = teacher.k;
  const float* logs = teacher.logProbabilities;
  const double targetLogit = static_cast<double>(row[target]);
  const SplitRow split(kernels, row, n, teacher.classes, k);
  const float inverse = 1 / distillation.temperature;
  const double factor = static_cast<double>(inverse);
  const bool isTempered = inverse != 1;
  const SplitRow::Sums plain = split.sums(1);
  const SplitRow::Sums tempered = isTempered ? split.sums(inverse) : plain;

  RowLoss loss{plain.all - targetLogit, 0};
  const double restLog = static_cast<double>(logs[k]);
  const double restShare = std::exp(restLog);
  if (restShare > 0) loss.divergence += restShare * (restLog - (tempered.rest - tempered.all));

  const double scale = static_cast<double>(gradientScale);
  const double weight = static_cast<double>(distillation.weight);
  const double plainScale = scale * (1 - weight);
  const double temperedScale = scale * weight * static_cast<double>(distillation.temperature);
  // Of the others, as shares of the rest: exp(z − ln Σ_rest) never overflows, whatever the rest's share of all.
  const double plainRest = plainScale * std::exp(plain.rest - plain.all);
  const double temperedRest = temperedScale * (std::exp(tempered.rest - tempered.all) - restShare);
  if (k < n) {
    const SoftmaxTerm first{1, static_cast<float>(plain.rest),
                            static_cast<float>(isTempered ? plainRest : plainRest + temperedRest)};
    const SoftmaxTerm second{inverse, static_cast<float>(tempered.rest),
                             isTempered ? static_cast<float>(temperedRest) : 0};
    if (out.type == DType::F32) {
      kernels.softmaxSumFloat(row, n, first, second, static_cast<float*>(out.data));
    } else {
      kernels.softmaxSumBf16(row, n, first, second, static_cast<uint16_t*>(out.data));
    }
  }
  put(out, target,
      plainScale * (std::exp(targetLogit - plain.all) - 1) +
          (k < n ? temperedRest * std::exp(factor * targetLogit - tempered.rest) : 0));
  for (int64_t i = 0; i < k; ++i) {
    const double logit = split.held(i);
    const double share = std::exp(static_cast<double>(logs[i]));
    const double studentLog = factor * logit - tempered.all;
    if (share > 0) loss.divergence += share * (static_cast<double>(logs[i]) - studentLog);
    const double hit = teacher.classes[i] == target ? 1 : 0;
    put(out, teacher.classes[i],
        plainScale * (std::exp(logit - plain.all) - hit) + temperedScale * (std::exp(studentLog) - share));
  }
  return loss;
}

}  // namespace

void CpuBackend::teacherRows(Matrix logits, float temperature, const TeacherRows& out) {
  LRQAT_CHECK(logits.type == DType::F32 && out.k > 0 && out.k <= std::min(logits.cols, maxTeacherClasses));
  const LossKernels& kernels = LRQAT_SELECT_ROUNDING_KERNELS(lossKernels);
  const float inverse = 1 / temperature;
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t r = 0; r < logits.rows; ++r) {
    float* row = static_cast<float*>(logits.data) + r * logits.cols;
    const TeacherRows rows = out.from(r);
    largest(row, logits.cols, out.k, rows.classes);
    const SplitRow split(kernels, row, logits.cols, rows.classes, out.k);
    const auto [rest, all] = split.sums(inverse);
    for (int64_t i = 0; i < out.k; ++i) {
      rows.logProbabilities[i] = static_cast<float>(static_cast<double>(inverse) * split.held(i) - all);
    }
    rows.logProbabilities[out.k] = static_cast<float>(rest - all);
  }
}

void CpuBackend::distillationLoss(Matrix logits, const int32_t* targets, const TeacherRows& teacher,
                                  const Distillation& distillation, float gradientScale, Matrix gradient,
                                  double* lossSums) {
  LRQAT_CHECK(logits.type == DType::F32 && teacher.k > 0 && teacher.k <= std::min(logits.cols, maxTeacherClasses));
  LRQAT_CHECK(gradient.data && gradient.type != DType::F16 && gradient.elements() == logits.elements());
  const LossKernels& kernels = LRQAT_SELECT_ROUNDING_KERNELS(lossKernels);
  // Losses of a group of rows, added in row order afterwards: the same sums for every thread count.
  constexpr int64_t groupRows = 512;
  std::array<RowLoss, groupRows> losses;
  for (int64_t first = 0; first < logits.rows; first += groupRows) {
    const int64_t count = std::min(groupRows, logits.rows - first);
#pragma omp parallel for num_threads(threads_) schedule(static)
    for (int64_t i = 0; i < count; ++i) {
      const int64_t r = first + i;
      const Matrix out = gradient.slice(r, 1);
      RowLoss& loss = losses[static_cast<size_t>(i)];
      loss = {};
      if (targets[r] < 0) {
        std::memset(out.data, 0, static_cast<size_t>(out.bytes()));
        continue;
      }
      float* row = static_cast<float*>(logits.data) + r * logits.cols;
      loss = distillRow(kernels, row, logits.cols, targets[r], teacher.from(r), distillation, gradientScale, out);
    }
    for (int64_t i = 0; i < count; ++i) {
      lossSums[0] += losses[static_cast<size_t>(i)].crossEntropy;
      lossSums[1] += losses[static_cast<size_t>(i)].divergence;
    }
  }
}

}  // namespace lrqat::cpu
