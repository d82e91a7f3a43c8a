#include "cpu/range.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
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

  /// One scale for the whole matrix: losses summed over blocks of 64 rows, then over the blocks.
  RangeResult wholeTensor() {
    constexpr int64_t blockRows = 64;
    const int64_t blocks = (weight_.rows + blockRows - 1) / blockRows;
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
    std::vector<double> losses(static_cast<size_t>(blocks * kCandidates), 0.0);
#pragma omp parallel for num_threads(threads_) schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t end = std::min(weight_.rows, (block + 1) * blockRows);
      for (int64_t i = block * blockRows; i < end; ++i) {
        const float* row = read(i, static_cast<size_t>(omp_get_thread_num()));
        kernels_.accumulate(arguments(row, width, range), &losses[static_cast<size_t>(block * kCandidates)]);
      }
    }
    RangeResult best;
    for (int candidate = 1; candidate <= kCandidates; ++candidate) {
      double loss = 0;
      for (int64_t block = 0; block < blocks; ++block) {
        loss += losses[static_cast<size_t>(block * kCandidates + candidate - 1)];
      }
      if (best.candidate == 0 || loss < best.loss)
        best = {candidateScale(range, candidate, search_.qmax), candidate, loss};
    }
    return best;
  }

 private:
  const float* read(int64_t i, size_t thread) {
    readSource(weight_, i, 0, weight_.cols, row_[thread].data());
    return row_[thread].data();
  }

  SearchArguments arguments(const float* x, int64_t count, float range) const {
    return {x, count, range, search_.qmin, search_.qmax, lossPower(search_.method)};
  }

  RangeResult minMax(const Extent& extent) const {
    return {symmetricMinMax(extent.lowest, extent.highest, search_.qmax), 0, 0};
  }

  RangeResult one(const float* x, int64_t count, int64_t row) {
    const Extent extent = kernels_.extent(x, count);
    if (!extent.finite) {
      reportNotFinite(row);
      return {};
    }
    if (search_.method == RangeMethod::MinMax) return minMax(extent);
    const float range = std::max(-extent.lowest, extent.highest) + search_.margin;
    const SearchResult found = kernels_.search(arguments(x, count, range));
    return {candidateScale(range, found.candidate, search_.qmax), found.candidate, found.loss};
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
  const RangeSearch search{spec.range, static_cast<float>(spec.qmin()), static_cast<float>(spec.qmax()), 0.0F};
  searchRanges(weight.source, spec.granularity, spec.groupSize, search, threads_, results);
  for (size_t i = 0; i < results.size(); ++i) weight.scale0[i] = results[i].scale;
  encode(weight);
}

}  // namespace lrqat::cpu
