// A·B of one warp's 16 rows (or a multiple) × 32 columns, in the register layout of mma.m16n8k16: of row block i (16
// rows) and column tile t, lane 4g + q holds rows g and g + 8 and columns 8q + 2t and 8q + 2t + 1, so that a lane's
// columns are eight consecutive ones. k may be taken in any order as long as A and B agree: lane q multiplies k = 8q …
// 8q + 7 of each 32.
//
// Two forms, of which a run uses one throughout:
// * split bf16: x = hi + lo with hi = bf16(x), lo = bf16(x − hi); lo·hi + hi·lo + hi·hi on tensor cores, float32
//   accumulation, 32 ranks after the other. Relative error about 2^−16 of Σ|a·b|.
// * exact: one fused multiply-add a rank, k ascending: bit-identical to the CPU.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/kernels/rebuild_codes.cuh"

namespace lrqat::cuda {

inline constexpr int kRankChunk = 32;
inline constexpr int kRowBlocks = 1;
inline constexpr int kWarpRows = 16 * kRowBlocks;
/// Rows of a lane, eight from one to the next.
inline constexpr int kSlots = 2 * kRowBlocks;

struct Factors {
  const float* a;  // [m, rank]
  const float* b;  // [rank, n]
  int rank;
  int m;
  int n;
  bool aVectorized;  // rows of A start 16-byte aligned and end on 4 elements
  bool bVectorized;  // rows of B likewise
};

struct ProductTile {
  float value[kRowBlocks][4][4];  // [row block][column tile][g: 0, 1; g + 8: 2, 3]

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < kRowBlocks * 16; ++i) value[i / 16][i / 4 % 4][i % 4] = 0.0F;
  }
};

/// Two numbers as packed bf16, and what is left of them.
struct SplitPair {
  uint32_t high, low;
};

__device__ __forceinline__ uint32_t packBf16(float first, float second) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
}

__device__ __forceinline__ SplitPair split(float first, float second) {
  const uint32_t high = packBf16(first, second);
  return {high, packBf16(first - __uint_as_float(high << 16), second - __uint_as_float(high & 0xffff0000U))};
}

__device__ __forceinline__ void multiplyTile(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// B of one block's columns in shared memory, split, [chunk][high, low][position][32 ranks] as 16-byte pieces of eight
/// ranks. `position` orders columns as the lanes want them; pieces are swizzled so that reading (eight positions from a
/// multiple of eight on, all pieces: one run of memory) has no bank conflicts and writing few, in a way that is the
/// same for every eight positions.
template <int kColumns>
struct SplitPanel {
  uint4* memory;

  static constexpr int64_t bytes(int rank) {
    return static_cast<int64_t>(rank > kRankChunk ? (rank + kRankChunk - 1) / kRankChunk : 1) * kRankChunk * kColumns *
           4;
  }

  static __device__ __forceinline__ int place(int position, int octet) {
    return position * 4 + (octet ^ (position >> 1 & 3));
  }
  __device__ __forceinline__ uint4* part(int chunk, int part) const {
    return memory + (chunk * 2 + part) * (kColumns * 4);
  }

  /// By all `kThreads` of the block; needs a barrier after it.
  template <int kThreads>
  __device__ __forceinline__ void fill(const Factors& factors, int firstColumn) const {
    const int octets = max(1, (factors.rank + kRankChunk - 1) / kRankChunk) * 4;
    if (factors.bVectorized) {
      // Eight ranks of four columns at a time: eight loads in flight.
      for (int item = static_cast<int>(threadIdx.x); item < octets * (kColumns / 4); item += kThreads) {
        const int column = item % (kColumns / 4) * 4;
        const int octet = item / (kColumns / 4);
        const int from = min(firstColumn + column, factors.n - 4);
        float4 x[8];
#pragma unroll
        for (int k = 0; k < 8; ++k) {
          const int rank = min(octet * 8 + k, factors.rank - 1);
          x[k] = __ldg(reinterpret_cast<const float4*>(factors.b + (static_cast<int64_t>(rank) * factors.n + from)));
        }
#pragma unroll
        for (int k = 0; k < 8; ++k) {
          if (octet * 8 + k >= factors.rank) x[k] = make_float4(0, 0, 0, 0);
        }
        const float y[4][8] = {{x[0].x, x[1].x, x[2].x, x[3].x, x[4].x, x[5].x, x[6].x, x[7].x},
                               {x[0].y, x[1].y, x[2].y, x[3].y, x[4].y, x[5].y, x[6].y, x[7].y},
                               {x[0].z, x[1].z, x[2].z, x[3].z, x[4].z, x[5].z, x[6].z, x[7].z},
                               {x[0].w, x[1].w, x[2].w, x[3].w, x[4].w, x[5].w, x[6].w, x[7].w}};
        // Neighbouring threads begin with columns of other parity: their pieces lie in other banks.
        const bool odd = column / 4 % 2 != 0;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          float z[8];
#pragma unroll
          for (int k = 0; k < 8; ++k) z[k] = odd ? y[j ^ 1][k] : y[j][k];
          put(z, column + (odd ? j ^ 1 : j), octet);
        }
      }
      return;
    }
    for (int item = static_cast<int>(threadIdx.x); item < octets * kColumns; item += kThreads) {
      const int column = item % kColumns;
      const int octet = item / kColumns;  // of all ranks
      const int from = firstColumn + column;
      float x[8];
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        const int rank = octet * 8 + k;
        x[k] = rank < factors.rank && from < factors.n
                   ? __ldg(factors.b + (static_cast<int64_t>(rank) * factors.n + from))
                   : 0.0F;
      }
      put(x, column, octet);
    }
  }

 private:
  __device__ __forceinline__ void put(const float (&x)[8], int column, int octet) const {
    const SplitPair p0 = split(x[0], x[1]), p1 = split(x[2], x[3]), p2 = split(x[4], x[5]), p3 = split(x[6], x[7]);
    // Column 8q + 2t + e of a group is column 2q + e of its tile t.
    const int position = (column & ~31) | (column & 6) << 2 | (column & 24) >> 2 | (column & 1);
    const int at = place(position, octet & 3);
    part(octet / 4, 0)[at] = make_uint4(p0.high, p1.high, p2.high, p3.high);
    part(octet / 4, 1)[at] = make_uint4(p0.low, p1.low, p2.low, p3.low);
  }
};

