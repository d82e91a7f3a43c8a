// A·B on Hopper: B of a panel of columns in shared memory as wgmma reads it, and the products of 64 rows × 64 columns
// by a group of four warps. The multiplications and the order of their sums are those of rebuild_product.cuh.
//
// Of a step's 64 columns, lane 4g + q has the eight from 8q and the eight from 32 + 8q on, in rows g and g + 8 of its
// warp's 16: the four lanes of a row store 64 bytes without a gap.
#pragma once

#include <cstdint>

#include "cuda/kernels/rebuild_product.cuh"

namespace lrqat::cuda {

inline constexpr int kStepColumns = 64;
inline constexpr int kStepRows = 64;
inline constexpr int kHopperThreads = 512;                  // one block a multiprocessor
inline constexpr int kHopperGroups = kHopperThreads / 128;  // of four warps

#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || !defined(__CUDA_ARCH__)
#define LRQAT_HOPPER_CODE 1
#endif

/// B of a block's columns, split, as wgmma reads it (K-major, 64-byte swizzle): [high, low][position][32 ranks].
/// Position 32o + 8t + 2q + e of a step's 64 is column 32o + 8q + 2t + e. A piece of eight k holds, for the lanes q = 0
/// … 3 of A, two ranks each, so that k of a step of 16 means the rank that it means to mma.sync in SplitPanel.
template <int kColumns>
struct HopperPanel {
  uint4* memory;
  static constexpr int bytes = kColumns * kRankChunk * 4;

  /// By all `kThreads` of the block: one column and eight ranks at a time. Threads go through positions, so that
  /// pieces written together lie in different banks; columns read together are in one line of memory.
  template <int kThreads>
  __device__ __forceinline__ void fill(const Factors& factors, int firstColumn) const {
#pragma unroll
    for (int item = static_cast<int>(threadIdx.x); item < 4 * kColumns; item += kThreads) {
      const int position = item % kColumns;
      const int piece = item / kColumns;
      const int column = (position & ~31) | (position & 6) << 2 | (position & 24) >> 2 | (position & 1);
      const float* from = factors.b + min(firstColumn + column, factors.n - 1);
      float x[8];
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        const int rank = k / 2 * 8 + piece * 2 + k % 2;
        x[k] = rank < factors.rank ? __ldg(from + static_cast<int64_t>(rank) * factors.n) : 0.0F;
      }
      const SplitPair p0 = split(x[0], x[1]), p1 = split(x[2], x[3]), p2 = split(x[4], x[5]), p3 = split(x[6], x[7]);
      const int at = position * 4 + (piece ^ (position >> 1 & 3));
      memory[at] = make_uint4(p0.high, p1.high, p2.high, p3.high);
      memory[kColumns * 4 + at] = make_uint4(p0.low, p1.low, p2.low, p3.low);
    }
  }
};

#ifdef LRQAT_HOPPER_CODE

using HopperTile = float[8][4];

__device__ __forceinline__ uint64_t panelDescriptor(uint32_t address) {
  return static_cast<uint64_t>((address & 0x3ffffU) >> 4) | uint64_t{1} << 16 | uint64_t{512 >> 4} << 32 |
         uint64_t{2} << 62;
}

template <bool kFirst>
__device__ __forceinline__ void multiplyPanel(HopperTile& d, const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, %37, 1, 1, 0;"
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]),
        "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]),
        "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]),
        "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]), "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]),
        "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(kFirst ? 0 : 1));
}

/// Begins A·B of a step, in the order of multiplySplit.
template <int kColumns>
__device__ __forceinline__ void beginStep(const SplitRows& rows, uint32_t panel, int columnStep, HopperTile& d) {
  const uint64_t high = panelDescriptor(panel + columnStep * kStepColumns * 64);
  const uint64_t low = high + (kColumns * 64 >> 4);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
  multiplyPanel<true>(d, rows.low[0][0], high);
  multiplyPanel<false>(d, rows.low[0][1], high + 2);
  multiplyPanel<false>(d, rows.high[0][0], low);
  multiplyPanel<false>(d, rows.high[0][1], low + 2);
  multiplyPanel<false>(d, rows.high[0][0], high);
  multiplyPanel<false>(d, rows.high[0][1], high + 2);
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/// Waits until all but the `kPending` steps begun last are done; `d` is one that is.
template <int kPending>
__device__ __forceinline__ void awaitStep(HopperTile& d) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
#pragma unroll
  for (int j = 0; j < 8; ++j) {
#pragma unroll
    for (int c = 0; c < 4; ++c) asm volatile("" : "+f"(d[j][c])::"memory");
  }
}
#endif

}  // namespace lrqat::cuda
