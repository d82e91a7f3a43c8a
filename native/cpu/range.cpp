#include "cpu/range.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/grid.h"
#include "cpu/cpu_backend.h"
#include "cpu/kernels/range.h"
#include "cpu/source_rows.h"

namespace lrqat::cpu {

namespace {

constexpr int64_t kVector = 16;
/// Rows whose losses are added up before they are added to those of other rows.
constexpr int64_t kTensorBlock = 64;

int64_t padded(int64_t count) {
  return (count + kVector - 1) / kVector * kVector;
}

LossPower lossPower(RangeMethod method) {
  switch (method) {
    case RangeMethod::MinMax:
    case RangeMethod::Mse:
      return LossPower::P2;
    case RangeMethod::Lp24:
      return LossPower::P24;
    case RangeMethod::Lp3:
      return LossPower::P3;
    case RangeMethod::Lp35:
      return LossPower::P35;
    case RangeMethod::Lp4:
      return LossPower::P4;
    case RangeMethod::Lp5:
      return LossPower::P5;
  }
  return LossPower::P2;
}

class RangeFinder {
 public:
  RangeFinder(const HostTensor& weight, const RangeSearch& search, int threads)
      : weight_(weight),
        search_(search),
        threads_(threads),
        kernels_(LRQAT_SELECT_KERNELS(rangeKernels)),
        row_(static_cast<size_t>(threads)),
        notFiniteRow_(weight.rows) {
    for (auto& row : row_) row.assign(static_cast<size_t>(padded(weight.cols)), 0.0F);
  }

  /// One scale every `size` columns of a row.
  void perSegment(int64_t size, std::span<RangeResult> results) {
    const int64_t segments = weight_.cols / size;
    std::vector<std::vector<float>> part(static_cast<size_t>(threads_),
                                         std::vector<float>(static_cast<size_t>(padded(size)), 0.0F));
#pragma omp parallel for num_threads(threads_) schedule(static)
    for (int64_t i = 0; i < weight_.rows; ++i) {
      const auto thread = static_cast<size_t>(omp_get_thread_num());
      const float* row = read(i, thread);
      for (int64_t k = 0; k < segments; ++k) {
        const float* x = row;
        if (segments > 1) {
          std::copy_n(row + k * size, size, part[thread].data());
          x = part[thread].data();
        }
        results[static_cast<size_t>(i * segments + k)] = one(x, padded(size), i);
      }
    }
    refuseNotFinite();
  }

  /// One scale for the whole matrix.
  RangeResult wholeTensor() {
    const int64_t width = padded(weight_.cols);
    std::vector<Extent> extents(static_cast<size_t>(weight_.rows));
#pragma omp parallel for num_threads(threads_) schedule(static)
    for (int64_t i = 0; i < weight_.rows; ++i) {
      const Extent extent = kernels_.extent(read(i, static_cast<size_t>(omp_get_thread_num())), width);
      if (!extent.finite) reportNotFinite(i);
      extents[static_cast<size_t>(i)] = extent;
    }
    refuseNotFinite();
    Extent all;
    for (const Extent& extent : extents) {
      all.lowest = std::min(all.lowest, extent.lowest);
      all.highest = std::max(all.highest, extent.highest);
    }
    if (search_.method == RangeMethod::MinMax) return minMax(all);

    const float range = std::max(-all.lowest, all.highest) + search_.margin;
    if (search_.levels > 0) return wholeTensorPairs(all, range);
    const std::vector<double> losses = tensorLosses(
        kCandidates, [&](const float* row, double* sums) { kernels_.accumulate(arguments(row, width, range), sums); });
    RangeResult best;
    for (int candidate = 1; candidate <= kCandidates; ++candidate) {
      const double loss = losses[static_cast<size_t>(candidate - 1)];
      if (best.candidate == 0 || loss < best.loss)
        best = {candidateScale(range, candidate, search_.qmax), 0, candidate, loss};
    }
    return best;
  }