/// A of one warp's rows and 32 ranks as mma operands. Rows past the end repeat the last.
struct SplitRows {
  uint32_t high[kRowBlocks][2][4];  // [row block][k step][register]
  uint32_t low[kRowBlocks][2][4];

  __device__ __forceinline__ void load(const Factors& factors, int firstRow, int chunk);
};

/// The same as loaded: conversions can wait until the loads have come.
struct RawRows {
  float value[kSlots][8];

  __device__ __forceinline__ void load(const Factors& factors, int firstRow, int chunk) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int first = chunk * kRankChunk + lane % 4 * 8;
#pragma unroll
    for (int i = 0; i < kSlots; ++i) {
      const int row = min(firstRow + i * 8 + lane / 4, factors.m - 1);
      const float* from = factors.a + (static_cast<int64_t>(row) * factors.rank + first);
      if (factors.aVectorized) {
#pragma unroll
        for (int k = 0; k < 8; k += 4) {
          const float4 four =
              first + k < factors.rank ? __ldg(reinterpret_cast<const float4*>(from + k)) : make_float4(0, 0, 0, 0);
          value[i][k] = four.x;
          value[i][k + 1] = four.y;
          value[i][k + 2] = four.z;
          value[i][k + 3] = four.w;
        }
      } else {
#pragma unroll
        for (int k = 0; k < 8; ++k) value[i][k] = first + k < factors.rank ? __ldg(from + k) : 0.0F;
      }
    }
  }

  __device__ __forceinline__ void split(SplitRows& rows) const {
#pragma unroll
    for (int i = 0; i < kSlots; ++i) {
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        const SplitPair near = cuda::split(value[i][4 * step], value[i][4 * step + 1]);
        const SplitPair far = cuda::split(value[i][4 * step + 2], value[i][4 * step + 3]);
        rows.high[i / 2][step][i % 2] = near.high;
        rows.high[i / 2][step][i % 2 + 2] = far.high;
        rows.low[i / 2][step][i % 2] = near.low;
        rows.low[i / 2][step][i % 2 + 2] = far.low;
      }
    }
  }
};

__device__ __forceinline__ void SplitRows::load(const Factors& factors, int firstRow, int chunk) {
  RawRows raw;
  raw.load(factors, firstRow, chunk);
  raw.split(*this);
}

/// tile += A·B over one chunk of ranks; `position`: of the group's first column in the panel, a multiple of 32.
template <int kColumns>
__device__ __forceinline__ void multiplySplit(const SplitRows& rows, const SplitPanel<kColumns>& panel, int chunk,
                                              int position, ProductTile& tile) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int at = SplitPanel<kColumns>::place(position + lane / 4, lane % 4);
  const uint4* high = panel.part(chunk, 0) + at;
  const uint4* low = panel.part(chunk, 1) + at;
#pragma unroll
  for (int t = 0; t < 4; ++t) {
    const uint4 h = high[t * 32];
    const uint4 l = low[t * 32];
    // The small terms first: they are added before the sum is large.
#pragma unroll
    for (int block = 0; block < kRowBlocks; ++block) multiplyTile(tile.value[block][t], rows.low[block][0], h.x, h.y);
#pragma unroll
    for (int block = 0; block < kRowBlocks; ++block) multiplyTile(tile.value[block][t], rows.low[block][1], h.z, h.w);
#pragma unroll
    for (int block = 0; block < kRowBlocks; ++block) multiplyTile(tile.value[block][t], rows.high[block][0], l.x, l.y);
#pragma unroll
    for (int block = 0; block < kRowBlocks; ++block) multiplyTile(tile.value[block][t], rows.high[block][1], l.z, l.w);
#pragma unroll
    for (int block = 0; block < kRowBlocks; ++block) multiplyTile(tile.value[block][t], rows.high[block][0], h.x, h.y);
#pragma unroll
    for (int block = 0; block < kRowBlocks; ++block) multiplyTile(tile.value[block][t], rows.high[block][1], h.z, h.w);
  }
}

/// tile = A·B in the CPU's order. Rows and columns past the end repeat the last.
__device__ __forceinline__ void multiplyExact(const Factors& factors, int firstRow, int firstColumn,
                                              ProductTile& tile) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const float* a[kSlots];
  int column[8];
#pragma unroll
  for (int i = 0; i < kSlots; ++i) {
    const int row = min(firstRow + i * 8 + lane / 4, factors.m - 1);
    a[i] = factors.a + static_cast<int64_t>(row) * factors.rank;
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) column[j] = min(firstColumn + lane % 4 * 8 + j, factors.n - 1);
  for (int k = 0; k < factors.rank; ++k) {
    const float* b = factors.b + static_cast<int64_t>(k) * factors.n;
    float right[8];
#pragma unroll
    for (int j = 0; j < 8; ++j) right[j] = __ldg(b + column[j]);
#pragma unroll
    for (int i = 0; i < kSlots; ++i) {
      const float left = __ldg(a[i] + k);
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        float& sum = tile.value[i / 2][j / 2][i % 2 * 2 + j % 2];
        sum = fmaf(left, right[j], sum);
      }
    }
  }
}

}  // namespace lrqat::cuda
