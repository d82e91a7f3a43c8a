// Range search: the scale of each tensor, row or group from its weights (lr-qat.md §3).
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
};

struct RangeResult {
  float scale = 0;
  int candidate = 0;  // 1…100; 0 for min/max
  double loss = 0;    // Σ|x − Q(x)|^p of the winner; 0 for min/max
};

/// Fills results[scaleCount] for the scales of `granularity`. Every weight is read once (twice per tensor, whose range
/// must be known first). The result does not depend on `threads`. Throws InputFile, naming row and column, where a
/// weight is not finite.
void searchRanges(const HostTensor& weight, Granularity granularity, int64_t groupSize, const RangeSearch& search,
                  int threads, std::span<RangeResult> results);

}  // namespace lrqat::cpu
