// The best approximation of a matrix by a product of two thin ones, from its leading singular values.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lrqat {

/// U·diag(values)·Vᵀ, values falling. Columns of a value that is zero up to rounding are zero.
struct SingularTriplets {
  int64_t count = 0;
  std::vector<double> u;       // [count, m]: column k of U in row k
  std::vector<double> values;  // [count]
  std::vector<double> v;       // [count, n]
};

/// The `count` largest singular values of `matrix` [m, n] (row-major, left as it is) with their vectors. Exact up to
/// rounding where the smaller side has at most kExactSide entries (one-sided Jacobi); else by subspace iteration from a
/// start that `seed` decides, with extra directions. The result does not depend on `threads`.
SingularTriplets leadingSingular(std::span<const double> matrix, int64_t m, int64_t n, int64_t count, uint64_t seed,
                                 int threads);

constexpr int64_t kExactSide = 256;

/// Bytes for a matrix [m, n] of doubles and what its `count` leading values are found in.
int64_t decompositionBytes(int64_t m, int64_t n, int64_t count);

}  // namespace lrqat
