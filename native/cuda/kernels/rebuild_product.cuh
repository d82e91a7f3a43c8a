// A·B of one warp's 32 rows × 32 columns, in the register layout of mma.m16n8k16: of row block i (16 rows) and column
// tile t, lane 4g + q holds rows g and g + 8 and columns 8q + 2t and 8q + 2t + 1, so that a lane's columns are eight
// consecutive ones. k may be taken in any order as long as A and B agree: lane q multiplies k = 8q … 8q + 7 of each 32.
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
inline constexpr int kWarpRows = 32;

struct Factors {
  const float* a;  // [m, rank]
  const float* b;  // [rank, n]
  int rank;
  int m;
  int n;
  bool aVectorized;  // rows of A start 16-byte aligned and end on 4 elements
};

struct ProductTile {
  float value[2][4][4];  // [row block][column tile][g: 0, 1; g + 8: 2, 3]

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < 32; ++i) value[i / 16][i / 4 % 4][i % 4] = 0.0F;
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
/// ranks. `position` orders columns as the lanes want them; pieces are swizzled so that neither writing (consecutive
/// columns, one piece) nor reading (consecutive positions, all pieces) has bank conflicts.
struct SplitPanel {
  uint4* memory;
  int columns;  // of the block: 64, 128 or 256

  static constexpr int64_t bytes(int rank, int columns) {
    return static_cast<int64_t>((rank + kRankChunk - 1) / kRankChunk) * kRankChunk * columns * 4;
  }

  __device__ __forceinline__ uint4* piece(int chunk, int part, int position, int octet) const {
    const unsigned tile = static_cast<unsigned>(position) / 8 % 4;
    return memory + ((chunk * 2 + part) * columns + position) * 4 + (static_cast<unsigned>(octet) ^ tile);
  }

  /// By all threads of the block; needs a barrier after it.
  __device__ __forceinline__ void fill(const Factors& factors, int firstColumn, int threads) const {
    const int chunks = (factors.rank + kRankChunk - 1) / kRankChunk;
    // The number of columns is a power of two.
    const int columnBits = 31 - __clz(columns);
    for (int item = static_cast<int>(threadIdx.x); item < chunks * 4 * columns; item += threads) {
      const int column = item & (columns - 1);
      const int octet = item >> columnBits;  // of all ranks
      const int from = firstColumn + column;
      float x[8];
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        const int rank = octet * 8 + k;
        x[k] = rank < factors.rank && from < factors.n
                   ? __ldg(factors.b + static_cast<int64_t>(rank) * factors.n + from)
                   : 0.0F;
      }
      const SplitPair p0 = split(x[0], x[1]), p1 = split(x[2], x[3]), p2 = split(x[4], x[5]), p3 = split(x[6], x[7]);
      // Column 8q + 2t + e of a group is column 2q + e of its tile t.
      const int position = (column & ~31) | (column & 6) << 2 | (column & 24) >> 2 | (column & 1);
      *piece(octet / 4, 0, position, octet % 4) = make_uint4(p0.high, p1.high, p2.high, p3.high);
      *piece(octet / 4, 1, position, octet % 4) = make_uint4(p0.low, p1.low, p2.low, p3.low);
    }
  }
};

/// A of one warp's rows and 32 ranks as mma operands.
struct SplitRows {
  uint32_t high[2][2][4];  // [row block][k step][register]
  uint32_t low[2][2][4];

  __device__ __forceinline__ void load(const Factors& factors, int firstRow, int chunk) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int first = chunk * kRankChunk + lane % 4 * 8;
#pragma unroll
    for (int block = 0; block < 2; ++block) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = firstRow + block * 16 + half * 8 + lane / 4;
        const float* from = factors.a + static_cast<int64_t>(row) * factors.rank + first;
        float x[8];
        if (factors.aVectorized) {
#pragma unroll
          for (int k = 0; k < 8; k += 4) {
            const float4 four = row < factors.m && first + k < factors.rank
                                    ? __ldg(reinterpret_cast<const float4*>(from + k))
                                    : make_float4(0, 0, 0, 0);
            x[k] = four.x;
            x[k + 1] = four.y;
            x[k + 2] = four.z;
            x[k + 3] = four.w;
          }
        } else {
#pragma unroll
          for (int k = 0; k < 8; ++k) x[k] = row < factors.m && first + k < factors.rank ? __ldg(from + k) : 0.0F;
        }
#pragma unroll
        for (int step = 0; step < 2; ++step) {
          const SplitPair near = split(x[4 * step], x[4 * step + 1]);
          const SplitPair far = split(x[4 * step + 2], x[4 * step + 3]);
          high[block][step][half] = near.high;
          high[block][step][half + 2] = far.high;
          low[block][step][half] = near.low;
          low[block][step][half + 2] = far.low;
        }
      }
    }
  }
};

/// tile += A·B over one chunk of ranks; `position`: of the group's first column in the panel.
__device__ __forceinline__ void multiplySplit(const SplitRows& rows, const SplitPanel& panel, int chunk, int position,
                                              ProductTile& tile) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int t = 0; t < 4; ++t) {
    const uint4 high = *panel.piece(chunk, 0, position + t * 8 + lane / 4, lane % 4);
    const uint4 low = *panel.piece(chunk, 1, position + t * 8 + lane / 4, lane % 4);
#pragma unroll
    for (int block = 0; block < 2; ++block) {
      // The small terms first: they are added before the sum is large.
      multiplyTile(tile.value[block][t], rows.low[block][0], high.x, high.y);
      multiplyTile(tile.value[block][t], rows.low[block][1], high.z, high.w);
      multiplyTile(tile.value[block][t], rows.high[block][0], low.x, low.y);
      multiplyTile(tile.value[block][t], rows.high[block][1], low.z, low.w);
      multiplyTile(tile.value[block][t], rows.high[block][0], high.x, high.y);
      multiplyTile(tile.value[block][t], rows.high[block][1], high.z, high.w);
    }
  }
}

/// tile = A·B in the CPU's order. Rows and columns past the end repeat the last.
__device__ __forceinline__ void multiplyExact(const Factors& factors, int firstRow, int firstColumn,
                                              ProductTile& tile) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const float* a[4];
  int column[8];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = firstRow + i * 8 + lane / 4;
    a[i] = factors.a + static_cast<int64_t>(row < factors.m ? row : factors.m - 1) * factors.rank;
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const int c = firstColumn + lane % 4 * 8 + j;
    column[j] = c < factors.n ? c : factors.n - 1;
  }
  for (int k = 0; k < factors.rank; ++k) {
    const float* b = factors.b + static_cast<int64_t>(k) * factors.n;
    float right[8];
#pragma unroll
    for (int j = 0; j < 8; ++j) right[j] = __ldg(b + column[j]);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
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
