// GPTQ against its definition: greedy rounding of one column after the other, where after each column the inverse of
// the Hessian of those that are left is updated exactly (optimal brain quantization), in double.
#include "core/gptq.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "core/grid.h"
#include "cpu/range.h"
#include "test/check.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

using Dense = std::vector<double>;

/// Inputs [tokens, n] whose columns go together: mixtures of a few causes, with columns of very different size.
std::vector<float> correlatedInputs(int64_t tokens, int64_t n, uint32_t seed) {
  const int64_t causes = std::max<int64_t>(2, n / 4);
  const auto cause = randomNormal(static_cast<size_t>(tokens * causes), seed);
  const auto mixture = randomNormal(static_cast<size_t>(causes * n), seed + 1);
  auto x = randomNormal(static_cast<size_t>(tokens * n), seed + 2, 0.3F);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t j = 0; j < n; ++j) {
      float& value = x[static_cast<size_t>(t * n + j)];
      for (int64_t k = 0; k < causes; ++k) {
        value += cause[static_cast<size_t>(t * causes + k)] * mixture[static_cast<size_t>(k * n + j)];
      }
      value *= 0.2F + static_cast<float>(j % 5);
    }
  }
  return x;
}

std::vector<float> gramOf(const std::vector<float>& x, int64_t n) {
  std::vector<float> gram(static_cast<size_t>(n * n));
  const auto tokens = static_cast<int64_t>(x.size()) / n;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t t = 0; t < tokens; ++t) {
        sum += static_cast<double>(x[static_cast<size_t>(t * n + i)]) * x[static_cast<size_t>(t * n + j)];
      }
      gram[static_cast<size_t>(i * n + j)] = static_cast<float>(sum);
    }
  }
  return gram;
}

/// Gauss–Jordan without pivoting; for positive definite matrices.
Dense inverseOf(Dense a, int64_t n) {
  Dense inverse(a.size());
  for (int64_t i = 0; i < n; ++i) inverse[static_cast<size_t>(i * n + i)] = 1;
  for (int64_t k = 0; k < n; ++k) {
    const double pivot = a[static_cast<size_t>(k * n + k)];
    for (int64_t j = 0; j < n; ++j) {
      a[static_cast<size_t>(k * n + j)] /= pivot;
      inverse[static_cast<size_t>(k * n + j)] /= pivot;
    }
    for (int64_t i = 0; i < n; ++i) {
      const double factor = a[static_cast<size_t>(i * n + k)];
      if (i == k || factor == 0) continue;
      for (int64_t j = 0; j < n; ++j) {
        a[static_cast<size_t>(i * n + j)] -= factor * a[static_cast<size_t>(k * n + j)];
        inverse[static_cast<size_t>(i * n + j)] -= factor * inverse[static_cast<size_t>(k * n + j)];
      }
    }
  }
  return inverse;
}

struct Problem {
  QuantSpec spec;
  int64_t m = 0;
  int64_t n = 0;
  std::vector<float> w;
  std::vector<float> scale;
  std::vector<float> zero;

  Problem(const QuantSpec& what, int64_t rows, int64_t columns, uint32_t seed)
      : spec(what), m(rows), n(columns), w(randomNormal(static_cast<size_t>(rows * columns), seed, 0.05F)) {
    if (!spec.symmetric) {
      for (float& value : w) value += 0.03F;
    }
    scale.resize(static_cast<size_t>(spec.scaleCount(m, n)));
    zero.resize(spec.symmetric ? 0 : scale.size());
    search(source(), spec.granularity, spec.groupSize, scale.data(), zeroOrNull());
  }

  HostTensor source() const { return {w.data(), DType::F32, m, n}; }
  float* zeroOrNull() { return spec.symmetric ? nullptr : zero.data(); }
  void search(const HostTensor& weight, Granularity granularity, int64_t group, float* scales, float* zeros) const {
    const int64_t count = granularity == Granularity::Tensor    ? 1
                          : granularity == Granularity::Channel ? weight.rows
                                                                : weight.rows * (weight.cols / group);
    std::vector<cpu::RangeResult> results(static_cast<size_t>(count));
    cpu::searchRanges(weight, granularity, group,
                      {spec.range, static_cast<float>(spec.qmin()), static_cast<float>(spec.qmax()), 0.0F,
                       spec.symmetric ? 0 : spec.levels()},
                      1, results);
    for (size_t i = 0; i < results.size(); ++i) {
      scales[i] = results[i].scale;
      if (zeros) zeros[i] = results[i].zero;
    }
  }
  RangeOfRows rangeOfRows() const {
    return [this](const float* weights, int64_t rows, int64_t columns, float* scales, float* zeros) {
      search({weights, DType::F32, rows, columns}, Granularity::Channel, 0, scales, zeros);
    };
  }
  size_t scaleIndex(int64_t i, int64_t j) const {
    return static_cast<size_t>(spec.granularity == Granularity::Tensor ? 0
                               : spec.granularity == Granularity::Channel
                                   ? i
                                   : i * (n / spec.groupSize) + j / spec.groupSize);
  }
  double roundedValue(double value, float s, float z) const {
    const double low = spec.symmetric ? spec.qmin() : -static_cast<double>(z);
    const double high = low + spec.levels();
    return std::min(std::max(std::nearbyint(value / static_cast<double>(s)), low), high);
  }
};