 private:
  /// Zero points of one scale that are still in question.
  struct Bracket {
    float scale = 0;
    float centre = 0;  // of equal losses the nearest to it is taken
    int low = 0;
    int high = 0;
    float zero = 0;
    double loss = HUGE_VAL;
  };

  /// Sums of `count` losses over the tensor: over blocks of 64 rows, then over the blocks. add(row, sums) adds a row's.
  template <typename Add>
  std::vector<double> tensorLosses(int64_t count, Add add) {
    const int64_t blocks = (weight_.rows + kTensorBlock - 1) / kTensorBlock;
    std::vector<double> parts(static_cast<size_t>(blocks * count), 0.0);
#pragma omp parallel for num_threads(threads_) schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t end = std::min(weight_.rows, (block + 1) * kTensorBlock);
      for (int64_t i = block * kTensorBlock; i < end; ++i) {
        add(read(i, static_cast<size_t>(omp_get_thread_num())), &parts[static_cast<size_t>(block * count)]);
      }
    }
    std::vector<double> sums(static_cast<size_t>(count), 0.0);
    for (int64_t block = 0; block < blocks; ++block) {
      for (int64_t k = 0; k < count; ++k) sums[static_cast<size_t>(k)] += parts[static_cast<size_t>(block * count + k)];
    }
    return sums;
  }

  /// The best zero point of every scale at once: each pass over the tensor tries nine of those in question and leaves
  /// what lies around the best of them.
  RangeResult wholeTensorPairs(const Extent& all, float range) {
    constexpr int kPoints = 9;
    const int64_t width = padded(weight_.cols);
    std::vector<Bracket> brackets(kCandidates);
    for (int c = 0; c < kCandidates; ++c) {
      const float scale = candidateScale(range, c + 1, search_.qmax);
      brackets[static_cast<size_t>(c)] = {
          .scale = scale,
          .centre = centredZero((all.lowest + all.highest) * 0.5F, scale, search_.levels),
          .low = 0,
          .high = search_.levels};
    }
    for (bool open = true; open;) {
      open = false;
      std::vector<GridCandidate> grids;
      std::vector<size_t> ends;
      std::vector<int> zeros;
      for (const Bracket& b : brackets) {
        const int step = std::max(1, (b.high - b.low + kPoints - 2) / (kPoints - 1));
        for (int zero = b.low;; zero = std::min(b.high, zero + step)) {
          zeros.push_back(zero);
          const auto low = static_cast<float>(-zero);
          grids.push_back({b.scale, low, low + static_cast<float>(search_.levels)});
          if (zero == b.high) break;
        }
        ends.push_back(grids.size());
        open = open || step > 1;
      }
      const auto count = static_cast<int64_t>(grids.size());
      const std::vector<double> losses = tensorLosses(count, [&](const float* row, double* sums) {
        kernels_.accumulateGrids(arguments(row, width, range), grids.data(), static_cast<int>(count), sums);
      });
      size_t begin = 0;
      for (size_t c = 0; c < brackets.size(); begin = ends[c++]) {
        Bracket& b = brackets[c];
        size_t best = begin;
        const auto distance = [&](size_t k) { return std::abs(static_cast<float>(zeros[k]) - b.centre); };
        for (size_t k = begin + 1; k < ends[c]; ++k) {
          if (losses[k] < losses[best] || (losses[k] == losses[best] && distance(k) < distance(best))) best = k;
        }
        b.zero = static_cast<float>(zeros[best]);
        b.loss = losses[best];
        b.low = zeros[best == begin ? best : best - 1];
        b.high = zeros[best + 1 == ends[c] ? best : best + 1];
      }
    }
    size_t best = 0;
    for (size_t c = 1; c < brackets.size(); ++c) {
      if (brackets[c].loss < brackets[best].loss) best = c;
    }
    const Bracket& b = brackets[best];
    return {b.scale, b.zero, static_cast<int>(best) + 1, b.loss};
  }

