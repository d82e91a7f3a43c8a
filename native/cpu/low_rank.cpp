#include "cpu/low_rank.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "core/error.h"
#include "core/grid.h"
#include "core/memory_plan.h"
#include "cpu/kernels/low_rank.h"
#include "cpu/rounded_rows.h"
#include "cpu/scratch.h"
#include "cpu/thin_tiles.h"

namespace lrqat::cpu {

namespace {

constexpr int64_t padded(int64_t bytes) {
  return CpuBackend::Scratch::padded(bytes);
}

bool isDense(const LowRankTask& task) {
  const LinearWeight& w = *task.weight;
  if (w.spec.granularity == Granularity::Group) return true;
  if (w.spec.rank == 0 && !task.gradient.zero) return false;
  return task.clipped.rowStart[w.m] > std::min(task.clipped.capacity, clippedCapacity(w.m, w.n));
}

/// Adds −Σ D to the gradients of the zero points of rows [firstRow, …), one sum a row.
void subtractFromZeroPoints(const LowRankTask& task, int64_t firstRow, std::span<const double> rowSums) {
  const QuantSpec& spec = task.weight->spec;
  const auto add = [&](int64_t index, double sum) {
    if (zeroPointPasses(task.zeroTheta[index], spec.levels())) task.gradient.zero[index] -= static_cast<float>(sum);
  };
  if (spec.granularity == Granularity::Tensor) {
    double total = 0;
    for (const double sum : rowSums) total += sum;
    add(0, total);
    return;
  }
  for (size_t i = 0; i < rowSums.size(); ++i) add(firstRow + static_cast<int64_t>(i), rowSums[i]);
}

}  // namespace

void scaledCopy(const float* values, float gamma, Matrix out, int threads) {
  const LowRankKernels& kernels = LRQAT_SELECT_KERNELS(lowRankKernels);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t i = 0; i < out.rows; ++i) {
    const float* row = values + i * out.cols;
    if (out.type == DType::F32) {
      kernels.scaledFloat(row, gamma, out.cols, static_cast<float*>(out.data) + i * out.cols);
    } else {
      kernels.scaledBf16(row, gamma, out.cols, static_cast<uint16_t*>(out.data) + i * out.cols);
    }
  }
}

int64_t ThinProducts::scratchBytes(int64_t tokens, int64_t n, int64_t m, int64_t totalRank, DType type) {
  const int64_t e = byteSize(type);
  return padded(e * totalRank * n) + 2 * padded(e * totalRank * tokens) + padded(e * totalRank * m) +
         padded(4 * totalRank * n);
}

void ThinProducts::add(CpuBackend& backend, Matrix x, std::span<const LowRankTask* const> tasks) {
  const LowRankKernels& kernels = LRQAT_SELECT_KERNELS(lowRankKernels);
  int64_t totalRank = 0;
  int64_t widest = 0;
  for (const LowRankTask* task : tasks) {
    totalRank += task->weight->spec.rank;
    widest = std::max(widest, task->weight->m * task->weight->spec.rank);
  }
  if (totalRank == 0) return;
  const int64_t tokens = x.rows;
  const int64_t n = x.cols;
  const int64_t e = byteSize(x.type);
  CpuBackend::Scratch scratch(backend);
  const auto take = [&](int64_t rows, int64_t cols) {
    return Matrix{scratch.take<std::byte>(rows * cols * e), x.type, rows, cols};
  };
  const Matrix b = take(totalRank, n);       // γB of all tasks
  const Matrix u = take(totalRank, tokens);  // (X·γBᵀ)ᵀ
  const Matrix v = take(totalRank, tokens);  // (dYs·γA)ᵀ
  void* aMemory = scratch.take<std::byte>(widest * e);

  int64_t first = 0;
  for (const LowRankTask* task : tasks) {
    const QuantSpec& spec = task->weight->spec;
    scaledCopy(task->lowRank.b, spec.gamma(), b.slice(first, spec.rank), backend.threads());
    first += spec.rank;
  }
  backend.gemm(b, false, x, true, u, false);

  first = 0;
  for (const LowRankTask* task : tasks) {
    const QuantSpec& spec = task->weight->spec;
    if (spec.rank == 0) continue;
    const Matrix a{aMemory, x.type, task->weight->m, spec.rank};
    scaledCopy(task->lowRank.a, spec.gamma(), a, backend.threads());
    backend.gemm(a, true, task->dYs, true, v.slice(first, spec.rank), false);
    const Matrix dA{task->gradient.a, DType::F32, task->weight->m, spec.rank};
    backend.gemm(task->dYs, true, u.slice(first, spec.rank), true, dA, true);
    first += spec.rank;
  }

  if (tasks.size() == 1) {
    backend.gemm(v, false, x, false, {tasks[0]->gradient.b, DType::F32, totalRank, n}, true);
    return;
  }
  // One pass over X for all tasks; their gradients are not neighbours in memory, hence the detour.
  const Matrix dB{scratch.take<float>(totalRank * n), DType::F32, totalRank, n};
  backend.gemm(v, false, x, false, dB, false);
  first = 0;
  for (const LowRankTask* task : tasks) {
    const auto* part = static_cast<const float*>(dB.slice(first, 1).data);
    const int64_t rank = task->weight->spec.rank;
#pragma omp parallel for num_threads(backend.threads()) schedule(static)
    for (int64_t k = 0; k < rank; ++k) kernels.addScaled(task->gradient.b + k * n, part + k * n, 1.0F, n);
    first += rank;
  }
}

