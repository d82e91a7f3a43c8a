// Singular values against exact reconstruction and against each other, and the start of A·B that is made of them.
#include "core/low_rank_start.h"

#include <algorithm>
#include <numeric>

#include "core/low_rank_approximation.h"
#include "test/test_linear.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

std::vector<double> randomMatrix(int64_t m, int64_t n, uint32_t seed) {
  const auto values = randomNormal(static_cast<size_t>(m * n), seed);
  return {values.begin(), values.end()};
}

/// [m, n] of rank r: a product of thin random ones.
std::vector<double> ofRank(int64_t m, int64_t n, int64_t r, uint32_t seed) {
  const auto a = randomMatrix(m, r, seed);
  const auto b = randomMatrix(r, n, seed + 1);
  std::vector<double> out(static_cast<size_t>(m * n));
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t k = 0; k < r; ++k) {
      for (int64_t j = 0; j < n; ++j) {
        out[static_cast<size_t>(i * n + j)] += a[static_cast<size_t>(i * r + k)] * b[static_cast<size_t>(k * n + j)];
      }
    }
  }
  return out;
}

std::vector<double> product(const SingularTriplets& t, int64_t m, int64_t n) {
  std::vector<double> out(static_cast<size_t>(m * n));
  for (int64_t k = 0; k < t.count; ++k) {
    for (int64_t i = 0; i < m; ++i) {
      const double factor = t.values[static_cast<size_t>(k)] * t.u[static_cast<size_t>(k * m + i)];
      for (int64_t j = 0; j < n; ++j)
        out[static_cast<size_t>(i * n + j)] += factor * t.v[static_cast<size_t>(k * n + j)];
    }
  }
  return out;
}

double squaredDistance(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

struct Shape {
  int64_t m, n;
};

/// All singular values give the matrix back, vectors are orthonormal, values fall.
void exactReconstruction() {
  for (const auto& [m, n] :
       {Shape{1, 1}, Shape{5, 5}, Shape{24, 24}, Shape{7, 40}, Shape{40, 7}, Shape{1, 9}, Shape{64, 48}}) {
    context = std::to_string(m) + "x" + std::to_string(n);
    const auto matrix = randomMatrix(m, n, 3);
    const int64_t count = std::min(m, n);
    const SingularTriplets t = leadingSingular(matrix, m, n, count, 1, 2);
    expect(relativeError(product(t, m, n), matrix) < 1e-12, "the matrix does not come back");
    expect(std::ranges::is_sorted(t.values, std::greater<>()), "values do not fall");
    for (int64_t a = 0; a < count; ++a) {
      for (int64_t b = 0; b < count; ++b) {
        double u = 0;
        double v = 0;
        for (int64_t i = 0; i < m; ++i) u += t.u[static_cast<size_t>(a * m + i)] * t.u[static_cast<size_t>(b * m + i)];
        for (int64_t j = 0; j < n; ++j) v += t.v[static_cast<size_t>(a * n + j)] * t.v[static_cast<size_t>(b * n + j)];
        expectNear(u, a == b ? 1 : 0, 1e-11, "left vectors");
        expectNear(v, a == b ? 1 : 0, 1e-11, "right vectors");
      }
    }
  }
}

/// A matrix of rank r comes back from r values; more of them are zero. Small ones by Jacobi, large ones by iteration.
void deficientRank() {
  for (const auto& [m, n] : {Shape{30, 30}, Shape{12, 50}, Shape{50, 12}, Shape{280, 300}, Shape{320, 270}}) {
    context = std::to_string(m) + "x" + std::to_string(n);
    const auto matrix = ofRank(m, n, 4, 9);
    const SingularTriplets four = leadingSingular(matrix, m, n, 4, 1, 2);
    expect(relativeError(product(four, m, n), matrix) < 1e-11, "rank 4 does not come back from four values");
    const SingularTriplets six = leadingSingular(matrix, m, n, 6, 1, 2);
    expectEqual(six.values[4], 0.0, "the fifth value");
    expectEqual(six.values[5], 0.0, "the sixth value");
    expect(relativeError(product(six, m, n), matrix) < 1e-11, "with values of zero");
  }
  const std::vector<double> zero(200);
  const SingularTriplets none = leadingSingular(zero, 10, 20, 3, 1, 1);
  expect(std::ranges::all_of(none.values, [](double v) { return v == 0; }), "values of nothing");
}

/// What r values leave is the sum of the squares of the others (Eckart and Young); iteration comes close to it for the
/// flat spectrum that rounding leaves.
void bestApproximation() {
  const int64_t m = 40;
  const int64_t n = 30;
  const auto matrix = randomMatrix(m, n, 5);
  const SingularTriplets all = leadingSingular(matrix, m, n, n, 1, 2);
  for (const int64_t count : {1, 7, 20}) {
    const SingularTriplets t = leadingSingular(matrix, m, n, count, 1, 2);
    double left = 0;
    for (size_t k = static_cast<size_t>(count); k < all.values.size(); ++k) left += all.values[k] * all.values[k];
    expectNear(squaredDistance(product(t, m, n), matrix), left, 1e-9 * left, "what is left");
  }
  // Of the transpose the same values, and the vectors change places.
  std::vector<double> turned(matrix.size());
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) turned[static_cast<size_t>(j * m + i)] = matrix[static_cast<size_t>(i * n + j)];
  }
  expect(relativeError(leadingSingular(turned, n, m, n, 1, 2).values, all.values) < 1e-12, "values of the transpose");

  const auto large = randomMatrix(300, 290, 6);
  // Its best: the values of the Gram matrix by Jacobi on a part would cost seconds; the sum of squares bounds them.
  const SingularTriplets t = leadingSingular(large, 300, 290, 20, 1, 2);
  double total = 0;
  for (const double value : large) total += value * value;
  double taken = 0;
  for (const double value : t.values) taken += value * value;
  expectNear(squaredDistance(product(t, 300, 290), large), total - taken, 1e-6 * total, "what iteration leaves");
  // Largest value of a Gaussian matrix: √300 + √290 = 34.3, within some per cent.
  expectNear(t.values[0], 34.3, 1.5, "the largest value");
  expect(t.values == leadingSingular(large, 300, 290, 20, 1, 5).values, "another number of threads gives other bits");
}