/// The definition, row by row. `order`: columns as they come. Group scales are found when a group begins, unless the
/// order is not that of the columns. `ties`: distance of the nearest tie of each entry.
Dense byDefinition(const Problem& p, const std::vector<float>& gram, double damping, const std::vector<int64_t>& order,
                   std::vector<float>& scale, std::vector<float>& zero, std::vector<double>& ties) {
  const int64_t n = p.n;
  Dense h(gram.begin(), gram.end());
  double mean = 0;
  for (int64_t j = 0; j < n; ++j) mean += h[static_cast<size_t>(j * n + j)] / static_cast<double>(n);
  for (int64_t j = 0; j < n; ++j) {
    double& entry = h[static_cast<size_t>(j * n + j)];
    entry = entry == 0 ? 1 : entry + damping * mean;
  }
  const bool inOrder = std::ranges::is_sorted(order);
  Dense rounded(static_cast<size_t>(p.m * n));
  ties.resize(rounded.size());
  for (int64_t i = 0; i < p.m; ++i) {
    Dense w(p.w.begin() + i * n, p.w.begin() + (i + 1) * n);
    Dense inverse = inverseOf(h, n);
    std::vector<bool> gone(static_cast<size_t>(n));
    for (const int64_t column : order) {
      const auto c = static_cast<size_t>(column);
      const size_t index = p.scaleIndex(i, column);
      if (p.spec.granularity == Granularity::Group && inOrder && column % p.spec.groupSize == 0) {
        const std::vector<float> part(w.begin() + column, w.begin() + column + p.spec.groupSize);
        p.search({part.data(), DType::F32, 1, p.spec.groupSize}, Granularity::Channel, 0, &scale[index],
                 zero.empty() ? nullptr : &zero[index]);
      }
      const float z = zero.empty() ? 0 : zeroPoint(zero[index], p.spec.levels());
      const double steps = w[c] / static_cast<double>(scale[index]);
      const double v = p.roundedValue(w[c], scale[index], z);
      rounded[static_cast<size_t>(i * n) + c] = v;
      ties[static_cast<size_t>(i * n) + c] = std::abs(std::abs(steps - std::floor(steps)) - 0.5);
      const double pivot = inverse[c * static_cast<size_t>(n) + c];
      const double error = (w[c] - static_cast<double>(scale[index]) * v) / pivot;
      gone[c] = true;
      for (int64_t j = 0; j < n; ++j) {
        if (!gone[static_cast<size_t>(j)])
          w[static_cast<size_t>(j)] -= error * inverse[c * static_cast<size_t>(n) + static_cast<size_t>(j)];
      }
      // The inverse without the column: one step of elimination.
      Dense before = inverse;
      for (int64_t a = 0; a < n; ++a) {
        for (int64_t b = 0; b < n; ++b) {
          inverse[static_cast<size_t>(a * n + b)] -= before[static_cast<size_t>(a * n) + c] *
                                                     before[c * static_cast<size_t>(n) + static_cast<size_t>(b)] /
                                                     pivot;
        }
      }
    }
  }
  return rounded;
}

QuantSpec specOf(int bits, Granularity granularity, int64_t group, bool symmetric, RangeMethod range) {
  QuantSpec spec;
  spec.bits = bits;
  spec.granularity = granularity;
  spec.groupSize = group;
  spec.symmetric = symmetric;
  spec.range = range;
  spec.storage = Storage::Integer;
  return spec;
}

struct Solved {
  std::vector<float> target, rounded;
};

Solved solve(Problem& p, const std::vector<float>& gram, double damping, bool activationOrder, int threads,
             InputFactor& factor) {
  factor.compute(gram, p.n, {damping, activationOrder, threads});
  Solved out{std::vector<float>(p.w.size()), std::vector<float>(p.w.size())};
  Gptq gptq(p.n, p.spec.groupSize, threads);
  gptq.round({p.source(), p.spec, p.scale.data(), p.zeroOrNull(), out.target.data(), out.rounded.data()}, factor,
             p.rangeOfRows());
  return out;
}

