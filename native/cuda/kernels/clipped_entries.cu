#include "cuda/check.h"
#include "cuda/kernels/clipped_entries.h"

namespace lrqat::cuda {

namespace {

constexpr int kThreads = kPanelWords;  // a thread a word of the panel
constexpr int kWarps = kThreads / 32;

__device__ __forceinline__ int inclusiveWarpSum(int value) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const int other = __shfl_up_sync(0xffffffffU, value, offset);
    if (lane >= offset) value += other;
  }
  return value;
}

/// Exclusive sum over the threads of the block; `total` is the sum of all.
__device__ int exclusiveBlockSum(int value, int& total) {
  __shared__ int warpSum[kWarps];
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int inclusive = inclusiveWarpSum(value);
  __syncthreads();
  if (threadIdx.x % 32 == 31) warpSum[warp] = inclusive;
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

/// Word `word` of a row, without bits behind the last column.
__device__ __forceinline__ uint32_t maskWord(const uint32_t* mask, int64_t row, int64_t word, int64_t n) {
  const int64_t left = n - word * 32;
  const uint32_t bits = mask[row * ((n + 31) / 32) + word];
  return left >= 32 ? bits : bits & ((1U << left) - 1);
}

/// A block counts 32 rows of a panel.
__global__ void countKernel(const uint32_t* __restrict__ mask, ClippedEntries entries) {
  const int64_t word = static_cast<int64_t>(blockIdx.y) * kPanelWords + threadIdx.x;
  const int64_t row0 = static_cast<int64_t>(blockIdx.x) * kBlockRows;
  int count = 0;
  if (word < (entries.n + 31) / 32) {
#pragma unroll 8
    for (int r = 0; r < kBlockRows; ++r) {
      if (row0 + r < entries.m) count += __popc(maskWord(mask, row0 + r, word, entries.n));
    }
  }
  int total;
  exclusiveBlockSum(count, total);
  if (threadIdx.x == 0) entries.blockCount[blockIdx.y * gridDim.x + blockIdx.x] = total;
}

__global__ void fillKernel(const uint32_t* __restrict__ mask, ClippedEntries entries) {
  __shared__ uint32_t words[kBlockRows][kPanelWords];
  __shared__ uint16_t before[kBlockRows][kPanelWords];  // entries of the row in earlier words of the panel
  __shared__ int rowCount[kBlockRows];
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  const int warp = thread / 32;
  const int64_t word = static_cast<int64_t>(blockIdx.y) * kPanelWords + thread;
  const int64_t row0 = static_cast<int64_t>(blockIdx.x) * kBlockRows;
  const int64_t block = blockIdx.y * gridDim.x + blockIdx.x;

  int base = 0;
  for (int64_t b = thread; b < block; b += kThreads) base += entries.blockCount[b];
  exclusiveBlockSum(base, base);

  const bool inside = word < (entries.n + 31) / 32;
  int count = 0;
#pragma unroll 8
  for (int r = 0; r < kBlockRows; ++r) {
    const uint32_t bits = inside && row0 + r < entries.m ? maskWord(mask, row0 + r, word, entries.n) : 0;
    words[r][thread] = bits;
    count += __popc(bits);
  }
  int total;
  const int tileStart = exclusiveBlockSum(count, total);  // also makes `words` visible
  for (int r = warp; r < kBlockRows; r += kWarps) {
    int running = 0;
#pragma unroll
    for (int first = 0; first < kPanelWords; first += 32) {
      const int bits = __popc(words[r][first + lane]);
      const int inclusive = inclusiveWarpSum(bits);
      before[r][first + lane] = static_cast<uint16_t>(running + inclusive - bits);
      running += __shfl_sync(0xffffffffU, inclusive, 31);
    }
    if (lane == 0) rowCount[r] = running;
  }
  __syncthreads();
  if (warp == 0) {
    const int own = rowCount[lane];
    const int exclusive = inclusiveWarpSum(own) - own;
    rowCount[lane] = exclusive;
    entries.rowStart[block * kBlockRows + lane] = base + exclusive;
  }
  __syncthreads();

  const bool last = blockIdx.x + 1 == gridDim.x && blockIdx.y + 1 == gridDim.y;
  if (last && thread == 0) {
    entries.rowStart[(block + 1) * kBlockRows] = base + total;
    entries.tileStart[static_cast<int64_t>(gridDim.x) * ((entries.n + 31) / 32)] = base + total;
  }
  if (!inside) return;
  entries.tileStart[tileIndex(entries, blockIdx.x, word)] = base + tileStart;
  int place = base + tileStart;
  for (int r = 0; r < kBlockRows; ++r) {
    int position = base + rowCount[r] + before[r][thread];
    for (uint32_t bits = words[r][thread]; bits != 0; bits &= bits - 1) {
      const auto column = static_cast<uint32_t>(thread * 32 + __ffs(static_cast<int>(bits)) - 1);
      if (position < entries.count && place < entries.count) {
        entries.entry[position] = static_cast<uint32_t>(row0 + r) << kColumnBits | column;
        entries.position[place] = position;
      }
      ++position;
      ++place;
    }
  }
}

int64_t blocksOf(int64_t m, int64_t n) {
  return (n + kPanelColumns - 1) / kPanelColumns * ((m + kBlockRows - 1) / kBlockRows);
}
int64_t tilesOf(int64_t m, int64_t n) {
  return (n + 31) / 32 * ((m + kBlockRows - 1) / kBlockRows);
}

}  // namespace

int64_t clippedEntriesScratchBytes(int64_t m, int64_t n, int64_t capacity) {
  return Scratch::padded(4 * blocksOf(m, n)) + Scratch::padded(4 * (blocksOf(m, n) * kBlockRows + 1)) +
         Scratch::padded(4 * (tilesOf(m, n) + 1)) + 2 * Scratch::padded(4 * capacity);
}

ClippedEntries listClipped(const uint32_t* mask, int64_t m, int64_t n, int64_t count, Scratch& scratch,
                           cudaStream_t stream) {
  LRQAT_CHECK(m > 0 && n > 0 && count > 0 && count <= INT32_MAX && m < int64_t{1} << (32 - kColumnBits));
  ClippedEntries entries{.m = m, .n = n, .count = count};
  entries.blockCount = scratch.take<int32_t>(blocksOf(m, n));
  entries.rowStart = scratch.take<int32_t>(blocksOf(m, n) * kBlockRows + 1);
  entries.tileStart = scratch.take<int32_t>(tilesOf(m, n) + 1);
  entries.entry = scratch.take<uint32_t>(count);
  entries.position = scratch.take<int32_t>(count);
  const dim3 grid(static_cast<unsigned>(entries.rowBlocks()), static_cast<unsigned>(entries.panels()));
  countKernel<<<grid, kThreads, 0, stream>>>(mask, entries);
  LRQAT_CUDA(cudaGetLastError());
  fillKernel<<<grid, kThreads, 0, stream>>>(mask, entries);
  LRQAT_CUDA(cudaGetLastError());
  return entries;
}

}  // namespace lrqat::cuda
