// Range search: the scale (and zero point) of each tensor, row or group from its weights (lr-qat.md §3).
//
// Asymmetric grids are searched over the 100 scales of the symmetric search, each with the zero point that fits it
// best. For one scale the loss of a weight falls, stays and rises again as its grid moves past it, so the sum over
// weights is convex in the zero point and what no neighbour improves is the best of all.
#pragma once

#include <cstdint>
#include <span>

#include "core/types.h"

namespace lrqat::cpu {

struct RangeSearch {
  RangeMethod method = RangeMethod::MinMax;
  float qmin = 0;
  float qmax = 0;
  /// Added to max|x| before the threshold candidates are formed. The product uses 0; the reference's "MSE" adds 0.5.
  float margin = 0;
  /// Steps of an asymmetric grid; 0: symmetric. qmin and qmax are then those of the symmetric grid of as many bits.
  int levels = 0;
};

struct RangeResult {
  float scale = 0;
  float zero = 0;     // asymmetric: unrounded after min/max, an integer after a search
  int candidate = 0;  // 1…100; 0 for min/max
  double loss = 0;    // Σ|x − Q(x)|^p of the winner; 0 for min/max
};

/// Fills results[scaleCount] for the scales of `granularity`. Every weight is read once (per tensor, whose range must
/// be known first, twice; asymmetric two to five times). The result does not depend on `threads`. Throws InputFile,
/// naming row and column, where a weight is not finite.
void searchRanges(const HostTensor& weight, Granularity granularity, int64_t groupSize, const RangeSearch& search,
                  int threads, std::span<RangeResult> results);

}  // namespace lrqat::cpu
