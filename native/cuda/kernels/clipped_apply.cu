#include <algorithm>

#include "cuda/check.h"
#include "cuda/kernels/clipped_apply.h"

namespace lrqat::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kRanks = 32;             // of one block: a lane each
constexpr int kColumns = 32 / kWarps;  // of one warp of a block that handles a word
constexpr int kTakes = 6;              // entries of a tile that join the list at a time
constexpr int kListed = kThreads * kTakes;
constexpr int kStaged = 128;  // entries whose rows of A lie in shared memory
constexpr uint32_t kAll = 0xffffffffU;

/// What one weight needs.
struct Factors {
  const float* d;  // [count]
  const float* a;  // [m, rank]
  const float* b;  // [rank, n]
  float* bT;       // [n, rank]
  float* dA;       // [m, rank]
  float* dB;       // [rank, n]
  int rank;
  float gamma;
};

struct Inputs {
  ClippedBatch batch;
  Factors factors[kMostClipped];
};

/// d = Σ partial, in the order of the groups.
__device__ void addPartials(const ClippedBatch& batch, const ClippedSums& sums, int64_t e) {
  int w = 0;
  while (w < batch.weights && e >= batch.weight[w].first + batch.weight[w].count) ++w;
  if (w == batch.weights || e - batch.weight[w].first >= batch.weight[w].listed()) return;
  const float* partial = sums.partial + (batch.listedBefore(w) + e - batch.weight[w].first);
  const int64_t total = batch.listedBefore(batch.weights);
  const int groups = *sums.groups;
  float sum = 0;
#pragma unroll 8
  for (int g = 0; g < groups; ++g) sum += partial[g * total];
  sums.d[e] = sum;
}

/// bT = bᵀ of 32 columns and 32 ranks.
__device__ void transposeTile(const Factors& f, int n, int col0, int row0) {
  __shared__ float tile[32][33];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  for (int i = warp; i < 32; i += kWarps) {
    if (row0 + i < f.rank && col0 + lane < n) tile[i][lane] = f.b[static_cast<int64_t>(row0 + i) * n + col0 + lane];
  }
  __syncthreads();
  for (int i = warp; i < 32; i += kWarps) {
    if (col0 + i < n && row0 + lane < f.rank) {
      f.bT[static_cast<int64_t>(col0 + i) * f.rank + row0 + lane] = tile[lane][i];
    }
  }
}

/// Blocks 0 … sumBlocks − 1: d; the rest: bT, 32 columns and 32 ranks of a weight each.
__global__ __launch_bounds__(kThreads) void prepareKernel(const __grid_constant__ Inputs inputs, ClippedSums sums,
                                                          int sumBlocks, int rankBlocks) {
  const int block = static_cast<int>(blockIdx.x);
  if (block < sumBlocks) {
    addPartials(inputs.batch, sums, static_cast<int64_t>(block) * kThreads + threadIdx.x);
    return;
  }
  const int words = inputs.batch.weight[0].words();
  const int index = block - sumBlocks;
  const Factors& factors = inputs.factors[index / (words * rankBlocks)];
  transposeTile(factors, static_cast<int>(inputs.batch.weight[0].n), index % words * 32,
                index / words % rankBlocks * 32);
}

/// A warp a row of dA, a lane a rank.
__device__ void subtractRow(const ClippedEntries& entries, const Factors& f, int64_t row, int rank) {
  if (row >= entries.m) return;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t rows = entries.rowBlocks() * kBlockRows;
  const int64_t panels = entries.panels();
  const bool active = rank < f.rank;
  float sum = 0;
  bool any = false;
  for (int64_t p = 0; p < panels; ++p) {
    const int start = entries.rowStart[p * rows + row];
    const int end = entries.rowStart[p * rows + row + 1];
    const float* bT = f.bT + p * kPanelColumns * f.rank + rank;
    any = any || end > start;
    for (int first = start; first < end; first += 32) {
      const int count = min(32, end - first);
      const uint32_t entry = lane < count ? entries.entry[first + lane] & kColumnMask : 0;
      const float d = lane < count ? f.d[first + lane] : 0.0F;
#pragma unroll 4
      for (int e = 0; e < count; ++e) {
        const int64_t column = __shfl_sync(kAll, entry, e);
        const float value = __shfl_sync(kAll, d, e);
        const float factor = active ? bT[column * f.rank] : 0.0F;
        sum = __fmaf_rn(value, factor, sum);
      }
    }
  }
  if (active && any) {
    float& out = f.dA[row * f.rank + rank];
    out = __fmaf_rn(-f.gamma, sum, out);
  }
}

