#include "cpu/thin_tiles.h"

#include <omp.h>

#include <algorithm>
#include <array>

#include "cpu/kernels/low_rank_tiles.h"
#include "cpu/scratch.h"

namespace lrqat::cpu {

namespace {

using low_rank_tiles::padded;

constexpr size_t mostTasks = 3;

/// Rows of X and dYs that the second pass should still find in the caches, and tokens below which adding to the
/// gradients would cost more than that saves.
constexpr int64_t cacheBytes = int64_t{3} << 20;
constexpr int64_t fewestTokens = 256;

/// Ranks of at most three tasks, each padded, for their sum.
constexpr int64_t paddedRanks(int64_t totalRank) {
  return padded(totalRank + static_cast<int64_t>(mostTasks - 1) * (kThinBlock - 1));
}

constexpr int64_t bytesOf(int64_t elements) {
  return CpuBackend::Scratch::padded(2 * elements);
}

constexpr int64_t workFloats(int64_t widest, int64_t ranks) {
  return std::max(low_rank_tiles::projectFloats(widest), low_rank_tiles::sumFloats + ranks * kThinBlock);
}

/// One task with its part of the operands that are stacked over the tasks.
struct Part {
  const LowRankTask* task;
  int64_t firstRank;  // in the stack
  int64_t rank;       // padded
  int64_t m;
  uint16_t* a;  // …·γA [rank / 16][m / 32]
};

}  // namespace

int64_t ThinTiles::scratchBytes(int64_t tokens, int64_t n, int64_t m, int64_t totalRank, int threads) {
  const int64_t ranks = paddedRanks(totalRank);
  return bytesOf(ranks * padded(n)) + bytesOf(ranks * padded(m)) + 2 * bytesOf(ranks * padded(tokens)) +
         CpuBackend::Scratch::padded(4 * threads * workFloats(std::max(n, m), ranks));
}

bool ThinTiles::add(CpuBackend& backend, Matrix x, std::span<const LowRankTask* const> tasks) {
  const LowRankTileKernels* kernels = LRQAT_SELECT_TILE_KERNELS(lowRankTileKernels);
  if (!kernels || x.type != DType::BF16 || tasks.size() > mostTasks) return false;
  const int64_t tokens = x.rows;
  const int64_t n = x.cols;
  std::array<Part, mostTasks> parts{};
  int64_t ranks = 0;
  int64_t widest = n;
  int64_t elementsOfA = 0;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const LinearWeight& w = *tasks[i]->weight;
    parts[i] = {tasks[i], ranks, padded(w.spec.rank), w.m, nullptr};
    ranks += parts[i].rank;
    widest = std::max(widest, w.m);
    elementsOfA += parts[i].rank * padded(w.m);
  }
  if (ranks == 0) return true;

  CpuBackend::Scratch scratch(backend);
  auto* b = scratch.take<uint16_t>(ranks * padded(n));  // …·γBᵀ
  auto* a = scratch.take<uint16_t>(elementsOfA);
  auto* u = scratch.take<uint16_t>(ranks * padded(tokens));  // Uᵀ·…
  auto* v = scratch.take<uint16_t>(ranks * padded(tokens));  // Vᵀ·…
  const int64_t floats = workFloats(widest, ranks);
  auto* memory = scratch.take<float>(backend.threads() * floats);
  for (size_t i = 0; i < tasks.size(); ++i) {
    parts[i].a = a;
    a += parts[i].rank * padded(parts[i].m);
  }
  const auto* xRows = static_cast<const uint16_t*>(x.data);
  int64_t columns = n;
  for (size_t i = 0; i < tasks.size(); ++i) columns += parts[i].m;
  const int64_t chunk = std::max(fewestTokens, cacheBytes / (2 * columns) / kThinBlock * kThinBlock);
  const int64_t xBlocks = padded(n) / kThinBlock;

#pragma omp parallel num_threads(backend.threads())
  {
    float* work = memory + omp_get_thread_num() * floats;
    float* sums = work + low_rank_tiles::sumFloats;
    for (size_t i = 0; i < tasks.size(); ++i) {
      const Part& part = parts[i];
      const QuantSpec& spec = part.task->weight->spec;
#pragma omp for schedule(static) nowait
      for (int64_t block = 0; block < xBlocks; ++block) {
        kernels->packRows(part.task->lowRank.b, spec.gamma(), spec.rank, n, block * kThinBlock,
                          b + part.firstRank * padded(n));
      }
#pragma omp for schedule(static) nowait
      for (int64_t block = 0; block < padded(part.m) / kThinBlock; ++block) {
        kernels->packColumns(part.task->lowRank.a, spec.gamma(), spec.rank, part.m, block * kThinBlock, part.a);
      }
    }
#pragma omp barrier
    for (int64_t from = 0; from < tokens; from += chunk) {
      const int64_t to = std::min(tokens, from + chunk);
#pragma omp for schedule(dynamic)
      for (int64_t first = from; first < to; first += kThinBlock) {
        kernels->project(xRows, n, tokens, first, b, ranks, work, u);
        for (size_t i = 0; i < tasks.size(); ++i) {
          const Part& part = parts[i];
          kernels->project(static_cast<const uint16_t*>(part.task->dYs.data), part.m, tokens, first, part.a, part.rank,
                           work, v + part.firstRank * padded(tokens));
        }
      }
      // Whoever is done may begin with the next chunk: its projections go elsewhere, and all wait for each other before
      // anything is added again.
      for (size_t i = 0; i < tasks.size(); ++i) {
        const Part& part = parts[i];
        const int64_t rank = part.task->weight->spec.rank;
#pragma omp for schedule(dynamic) nowait
        for (int64_t first = 0; first < part.m; first += kThinBlock) {
          kernels->sum(static_cast<const uint16_t*>(part.task->dYs.data), part.m, tokens, first, from, to,
                       u + part.firstRank * padded(tokens), part.rank, work, sums);
          kernels->addColumns(sums, rank, part.m, first, part.task->gradient.a);
        }
      }
#pragma omp for schedule(dynamic) nowait
      for (int64_t first = 0; first < n; first += kThinBlock) {
        kernels->sum(xRows, n, tokens, first, from, to, v, ranks, work, sums);
        for (size_t i = 0; i < tasks.size(); ++i) {
          const Part& part = parts[i];
          kernels->addRows(sums + part.firstRank * kThinBlock, part.task->weight->spec.rank, n, first,
                           part.task->gradient.b);
        }
      }
    }
  }
  return true;
}

}  // namespace lrqat::cpu