QuantSpec specOf(Granularity granularity, bool symmetric, int rank) {
  QuantSpec spec;
  spec.bits = 3;
  spec.granularity = granularity;
  spec.groupSize = granularity == Granularity::Group ? 8 : 0;
  spec.symmetric = symmetric;
  spec.storage = Storage::Integer;
  spec.range = RangeMethod::Mse;
  spec.rank = rank;
  spec.alpha = 3;
  return spec;
}

/// With as many values as there are rows, γ·A·B is the residual: V + γ·A·B = v for all that is not clipped. Square and
/// not.
void carriesTheResidual() {
  for (const auto& [m, n] : {Shape{24, 24}, Shape{16, 40}, Shape{40, 16}}) {
    for (const Granularity granularity : {Granularity::Tensor, Granularity::Channel, Granularity::Group}) {
      for (const bool symmetric : {true, false}) {
        const auto rank = static_cast<int>(std::min(m, n));
        TestLinear linear(specOf(granularity, symmetric, rank), m, n, 4);
        context = describe(linear.weight.spec, m, n);
        makeBackend(1, 0)->quantize(linear.weight);
        const Grids grids(linear.weight, linear.scale0, linear.zero0);
        std::vector<float> target(linear.w.size());
        std::vector<float> rounded(linear.w.size());
        std::vector<double> residual(linear.w.size());
        roundToNearest(linear.weight, grids, target, rounded);
        const auto before = rounded;
        const LowRankStart start = lowRankStart(linear.weight, grids, target, rounded, residual, linear.b, {1, 7, 2});
        expect(before == rounded, "one iteration rounds once");
        std::vector<float> row(static_cast<size_t>(n));
        for (int64_t i = 0; i < m; ++i) {
          start.row(linear.weight.spec, i, row);
          for (int64_t j = 0; j < n; ++j) {
            const auto e = static_cast<size_t>(i * n + j);
            const auto [low, high] = grids.ends(i, j);
            const float inside = std::min(std::max(target[e], low), high);
            // float32 factors and sums of up to 24 terms.
            expectNear(rounded[e] + row[static_cast<size_t>(j)], inside, 2e-5, "V + γ·A·B");
          }
        }
      }
    }
  }
}

/// Each rank leaves less of the weight, more iterations do not leave more, and a residual of zero keeps B as it was.
void ranksAndIterations() {
  const int64_t m = 32;
  const int64_t n = 32;
  const auto left = [&](int rank, int iterations) {
    TestLinear linear(specOf(Granularity::Channel, true, rank), m, n, 8);
    makeBackend(1, 0)->quantize(linear.weight);
    const Grids grids(linear.weight, linear.scale0, linear.zero0);
    std::vector<float> target(linear.w.size());
    std::vector<float> rounded(linear.w.size());
    std::vector<double> residual(linear.w.size());
    roundToNearest(linear.weight, grids, target, rounded);
    const LowRankStart start =
        lowRankStart(linear.weight, grids, target, rounded, residual, linear.b, {iterations, 7, 1});
    double sum = 0;
    std::vector<float> row(static_cast<size_t>(n));
    for (int64_t i = 0; i < m; ++i) {
      start.row(linear.weight.spec, i, row);
      for (int64_t j = 0; j < n; ++j) {
        const auto e = static_cast<size_t>(i * n + j);
        const auto [low, high] = grids.ends(i, j);
        const float inside = std::min(std::max(target[e], low), high);
        sum +=
            std::pow(static_cast<double>(grids.scale(i, j) * (inside - rounded[e] - row[static_cast<size_t>(j)])), 2);
      }
    }
    return sum;
  };
  expect(left(4, 1) > left(8, 1) && left(8, 1) > left(16, 1), "more rank leaves less");
  expect(left(8, 5) < left(8, 1), "five iterations leave less than one");

  TestLinear exact(specOf(Granularity::Channel, true, 4), 8, 8, 2);
  std::ranges::fill(exact.scale0, 0.25F);
  for (size_t e = 0; e < exact.w.size(); ++e) exact.w[e] = 0.25F * static_cast<float>(static_cast<int>(e % 7) - 3);
  const Grids grids(exact.weight, exact.scale0, exact.zero0);
  std::vector<float> target(64);
  std::vector<float> rounded(64);
  std::vector<double> residual(64);
  roundToNearest(exact.weight, grids, target, rounded);
  const LowRankStart start = lowRankStart(exact.weight, grids, target, rounded, residual, exact.b, {1, 7, 1});
  expect(start.b == exact.b, "B of nothing is as given");
  expect(std::ranges::all_of(start.a, [](float value) { return value == 0; }), "A of nothing is zero");
}

}  // namespace

int main(int argc, char** argv) {
  return run({{"all singular values give the matrix back", exactReconstruction},
              {"matrices of lower rank", deficientRank},
              {"the leading values leave least", bestApproximation},
              {"A·B carries what rounding leaves", carriesTheResidual},
              {"ranks, iterations and nothing to carry", ranksAndIterations}},
             argc, argv);
}
