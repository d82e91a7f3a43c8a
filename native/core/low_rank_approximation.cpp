#include "core/low_rank_approximation.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/dot.h"
#include "core/error.h"
#include "core/random.h"

namespace lrqat {

namespace {

/// Directions beside those that are wanted, and how often the subspace is multiplied with the matrix and its transpose.
/// The residuals of rounding have singular values that fall slowly: both are generous.
constexpr int64_t kExtra = 16;
constexpr int kIterations = 8;
/// Rotations smaller than this change nothing in double.
constexpr double kConverged = 1e-15;
constexpr int kSweeps = 60;

/// One-sided Jacobi (Hestenes): rotates the `rows` rows of `x` [rows, length] until they are orthogonal, and those of
/// `rotation` [rows, rows] with them. Then xᵢ = σᵢ·vᵢᵀ and rotation·before = x.
void orthogonalizeRows(double* x, int64_t rows, int64_t length, double* rotation) {
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    bool rotated = false;
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = i + 1; j < rows; ++j) {
        double* a = x + i * length;
        double* b = x + j * length;
        const double aa = dot(a, a, length);
        const double bb = dot(b, b, length);
        const double ab = dot(a, b, length);
        if (std::abs(ab) <= kConverged * std::sqrt(aa * bb)) continue;
        rotated = true;
        const double zeta = (bb - aa) / (2 * ab);
        const double t = (zeta >= 0 ? 1 : -1) / (std::abs(zeta) + std::hypot(1.0, zeta));
        const double c = 1 / std::hypot(1.0, t);
        const double s = c * t;
        const auto rotate = [&](double* p, double* q, int64_t count) {
          for (int64_t k = 0; k < count; ++k) {
            const double value = p[k];
            p[k] = c * value - s * q[k];
            q[k] = s * value + c * q[k];
          }
        };
        rotate(a, b, length);
        rotate(rotation + i * rows, rotation + j * rows, rows);
      }
    }
    if (!rotated) return;
  }
}

/// Singular triplets of `x` [rows, length], which is overwritten: `left` [rows, rows] and `right` [rows, length] in
/// rows, by falling value.
struct Decomposition {
  std::vector<double> values;
  std::vector<double> left;
  std::vector<double> right;
};

Decomposition decompose(std::vector<double> x, int64_t rows, int64_t length) {
  std::vector<double> rotation(static_cast<size_t>(rows * rows));
  for (int64_t i = 0; i < rows; ++i) rotation[static_cast<size_t>(i * rows + i)] = 1;
  orthogonalizeRows(x.data(), rows, length, rotation.data());
  std::vector<double> norms(static_cast<size_t>(rows));
  for (int64_t i = 0; i < rows; ++i) {
    const double* row = x.data() + i * length;
    norms[static_cast<size_t>(i)] = std::sqrt(dot(row, row, length));
  }
  std::vector<int64_t> order(static_cast<size_t>(rows));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::ranges::stable_sort(
      order, [&](int64_t a, int64_t b) { return norms[static_cast<size_t>(a)] > norms[static_cast<size_t>(b)]; });
  Decomposition out;
  out.left.resize(rotation.size());
  out.right.resize(x.size());
  // What is left of a matrix of lower rank is noise of the rounding, whose direction means nothing.
  const double floor =
      rows > 0 ? norms[static_cast<size_t>(order[0])] * 1e-13 * std::sqrt(static_cast<double>(length)) : 0;
  for (int64_t k = 0; k < rows; ++k) {
    const int64_t from = order[static_cast<size_t>(k)];
    const double norm = norms[static_cast<size_t>(from)];
    const bool vanishes = !(norm > floor);
    out.values.push_back(vanishes ? 0 : norm);
    if (vanishes) continue;
    for (int64_t j = 0; j < length; ++j)
      out.right[static_cast<size_t>(k * length + j)] = x[static_cast<size_t>(from * length + j)] / norm;
    for (int64_t j = 0; j < rows; ++j)
      out.left[static_cast<size_t>(k * rows + j)] = rotation[static_cast<size_t>(from * rows + j)];
  }
  return out;
}

