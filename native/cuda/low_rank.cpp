#include "cuda/low_rank.h"

#include <algorithm>
#include <array>
#include <vector>

#include "core/error.h"
#include "core/memory_plan.h"
#include "cuda/kernels/clipped_apply.h"
#include "cuda/kernels/clipped_entries.h"
#include "cuda/kernels/clipped_products.h"
#include "cuda/kernels/group_gradient.h"
#include "cuda/kernels/low_rank_products.h"
#include "cuda/kernels/split_factors.h"

namespace lrqat::cuda {

namespace {

using Tasks = std::vector<const LowRankTask*>;

int64_t rankOf(const LowRankTask& task) {
  return task.weight->spec.rank;
}

bool isDense(const LowRankTask& task, int64_t clippedCount) {
  if (task.weight->spec.granularity == Granularity::Group) return true;
  return rankOf(task) > 0 && clippedCount > clippedCapacity(task.weight->m, task.weight->n);
}

SplitMatrix takeHalves(Scratch& scratch, int64_t rows, int64_t cols) {
  return {scratch.take<uint16_t>(rows * cols), scratch.take<uint16_t>(rows * cols), cols};
}

/// Partial sums of products that are launched together: bytes for `kept`·`thin` results, and as many again as cutting
/// the sums adds at most.
int64_t partialBytes(int64_t keptTimesThin, int64_t widestThin) {
  return 4 * (keptTimesThin + kThinUnits * kThinTile * widestThin);
}

/// Places each product's partial results, [splits][kept][thin] or, for `transposed`, [splits][thin][kept] with kept
/// rounded up to whole tiles, and runs them. Returns what addSums and splitSums read: rows and cols are left 0.
std::vector<PartialSums> runThin(ThinForm form, std::span<ThinProduct> products, std::span<const bool> transposed,
                                 Scratch& scratch, cudaStream_t stream) {
  planSplits(form, products);
  std::vector<PartialSums> sums;
  for (size_t i = 0; i < products.size(); ++i) {
    ThinProduct& p = products[i];
    const int64_t kept = thinTiles(p.kept(form)) * kThinTile;
    p.splitStride = kept * p.thin;
    p.keptStride = transposed[i] ? 1 : p.thin;
    p.thinStride = transposed[i] ? kept : 1;
    p.partial = scratch.take<float>(p.splits * p.splitStride);
    sums.push_back({p.partial, p.splits, p.splitStride, transposed[i] ? kept : p.thin, 0, 0});
  }
  thinProducts(form, products, stream);
  return sums;
}

PartialSums part(const PartialSums& sums, int64_t row, int64_t rows, int64_t cols) {
  PartialSums result = sums;
  result.partial += row * sums.stride;
  result.rows = rows;
  result.cols = cols;
  return result;
}

class ThinProducts {
 public:
  static int64_t scratchBytes(int64_t tokens, int64_t n, int64_t m, int64_t rankSum) {
    const int64_t t = roundedUp(tokens, kThinTile);
    const int64_t overColumns = partialBytes(2 * rankSum * t, rankSum);
    const int64_t overRows = partialBytes(rankSum * (roundedUp(n, kThinTile) + roundedUp(m, kThinTile)), rankSum);
    return 4 * rankSum * (roundedUp(n, kThinChunk) + roundedUp(m, kThinChunk) + 2 * t) +
           std::max(overColumns, overRows);
  }

