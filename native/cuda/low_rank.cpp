#include "cuda/low_rank.h"

#include <algorithm>
#include <array>
#include <vector>

#include "core/error.h"
#include "cuda/kernels/clipped_apply.h"
#include "cuda/kernels/clipped_entries.h"
#include "cuda/kernels/clipped_products.h"
#include "cuda/kernels/group_gradient.h"
#include "cuda/kernels/group_integers.h"
#include "cuda/kernels/low_rank_products.h"
#include "cuda/kernels/split_factors.h"
#include "cuda/kernels/zero_gradient.h"

namespace lrqat::cuda {

namespace {

using Tasks = std::vector<const LowRankTask*>;

int64_t rankOf(const LowRankTask& task) {
  return task.weight->spec.rank;
}

bool isDense(const LowRankTask& task, int64_t clippedCount) {
  if (task.weight->spec.granularity == Granularity::Group) return true;
  if (rankOf(task) == 0) return task.gradient.zero != nullptr;
  return clippedCount > LowRankGradient::sparseCapacity(task.weight->m, task.weight->n);
}

SplitMatrix takeHalves(Scratch& scratch, int64_t rows, int64_t cols) {
  return {scratch.take<uint16_t>(rows * cols), scratch.take<uint16_t>(rows * cols), cols};
}

/// Partial sums of products that are launched together: bytes for `kept`·`thin` results, and as many again as cutting
/// the sums adds at most.
int64_t partialBytes(int64_t keptTimesThin, int64_t widestThin) {
  return 4 * (keptTimesThin + kThinUnits * kThinTile * widestThin);
}

/// Cuts and runs products, their partial results in scratch.
void runThin(std::span<ThinProduct> products, Scratch& scratch, cudaStream_t stream) {
  planSplits(products);
  for (ThinProduct& p : products) p.partial = scratch.take<float>(p.splits * p.splitStride());
  thinProducts(products, stream);
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
      runThin(products, partial, stream);
      std::vector<SplitSumJob> halves;
      halves.push_back({products[0].sums(0, paddedTokens, rankSum), u});
      for (size_t i = 0; i < tasks.size(); ++i) {
        const ThinProduct& p = products[i + 1];
        halves.push_back({p.sums(0, paddedTokens, p.thin), v.at(0, firstRank[i])});
      }
      splitSums(halves, stream);
    }

    for (ThinProduct& p : products) p.form = ThinForm::OverRows;
    products[0].w = v;
    for (size_t i = 0; i < tasks.size(); ++i) products[i + 1].w = u.at(0, firstRank[i]);
    products[0].thinMajor = true;
    runThin(products, scratch, stream);
    std::vector<AddSumJob> gradients;
    for (size_t i = 0; i < tasks.size(); ++i) {
      const LinearWeight& w = *tasks[i]->weight;
      const int64_t rank = w.spec.rank;
      const LinearGradient& gradient = tasks[i]->gradient;
      gradients.push_back({products[i + 1].sums(0, w.m, rank), w.spec.gamma(), gradient.a, rank});
      gradients.push_back({products[0].sums(firstRank[i], rank, n), w.spec.gamma(), gradient.b, n});
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
  static int64_t scratchBytes(int64_t n, int64_t m, int64_t rankSum) {
    const int64_t weights = rankSum / kThinStep;
    const int64_t capacity = LowRankGradient::sparseCapacity(m, n);
    return clippedEntriesScratchBytes(weights, m, n, capacity) + clippedProductsScratchBytes(weights * capacity) +
           subtractClippedScratchBytes(n, rankSum);
  }

  static void subtract(Matrix x, const Tasks& tasks, std::span<const int64_t> counts, Scratch scratch,
                       cudaStream_t stream) {
    ClippedBatch batch;
    std::vector<Matrix> dYs;
    std::vector<ClippedGradient> gradients;
    std::vector<const LowRankTask*> listed;
    for (size_t i = 0; i < tasks.size(); ++i) {
      if (counts[i] == 0) continue;
      const LowRankTask& task = *tasks[i];
      listed.push_back(&task);
      const LinearWeight& w = *task.weight;
      batch.add(task.clipped.mask, w.m, w.n, counts[i]);
      dYs.push_back(task.dYs);
      gradients.push_back(
          {task.lowRank.a, task.lowRank.b, w.spec.rank, w.spec.gamma(), task.gradient.a, task.gradient.b});
    }
    if (batch.weights == 0) return;
    listClipped(batch, scratch, stream);
    const ClippedSums sums = clippedProducts(batch, x, dYs, scratch, stream);
    subtractClipped(batch, sums, gradients, scratch, stream);
    for (int i = 0; i < batch.weights; ++i) {
      const LowRankTask& task = *listed[static_cast<size_t>(i)];
      if (task.gradient.zero) sparseZeroGradient(task, batch, i, sums, stream);
    }
  }
};

class DensePanels {
 public:
  /// Rows of a panel: about 2^22 elements of G, so that it stays in the cache with its halves.
  static int64_t panelRows(int64_t n, int64_t m) {
    return roundedUp(std::min(m, ((int64_t{1} << 22) + n - 1) / n), kThinTile);
  }