int64_t SparseCorrection::scratchBytes(int64_t n, int64_t m, int64_t rank) {
  return padded(4 * clippedCapacity(m, n)) + 2 * padded(4 * n) + 2 * padded(4 * m) + padded(4 * kTokenStride * n) +
         padded(4 * kTokenStride * m) + 2 * padded(4 * rank * n);
}

void SparseCorrection::subtract(CpuBackend& backend, Matrix x, const LowRankTask& task) {
  const LinearWeight& w = *task.weight;
  const int64_t m = w.m;
  const int64_t n = w.n;
  const int64_t rank = w.spec.rank;
  const int64_t* rowStart = task.clipped.rowStart;
  const int64_t entries = rowStart[m];
  if (entries == 0 || (rank == 0 && !task.gradient.zero)) return;
  const int threads = backend.threads();
  const LowRankKernels& kernels = LRQAT_SELECT_KERNELS(lowRankKernels);
  const GatherKernels& gathers = LRQAT_SELECT_KERNELS(gatherKernels);
  CpuBackend::Scratch scratch(backend);

  // The columns of X and of dYs (rows of the weight) that K touches, and where their transposed copies lie.
  auto* columnIndex = scratch.take<int32_t>(n);
  auto* columns = scratch.take<int32_t>(n);
  auto* rowIndex = scratch.take<int32_t>(m);
  auto* rows = scratch.take<int32_t>(m);
  std::fill_n(columnIndex, n, 0);
  for (int64_t e = 0; e < entries; ++e) columnIndex[task.clipped.column[e]] = 1;
  int64_t columnCount = 0;
  for (int64_t j = 0; j < n; ++j) {
    if (columnIndex[j] == 0) continue;
    columns[columnCount] = static_cast<int32_t>(j);
    columnIndex[j] = static_cast<int32_t>(columnCount++);
  }
  int64_t rowCount = 0;
  for (int64_t i = 0; i < m; ++i) {
    if (rowStart[i + 1] == rowStart[i]) continue;
    rows[rowCount] = static_cast<int32_t>(i);
    rowIndex[i] = static_cast<int32_t>(rowCount++);
  }

  auto* d = scratch.take<float>(clippedCapacity(m, n));
  auto* xColumns = scratch.take<float>(kTokenStride * n);
  auto* yColumns = scratch.take<float>(kTokenStride * m);
  std::fill_n(d, entries, 0.0F);
  // Shared out over the threads of the region that calls it.
  const auto gather = [&](const Matrix& from, int64_t firstToken, int64_t tokens, const int32_t* list, int64_t count,
                          float* out) {
    constexpr int64_t block = 64;
#pragma omp for schedule(static) nowait
    for (int64_t c = 0; c < count; c += block) {
      const int64_t part = std::min(block, count - c);
      const int64_t start = firstToken * from.cols;
      if (from.type == DType::F32) {
        gathers.gatherFloat(static_cast<const float*>(from.data) + start, from.cols, tokens, list + c, part,
                            out + c * kTokenStride);
      } else {
        gathers.gatherBf16(static_cast<const uint16_t*>(from.data) + start, from.cols, tokens, list + c, part,
                           out + c * kTokenStride);
      }
    }
  };
  // One region for all chunks: waking the threads for each would take longer than the work of one.
#pragma omp parallel num_threads(threads)
  for (int64_t t = 0; t < x.rows; t += kTokenChunk) {
    const int64_t tokens = std::min(kTokenChunk, x.rows - t);
    gather(x, t, tokens, columns, columnCount, xColumns);
    gather(task.dYs, t, tokens, rows, rowCount, yColumns);
    const int64_t length = (tokens + 15) / 16 * 16;
#pragma omp barrier
#pragma omp for schedule(static)
    for (int64_t r = 0; r < rowCount; ++r) {
      const int64_t begin = rowStart[rows[r]];
      kernels.sampledProducts(yColumns + r * kTokenStride, xColumns, task.clipped.column + begin, columnIndex,
                              rowStart[rows[r] + 1] - begin, length, d + begin);
    }
  }

  if (task.gradient.zero) {
    for (int64_t i = 0; i < m; ++i) {
      double sum = 0;
      for (int64_t e = rowStart[i]; e < rowStart[i + 1]; ++e) sum += static_cast<double>(d[e]);
      subtractFromZeroPoints(task, i, std::span(&sum, 1));
    }
  }
  if (rank == 0) return;

  // dA −= γ·D·Bᵀ, row by row; dB −= γ·Aᵀ·D, column by column: both on columns of B and dB that lie together.
  auto* bColumns = scratch.take<float>(rank * n);
  auto* dBColumns = scratch.take<float>(rank * n);
  const float gamma = w.spec.gamma();
  constexpr int64_t columnBlock = 128;
  const int64_t blocks = (columnCount + columnBlock - 1) / columnBlock;
#pragma omp parallel num_threads(threads)
  {
#pragma omp for schedule(static)
    for (int64_t c = 0; c < columnCount; ++c) {
      for (int64_t k = 0; k < rank; ++k) bColumns[c * rank + k] = task.lowRank.b[k * n + columns[c]];
      std::fill_n(dBColumns + c * rank, rank, 0.0F);
    }
#pragma omp for schedule(static) nowait
    for (int64_t r = 0; r < rowCount; ++r) {
      float* dA = task.gradient.a + static_cast<int64_t>(rows[r]) * rank;
      for (int64_t e = rowStart[rows[r]]; e < rowStart[rows[r] + 1]; ++e) {
        const int64_t c = columnIndex[task.clipped.column[e]];
        kernels.addScaled(dA, bColumns + c * rank, -gamma * d[e], rank);
      }
    }
#pragma omp for schedule(static) nowait
    for (int64_t block = 0; block < blocks; ++block) {
      const int32_t firstColumn = columns[block * columnBlock];
      const int32_t lastColumn = columns[std::min(columnCount, (block + 1) * columnBlock) - 1];
      for (int64_t r = 0; r < rowCount; ++r) {
        const float* a = task.lowRank.a + static_cast<int64_t>(rows[r]) * rank;
        const int32_t* rowBegin = task.clipped.column + rowStart[rows[r]];
        const int32_t* rowEnd = task.clipped.column + rowStart[rows[r] + 1];
        for (const int32_t* at = std::lower_bound(rowBegin, rowEnd, firstColumn); at < rowEnd && *at <= lastColumn;
             ++at) {
          const float value = d[at - task.clipped.column];
          kernels.addScaled(dBColumns + static_cast<int64_t>(columnIndex[*at]) * rank, a, -gamma * value, rank);
        }
      }
      for (int64_t k = 0; k < rank; ++k) {
        for (int64_t c = block * columnBlock; c < std::min(columnCount, (block + 1) * columnBlock); ++c) {
          task.gradient.b[k * n + columns[c]] += dBColumns[c * rank + k];
        }
      }
    }
  }
}