  static void add(Matrix x, const Tasks& tasks, Scratch scratch, cudaStream_t stream) {
    if (tasks.empty()) return;
    const int64_t n = x.cols;
    const int64_t tokens = x.rows;
    const int64_t paddedTokens = roundedUp(tokens, kThinTile);
    int64_t rankSum = 0;
    for (const LowRankTask* task : tasks) rankSum += paddedRank(rankOf(*task));

    const SplitMatrix b = takeHalves(scratch, rankSum, roundedUp(n, kThinChunk));  // B of all tasks
    std::vector<SplitJob> factors;
    std::vector<ThinProduct> products;
    std::vector<int64_t> firstRank;
    products.push_back(product(x, b, rankSum));
    int64_t first = 0;
    for (const LowRankTask* task : tasks) {
      const LinearWeight& w = *task->weight;
      const int64_t rank = paddedRank(w.spec.rank);
      const int64_t paddedM = roundedUp(w.m, kThinChunk);
      const SplitMatrix a = takeHalves(scratch, rank, paddedM);  // Aᵀ
      factors.push_back({task->lowRank.b, w.spec.rank, n, false, b.at(first, 0), rank, b.stride});
      factors.push_back({task->lowRank.a, w.m, w.spec.rank, true, a, rank, paddedM});
      products.push_back(product(task->dYs, a, rank));
      firstRank.push_back(first);
      first += rank;
    }
    splitFactors(factors, stream);

    // U = X·Bᵀ of all tasks side by side, V = dYs·A likewise; [T, rankSum], 0 behind the last token.
    const SplitMatrix u = takeHalves(scratch, paddedTokens, rankSum);
    const SplitMatrix v = takeHalves(scratch, paddedTokens, rankSum);
    {
      Scratch partial = scratch;
      std::array<bool, mostProducts> plain{};
      const auto sums =
          runThin(ThinForm::OverColumns, products, std::span(plain.data(), products.size()), partial, stream);
      std::vector<SplitSumJob> halves;
      halves.push_back({part(sums[0], 0, paddedTokens, rankSum), u});
      for (size_t i = 0; i < tasks.size(); ++i) {
        halves.push_back({part(sums[i + 1], 0, paddedTokens, products[i + 1].thin), v.at(0, firstRank[i])});
      }
      splitSums(halves, stream);
    }

    products[0].w = v;
    for (size_t i = 0; i < tasks.size(); ++i) products[i + 1].w = u.at(0, firstRank[i]);
    std::array<bool, mostProducts> transposed{true};
    const auto sums =
        runThin(ThinForm::OverRows, products, std::span(transposed.data(), products.size()), scratch, stream);
    std::vector<AddSumJob> gradients;
    for (size_t i = 0; i < tasks.size(); ++i) {
      const LinearWeight& w = *tasks[i]->weight;
      const int64_t rank = w.spec.rank;
      const LinearGradient& gradient = tasks[i]->gradient;
      gradients.push_back({part(sums[i + 1], 0, w.m, rank), w.spec.gamma(), gradient.a, rank});
      gradients.push_back({part(sums[0], firstRank[i], rank, n), w.spec.gamma(), gradient.b, n});
    }
    addSums(gradients, stream);
  }

  /// The same in plain float32, a linear at a time.
  static void addExact(Gemm& gemm, Matrix x, const LowRankTask& task, Scratch scratch, cudaStream_t stream) {
    const LinearWeight& w = *task.weight;
    const int64_t rank = w.spec.rank;
    const GemmOperand a{task.lowRank.a, DType::F32, w.m, rank, rank, false};
    const GemmOperand b{task.lowRank.b, DType::F32, rank, w.n, w.n, true};
    const Matrix u{scratch.take<float>(x.rows * rank), DType::F32, x.rows, rank};
    const Matrix v{scratch.take<float>(x.rows * rank), DType::F32, x.rows, rank};
    gemm.multiply(GemmOperand::of(x, false), b, {u.data, DType::F32, rank}, 1, 0, stream);
    gemm.multiply(GemmOperand::of(task.dYs, false), a, {v.data, DType::F32, rank}, 1, 0, stream);
    gemm.multiply(GemmOperand::of(task.dYs, true), GemmOperand::of(u, false), {task.gradient.a, DType::F32, rank},
                  w.spec.gamma(), 1, stream);
    gemm.multiply(GemmOperand::of(v, true), GemmOperand::of(x, false), {task.gradient.b, DType::F32, w.n},
                  w.spec.gamma(), 1, stream);
  }

 private:
  static constexpr size_t mostProducts = 16;

  static ThinProduct product(const Matrix& y, const SplitMatrix& w, int64_t thin) {
    return {.y = static_cast<const uint16_t*>(y.data),
            .rows = y.rows,
            .cols = y.cols,
            .yStride = y.cols,
            .w = w,
            .thin = thin};
  }
};

class ClippedCorrection {
 public:
  static int64_t scratchBytes(int64_t n, int64_t m, int64_t rank) {
    const int64_t capacity = clippedCapacity(m, n);
    return clippedEntriesScratchBytes(m, n, capacity) + clippedProductsScratchBytes(capacity) +
           subtractClippedScratchBytes(n, rank);
  }

