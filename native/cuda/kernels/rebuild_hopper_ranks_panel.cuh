// A·B of many ranks on Hopper: B of 256 columns and all ranks in shared memory as wgmma reads it, A of a group's 64
// rows in registers, and the products of 64 rows × 128 columns by a group of four warps. With A in registers wgmma
// takes as long for 64 columns as for 128. The multiplications and the order of their sums are those of
// rebuild_product.cuh, chunk of 32 ranks after chunk.
//
// Of 64 columns, lane 4g + q has the 16 from 16q on, in rows g and g + 8 of its warp's 16.
#pragma once

#include <cstdint>

#include "cuda/kernels/rebuild_hopper_panel.cuh"
#include "cuda/kernels/rebuild_product.cuh"

namespace lrqat::cuda::ranks {

inline constexpr int kRows = 64;           // of a group of four warps
inline constexpr int kBoxColumns = 64;     // of what the copy engine writes at a time
inline constexpr int kTileColumns = 128;   // of one product
inline constexpr int kPanelColumns = 256;  // of a block
inline constexpr int kLaneColumns = 16;    // of a lane, of 64 columns
inline constexpr int kChunkBytes = kPanelColumns * kRankChunk * 4;

/// B of a block's columns, split, as wgmma reads it (K-major, 64-byte swizzle): [chunk][high, low][position][32 ranks].
/// Position 8j + 2q + e of 64 is column 16q + 2j + e. A piece of eight k holds, for the lanes q = 0 … 3 of A, two ranks
/// each, so that k of a step of 16 means the rank that it means to mma.sync in SplitPanel.
template <int kChunks>
struct Panel {
  uint4* memory;
  static constexpr int bytes = kChunks * kChunkBytes;

  template <int kThreads>
  __device__ __forceinline__ void fill(const Factors& factors, int firstColumn) const {
    constexpr int kItems = 4 * (kPanelColumns / 4);  // of a chunk
#pragma unroll 2
    for (int item = static_cast<int>(threadIdx.x); item < kChunks * kItems; item += kThreads) {
      const int piece = item % 4;
      const int quad = item / 4 % (kPanelColumns / 4);
      const int chunk = item / kItems;
      const int column = quad * 4;
      float x[8][4];
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        const int rank = chunk * kRankChunk + k / 2 * 8 + piece * 2 + k % 2;
        const float* from = factors.b + static_cast<int64_t>(rank) * factors.n;
        float4 four = make_float4(0, 0, 0, 0);
        if (rank < factors.rank)
          four = __ldg(reinterpret_cast<const float4*>(from + min(firstColumn + column, factors.n - 4)));
        x[k][0] = four.x;
        x[k][1] = four.y;
        x[k][2] = four.z;
        x[k][3] = four.w;
      }
      // Neighbouring quads begin with columns of other parity: their pieces lie in other banks.
      const bool odd = quad % 2 != 0;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        float z[8];
#pragma unroll
        for (int k = 0; k < 8; ++k) z[k] = odd ? x[k][j ^ 1] : x[k][j];
        put(z, chunk, column + (odd ? j ^ 1 : j), piece);
      }
    }
  }

 private:
  __device__ __forceinline__ void put(const float (&x)[8], int chunk, int column, int piece) const {
    const SplitPair p0 = split(x[0], x[1]), p1 = split(x[2], x[3]), p2 = split(x[4], x[5]), p3 = split(x[6], x[7]);
    const int position = (column & ~63) | (column >> 1 & 7) << 3 | (column >> 4 & 3) << 1 | (column & 1);
    uint4* at = memory + chunk * (kChunkBytes / 16) + position * 4 + (piece ^ (position >> 1 & 3));
    at[0] = make_uint4(p0.high, p1.high, p2.high, p3.high);
    at[kPanelColumns * 4] = make_uint4(p0.low, p1.low, p2.low, p3.low);
  }
};

/// A of one warp's 16 rows and 32 · kChunks ranks: first as loaded, then, in the same registers, as operands.
template <int kChunks>
struct Rows {
  SplitRows chunk[kChunks];

