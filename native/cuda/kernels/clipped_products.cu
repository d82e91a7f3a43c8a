#include <algorithm>

#include "cuda/check.h"
#include "cuda/kernels/clipped_products.h"
#include "cuda/kernels/element.cuh"

namespace lrqat::cuda {

namespace {

constexpr int kThreads = kProductThreads;
constexpr int kSharedBytes = (kPanelColumns + kProductRows) * 16;

/// Tokens in 16 bytes.
template <typename E>
constexpr int kTokens = 16 / static_cast<int>(sizeof(E));

struct Inputs {
  ClippedBatch batch;
  const void* dYs[kMostClipped];  // [tokens, m] each
};

/// Entries of one weight, panel and range of rows, at most kProductEntries.
struct Unit {
  int weight;
  int panel;
  int firstRow;
  int firstEntry;
  int entries;
};

/// Searches for unit `index` of all, by a whole warp; returns the number of units. Each lane looks at one range of rows
/// of one panel of one weight.
__device__ int findUnit(const ClippedBatch& batch, int index, Unit& found) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  int units = 0;
  for (int w = 0; w < batch.weights; ++w) {
    const ClippedEntries& weight = batch.weight[w];
    const int rows = weight.rowBlocks() * kBlockRows;
    const int ranges = (rows + kProductRows - 1) / kProductRows;
    if (weight.listed() == 0) continue;
    for (int base = 0; base < ranges * weight.panels(); base += 32) {
      const int panel = (base + lane) / ranges;
      const int row = (base + lane) % ranges * kProductRows;
      int start = 0;
      int count = 0;
      if (panel < weight.panels()) {
        start = weight.rowStart[panel * rows + row];
        count = weight.rowStart[panel * rows + min(rows, row + kProductRows)] - start;
      }
      const int here = (count + kProductEntries - 1) / kProductEntries;
      int end = here;
#pragma unroll
      for (int offset = 1; offset < 32; offset *= 2) {
        const int other = __shfl_up_sync(0xffffffffU, end, offset);
        if (lane >= offset) end += other;
      }
      const int first = units + end - here;
      const bool mine = index >= first && index < first + here;
      const uint32_t owner = __ballot_sync(0xffffffffU, mine);
      if (owner != 0) {
        // Units of a range are equally long.
        const int source = __ffs(static_cast<int>(owner)) - 1;
        const int part = index - first;
        const int size = here > 0 ? (count + here - 1) / here : 0;
        found.weight = w;
        found.panel = __shfl_sync(0xffffffffU, panel, source);
        found.firstRow = __shfl_sync(0xffffffffU, row, source);
        found.firstEntry = __shfl_sync(0xffffffffU, start + part * size, source);
        found.entries = __shfl_sync(0xffffffffU, min(size, count - part * size), source);
      }
      units += __shfl_sync(0xffffffffU, end, 31);
    }
  }
  return units;
}

/// How many blocks divide the tokens of one unit.
__device__ __forceinline__ int tokenGroups(int units, int chunks) {
  return max(1, min(kProductBlocks / units, chunks));
}

/// Where a column lies in shared memory: the four neighbours that one thread stores, one after the other, fall each
/// time into other banks than those of the next seven threads.
__device__ __forceinline__ int slot(int column) {
  return column ^ ((column >> 3) & 3);
}

__device__ __forceinline__ uint4 lowHalves(const uint32_t (&word)[8]) {
  return make_uint4(__byte_perm(word[0], word[1], 0x5410), __byte_perm(word[2], word[3], 0x5410),
                    __byte_perm(word[4], word[5], 0x5410), __byte_perm(word[6], word[7], 0x5410));
}
__device__ __forceinline__ uint4 highHalves(const uint32_t (&word)[8]) {
  return make_uint4(__byte_perm(word[0], word[1], 0x7632), __byte_perm(word[2], word[3], 0x7632),
                    __byte_perm(word[4], word[5], 0x7632), __byte_perm(word[6], word[7], 0x7632));
}

/// Has `tokens` rows of `columns` elements brought into the cache.
template <typename E>
__device__ __forceinline__ void prefetchTokens(const E* from, int64_t stride, int tokens, int token0,
                                               int64_t firstColumn, int columns) {
  constexpr int kLine = 128 / static_cast<int>(sizeof(E));
  const int lines = (columns + kLine - 1) / kLine;
  const int rows = min(kTokens<E>, tokens - token0);
  for (int i = static_cast<int>(threadIdx.x); i < lines * rows; i += kThreads) {
    const E* line = from + (token0 + i / lines) * stride + firstColumn + i % lines * kLine;
    asm volatile("prefetch.global.L2 [%0];\n" ::"l"(line));
  }
}

/// shared[slot(c)] = `kTokens` tokens from `token0` of column firstColumn + c of `from` [tokens, stride], c < columns.
__device__ __forceinline__ void transposeTokens(const bf16* __restrict__ from, int64_t stride, int tokens, int token0,
                                                int64_t firstColumn, int columns, uint4* shared) {
  const bf16* start = from + token0 * stride + firstColumn;
  if (stride % 4 == 0) {
#pragma unroll 1
    for (int c = 4 * static_cast<int>(threadIdx.x); c < columns; c += 4 * kThreads) {
      uint32_t near[8];
      uint32_t far[8];
      const bf16* at = start + c;
#pragma unroll
      for (int t = 0; t < 8; ++t) {
        const uint2 four = token0 + t < tokens ? __ldg(reinterpret_cast<const uint2*>(at)) : make_uint2(0, 0);
        near[t] = four.x;
        far[t] = four.y;
        at += stride;
      }
      shared[slot(c)] = lowHalves(near);
      shared[slot(c + 1)] = highHalves(near);
      shared[slot(c + 2)] = lowHalves(far);
      shared[slot(c + 3)] = highHalves(far);
    }
    return;
  }
#pragma unroll 1
  for (int c = static_cast<int>(threadIdx.x); c < columns; c += kThreads) {
    union {
      bf16 value[8];
      uint4 bits;
    } eight;
#pragma unroll
    for (int t = 0; t < 8; ++t) {
      eight.value[t] = token0 + t < tokens ? start[t * stride + c] : __float2bfloat16_rn(0.0F);
    }
    shared[slot(c)] = eight.bits;
  }
}

__device__ __forceinline__ void transposeTokens(const float* __restrict__ from, int64_t stride, int tokens, int token0,
                                                int64_t firstColumn, int columns, uint4* shared) {
  const float* start = from + token0 * stride + firstColumn;
#pragma unroll 1
  for (int c = static_cast<int>(threadIdx.x); c < columns; c += kThreads) {
    uint4 four;
    four.x = token0 + 0 < tokens ? __float_as_uint(start[c]) : 0;
    four.y = token0 + 1 < tokens ? __float_as_uint(start[stride + c]) : 0;
    four.z = token0 + 2 < tokens ? __float_as_uint(start[2 * stride + c]) : 0;
    four.w = token0 + 3 < tokens ? __float_as_uint(start[3 * stride + c]) : 0;
    shared[slot(c)] = four;
  }
}

__device__ __forceinline__ float addProducts(uint32_t a, uint32_t b, float sum, bf16) {
  sum = __fmaf_rn(__uint_as_float(a << 16), __uint_as_float(b << 16), sum);
  return __fmaf_rn(__uint_as_float(a & 0xffff0000U), __uint_as_float(b & 0xffff0000U), sum);
}
__device__ __forceinline__ float addProducts(uint32_t a, uint32_t b, float sum, float) {
  return __fmaf_rn(__uint_as_float(a), __uint_as_float(b), sum);
}

/// partial [groups, entries of all weights]; `groups` is written for those who add them.
template <typename E>
__global__ __launch_bounds__(kThreads, 2) void productsKernel(const __grid_constant__ Inputs inputs,
                                                              const E* __restrict__ x, int tokens,
                                                              float* __restrict__ partial, int32_t* groupsOut) {
  extern __shared__ uint4 shared[];
  uint4* xColumns = shared;
  uint4* yColumns = shared + kPanelColumns;
  const ClippedBatch& batch = inputs.batch;
  const auto n = static_cast<int>(batch.weight[0].n);
  Unit unit{};
  const int units = findUnit(batch, -1, unit);
  const int chunks = (tokens + kTokens<E> - 1) / kTokens<E>;
  const int groups = tokenGroups(max(units, 1), chunks);
  if (blockIdx.x == 0 && threadIdx.x == 0) *groupsOut = groups;
  const int64_t total = batch.listedBefore(batch.weights);

  for (int work = static_cast<int>(blockIdx.x); work < units * groups; work += static_cast<int>(gridDim.x)) {
    findUnit(batch, work % units, unit);
    const ClippedEntries& entries = batch.weight[unit.weight];
    const E* dYs = static_cast<const E*>(inputs.dYs[unit.weight]);
    const auto m = static_cast<int>(entries.m);
    const int group = work / units;
    const int64_t place = group * total + batch.listedBefore(unit.weight) + unit.firstEntry;
    const int64_t firstColumn = static_cast<int64_t>(unit.panel) * kPanelColumns;
    const int columns = min(kPanelColumns, n - unit.panel * kPanelColumns);
    const int rows = min(kProductRows, m - unit.firstRow);

    // Byte offsets of the two columns of each entry, row part in the upper half.
    uint32_t offsets[kEntriesPerThread];
    float sums[kEntriesPerThread];
#pragma unroll
    for (int k = 0; k < kEntriesPerThread; ++k) {
      const int e = k * kThreads + static_cast<int>(threadIdx.x);
      offsets[k] = 0;
      sums[k] = 0;
      if (e < unit.entries) {
        const uint32_t entry = entries.entry[unit.firstEntry + e];
        const int row = static_cast<int>(entry >> kColumnBits) - unit.firstRow;
        offsets[k] = static_cast<uint32_t>(slot(row)) << 20 | static_cast<uint32_t>(slot(entry & kColumnMask)) << 4;
      }
    }
    for (int chunk = group; chunk < chunks; chunk += groups) {
      const int token0 = chunk * kTokens<E>;
      __syncthreads();
      transposeTokens(x, n, tokens, token0, firstColumn, columns, xColumns);
      transposeTokens(dYs, m, tokens, token0, unit.firstRow, rows, yColumns);
      if (chunk + groups < chunks) {
        const int next = (chunk + groups) * kTokens<E>;
        prefetchTokens(x, n, tokens, next, firstColumn, columns);
        prefetchTokens(dYs, m, tokens, next, unit.firstRow, rows);
      }
      __syncthreads();
#pragma unroll
      for (int k = 0; k < kEntriesPerThread; ++k) {
        if (k * kThreads < unit.entries) {
          const uint4 a =
              *reinterpret_cast<const uint4*>(reinterpret_cast<const char*>(xColumns) + (offsets[k] & 0xffffU));
          const uint4 b = *reinterpret_cast<const uint4*>(reinterpret_cast<const char*>(yColumns) + (offsets[k] >> 16));
          float sum = sums[k];
          sum = addProducts(a.x, b.x, sum, E{});
          sum = addProducts(a.y, b.y, sum, E{});
          sum = addProducts(a.z, b.z, sum, E{});
          sums[k] = addProducts(a.w, b.w, sum, E{});
        }
      }
    }
#pragma unroll
    for (int k = 0; k < kEntriesPerThread; ++k) {
      const int e = k * kThreads + static_cast<int>(threadIdx.x);
      if (e < unit.entries) partial[place + e] = sums[k];
    }
  }
}

/// Every group of a unit has at most kProductEntries entries, and units · groups ≤ kProductBlocks where groups > 1.
int64_t partialElements(int64_t count) {
  return std::max<int64_t>(int64_t{kProductBlocks} * kProductEntries, count);
}

}  // namespace