  static void subtract(Matrix x, const LowRankTask& task, int64_t count, Scratch scratch, cudaStream_t stream) {
    if (count == 0) return;
    const LinearWeight& w = *task.weight;
    const ClippedEntries entries = listClipped(task.clipped.mask, w.m, w.n, count, scratch, stream);
    const float* d = clippedProducts(entries, x, task.dYs, scratch, stream);
    subtractClipped(entries, d, task.lowRank.a, task.lowRank.b, w.spec.rank, w.spec.gamma(), task.gradient.a,
                    task.gradient.b, scratch, stream);
  }
};

class DensePanels {
 public:
  /// Rows of a panel: about 2^22 elements of G, so that it stays in the cache with its halves.
  static int64_t panelRows(int64_t n, int64_t m) {
    return std::min(roundedUp(m, kThinTile), std::max(kThinTile, (int64_t{1} << 22) / n / kThinTile * kThinTile));
  }

  static int64_t scratchBytes(int64_t n, int64_t m, int64_t paddedRank) {
    const int64_t rows = panelRows(n, m);
    const int64_t columns = roundedUp(n, kThinChunk);
    return Scratch::padded(4 * rows * n) + 4 * rows * columns + Scratch::padded(4 * rows * ((n + 7) / 8)) +
           4 * paddedRank * (columns + roundedUp(m, kThinChunk)) +
           std::max(partialBytes(2 * paddedRank * rows, paddedRank),
                    partialBytes(2 * paddedRank * roundedUp(n, kThinTile), paddedRank));
  }

  static void add(Gemm& gemm, Matrix x, const LowRankTask& task, bool exact, Scratch scratch, cudaStream_t stream) {
    const LinearWeight& w = *task.weight;
    const int64_t rank = task.gradient.a ? w.spec.rank : 0;
    const bool wantsScale = w.spec.granularity == Granularity::Group && task.gradient.scale;
    if (rank == 0 && !wantsScale) return;
    const int64_t n = w.n;
    const int64_t rows = panelRows(n, w.m);
    const int64_t columns = roundedUp(n, kThinChunk);
    const int64_t thin = paddedRank(rank);

    GradientPanel panel;
    panel.gradient = scratch.take<float>(rows * n);
    if (!exact) panel.halves = takeHalves(scratch, rows, columns);
    if (wantsScale) {
      panel.productColumns = productColumns(w.spec.groupSize);
      if (panel.productColumns == 8) {
        panel.products = scratch.take<float>(rows * ((n + 7) / 8));
      } else {
        panel.products = exact ? scratch.take<float>(rows * n) : panel.gradient;
      }
    }
    SplitMatrix a;  // [m, r]
    SplitMatrix b;  // [r, n]
    if (rank > 0 && !exact) {
      a = takeHalves(scratch, roundedUp(w.m, kThinChunk), thin);
      b = takeHalves(scratch, thin, columns);
      const std::array factors{SplitJob{task.lowRank.a, w.m, rank, false, a, roundedUp(w.m, kThinChunk), thin},
                               SplitJob{task.lowRank.b, rank, n, false, b, thin, columns}};
      splitFactors(factors, stream);
    }
    for (panel.firstRow = 0; panel.firstRow < w.m; panel.firstRow += rows) {
      panel.rows = std::min(rows, w.m - panel.firstRow);
      const Matrix dYs = task.dYs;
      const GemmOperand dY{static_cast<const std::byte*>(dYs.data) + panel.firstRow * byteSize(dYs.type),
                           dYs.type,
                           dYs.rows,
                           panel.rows,
                           dYs.cols,
                           true};
      gemm.multiply(dY, GemmOperand::of(x, false), {panel.gradient, DType::F32, n}, 1, 0, stream);
      maskGradient(w, task.lowRank, panel, exact, stream);
      if (wantsScale) {
        addGroupScaleGradient(w, task.theta, task.lowRank.scale, panel, task.gradient.scale, stream);
      }
      if (rank == 0) continue;
      if (exact) {
        addExact(gemm, task, panel, stream);
      } else {
        addSplit(task, panel, a, b, scratch, stream);
      }
    }
  }