/// Entries of one word of columns, collected from the tiles below each other.
struct List {
  uint32_t entry[kListed];
  float d[kListed];
  float a[kStaged][kRanks];
  int warpSum[kWarps];
  float sums[32][kRanks + 1];  // [column, rank]
};

/// Exclusive sum over the block's threads; `total` is the sum of all.
__device__ int exclusiveBlockSum(int value, int* warpSum, int& total) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  int inclusive = value;
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const int other = __shfl_up_sync(kAll, inclusive, offset);
    if (lane >= offset) inclusive += other;
  }
  if (lane == 31) warpSum[warp] = inclusive;
  __syncthreads();
  int before = 0;
  total = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    before += w < warp ? warpSum[w] : 0;
    total += warpSum[w];
  }
  return before + inclusive - value;
}

/// Puts up to kTakes entries of this thread's tile into the list, from `place` on.
__device__ __forceinline__ void takeEntries(const ClippedEntries& entries, const float* d, int place, int take,
                                            int first, List& list) {
  uint2 entry[kTakes];
  float value[kTakes];
#pragma unroll
  for (int i = 0; i < kTakes; ++i) entry[i] = i < take ? entries.tileEntry[place + i] : make_uint2(0, 0);
#pragma unroll
  for (int i = 0; i < kTakes; ++i) value[i] = i < take ? d[entry[i].y] : 0.0F;
#pragma unroll
  for (int i = 0; i < kTakes; ++i) {
    if (i < take) {
      list.entry[first + i] = entry[i].x;
      list.d[first + i] = value[i];
    }
  }
}

/// A block 32 columns of dB, a warp four of them, a lane a rank.
__device__ void subtractWord(const ClippedEntries& entries, const Factors& f, int word, int rank0, List& list) {
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  const int warp = thread / 32;
  const int rowBlocks = entries.rowBlocks();
  const bool active = rank0 + lane < f.rank;
  const float* a = f.a + rank0 + lane;
  float sums[kColumns] = {};

  for (int block0 = 0; block0 < rowBlocks; block0 += kThreads) {
    int place = 0;
    int left = 0;
    if (block0 + thread < rowBlocks) {
      const int tile = entries.tileIndex(block0 + thread, word);
      place = entries.tileStart[tile];
      left = entries.tileStart[tile + 1] - place;
    }
    while (__syncthreads_or(left > 0)) {
      const int take = min(left, kTakes);
      int listed;
      const int first = exclusiveBlockSum(take, list.warpSum, listed);
      takeEntries(entries, f.d, place, take, first, list);
      place += take;
      left -= take;
      __syncthreads();
      for (int staged = 0; staged < listed; staged += kStaged) {
        const int count = min(kStaged, listed - staged);
#pragma unroll
        for (int i = 0; i < kStaged / kWarps; ++i) {
          const int e = i * kWarps + warp;
          const int64_t row = e < count ? list.entry[staged + e] >> kColumnBits : 0;
          list.a[e][lane] = active && e < count ? a[row * f.rank] : 0.0F;
        }
        __syncthreads();
        for (int base = 0; base < count; base += 32) {
          const bool exists = base + lane < count;
          const uint32_t column = exists ? list.entry[staged + base + lane] % 32 : 0;
          uint32_t mine = __ballot_sync(kAll, exists && static_cast<int>(column) / kColumns == warp);
          for (; mine != 0; mine &= mine - 1) {
            const int e = base + __ffs(static_cast<int>(mine)) - 1;
            const int at = static_cast<int>(list.entry[staged + e] % kColumns);
            const float value = list.d[staged + e];
            const float factor = list.a[e][lane];
#pragma unroll
            for (int c = 0; c < kColumns; ++c) {
              if (at == c) sums[c] = __fmaf_rn(value, factor, sums[c]);
            }
          }
        }
        __syncthreads();
      }
    }
  }
#pragma unroll
  for (int c = 0; c < kColumns; ++c) list.sums[warp * kColumns + c][lane] = sums[c];
  __syncthreads();
  for (int k = warp; k < kRanks; k += kWarps) {
    const int64_t column = word * int64_t{32} + lane;
    if (rank0 + k < f.rank && column < entries.n) {
      float& out = f.dB[(rank0 + k) * entries.n + column];
      out = __fmaf_rn(-f.gamma, list.sums[lane][k], out);
    }
  }
}