  const float* read(int64_t i, size_t thread) {
    readSource(weight_, i, 0, weight_.cols, row_[thread].data());
    return row_[thread].data();
  }

  SearchArguments arguments(const float* x, int64_t count, float range) const {
    return {x, count, range, search_.qmin, search_.qmax, lossPower(search_.method)};
  }

  RangeResult minMax(const Extent& extent) const {
    if (search_.levels == 0) return {symmetricMinMax(extent.lowest, extent.highest, search_.qmax), 0, 0, 0};
    const AsymmetricRange range =
        asymmetricMinMax(extent.lowest, extent.highest, std::bit_width(static_cast<unsigned>(search_.levels)));
    return {range.scale, range.zeroPointUnrounded, 0, 0};
  }

  RangeResult one(const float* x, int64_t count, int64_t row) {
    const Extent extent = kernels_.extent(x, count);
    if (!extent.finite) {
      reportNotFinite(row);
      return {};
    }
    if (search_.method == RangeMethod::MinMax) return minMax(extent);
    const float range = std::max(-extent.lowest, extent.highest) + search_.margin;
    if (search_.levels > 0) {
      const PairResult found =
          kernels_.searchPairs({arguments(x, count, range), extent.lowest, extent.highest, search_.levels});
      return {candidateScale(range, found.candidate, search_.qmax), found.zero, found.candidate, found.loss};
    }
    const SearchResult found = kernels_.search(arguments(x, count, range));
    return {candidateScale(range, found.candidate, search_.qmax), 0, found.candidate, found.loss};
  }

  void reportNotFinite(int64_t row) {
    int64_t current = notFiniteRow_.load();
    while (row < current && !notFiniteRow_.compare_exchange_weak(current, row)) {
    }
  }

  void refuseNotFinite() {
    const int64_t row = notFiniteRow_.load();
    if (row == weight_.rows) return;
    const float* values = read(row, 0);
    int64_t column = 0;
    while (column + 1 < weight_.cols && std::isfinite(values[column])) ++column;
    throw Error(ErrorCode::InputFile,
                "weight [" + std::to_string(row) + ", " + std::to_string(column) + "] is " +
                    (std::isnan(values[column]) ? "NaN" : "infinite"),
                "the checkpoint is damaged or was saved from a diverged run");
  }

  HostTensor weight_;
  RangeSearch search_;
  int threads_;
  const RangeKernels& kernels_;
  std::vector<std::vector<float>> row_;  // one a thread
  std::atomic<int64_t> notFiniteRow_;    // smallest found; weight.rows: none
};

}  // namespace

void searchRanges(const HostTensor& weight, Granularity granularity, int64_t groupSize, const RangeSearch& search,
                  int threads, std::span<RangeResult> results) {
  RangeFinder finder(weight, search, threads);
  switch (granularity) {
    case Granularity::Tensor:
      results[0] = finder.wholeTensor();
      break;
    case Granularity::Channel:
      finder.perSegment(weight.cols, results);
      break;
    case Granularity::Group:
      finder.perSegment(groupSize, results);
      break;
  }
}

void CpuBackend::quantize(LinearWeight& weight) {
  const QuantSpec& spec = weight.spec;
  checkSpec(spec, weight.m, weight.n);
  std::vector<RangeResult> results(static_cast<size_t>(spec.scaleCount(weight.m, weight.n)));
  const RangeSearch search{spec.range, static_cast<float>(spec.qmin()), static_cast<float>(spec.qmax()), 0.0F,
                           spec.symmetric ? 0 : spec.levels()};
  searchRanges(weight.source, spec.granularity, spec.groupSize, search, threads_, results);
  for (size_t i = 0; i < results.size(); ++i) {
    weight.scale0[i] = results[i].scale;
    if (weight.zero0) weight.zero0[i] = results[i].zero;
  }
  encode(weight);
}

}  // namespace lrqat::cpu