int64_t DenseTiles::scratchBytes(int64_t tokens, int64_t n, int64_t m, int64_t rank, DType type) {
  const int64_t e = byteSize(type);
  return padded(e * tokens * kDenseRows) + padded(4 * kDenseRows * n) +
         padded(type == DType::F32 ? 0 : e * kDenseRows * n) + padded(e * rank * n) + padded(e * rank * m) +
         padded(4 * LowRankPanel::elements(rank, n));
}

void DenseTiles::add(CpuBackend& backend, Matrix x, const LowRankTask& task) {
  const LinearWeight& w = *task.weight;
  const QuantSpec& spec = w.spec;
  const int64_t m = w.m;
  const int64_t n = w.n;
  const int64_t rank = task.gradient.a ? spec.rank : 0;
  const bool group = spec.granularity == Granularity::Group;
  const bool wantsScale = group && task.gradient.scale;
  const bool wantsZero = task.gradient.zero;
  if (rank == 0 && !wantsScale && !wantsZero) return;
  const int threads = backend.threads();
  const int64_t e = byteSize(x.type);
  const WeightKernels& kernels = LRQAT_SELECT_KERNELS(weightKernels);
  CpuBackend::Scratch scratch(backend);
  const auto take = [&](DType type, int64_t rows, int64_t cols) {
    return Matrix{scratch.take<std::byte>(rows * cols * byteSize(type)), type, rows, cols};
  };

  std::optional<LowRankPanel> panel;
  if (spec.rank > 0) {
    panel.emplace(task.lowRank.b, spec.rank, n, scratch.take<float>(LowRankPanel::elements(spec.rank, n)), threads);
  }
  const RoundedRows rounded(w, task.lowRank, WeightForm::Trained, panel ? &*panel : nullptr);
  const Matrix dY = take(x.type, x.rows, kDenseRows);
  const Matrix g = take(DType::F32, kDenseRows, n);
  const Matrix dZ = x.type == DType::F32 ? g : take(x.type, kDenseRows, n);
  const Matrix a = take(x.type, m, rank);
  const Matrix b = take(x.type, rank, n);
  if (rank > 0) {
    scaledCopy(task.lowRank.a, spec.gamma(), a, threads);
    scaledCopy(task.lowRank.b, spec.gamma(), b, threads);
  }
  const int64_t groups = group ? n / spec.groupSize : 1;
  const bool logDomain = spec.scaleDomain == ScaleDomain::Log && spec.storage != Storage::Integer;
  const bool floored = spec.scaleDomain == ScaleDomain::Linear && spec.storage != Storage::Integer;

  // ds and dz of one chunk of row i: group by group, in the domain that is trained.
  const auto addGroupGradients = [&](int64_t i, int64_t first, int columns, const float* gradient,
                                     const float* values) {
    for (int64_t j = 0; j < columns;) {
      const int64_t k = (first + j) / spec.groupSize;
      const auto end = static_cast<int>(std::min<int64_t>(columns, (k + 1) * spec.groupSize - first));
      const int64_t index = i * groups + k;
      rounded.grids().forParts(i, first + j, end - static_cast<int>(j), [&](int, int count, float low, float high) {
        if (wantsScale && (!floored || task.theta[index] >= kScaleFloor)) {
          const float product = kernels.gradientProduct(gradient + j, values + j, count, low, high);
          task.gradient.scale[index] += logDomain ? product * task.lowRank.scale[index] : product;
        }
        if (wantsZero && zeroPointPasses(task.zeroTheta[index], spec.levels())) {
          task.gradient.zero[index] -=
              task.lowRank.scale[index] * kernels.outsideSum(gradient + j, values + j, count, low, high);
        }
      });
      j = end;
    }
  };

  for (int64_t firstRow = 0; firstRow < m; firstRow += kDenseRows) {
    const int64_t rows = std::min(kDenseRows, m - firstRow);
    const Matrix dYTile{dY.data, x.type, x.rows, rows};
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t t = 0; t < x.rows; ++t) {
      std::memcpy(static_cast<std::byte*>(dY.data) + t * rows * e,
                  static_cast<const std::byte*>(task.dYs.data) + (t * m + firstRow) * e, static_cast<size_t>(rows * e));
    }
    const Matrix gTile = g.slice(0, rows);
    backend.gemm(dYTile, true, x, false, gTile, false);

    const int64_t blocks = (rows + kRowBlock - 1) / kRowBlock;
    double outsideSums[kDenseRows] = {};
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
      alignas(64) float values[kRowBlock * kChunkColumns];
      alignas(64) float scales[kChunkColumns];
      const int64_t blockRow = block * kRowBlock;
      const auto blockRows = static_cast<int>(std::min<int64_t>(kRowBlock, rows - blockRow));
      for (int64_t first = 0; first < n; first += kChunkColumns) {
        const auto columns = static_cast<int>(std::min<int64_t>(kChunkColumns, n - first));
        rounded.compute(firstRow + blockRow, blockRows, first, columns, values);
        for (int i = 0; i < blockRows; ++i) {
          const int64_t row = firstRow + blockRow + i;
          float* gradient = static_cast<float*>(g.data) + (blockRow + i) * n + first;
          const float* r = values + i * kChunkColumns;
          if (wantsScale || (group && wantsZero)) addGroupGradients(row, first, columns, gradient, r);
          if (wantsZero && !group) {
            rounded.grids().forParts(row, first, columns, [&](int, int count, float low, float high) {
              outsideSums[blockRow + i] += static_cast<double>(kernels.outsideSum(gradient, r, count, low, high));
            });
          }
          if (rank == 0) continue;
          if (group) expandColumnScales(spec, n, task.lowRank.scale, row, first, columns, scales);
          rounded.grids().forParts(row, first, columns, [&](int offset, int count, float low, float high) {
            kernels.maskGradient(gradient + offset, r + offset, group ? scales + offset : nullptr, count, low, high,
                                 gradient + offset);
          });
          if (x.type == DType::BF16) {
            kernels.narrowBf16(gradient, columns, static_cast<uint16_t*>(dZ.data) + (blockRow + i) * n + first);
          }
        }
      }
    }
    if (wantsZero && !group) {
      subtractFromZeroPoints(task, firstRow, std::span(outsideSums, static_cast<size_t>(rows)));
    }
    if (rank == 0) continue;
    const Matrix dA{task.gradient.a + firstRow * rank, DType::F32, rows, rank};
    backend.gemm(dZ.slice(0, rows), false, b, true, dA, true);
    backend.gemm(a.slice(firstRow, rows), true, dZ.slice(0, rows), false, {task.gradient.b, DType::F32, rank, n}, true);
  }
}

