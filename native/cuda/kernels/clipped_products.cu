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

/// Entries of one panel and range of rows, at most kProductEntries.
struct Unit {
  int panel;
  int firstRow;
  int firstEntry;
  int entries;
};

struct UnitTable {
  const int32_t* rowStart;
  int rows;  // of a panel, padded to blocks of 32
  int panels;

  /// Unit `index`, or with index < 0 the number of units as `entries`.
  __device__ Unit find(int index) const {
    int units = 0;
    for (int p = 0; p < panels; ++p) {
      for (int row = 0; row < rows; row += kProductRows) {
        const int start = rowStart[p * rows + row];
        const int count = rowStart[p * rows + min(rows, row + kProductRows)] - start;
        const int here = (count + kProductEntries - 1) / kProductEntries;
        if (index >= 0 && index < units + here) {
          const int first = (index - units) * kProductEntries;
          return {p, row, start + first, min(count - first, kProductEntries)};
        }
        units += here;
      }
    }
    return {0, 0, 0, units};
  }
};

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

/// partial [groups, count]; `groups` is written for sumPartialsKernel.
template <typename E>
__global__ __launch_bounds__(kThreads, 2) void productsKernel(ClippedEntries entries, const E* __restrict__ x,
                                                              const E* __restrict__ dYs, int tokens,
                                                              float* __restrict__ partial, int32_t* groupsOut) {
  extern __shared__ uint4 shared[];
  uint4* xColumns = shared;
  uint4* yColumns = shared + kPanelColumns;
  const auto m = static_cast<int>(entries.m);
  const auto n = static_cast<int>(entries.n);
  const UnitTable table{entries.rowStart, (m + kBlockRows - 1) / kBlockRows * kBlockRows,
                        (n + kPanelColumns - 1) / kPanelColumns};
  const int units = table.find(-1).entries;
  const int chunks = (tokens + kTokens<E> - 1) / kTokens<E>;
  const int groups = tokenGroups(max(units, 1), chunks);
  if (blockIdx.x == 0 && threadIdx.x == 0) *groupsOut = groups;

  for (int work = static_cast<int>(blockIdx.x); work < units * groups; work += static_cast<int>(gridDim.x)) {
    const Unit unit = table.find(work % units);
    const int group = work / units;
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
      if (e < unit.entries && unit.firstEntry + e < entries.count) {
        partial[group * entries.count + unit.firstEntry + e] = sums[k];
      }
    }
  }
}

__global__ void sumPartialsKernel(const float* __restrict__ partial, const int32_t* groups, int64_t count,
                                  float* __restrict__ out) {
  const int64_t e = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (e >= count) return;
  float sum = 0;
  const int parts = *groups;
#pragma unroll 4
  for (int g = 0; g < parts; ++g) sum += partial[g * count + e];
  out[e] = sum;
}

/// Every group of a unit has at most kProductEntries entries, and units · groups ≤ kProductBlocks where groups > 1.
int64_t partialElements(int64_t count) {
  return std::max<int64_t>(int64_t{kProductBlocks} * kProductEntries, count);
}

}  // namespace

int64_t clippedProductsScratchBytes(int64_t capacity) {
  return Scratch::padded(4) + Scratch::padded(4 * capacity) + Scratch::padded(4 * partialElements(capacity));
}

float* clippedProducts(const ClippedEntries& entries, Matrix x, Matrix dYs, Scratch& scratch, cudaStream_t stream) {
  LRQAT_CHECK(x.cols == entries.n && dYs.cols == entries.m && x.rows == dYs.rows && x.type == dYs.type);
  LRQAT_CHECK(x.rows > 0 && x.rows < INT32_MAX && entries.count > 0);
  LRQAT_CHECK(reinterpret_cast<uintptr_t>(x.data) % 8 == 0 && reinterpret_cast<uintptr_t>(dYs.data) % 8 == 0);
  auto* groups = scratch.take<int32_t>(1);
  auto* out = scratch.take<float>(entries.count);
  auto* partial = scratch.take<float>(partialElements(entries.count));
  dispatchActivation(x.type, [&](auto e) {
    using E = decltype(e);
    LRQAT_CUDA(cudaFuncSetAttribute(productsKernel<E>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes));
    productsKernel<E><<<kProductBlocks, kThreads, kSharedBytes, stream>>>(
        entries, elements<const E>(x), elements<const E>(dYs), static_cast<int>(x.rows), partial, groups);
  });
  LRQAT_CUDA(cudaGetLastError());
  constexpr int sumThreads = 256;
  sumPartialsKernel<<<static_cast<unsigned>((entries.count + sumThreads - 1) / sumThreads), sumThreads, 0, stream>>>(
      partial, groups, entries.count, out);
  LRQAT_CUDA(cudaGetLastError());
  return out;
}

}  // namespace lrqat::cuda
