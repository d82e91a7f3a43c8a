// A·B that carries what rounding leaves: the start of LoftQ (Li et al., arXiv 2310.08659) in the units of the grid,
// where the low-rank term of LR-QAT lies.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/phi0_code.h"
#include "core/types.h"

namespace lrqat {

/// Scales and grids of the entries of one linear.
class Grids {
 public:
  /// `zeros` unrounded; empty: symmetric. Both must outlive this.
  Grids(const LinearWeight& weight, std::span<const float> scales, std::span<const float> zeros)
      : spec_(weight.spec), n_(weight.n), scales_(scales), zeros_(zeros) {}

  float scale(int64_t row, int64_t column) const { return scales_[index(row, column)]; }
  GridEnds ends(int64_t row, int64_t column) const;

 private:
  size_t index(int64_t row, int64_t column) const;

  const QuantSpec& spec_;
  int64_t n_;
  std::span<const float> scales_;
  std::span<const float> zeros_;
};

/// target [m, n] = W/s, rounded = its integers V.
void roundToNearest(const LinearWeight& weight, const Grids& grids, std::span<float> target, std::span<float> rounded);

struct LowRankStart {
  std::vector<float> a;  // [m, r]
  std::vector<float> b;  // [r, n]

  /// γ·A·B of one row.
  void row(const QuantSpec& spec, int64_t i, std::span<float> product) const;
};

struct LowRankSettings {
  int iterations = 1;
  uint64_t seed = 0;
  int threads = 1;
};

/// A and B with γ·A·B ≈ target − V, best in the weight itself for one scale a row (rows count by the root mean square
/// of their scales). More iterations round `target` less the product of the one before. `target` [m, n] is taken inside
/// the grid: what is clipped cannot come back. `rounded` becomes V of the last iteration where the storage holds
/// integers. Directions that nothing is left for begin as without this: A zero, B as given.
LowRankStart lowRankStart(const LinearWeight& weight, const Grids& grids, std::span<const float> target,
                          std::span<float> rounded, std::span<double> residual, std::vector<float> b,
                          const LowRankSettings& settings);

}  // namespace lrqat
