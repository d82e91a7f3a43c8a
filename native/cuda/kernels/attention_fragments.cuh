// What the lanes of a warp hold of attention's products, and the arithmetic between the products. Of accumulator tiles
// [16, 8] lane l holds rows l/4 and l/4 + 8 at columns 2·(l%4) + {0, 1}: c[0], c[1] and c[2], c[3]. The same for
// mma.sync and for wgmma, whose warps hold 16 of 64 rows each. Two neighbouring tiles, rounded to bf16, are the A
// operand of a product over their 16 columns as they lie, so P and dS never leave the registers.
#pragma once

#include "cuda/kernels/attention_arguments.h"

namespace lrqat::cuda::attention {

inline constexpr float log2e = 1.4426950408889634F;

__device__ __forceinline__ uint32_t sharedAddress(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

/// Four 8×8 matrices of bf16; lanes 8·i … 8·i + 7 point at the rows of matrix i.
__device__ __forceinline__ void loadMatrices(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

/// 2^x to 2 units in the last place; 0 below the normal range.
__device__ __forceinline__ float exp2Approximate(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// Over the four lanes that share an accumulator row.
__device__ __forceinline__ float rowMaximum(float value) {
  value = fmaxf(value, __shfl_xor_sync(0xffffffffU, value, 1));
  return fmaxf(value, __shfl_xor_sync(0xffffffffU, value, 2));
}
__device__ __forceinline__ float rowSum(float value) {
  value += __shfl_xor_sync(0xffffffffU, value, 1);
  return value + __shfl_xor_sync(0xffffffffU, value, 2);
}

/// Two floats as bf16, `low` in the low half.
__device__ __forceinline__ uint32_t packBf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const uint32_t&>(pair);
}

/// Accumulator tiles [16, 8·NT] as the A operands of products over their columns.
template <int NT>
__device__ __forceinline__ void packOperands(uint32_t (&a)[NT / 2][4], const float (&tiles)[NT][4]) {
#pragma unroll
  for (int n = 0; n < NT; n += 2) {
    a[n / 2][0] = packBf16(tiles[n][0], tiles[n][1]);
    a[n / 2][1] = packBf16(tiles[n][2], tiles[n][3]);
    a[n / 2][2] = packBf16(tiles[n + 1][0], tiles[n + 1][1]);
    a[n / 2][3] = packBf16(tiles[n + 1][2], tiles[n + 1][3]);
  }
}

/// Σ of a·b over the columns of two A operands for the lane's rows, the same in the four lanes that share a row.
template <int KT>
__device__ __forceinline__ void rowProducts(const uint32_t (&a)[KT][4], const uint32_t (&b)[KT][4], float& first,
                                            float& second) {
  float sum[2] = {0, 0};
#pragma unroll
  for (int k = 0; k < KT; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 left = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(a[k][i]));
      const float2 right = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(b[k][i]));
      sum[i % 2] = fmaf(left.y, right.y, fmaf(left.x, right.x, sum[i % 2]));
    }
  }
  first = rowSum(sum[0]);
  second = rowSum(sum[1]);
}

/// Scores of queries (rows) and keys (columns) that do not see each other become `value`. `query` is the lane's first
/// row, `key` its first column, visibleFrom[half] the first key that its row of that half sees.
template <int NT>
__device__ __forceinline__ void hideKeys(float (&scores)[NT][4], int query, int key, const int (&visibleFrom)[2],
                                         float value) {
#pragma unroll
  for (int n = 0; n < NT; ++n) {
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const int column = key + n * 8 + c % 2;
      if (column > query + c / 2 * 8 || column < visibleFrom[c / 2]) scores[n][c] = value;
    }
  }
}

/// The same for keys (rows) and queries (columns); visibleFrom(column) is the first key that the query of that column
/// of the tile sees.
template <int NT, typename F>
__device__ __forceinline__ void hideQueries(float (&scores)[NT][4], int key, int query, F&& visibleFrom) {
  const int column = static_cast<int>(threadIdx.x % 4) * 2;
#pragma unroll
  for (int n = 0; n < NT; ++n) {
    const int first[2] = {visibleFrom(column + n * 8), visibleFrom(column + n * 8 + 1)};
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const int row = key + c / 2 * 8;
      if (row > query + column + n * 8 + c % 2 || row < first[c % 2]) scores[n][c] = 0;
    }
  }
}