void againstDefinition() {
  for (const int64_t n : {int64_t{8}, int64_t{24}, int64_t{144}}) {
    const auto gram = gramOf(correlatedInputs(3 * n, n, 7), n);
    for (const bool symmetric : {true, false}) {
      for (const int bits : {2, 3, 4}) {
        for (const int64_t group : {int64_t{0}, int64_t{-1}, int64_t{8}}) {
          for (const bool activationOrder : {false, true}) {
            const auto granularity = group == 0  ? Granularity::Tensor
                                     : group < 0 ? Granularity::Channel
                                                 : Granularity::Group;
            // The long rows, which cross a block, cost most: once each.
            if (n == 144 && (bits != 3 || symmetric == activationOrder)) continue;
            const QuantSpec spec = specOf(bits, granularity, std::max<int64_t>(0, group), symmetric,
                                          bits == 4 ? RangeMethod::MinMax : RangeMethod::Mse);
            context = "n " + std::to_string(n) + " bits " + std::to_string(bits) + " group " + std::to_string(group) +
                      (symmetric ? "" : " asymmetric") + (activationOrder ? " act-order" : "");
            Problem p(spec, n == 144 ? 3 : 5, n, static_cast<uint32_t>(bits));
            Problem q = p;
            InputFactor factor(n, 2);
            const Solved solved = solve(p, gram, 0.01, activationOrder, 2, factor);
            std::vector<int64_t> order(static_cast<size_t>(n));
            std::iota(order.begin(), order.end(), int64_t{0});
            if (activationOrder) {
              std::ranges::stable_sort(order, [&](int64_t a, int64_t b) {
                return gram[static_cast<size_t>(a * n + a)] > gram[static_cast<size_t>(b * n + b)];
              });
            }
            std::vector<double> ties;
            const Dense expected = byDefinition(q, gram, 0.01, order, q.scale, q.zero, ties);
            for (size_t e = 0; e < expected.size(); ++e) {
              expectNear(solved.rounded[e], expected[e], 0, "integer");
              expectNear(solved.target[e], expected[e], 1e9, "target is a number");
            }
            expect(*std::ranges::min_element(ties) > 1e-6, "the case has a tie: choose another seed");
            for (size_t i = 0; i < p.scale.size(); ++i) {
              expectNear(p.scale[i], q.scale[i], 1e-6 * static_cast<double>(q.scale[i]), "scale");
            }
          }
        }
      }
    }
  }
}

/// Σ‖X(W − Ŵ)ᵀ‖² from the Gram matrix.
double outputError(const Problem& p, const std::vector<float>& scale, const std::vector<float>& rounded,
                   const std::vector<float>& gram) {
  double sum = 0;
  for (int64_t i = 0; i < p.m; ++i) {
    Dense d(static_cast<size_t>(p.n));
    for (int64_t j = 0; j < p.n; ++j) {
      const auto e = static_cast<size_t>(i * p.n + j);
      d[static_cast<size_t>(j)] = static_cast<double>(p.w[e]) -
                                  static_cast<double>(scale[p.scaleIndex(i, j)]) * static_cast<double>(rounded[e]);
    }
    for (int64_t j = 0; j < p.n; ++j) {
      for (int64_t k = 0; k < p.n; ++k) {
        sum += d[static_cast<size_t>(j)] * gram[static_cast<size_t>(j * p.n + k)] * d[static_cast<size_t>(k)];
      }
    }
  }
  return sum;
}

void lowersTheOutputError() {
  const int64_t n = 160;
  const auto gram = gramOf(correlatedInputs(600, n, 3), n);
  for (const bool symmetric : {true, false}) {
    for (const int bits : {2, 3, 4}) {
      for (const int64_t group : {int64_t{-1}, int64_t{16}}) {
        for (const bool activationOrder : {false, true}) {
          const QuantSpec spec = specOf(bits, group < 0 ? Granularity::Channel : Granularity::Group,
                                        std::max<int64_t>(0, group), symmetric, RangeMethod::Mse);
          context = "bits " + std::to_string(bits) + " group " + std::to_string(group) +
                    (symmetric ? "" : " asymmetric") + (activationOrder ? " act-order" : "");
          Problem p(spec, 40, n, 11);
          std::vector<float> nearest(p.w.size());
          for (int64_t i = 0; i < p.m; ++i) {
            for (int64_t j = 0; j < n; ++j) {
              const auto e = static_cast<size_t>(i * n + j);
              const size_t index = p.scaleIndex(i, j);
              const float z = symmetric ? 0 : zeroPoint(p.zero[index], spec.levels());
              nearest[e] = static_cast<float>(p.roundedValue(p.w[e], p.scale[index], z));
            }
          }
          const double before = outputError(p, p.scale, nearest, gram);
          InputFactor factor(n, 2);
          const Solved solved = solve(p, gram, 0.01, activationOrder, 2, factor);
          const double after = outputError(p, p.scale, solved.rounded, gram);
          expect(after < 0.8 * before,
                 "GPTQ leaves " + std::to_string(after) + " of an output error of " + std::to_string(before));
        }
      }
    }
  }
}

