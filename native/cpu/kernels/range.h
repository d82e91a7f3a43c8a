// Inner loops of the range search (lr-qat.md §3). Values come padded with zeros to whole vectors: a zero costs nothing
// in any loss and moves neither bound. No fused multiply-add here, so that every instruction set finds the same scales.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace lrqat::cpu {

/// Exponent of the loss Σ|x − Q(x)|^p.
enum class LossPower : uint8_t { P2, P24, P3, P35, P4, P5 };

constexpr int kCandidates = 100;

struct SearchArguments {
  const float* x = nullptr;  // padded with zeros to a multiple of 16
  int64_t count = 0;         // including the padding
  float range = 0;           // R: candidate i has the threshold (R/100)·i
  float qmin = 0;
  float qmax = 0;
  LossPower power = LossPower::P2;
};

struct SearchResult {
  int candidate = 0;  // 1…100
  double loss = 0;
};

/// A search over scales and zero points.
struct PairArguments {
  SearchArguments search;  // qmin, qmax: of the symmetric grid of as many bits
  float lowest = 0;        // smallest and largest x, 0 included
  float highest = 0;
  int levels = 0;
};

struct PairResult {
  int candidate = 0;  // 1…100
  float zero = 0;     // 0…levels
  double loss = 0;
};

/// One grid: scale·(low … high).
struct GridCandidate {
  float scale = 0;
  float low = 0;
  float high = 0;
};

struct Extent {
  float lowest = 0;
  float highest = 0;
  bool finite = true;
};

struct RangeKernels {
  Extent (*extent)(const float* x, int64_t count);
  /// Smallest loss over all candidates, first on ties.
  SearchResult (*search)(const SearchArguments& arguments);
  /// losses[i] += loss of candidate i + 1.
  void (*accumulate)(const SearchArguments& arguments, double* losses);
  /// Smallest loss over all pairs; of equal scales the smaller one, of equal zero points the one nearest to where the
  /// grid's middle lay before.
  PairResult (*searchPairs)(const PairArguments& arguments);
  /// losses[i] += loss of grid i.
  void (*accumulateGrids)(const SearchArguments& arguments, const GridCandidate* grids, int count, double* losses);
};

LRQAT_DECLARE_KERNELS(RangeKernels, rangeKernels)

/// s of candidate i: max(max((R/100)·i, 1e-8)/qmax, 1e-8), all in float32 and in this order.
constexpr float candidateScale(float range, int candidate, float qmax) {
  float threshold = (range / 100.0F) * static_cast<float>(candidate);
  if (!(threshold > 1e-8F)) threshold = 1e-8F;
  const float scale = threshold / qmax;
  return scale > 1e-8F ? scale : 1e-8F;
}

/// Zero point that puts the middle of a grid of `scale` as near to `middle` as can be.
inline float centredZero(float middle, float scale, int levels) {
  const float zero = __builtin_rintf(static_cast<float>(levels) * 0.5F - middle / scale);
  const auto most = static_cast<float>(levels);
  return zero < 0 ? 0.0F : (zero > most ? most : zero);
}

}  // namespace lrqat::cpu