  static int64_t scratchBytes(int64_t n, int64_t m, int64_t paddedRank) {
    const int64_t rows = panelRows(n, m);
    const int64_t columns = roundedUp(n, kThinChunk);
    return Scratch::padded(4 * rows * n) + 4 * rows * columns + Scratch::padded(rows * integerStride(n)) +
           Scratch::padded(8 * rows) + 4 * paddedRank * (columns + roundedUp(m, kThinChunk)) +
           partialBytes(2 * paddedRank * (rows + roundedUp(n, kThinTile)), paddedRank);
  }

  static void add(Gemm& gemm, Matrix x, const LowRankTask& task, bool exact, Scratch scratch, cudaStream_t stream) {
    const LinearWeight& w = *task.weight;
    const int64_t rank = task.gradient.a ? w.spec.rank : 0;
    const bool wantsScale = w.spec.granularity == Granularity::Group && task.gradient.scale;
    const bool wantsZero = task.gradient.zero != nullptr;
    if (rank == 0 && !wantsScale && !wantsZero) return;
    const int64_t n = w.n;
    const int64_t rows = panelRows(n, w.m);
    const int64_t columns = roundedUp(n, kThinChunk);
    const int64_t thin = paddedRank(rank);

    GradientPanel panel;
    panel.gradient = scratch.take<float>(rows * n);
    if (!exact) panel.halves = takeHalves(scratch, rows, columns);
    int8_t* integers = nullptr;
    if (wantsScale) {
      panel.integers = integers = scratch.take<int8_t>(rows * integerStride(n));
      if (needsProducts(w.spec.groupSize)) panel.products = exact ? scratch.take<float>(rows * n) : panel.gradient;
    }
    auto* rowSums = wantsZero ? scratch.take<double>(rows) : nullptr;
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
      if (wantsScale) {
        rebuildIntegers(w, task.lowRank, panel.firstRow, panel.rows, exact, integers, stream);
      }
      if (wantsZero) denseZeroGradient(task, panel, rowSums, stream);
      if (rank > 0 || wantsScale) maskGradient(task, panel, stream);
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

  /// dA of the panel's rows and dB: both halves of G' as two products each that go into one sum.
  static void addSplit(const LowRankTask& task, const GradientPanel& panel, const SplitMatrix& a, const SplitMatrix& b,
                       Scratch scratch, cudaStream_t stream) {
    const LinearWeight& w = *task.weight;
    const int64_t rank = w.spec.rank;
    std::array<ThinProduct, 4> products;
    for (size_t i = 0; i < 4; ++i) {
      const bool overRows = i >= 2;
      products[i] = {.form = overRows ? ThinForm::OverRows : ThinForm::OverColumns,
                     .y = i % 2 == 0 ? panel.halves.hi : panel.halves.lo,
                     .rows = panel.rows,
                     .cols = roundedUp(w.n, 8),
                     .yStride = panel.halves.stride,
                     .w = overRows ? a.at(panel.firstRow, 0) : b,
                     .thin = paddedRank(rank),
                     .thinMajor = overRows};
    }
    runThin(products, scratch, stream);
    const auto both = [&](size_t i, int64_t rows, int64_t cols) {
      PartialSums sums = products[i].sums(0, rows, cols);
      // The halves' partial results lie one after the other.
      LRQAT_CHECK(products[i + 1].partial == sums.partial + sums.splits * sums.splitStride);
      sums.splits *= 2;
      return sums;
    };
    const std::array jobs{
        AddSumJob{both(0, panel.rows, rank), w.spec.gamma(), task.gradient.a + panel.firstRow * rank, rank},
        AddSumJob{both(2, rank, w.n), w.spec.gamma(), task.gradient.b, w.n}};
    addSums(jobs, stream);
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
  std::vector<int64_t> thinCounts;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const LowRankTask& task = tasks[i];
    LRQAT_CHECK(task.weight->n == x.cols && task.dYs.rows == x.rows && task.dYs.cols == task.weight->m);
    LRQAT_CHECK(task.dYs.type == x.type && x.rows > 0);
    if (isDense(task, clippedCounts[i])) {
      DensePanels::add(gemm_, x, task, exact, scratch, stream);
    } else if (rankOf(task) > 0) {
      thin.push_back(&task);
      thinCounts.push_back(clippedCounts[i]);
    }
  }
  if (exact) {
    for (const LowRankTask* task : thin) ThinProducts::addExact(gemm_, x, *task, scratch, stream);
  } else {
    ThinProducts::add(x, thin, scratch, stream);
  }
  ClippedCorrection::subtract(x, thin, thinCounts, scratch, stream);
}

}  // namespace lrqat::cuda
