// What GPTQ needs to know of the inputs of a linear (Frantar et al., arXiv 2210.17323): with H = XᵀX over the
// calibration tokens, damped, the upper triangular U with H⁻¹ = UᵀU. All linears that read the same input share it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lrqat {

struct InputFactorSettings {
  /// Part of the mean diagonal of H that is added to its diagonal.
  double damping = 0.01;
  /// Columns in the order of falling diagonal: those that matter most are rounded first.
  bool activationOrder = false;
  int threads = 1;
};

class InputFactor {
 public:
  /// Memory for inputs of up to `widest` columns.
  explicit InputFactor(int64_t widest, int threads);
  /// Bytes that the constructor takes.
  static int64_t bytes(int64_t widest, int threads);

  /// `gram` [n, n] = XᵀX. A column that is always 0 takes no part: it is as if it were alone. Throws NotFinite where
  /// the activations are not, and InvalidArgument where even the damped matrix is not positive definite.
  void compute(std::span<const float> gram, int64_t n, const InputFactorSettings& settings);

  int64_t columns() const { return n_; }
  /// The column at a place of the order.
  int64_t column(int64_t place) const { return order_[static_cast<size_t>(place)]; }
  /// Row `place` of U [n, n]; zeros below the diagonal are not stored: look at [place, n) alone.
  const double* row(int64_t place) const { return matrix_.data() + place * n_; }

 private:
  /// H = R·Rᵀ with R upper triangular, in place above the diagonal and on it.
  void factorize(int threads);
  /// U = R⁻¹, in place.
  void invert(int threads);

  int64_t n_ = 0;
  std::vector<int64_t> order_;
  std::vector<double> matrix_;
  std::vector<double> diagonal_;
  std::vector<double> tiles_;
};

}  // namespace lrqat