 private:
  static void addExact(Gemm& gemm, const LowRankTask& task, const GradientPanel& panel, cudaStream_t stream) {
    const LinearWeight& w = *task.weight;
    const int64_t rank = w.spec.rank;
    const Matrix gradient{panel.gradient, DType::F32, panel.rows, w.n};
    const GemmOperand a{task.lowRank.a + panel.firstRow * rank, DType::F32, panel.rows, rank, rank, true};
    const GemmOperand b{task.lowRank.b, DType::F32, rank, w.n, w.n, true};
    gemm.multiply(GemmOperand::of(gradient, false), b, {task.gradient.a + panel.firstRow * rank, DType::F32, rank},
                  w.spec.gamma(), 1, stream);
    gemm.multiply(a, GemmOperand::of(gradient, false), {task.gradient.b, DType::F32, w.n}, w.spec.gamma(), 1, stream);
  }

  /// Both halves of G' as two products into one sum.
  static void addSplit(const LowRankTask& task, const GradientPanel& panel, const SplitMatrix& a, const SplitMatrix& b,
                       Scratch& scratch, cudaStream_t stream) {
    const LinearWeight& w = *task.weight;
    const int64_t rank = w.spec.rank;
    const std::array form{ThinForm::OverColumns, ThinForm::OverRows};
    for (const ThinForm f : form) {
      const bool overColumns = f == ThinForm::OverColumns;
      std::array<ThinProduct, 2> products;
      for (size_t half = 0; half < 2; ++half) {
        products[half] = {.y = half == 0 ? panel.halves.hi : panel.halves.lo,
                          .rows = panel.rows,
                          .cols = roundedUp(w.n, 8),
                          .yStride = panel.halves.stride,
                          .w = overColumns ? b : a.at(panel.firstRow, 0),
                          .thin = paddedRank(rank)};
      }
      const std::array<bool, 2> transposed{!overColumns, !overColumns};
      Scratch partial = scratch;
      const auto sums = runThin(f, products, transposed, partial, stream);
      // The halves' partial results lie one after the other.
      LRQAT_CHECK(sums[1].partial == sums[0].partial + sums[0].splits * sums[0].splitStride);
      PartialSums both = part(sums[0], 0, overColumns ? panel.rows : rank, overColumns ? rank : w.n);
      both.splits *= 2;
      const AddSumJob job{both, w.spec.gamma(), overColumns ? task.gradient.a + panel.firstRow * rank : task.gradient.b,
                          overColumns ? rank : w.n};
      addSums(std::span(&job, 1), stream);
    }
  }
};

}  // namespace

int64_t LowRankGradient::scratchBytes(int64_t tokens, int64_t n, int64_t m, int64_t rankSum) {
  return std::max({ThinProducts::scratchBytes(tokens, n, m, rankSum), ClippedCorrection::scratchBytes(n, m, rankSum),
                   DensePanels::scratchBytes(n, m, rankSum)});
}

void LowRankGradient::run(Matrix x, std::span<const LowRankTask> tasks, std::span<const int64_t> clippedCounts,
                          bool exact, Scratch& scratch, cudaStream_t stream) {
  LRQAT_CHECK(tasks.size() == clippedCounts.size() && tasks.size() <= 8);
  LRQAT_CHECK(exact ? x.type == DType::F32 : x.type == DType::BF16);
  Tasks thin;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const LowRankTask& task = tasks[i];
    LRQAT_CHECK(task.weight->n == x.cols && task.dYs.rows == x.rows && task.dYs.cols == task.weight->m);
    LRQAT_CHECK(task.dYs.type == x.type && x.rows > 0);
    if (rankOf(task) > 0 && !isDense(task, clippedCounts[i])) thin.push_back(&task);
  }
  if (exact) {
    for (const LowRankTask* task : thin) ThinProducts::addExact(gemm_, x, *task, scratch, stream);
  } else {
    ThinProducts::add(x, thin, scratch, stream);
  }
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (isDense(tasks[i], clippedCounts[i])) {
      DensePanels::add(gemm_, x, tasks[i], exact, scratch, stream);
    } else if (rankOf(tasks[i]) > 0) {
      ClippedCorrection::subtract(x, tasks[i], clippedCounts[i], scratch, stream);
    }
  }
}

}  // namespace lrqat::cuda
