#include "cuda/check.h"
#include "cuda/kernels/clipped_apply.h"

namespace lrqat::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kRanks = 32;             // of one block: a lane each
constexpr int kColumns = 32 / kWarps;  // of one warp of a block that handles a word
constexpr int kTakes = 8;              // entries of a tile that join the list at a time
constexpr int kListed = kThreads * kTakes;
constexpr uint32_t kAll = 0xffffffffU;

/// b [rank, n] → bT [n, rank].
__global__ void transposeKernel(const float* __restrict__ b, int64_t rank, int64_t n, float* __restrict__ bT) {
  __shared__ float tile[32][33];
  const int64_t col0 = static_cast<int64_t>(blockIdx.x) * 32;
  const int64_t row0 = static_cast<int64_t>(blockIdx.y) * 32;
  for (int i = static_cast<int>(threadIdx.y); i < 32; i += kWarps) {
    if (row0 + i < rank && col0 + threadIdx.x < n) tile[i][threadIdx.x] = b[(row0 + i) * n + col0 + threadIdx.x];
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.y); i < 32; i += kWarps) {
    if (col0 + i < n && row0 + threadIdx.x < rank) bT[(col0 + i) * rank + row0 + threadIdx.x] = tile[threadIdx.x][i];
  }
}

struct Factors {
  const float* d;   // [count]
  const float* a;   // [m, rank]
  const float* bT;  // [n, rank]
  int rank;
  float gamma;
  float* dA;  // [m, rank]
  float* dB;  // [rank, n]
};

/// A warp a row of dA, a lane a rank.
__device__ void subtractRow(const ClippedEntries& entries, const Factors& f, int64_t row, int rank) {
  if (row >= entries.m) return;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t rows = (entries.m + kBlockRows - 1) / kBlockRows * kBlockRows;
  const int64_t panels = (entries.n + kPanelColumns - 1) / kPanelColumns;
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

/// A block 32 columns of dB, a warp four of them, a lane a rank.
__device__ void subtractWord(const ClippedEntries& entries, const Factors& f, int64_t word, int rank0, List& list) {
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  const int warp = thread / 32;
  const int64_t rowBlocks = (entries.m + kBlockRows - 1) / kBlockRows;
  const bool active = rank0 + lane < f.rank;
  const float* a = f.a + rank0 + lane;
  float sums[kColumns] = {};

  for (int64_t block0 = 0; block0 < rowBlocks; block0 += kThreads) {
    int place = 0;
    int left = 0;
    if (block0 + thread < rowBlocks) {
      const int64_t tile = tileIndex(entries, block0 + thread, word);
      place = entries.tileStart[tile];
      left = entries.tileStart[tile + 1] - place;
    }
    while (__syncthreads_or(left > 0)) {
      const int take = min(left, kTakes);
      int listed;
      const int first = exclusiveBlockSum(take, list.warpSum, listed);
      for (int i = 0; i < take; ++i) {
        const int position = entries.position[place + i];
        list.entry[first + i] = entries.entry[position];
        list.d[first + i] = f.d[position];
      }
      place += take;
      left -= take;
      __syncthreads();
      for (int base = 0; base < listed; base += 32) {
        const uint32_t entry = base + lane < listed ? list.entry[base + lane] : 0;
        const int column = static_cast<int>(entry % 32);
        uint32_t mine = __ballot_sync(kAll, base + lane < listed && column / kColumns == warp);
        while (mine != 0) {
          // Four at a time, so that their rows of A are on the way together.
          float value[4];
          int64_t row[4];
          int at[4];
          float factor[4];
#pragma unroll
          for (int q = 0; q < 4; ++q) {
            const int source = base + (mine != 0 ? __ffs(static_cast<int>(mine)) - 1 : 0);
            const uint32_t other = list.entry[source];
            row[q] = other >> kColumnBits;
            at[q] = mine != 0 ? static_cast<int>(other % kColumns) : -1;
            value[q] = list.d[source];
            mine &= mine - 1;
          }
#pragma unroll
          for (int q = 0; q < 4; ++q) factor[q] = active && at[q] >= 0 ? a[row[q] * f.rank] : 0.0F;
#pragma unroll
          for (int q = 0; q < 4; ++q) {
#pragma unroll
            for (int c = 0; c < kColumns; ++c) {
              if (at[q] == c) sums[c] = __fmaf_rn(value[q], factor[q], sums[c]);
            }
          }
        }
      }
    }
  }
#pragma unroll
  for (int c = 0; c < kColumns; ++c) list.sums[warp * kColumns + c][lane] = sums[c];
  __syncthreads();
  for (int k = warp; k < kRanks; k += kWarps) {
    const int64_t column = word * 32 + lane;
    if (rank0 + k < f.rank && column < entries.n) {
      float& out = f.dB[(rank0 + k) * entries.n + column];
      out = __fmaf_rn(-f.gamma, list.sums[lane][k], out);
    }
  }
}

/// Blocks 0 … words − 1: dB; the rest: dA. blockIdx.y: 32 ranks.
__global__ __launch_bounds__(kThreads) void subtractKernel(ClippedEntries entries, Factors factors) {
  __shared__ List list;
  const int64_t words = (entries.n + 31) / 32;
  const int rank0 = static_cast<int>(blockIdx.y) * kRanks;
  if (blockIdx.x < words) {
    subtractWord(entries, factors, blockIdx.x, rank0, list);
  } else {
    const int64_t row = (blockIdx.x - words) * kWarps + threadIdx.x / 32;
    subtractRow(entries, factors, row, rank0 + static_cast<int>(threadIdx.x) % 32);
  }
}

}  // namespace

int64_t subtractClippedScratchBytes(int64_t n, int64_t rank) {
  return Scratch::padded(4 * rank * n);
}

void subtractClipped(const ClippedEntries& entries, const float* d, const float* a, const float* b, int64_t rank,
                     float gamma, float* dA, float* dB, Scratch& scratch, cudaStream_t stream) {
  LRQAT_CHECK(rank > 0 && entries.count > 0 && a && b && dA && dB);
  auto* bT = scratch.take<float>(rank * entries.n);
  const auto rankBlocks = static_cast<unsigned>((rank + kRanks - 1) / kRanks);
  const dim3 transposeGrid(static_cast<unsigned>(entries.words()), rankBlocks);
  transposeKernel<<<transposeGrid, dim3(32, kWarps), 0, stream>>>(b, rank, entries.n, bT);
  LRQAT_CUDA(cudaGetLastError());
  const dim3 grid(static_cast<unsigned>(entries.words() + (entries.m + kWarps - 1) / kWarps), rankBlocks);
  subtractKernel<<<grid, kThreads, 0, stream>>>(entries, {d, a, bT, static_cast<int>(rank), gamma, dA, dB});
  LRQAT_CUDA(cudaGetLastError());
}

}  // namespace lrqat::cuda