/// Blocks 0 … words − 1: dB; the rest: dA. blockIdx.y: 32 ranks; blockIdx.z: weight.
__global__ __launch_bounds__(kThreads) void subtractKernel(const __grid_constant__ Inputs inputs) {
  __shared__ List list;
  const ClippedEntries& entries = inputs.batch.weight[blockIdx.z];
  const Factors& factors = inputs.factors[blockIdx.z];
  const int words = entries.words();
  const int rank0 = static_cast<int>(blockIdx.y) * kRanks;
  if (rank0 >= factors.rank || entries.listed() == 0) return;
  if (static_cast<int>(blockIdx.x) < words) {
    subtractWord(entries, factors, static_cast<int>(blockIdx.x), rank0, list);
  } else {
    const int64_t row = (static_cast<int64_t>(blockIdx.x) - words) * kWarps + threadIdx.x / 32;
    subtractRow(entries, factors, row, rank0 + static_cast<int>(threadIdx.x) % 32);
  }
}

}  // namespace

int64_t subtractClippedScratchBytes(int64_t n, int64_t rankSum) {
  return Scratch::padded(4 * rankSum * n);
}

void subtractClipped(const ClippedBatch& batch, const ClippedSums& sums, std::span<const ClippedGradient> gradients,
                     Scratch& scratch, cudaStream_t stream) {
  LRQAT_CHECK(batch.weights > 0 && static_cast<int>(gradients.size()) == batch.weights);
  Inputs inputs{};
  inputs.batch = batch;
  const int64_t n = batch.weight[0].n;
  int64_t rankSum = 0;
  int64_t rank = 0;
  int64_t rows = 0;
  for (const ClippedGradient& gradient : gradients) rankSum += gradient.rank;
  auto* bT = scratch.take<float>(rankSum * n);
  for (int w = 0; w < batch.weights; ++w) {
    const ClippedGradient& g = gradients[static_cast<size_t>(w)];
    LRQAT_CHECK(g.rank > 0 && g.a && g.b && g.dA && g.dB);
    inputs.factors[w] = {sums.d + batch.weight[w].first, g.a, g.b, bT, g.dA, g.dB, static_cast<int>(g.rank), g.gamma};
    bT += g.rank * n;
    rank = std::max(rank, g.rank);
    rows = std::max(rows, batch.weight[w].m);
  }
  const auto words = static_cast<unsigned>(batch.weight[0].words());
  const auto rankBlocks = static_cast<unsigned>((rank + kRanks - 1) / kRanks);
  const auto weights = static_cast<unsigned>(batch.weights);
  const auto sumBlocks = static_cast<unsigned>((batch.total + kThreads - 1) / kThreads);
  prepareKernel<<<sumBlocks + words * rankBlocks * weights, kThreads, 0, stream>>>(
      inputs, sums, static_cast<int>(sumBlocks), static_cast<int>(rankBlocks));
  LRQAT_CUDA(cudaGetLastError());
  const dim3 grid(words + static_cast<unsigned>((rows + kWarps - 1) / kWarps), rankBlocks, weights);
  subtractKernel<<<grid, kThreads, 0, stream>>>(inputs);
  LRQAT_CUDA(cudaGetLastError());
}

}  // namespace lrqat::cuda