/// Without anything to weigh, columns do not know of each other: round to nearest.
void deadColumns() {
  const int64_t n = 12;
  Problem p(specOf(3, Granularity::Channel, 0, true, RangeMethod::Mse), 4, n, 5);
  InputFactor factor(n, 1);
  const Solved alone = solve(p, std::vector<float>(static_cast<size_t>(n * n)), 0.01, false, 1, factor);
  for (int64_t e = 0; e < p.m * n; ++e) {
    const auto i = static_cast<size_t>(e);
    expectEqual(static_cast<double>(alone.rounded[i]), p.roundedValue(p.w[i], p.scale[static_cast<size_t>(e / n)], 0),
                "no input at all");
  }
  // One dead column leaves the others as if it were not there.
  auto x = correlatedInputs(50, n, 9);
  for (size_t t = 0; t < 50; ++t) x[t * n + 4] = 0;
  const Solved with = solve(p, gramOf(x, n), 0, false, 1, factor);
  for (int64_t i = 0; i < p.m; ++i) {
    const auto e = static_cast<size_t>(i * n + 4);
    expectEqual(static_cast<double>(with.rounded[e]), p.roundedValue(p.w[e], p.scale[static_cast<size_t>(i)], 0),
                "the dead column itself");
  }
}

/// The factor of blocks and tiles against the matrix it comes from: U·H·Uᵀ = 1.
void factorOfLargeMatrices() {
  for (const int64_t n : {int64_t{1}, int64_t{63}, int64_t{64}, int64_t{65}, int64_t{200}, int64_t{321}}) {
    context = "n " + std::to_string(n);
    const auto gram = gramOf(correlatedInputs(2 * n + 3, n, 21), n);
    InputFactor factor(std::max<int64_t>(n, 100), 3);
    factor.compute(gram, n, {0.01, true, 3});
    double mean = 0;
    for (int64_t j = 0; j < n; ++j) mean += gram[static_cast<size_t>(j * n + j)] / static_cast<double>(n);
    double worst = 0;
    Dense product(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t k = 0; k < n; ++k) {
        double sum = 0;
        for (int64_t j = i; j < n; ++j) {
          double h = gram[static_cast<size_t>(factor.column(j) * n + factor.column(k))];
          if (j == k) h += 0.01 * mean;
          sum += factor.row(i)[j] * h;
        }
        product[static_cast<size_t>(k)] = sum;
      }
      for (int64_t k = 0; k < n; ++k) {
        double sum = 0;
        for (int64_t j = k; j < n; ++j) sum += product[static_cast<size_t>(j)] * factor.row(k)[j];
        worst = std::max(worst, std::abs(sum - (i == k ? 1 : 0)));
      }
    }
    // Double, condition of about 1e5.
    expect(worst < 1e-9, "U·H·Uᵀ is off by " + std::to_string(worst));
  }
}

void refusals() {
  InputFactor factor(4, 1);
  std::vector<float> gram(16, 0.0F);
  gram[0] = std::numeric_limits<float>::infinity();
  expectThrows<Error>([&] { factor.compute(gram, 4, {}); }, "infinite activations");
  // Two equal columns and no damping.
  gram.assign(16, 1.0F);
  const std::string message = expectThrows<Error>(
      [&] {
        factor.compute(gram, 4, {0, false, 1});
      },
      "a singular Hessian");
  expect(message.find("not positive definite") != std::string::npos, message);
  factor.compute(gram, 4, {0.01, false, 1});
}

void threadsDoNotMatter() {
  const int64_t n = 200;
  const auto gram = gramOf(correlatedInputs(500, n, 2), n);
  std::vector<float> first;
  for (const int threads : {1, 2, 5}) {
    Problem p(specOf(2, Granularity::Group, 8, false, RangeMethod::Mse), 300, n, 4);
    InputFactor factor(n, threads);
    const Solved solved = solve(p, gram, 0.01, false, threads, factor);
    if (first.empty()) first = solved.target;
    expect(first == solved.target, "another number of threads gives other bits");
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run({{"GPTQ is greedy rounding with exact updates of the inverse", againstDefinition},
              {"GPTQ lowers the output error against round-to-nearest", lowersTheOutputError},
              {"columns without inputs are rounded to nearest", deadColumns},
              {"the factor of large matrices", factorOfLargeMatrices},
              {"what cannot be factorized is refused", refusals},
              {"the number of threads does not matter", threadsDoNotMatter}},
             argc, argv);
}