/// Makes the rows of `x` [rows, length] orthonormal (modified Gram–Schmidt, twice); rows that depend on those before
/// become zero.
void orthonormalizeRows(double* x, int64_t rows, int64_t length) {
  for (int64_t i = 0; i < rows; ++i) {
    double* row = x + i * length;
    const double before = std::sqrt(dot(row, row, length));
    for (int pass = 0; pass < 2; ++pass) {
      for (int64_t j = 0; j < i; ++j) {
        const double* other = x + j * length;
        const double share = dot(row, other, length);
        for (int64_t k = 0; k < length; ++k) row[k] -= share * other[k];
      }
    }
    const double norm = std::sqrt(dot(row, row, length));
    const double factor = norm > before * 1e-12 ? 1 / norm : 0;
    for (int64_t k = 0; k < length; ++k) row[k] *= factor;
  }
}

/// y [count, m] = x [count, n] · matrixᵀ.
void timesTransposed(const double* x, std::span<const double> matrix, int64_t count, int64_t m, int64_t n, double* y,
                     int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t i = 0; i < m; ++i) {
    const double* row = matrix.data() + i * n;
    for (int64_t k = 0; k < count; ++k) y[k * m + i] = dot(x + k * n, row, n);
  }
}

/// x [count, n] = y [count, m] · matrix.
void times(const double* y, std::span<const double> matrix, int64_t count, int64_t m, int64_t n, double* x,
           int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t k = 0; k < count; ++k) {
    double* out = x + k * n;
    std::fill(out, out + n, 0.0);
    for (int64_t i = 0; i < m; ++i) {
      const double factor = y[k * m + i];
      const double* row = matrix.data() + i * n;
      for (int64_t j = 0; j < n; ++j) out[j] += factor * row[j];
    }
  }
}

std::vector<double> transposed(std::span<const double> matrix, int64_t m, int64_t n) {
  std::vector<double> out(matrix.size());
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) out[static_cast<size_t>(j * m + i)] = matrix[static_cast<size_t>(i * n + j)];
  }
  return out;
}

}  // namespace

int64_t decompositionBytes(int64_t m, int64_t n, int64_t count) {
  const int64_t small = std::min(m, n);
  if (small <= kExactSide) return 8 * (3 * m * n + 2 * small * small);
  const int64_t directions = std::min(count + kExtra, small);
  return 8 * (m * n + 2 * directions * (m + n) + 2 * directions * directions);
}

SingularTriplets leadingSingular(std::span<const double> matrix, int64_t m, int64_t n, int64_t count, uint64_t seed,
                                 int threads) {
  LRQAT_CHECK(count >= 0 && count <= std::min(m, n));
  LRQAT_CHECK(static_cast<int64_t>(matrix.size()) == m * n);
  SingularTriplets out{count, {}, {}, {}};
  const auto take = [&](const Decomposition& from, const std::vector<double>& u, const std::vector<double>& v) {
    out.values.assign(from.values.begin(), from.values.begin() + count);
    out.u.assign(u.begin(), u.begin() + count * m);
    out.v.assign(v.begin(), v.begin() + count * n);
  };
  if (std::min(m, n) <= kExactSide) {
    // Rows are rotated: the shorter side's.
    const bool wide = m <= n;
    const std::vector<double> x = wide ? std::vector<double>(matrix.begin(), matrix.end()) : transposed(matrix, m, n);
    const Decomposition found = decompose(x, wide ? m : n, wide ? n : m);
    take(found, wide ? found.left : found.right, wide ? found.right : found.left);
    return out;
  }
  const int64_t directions = std::min(count + kExtra, std::min(m, n));
  std::vector<double> y(static_cast<size_t>(directions * m));
  std::vector<double> x(static_cast<size_t>(directions * n));
  for (size_t i = 0; i < x.size(); ++i) x[i] = 2 * uniformAt(seed, 0, i) - 1;
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    orthonormalizeRows(x.data(), directions, n);
    timesTransposed(x.data(), matrix, directions, m, n, y.data(), threads);
    orthonormalizeRows(y.data(), directions, m);
    times(y.data(), matrix, directions, m, n, x.data(), threads);
  }
  // matrix ≈ Yᵀ·X with orthonormal rows in Y.
  const Decomposition found = decompose(x, directions, n);
  std::vector<double> u(static_cast<size_t>(directions * m));
  times(found.left.data(), y, directions, directions, m, u.data(), threads);
  take(found, u, found.right);
  return out;
}

}  // namespace lrqat