int64_t clippedProductsScratchBytes(int64_t capacity) {
  return Scratch::padded(4) + Scratch::padded(4 * capacity) + Scratch::padded(4 * partialElements(capacity));
}

ClippedSums clippedProducts(const ClippedBatch& batch, Matrix x, std::span<const Matrix> dYs, Scratch& scratch,
                            cudaStream_t stream) {
  LRQAT_CHECK(x.rows > 0 && x.rows < INT32_MAX && batch.weights > 0 && batch.total <= INT32_MAX);
  LRQAT_CHECK(static_cast<int>(dYs.size()) == batch.weights);
  Inputs inputs{};
  inputs.batch = batch;
  for (int w = 0; w < batch.weights; ++w) {
    const Matrix& y = dYs[static_cast<size_t>(w)];
    LRQAT_CHECK(x.cols == batch.weight[w].n && y.cols == batch.weight[w].m && y.rows == x.rows && y.type == x.type);
    LRQAT_CHECK(reinterpret_cast<uintptr_t>(x.data) % 8 == 0 && reinterpret_cast<uintptr_t>(y.data) % 8 == 0);
    inputs.dYs[w] = y.data;
  }
  auto* groups = scratch.take<int32_t>(1);
  auto* d = scratch.take<float>(batch.total);
  auto* partial = scratch.take<float>(partialElements(batch.total));
  dispatchActivation(x.type, [&](auto e) {
    using E = decltype(e);
    LRQAT_CUDA(cudaFuncSetAttribute(productsKernel<E>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes));
    productsKernel<E><<<kProductBlocks, kThreads, kSharedBytes, stream>>>(inputs, elements<const E>(x),
                                                                          static_cast<int>(x.rows), partial, groups);
  });
  LRQAT_CUDA(cudaGetLastError());
  return {partial, groups, d};
}

}  // namespace lrqat::cuda