/// Keys that a row of its half does not see beyond what hideKeys says: from ≤ key < to.
struct HiddenKeys {
  int from[2];
  int to[2];
  /// Of the queries `first` and `second`, places in [batch, length].
  __device__ __forceinline__ static HiddenKeys of(const Problem& problem, int64_t first, int64_t second) {
    return {{problem.hiddenFrom[first], problem.hiddenFrom[second]},
            {problem.hiddenTo[first], problem.hiddenTo[second]}};
  }
};

/// Scores of keys (columns from `key` on) that are hidden from a row become −∞.
template <int NT>
__device__ __forceinline__ void hideBranches(float (&scores)[NT][4], int key, const HiddenKeys& hidden) {
#pragma unroll
  for (int n = 0; n < NT; ++n) {
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const int column = key + n * 8 + c % 2;
      if (column >= hidden.from[c / 2] && column < hidden.to[c / 2]) scores[n][c] = -INFINITY;
    }
  }
}

/// Running softmax of a lane's two rows; `sum` is of the lane's own columns.
struct RowState {
  float maximum[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0, 0};
};

/// Scores become probabilities relative to the running maximum; factor[half] is for what was summed before.
template <int NT>
__device__ __forceinline__ void softmaxStep(float (&scores)[NT][4], RowState& state, float scale2, float (&factor)[2]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float top = scores[0][half * 2];
#pragma unroll
    for (int n = 0; n < NT; ++n) top = fmaxf(top, fmaxf(scores[n][half * 2], scores[n][half * 2 + 1]));
    top = fmaxf(state.maximum[half], rowMaximum(top));
    // A row that has seen no key yet keeps −∞ out of the differences.
    const float shift = top == -INFINITY ? 0.0F : top * scale2;
    factor[half] = exp2Approximate(fmaf(state.maximum[half], scale2, -shift));
    state.maximum[half] = top;
    float sum = 0;
#pragma unroll
    for (int n = 0; n < NT; ++n) {
#pragma unroll
      for (int c = half * 2; c < half * 2 + 2; ++c) {
        scores[n][c] = exp2Approximate(fmaf(scores[n][c], scale2, -shift));
        sum += scores[n][c];
      }
    }
    state.sum[half] = fmaf(state.sum[half], factor[half], sum);
  }
}

template <int NT>
__device__ __forceinline__ void scaleRows(float (&sums)[NT][4], const float (&factor)[2]) {
#pragma unroll
  for (int n = 0; n < NT; ++n) {
#pragma unroll
    for (int c = 0; c < 4; ++c) sums[n][c] *= factor[c / 2];
  }
}

/// Which rows of which head a block of threads of a one-dimensional grid owns. Heads are taken in bunches whose keys
/// and values stay in the L2 cache; within a bunch the blocks with most work start first.
struct BlockOrder {
  int blocks;  // of a head
  int bunch;   // heads
  int heads;   // of all sequences

  unsigned gridSize() const { return static_cast<unsigned>(blocks) * static_cast<unsigned>(heads); }
  struct Place {
    int rank;  // 0: first of its head in the order
    int head;  // sequence·(heads of a sequence) + head
  };
  __device__ Place place(unsigned index) const {
    const int perBunch = blocks * bunch;
    const int first = static_cast<int>(index) / perBunch * bunch;
    const int within = static_cast<int>(index) % perBunch;
    const int width = min(bunch, heads - first);
    return {within / width, first + within % width};
  }
};

/// Keys and values of one head in bf16, with a group's query heads sharing them.
inline int64_t keyValueBytes(const Problem& problem) {
  return int64_t{4} * problem.length * problem.headDim * problem.kvHeads / problem.heads;
}

/// Queries and dO in bf16 of all heads that share a key-value head.
inline int64_t groupBytes(const Problem& problem) {
  return int64_t{4} * problem.length * problem.headDim * problem.heads / problem.kvHeads;
}

/// For `owned` rows a block and heads (query or key-value) whose loop reads `bytes` a head.
inline BlockOrder orderOf(const Problem& problem, int heads, int owned, int64_t bytes) {
  constexpr int64_t cache = int64_t{24} << 20;
  const int64_t bunch = cache / (bytes > 0 ? bytes : 1);
  return {(problem.length + owned - 1) / owned,
          static_cast<int>(bunch < 1    ? 1
                           : bunch > 64 ? 64
                                        : bunch),
          problem.batch * heads};
}

}  // namespace lrqat::cuda::attention
