#include <algorithm>

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

/// Word `word` of 32 rows from `row0` on, without bits behind the last row and column; loads all at once.
__device__ __forceinline__ void loadWords(const ClippedEntries& weight, int row0, int word,
                                          uint32_t (&bits)[kBlockRows]) {
  const int words = weight.words();
  const int64_t left = weight.n - word * int64_t{32};
  const uint32_t columns = left >= 32 ? 0xffffffffU : left > 0 ? (1U << left) - 1 : 0;
  const int rows = word < words ? min(kBlockRows, static_cast<int>(weight.m) - row0) : 0;
  const uint32_t* at = weight.mask + row0 * static_cast<int64_t>(words) + word;
#pragma unroll
  for (int r = 0; r < kBlockRows; ++r) bits[r] = r < rows ? __ldg(at + r * words) : 0;
#pragma unroll
  for (int r = 0; r < kBlockRows; ++r) bits[r] &= columns;
}

/// A block counts 32 rows (blockIdx.x) of a panel (blockIdx.y) of a weight (blockIdx.z).
__global__ void countKernel(const __grid_constant__ ClippedBatch batch) {
  const ClippedEntries& weight = batch.weight[blockIdx.z];
  const int rowBlocks = weight.rowBlocks();
  if (static_cast<int>(blockIdx.x) >= rowBlocks) return;
  const int word = static_cast<int>(blockIdx.y * kPanelWords + threadIdx.x);
  const int row0 = static_cast<int>(blockIdx.x) * kBlockRows;
  uint32_t bits[kBlockRows];
  loadWords(weight, row0, word, bits);
  int count = 0;
#pragma unroll
  for (int r = 0; r < kBlockRows; ++r) count += __popc(bits[r]);
  int total;
  exclusiveBlockSum(count, total);
  if (threadIdx.x == 0)
    weight.blockCount[static_cast<int>(blockIdx.y) * rowBlocks + static_cast<int>(blockIdx.x)] = total;
}