  __device__ __forceinline__ void load(const Factors& factors, int firstRow) {
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      RawRows raw;
      raw.load(factors, firstRow, c);
#pragma unroll
      for (int i = 0; i < kSlots; ++i) {
#pragma unroll
        for (int step = 0; step < 2; ++step) {
          chunk[c].high[0][step][i] = __float_as_uint(raw.value[i][4 * step]);
          chunk[c].low[0][step][i] = __float_as_uint(raw.value[i][4 * step + 1]);
          chunk[c].high[0][step][i + 2] = __float_as_uint(raw.value[i][4 * step + 2]);
          chunk[c].low[0][step][i + 2] = __float_as_uint(raw.value[i][4 * step + 3]);
        }
      }
    }
  }
  __device__ __forceinline__ void splitLoaded() {
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
#pragma unroll
      for (int word = 0; word < 8; ++word) {
        uint32_t& high = chunk[c].high[0][word / 4][word % 4];
        uint32_t& low = chunk[c].low[0][word / 4][word % 4];
        const SplitPair pair = split(__uint_as_float(high), __uint_as_float(low));
        high = pair.high;
        low = pair.low;
      }
    }
  }
};
static_assert(kRowBlocks == 1);

#ifdef LRQAT_HOPPER_CODE

/// [two times 64 columns][eight of them][rows g: 0, 1; g + 8: 2, 3].
using Tile = float[2][8][4];

template <bool kFirst>
__device__ __forceinline__ void multiplyChunk(Tile& d, const uint32_t (&a)[4], uint64_t b) {
  float(&u)[8][4] = d[0];
  float(&v)[8][4] = d[1];
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "{%64, %65, %66, %67}, %68, %69, 1, 1, 0;"
      : "+f"(u[0][0]), "+f"(u[0][1]), "+f"(u[0][2]), "+f"(u[0][3]), "+f"(u[1][0]), "+f"(u[1][1]), "+f"(u[1][2]),
        "+f"(u[1][3]), "+f"(u[2][0]), "+f"(u[2][1]), "+f"(u[2][2]), "+f"(u[2][3]), "+f"(u[3][0]), "+f"(u[3][1]),
        "+f"(u[3][2]), "+f"(u[3][3]), "+f"(u[4][0]), "+f"(u[4][1]), "+f"(u[4][2]), "+f"(u[4][3]), "+f"(u[5][0]),
        "+f"(u[5][1]), "+f"(u[5][2]), "+f"(u[5][3]), "+f"(u[6][0]), "+f"(u[6][1]), "+f"(u[6][2]), "+f"(u[6][3]),
        "+f"(u[7][0]), "+f"(u[7][1]), "+f"(u[7][2]), "+f"(u[7][3]), "+f"(v[0][0]), "+f"(v[0][1]), "+f"(v[0][2]),
        "+f"(v[0][3]), "+f"(v[1][0]), "+f"(v[1][1]), "+f"(v[1][2]), "+f"(v[1][3]), "+f"(v[2][0]), "+f"(v[2][1]),
        "+f"(v[2][2]), "+f"(v[2][3]), "+f"(v[3][0]), "+f"(v[3][1]), "+f"(v[3][2]), "+f"(v[3][3]), "+f"(v[4][0]),
        "+f"(v[4][1]), "+f"(v[4][2]), "+f"(v[4][3]), "+f"(v[5][0]), "+f"(v[5][1]), "+f"(v[5][2]), "+f"(v[5][3]),
        "+f"(v[6][0]), "+f"(v[6][1]), "+f"(v[6][2]), "+f"(v[6][3]), "+f"(v[7][0]), "+f"(v[7][1]), "+f"(v[7][2]),
        "+f"(v[7][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(kFirst ? 0 : 1));
}

/// A·B of 128 columns over all ranks, in the order of multiplySplit, finished. `panel`: address of a Panel.
template <int kChunks>
__device__ __forceinline__ void multiply(const Rows<kChunks>& rows, uint32_t panel, int tile, Tile& d) {
  uint64_t high = panelDescriptor(panel + static_cast<uint32_t>(tile) * kTileColumns * 64);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    const SplitRows& a = rows.chunk[chunk];
    const uint64_t low = high + (kPanelColumns * 64 >> 4);
    if (chunk == 0) {
      multiplyChunk<true>(d, a.low[0][0], high);
    } else {
      multiplyChunk<false>(d, a.low[0][0], high);
    }
    multiplyChunk<false>(d, a.low[0][1], high + 2);
    multiplyChunk<false>(d, a.high[0][0], low);
    multiplyChunk<false>(d, a.high[0][1], low + 2);
    multiplyChunk<false>(d, a.high[0][0], high);
    multiplyChunk<false>(d, a.high[0][1], high + 2);
    high += kChunkBytes >> 4;
  }
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
#pragma unroll
  for (int i = 0; i < 64; ++i) asm volatile("" : "+f"(d[i / 32][i / 4 % 8][i % 4])::"memory");
}
#endif

}  // namespace lrqat::cuda::ranks
