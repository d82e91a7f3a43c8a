#include "cpu/kernels/range.h"

#include "cpu/kernels/lanes16.h"

namespace lrqat::cpu::LRQAT_ISA {

namespace {

/// u^(1/5) for u ≥ 0 (0 for 0), relative error below 1e-6: three Newton steps on u^(−1/5).
inline F16 fifthRoot(F16 u) {
  F16 r = rootGuess(u, 0.2F, 1277970874);
  for (int step = 0; step < 3; ++step) {
    const F16 square = r * r;
    r = r * (fill(1.2F) - fill(0.2F) * (((u * square) * square) * r));  // in this order 0 stays 0
  }
  const F16 square = r * r;
  return u * (square * square);
}

template <LossPower kPower>
inline F16 powered(F16 difference) {
  const F16 square = difference * difference;
  if constexpr (kPower == LossPower::P2) return square;
  if constexpr (kPower == LossPower::P24) return square * fifthRoot(square);
  if constexpr (kPower == LossPower::P4) return square * square;
  const F16 d = absolute(difference);
  if constexpr (kPower == LossPower::P3) return square * d;
  if constexpr (kPower == LossPower::P35) return square * d * squareRoot(d);
  if constexpr (kPower == LossPower::P5) return square * square * d;
}

/// Sixteen float32 partial sums over blocks of 256 values, the blocks added in double. Losses only grow, so a candidate
/// whose partial sum is above `limit` cannot win and is left early; what it returns then is above `limit` too.
template <LossPower kPower>
double loss(const SearchArguments& p, float scale, double limit) {
  constexpr int64_t block = 256;
  const F16 s = fill(scale);
  const F16 low = fill(p.qmin);
  const F16 high = fill(p.qmax);
  double total = 0;
  for (int64_t begin = 0; begin < p.count; begin += block) {
    const int64_t end = begin + block < p.count ? begin + block : p.count;
    F16 part = fill(0.0F);
    for (int64_t i = begin; i < end; i += kLanes) {
      const F16 x = load(p.x + i);
      // Limits are integers, so clamping first changes nothing but keeps the rounding in its domain.
      const F16 q = roundSmall(clamp(x / s, low, high));
      part = part + powered<kPower>(x - q * s);
    }
    total += static_cast<double>(sum(part));
    if (total > limit) return total;
  }
  return total;
}

template <LossPower kPower>
SearchResult searchPower(const SearchArguments& p) {
  // From the widest candidate down: the good ones come early and the narrow ones, which lose most, are left early.
  SearchResult best{kCandidates, loss<kPower>(p, candidateScale(p.range, kCandidates, p.qmax), HUGE_VAL)};
  for (int candidate = kCandidates - 1; candidate >= 1; --candidate) {
    const double value = loss<kPower>(p, candidateScale(p.range, candidate, p.qmax), best.loss);
    if (value <= best.loss) best = {candidate, value};
  }
  return best;
}

template <LossPower kPower>
void accumulatePower(const SearchArguments& p, double* losses) {
  for (int candidate = 1; candidate <= kCandidates; ++candidate) {
    losses[candidate - 1] += loss<kPower>(p, candidateScale(p.range, candidate, p.qmax), HUGE_VAL);
  }
}

template <LossPower kPower>
PairResult searchPairsPower(const PairArguments& p) {
  SearchArguments grid = p.search;
  const auto levels = static_cast<float>(p.levels);
  float middle = (p.lowest + p.highest) * 0.5F;
  constexpr float directions[] = {1.0F, -1.0F};
  PairResult best{0, 0, HUGE_VAL};
  for (int candidate = kCandidates; candidate >= 1; --candidate) {
    const float scale = candidateScale(p.search.range, candidate, p.search.qmax);
    const auto lossAt = [&](float zero, double limit) {
      grid.qmin = -zero;
      grid.qmax = levels - zero;
      return loss<kPower>(grid, scale, limit);
    };
    float zero = centredZero(middle, scale, p.levels);
    double smallest = lossAt(zero, HUGE_VAL);
    // Down the valley: at most one of the two directions improves.
    for (const float step : directions) {
      const float start = zero;
      while (zero + step >= 0 && zero + step <= levels) {
        const double value = lossAt(zero + step, smallest);
        if (value >= smallest) break;
        smallest = value;
        zero += step;
      }
      if (zero != start) break;
    }
    middle = (levels * 0.5F - zero) * scale;
    if (smallest <= best.loss) best = {candidate, zero, smallest};
  }
  return best;
}

template <LossPower kPower>
void accumulateGridsPower(SearchArguments p, const GridCandidate* grids, int count, double* losses) {
  for (int i = 0; i < count; ++i) {
    p.qmin = grids[i].low;
    p.qmax = grids[i].high;
    losses[i] += loss<kPower>(p, grids[i].scale, HUGE_VAL);
  }
}

/// Calls body.template operator()<power>().
template <typename Body>
inline auto withPower(LossPower power, Body body) {
  switch (power) {
    case LossPower::P24:
      return body.template operator()<LossPower::P24>();
    case LossPower::P3:
      return body.template operator()<LossPower::P3>();
    case LossPower::P35:
      return body.template operator()<LossPower::P35>();
    case LossPower::P4:
      return body.template operator()<LossPower::P4>();
    case LossPower::P5:
      return body.template operator()<LossPower::P5>();
    case LossPower::P2:
      break;
  }
  return body.template operator()<LossPower::P2>();
}

Extent extent(const float* x, int64_t count) {
  F16 lowest = fill(0.0F);
  F16 highest = fill(0.0F);
  F16 notFinite = fill(0.0F);
  for (int64_t i = 0; i < count; i += kLanes) {
    const F16 value = load(x + i);
    lowest = smaller(value, lowest);
    highest = larger(value, highest);
    notFinite = notFinite + value * fill(0.0F);  // 0·∞ and 0·NaN are NaN
  }
  Extent result;
  float lows[kLanes];
  float highs[kLanes];
  store(lows, lowest);
  store(highs, highest);
  for (int i = 0; i < kLanes; ++i) {
    if (lows[i] < result.lowest) result.lowest = lows[i];
    if (highs[i] > result.highest) result.highest = highs[i];
  }
  result.finite = sum(notFinite) == 0.0F;
  return result;
}

SearchResult search(const SearchArguments& p) {
  return withPower(p.power, [&]<LossPower kPower>() { return searchPower<kPower>(p); });
}

void accumulate(const SearchArguments& p, double* losses) {
  withPower(p.power, [&]<LossPower kPower>() { accumulatePower<kPower>(p, losses); });
}

PairResult searchPairs(const PairArguments& p) {
  return withPower(p.search.power, [&]<LossPower kPower>() { return searchPairsPower<kPower>(p); });
}

void accumulateGrids(const SearchArguments& p, const GridCandidate* grids, int count, double* losses) {
  withPower(p.power, [&]<LossPower kPower>() { accumulateGridsPower<kPower>(p, grids, count, losses); });
}

}  // namespace

extern const RangeKernels rangeKernels = {.extent = extent,
                                          .search = search,
                                          .accumulate = accumulate,
                                          .searchPairs = searchPairs,
                                          .accumulateGrids = accumulateGrids};

}  // namespace lrqat::cpu::LRQAT_ISA