__global__ void fillKernel(const __grid_constant__ ClippedBatch batch) {
  __shared__ alignas(16) uint32_t words[kBlockRows][kPanelWords];
  __shared__ alignas(16) uint16_t before[kBlockRows][kPanelWords];  // entries of the row in earlier words of the panel
  __shared__ int rowCount[kBlockRows];
  const ClippedEntries& weight = batch.weight[blockIdx.z];
  const int rowBlocks = weight.rowBlocks();
  if (static_cast<int>(blockIdx.x) >= rowBlocks) return;
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  const int warp = thread / 32;
  const int word = static_cast<int>(blockIdx.y) * kPanelWords + thread;
  const int row0 = static_cast<int>(blockIdx.x) * kBlockRows;
  const int block = static_cast<int>(blockIdx.y) * rowBlocks + static_cast<int>(blockIdx.x);

  uint32_t bits[kBlockRows];
  loadWords(weight, row0, word, bits);
  int base = 0;
#pragma unroll 8
  for (int b = thread; b < block; b += kThreads) base += weight.blockCount[b];
  exclusiveBlockSum(base, base);

  int count = 0;
#pragma unroll
  for (int r = 0; r < kBlockRows; ++r) {
    words[r][thread] = bits[r];
    count += __popc(bits[r]);
  }
  int total;
  const int tileStart = exclusiveBlockSum(count, total);  // also makes `words` visible
  static_assert(kPanelWords == 4 * 32);
#pragma unroll 2
  for (int r = warp; r < kBlockRows; r += kWarps) {
    const uint4 four = reinterpret_cast<const uint4*>(words[r])[lane];
    const int first = __popc(four.x);
    const int second = first + __popc(four.y);
    const int third = second + __popc(four.z);
    const int all = third + __popc(four.w);
    const int inclusive = inclusiveWarpSum(all);
    const int start = inclusive - all;
    reinterpret_cast<uint2*>(before[r])[lane] =
        make_uint2(static_cast<uint32_t>(start | (start + first) << 16),
                   static_cast<uint32_t>((start + second) | (start + third) << 16));
    if (lane == 31) rowCount[r] = inclusive;
  }
  __syncthreads();
  if (warp == 0) {
    const int own = rowCount[lane];
    const int exclusive = inclusiveWarpSum(own) - own;
    rowCount[lane] = exclusive;
    weight.rowStart[block * kBlockRows + lane] = base + exclusive;
  }
  __syncthreads();

  if (block + 1 == rowBlocks * weight.panels() && thread == 0) {
    weight.rowStart[(block + 1) * kBlockRows] = base + total;
    weight.tileStart[rowBlocks * weight.words()] = base + total;
  }
  if (word >= weight.words()) return;
  weight.tileStart[weight.tileIndex(static_cast<int>(blockIdx.x), word)] = base + tileStart;
  int place = base + tileStart;
#pragma unroll
  for (int r = 0; r < kBlockRows; ++r) {
    uint32_t left = bits[r];
    if (left == 0) continue;
    int position = base + rowCount[r] + before[r][thread];
    for (; left != 0; left &= left - 1) {
      const auto column = static_cast<uint32_t>(thread * 32 + __ffs(static_cast<int>(left)) - 1);
      const uint32_t entry = static_cast<uint32_t>(row0 + r) << kColumnBits | column;
      if (position < weight.count && place < weight.count) {
        weight.entry[position] = entry;
        weight.tileEntry[place] = make_uint2(entry, static_cast<uint32_t>(position));
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

void ClippedBatch::add(const uint32_t* mask, int64_t m, int64_t n, int64_t count) {
  LRQAT_CHECK(weights < kMostClipped && mask && m > 0 && n > 0 && count > 0 && count <= INT32_MAX);
  LRQAT_CHECK(m < int64_t{1} << (32 - kColumnBits) && n < INT32_MAX - kPanelColumns && tilesOf(m, n) < INT32_MAX);
  LRQAT_CHECK(weights == 0 || n == weight[0].n);
  ClippedEntries& added = weight[weights++];
  added.mask = mask;
  added.m = m;
  added.n = n;
  added.count = count;
  added.first = total;
  total += count;
}

int64_t clippedEntriesScratchBytes(int64_t weights, int64_t m, int64_t n, int64_t capacity) {
  return weights *
         (Scratch::padded(4 * blocksOf(m, n)) + Scratch::padded(4 * (blocksOf(m, n) * kBlockRows + 1)) +
          Scratch::padded(4 * (tilesOf(m, n) + 1)) + Scratch::padded(4 * capacity) + Scratch::padded(8 * capacity));
}

void listClipped(ClippedBatch& batch, Scratch& scratch, cudaStream_t stream) {
  LRQAT_CHECK(batch.weights > 0);
  int rowBlocks = 0;
  for (int w = 0; w < batch.weights; ++w) {
    ClippedEntries& weight = batch.weight[w];
    weight.blockCount = scratch.take<int32_t>(blocksOf(weight.m, weight.n));
    weight.rowStart = scratch.take<int32_t>(blocksOf(weight.m, weight.n) * kBlockRows + 1);
    weight.tileStart = scratch.take<int32_t>(tilesOf(weight.m, weight.n) + 1);
    weight.entry = scratch.take<uint32_t>(weight.count);
    weight.tileEntry = scratch.take<uint2>(weight.count);
    rowBlocks = std::max(rowBlocks, weight.rowBlocks());
  }
  const dim3 grid(static_cast<unsigned>(rowBlocks), static_cast<unsigned>(batch.weight[0].panels()),
                  static_cast<unsigned>(batch.weights));
  countKernel<<<grid, kThreads, 0, stream>>>(batch);
  LRQAT_CUDA(cudaGetLastError());
  fillKernel<<<grid, kThreads, 0, stream>>>(batch);
  LRQAT_CUDA(cudaGetLastError());
}

}  // namespace lrqat::cuda