int64_t CpuBackend::lowRankScratchBytes(int64_t tokens, int64_t n, int64_t m, int64_t totalRank, DType computeType,
                                        int threads) {
  // In bf16 tiles are always counted: a plan does not depend on the machine.
  return std::max({ThinProducts::scratchBytes(tokens, n, m, totalRank, computeType),
                   computeType == DType::BF16 ? ThinTiles::scratchBytes(tokens, n, m, totalRank, threads) : 0,
                   SparseCorrection::scratchBytes(n, m, totalRank),
                   DenseTiles::scratchBytes(tokens, n, m, totalRank, computeType)});
}

void CpuBackend::lowRankGradient(Matrix x, std::span<const LowRankTask> tasks) {
  constexpr size_t mostTasks = 8;
  LRQAT_CHECK(tasks.size() <= mostTasks);
  std::array<const LowRankTask*, mostTasks> thin{};
  size_t thinCount = 0;
  for (const LowRankTask& task : tasks) {
    LRQAT_CHECK(task.weight->n == x.cols && task.dYs.rows == x.rows && task.dYs.cols == task.weight->m);
    LRQAT_CHECK(task.dYs.type == x.type && x.type != DType::F16);
    if (task.weight->spec.rank > 0 && !isDense(task)) thin[thinCount++] = &task;
  }
  const std::span<const LowRankTask* const> thinTasks(thin.data(), thinCount);
  if (!ThinTiles::add(*this, x, thinTasks)) ThinProducts::add(*this, x, thinTasks);
  for (const LowRankTask& task : tasks) {
    if (isDense(task)) {
      DenseTiles::add(*this, x, task);
    } else if (task.weight->spec.rank > 0 || task.gradient.zero) {
      SparseCorrection::subtract(*this, x, task);
    }
  }
}

}  // namespace lrqat::cpu
