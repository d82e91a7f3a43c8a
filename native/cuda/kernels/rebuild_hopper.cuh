// The rebuild on Hopper: A·B by wgmma, 64 rows × 64 columns of a group of four warps at a time, and the finished
// weights to memory by the copy engine. The multiplications and the order of their sums are those of
// rebuild_product.cuh, so that the integers are those of the kernels on mma.sync (merging, statistics, other shapes).
#pragma once

#include <cuda.h>

#include <cstdint>

#include "cuda/kernels/clipped_count.cuh"
#include "cuda/kernels/early_launch.h"
#include "cuda/kernels/rebuild_codes.cuh"
#include "cuda/kernels/rebuild_hopper_panel.cuh"
#include "cuda/kernels/rebuild_tiles.cuh"
#include "cuda/kernels/row_grids.cuh"

namespace lrqat::cuda {

template <class Codes>
struct HopperRebuild {
  CUtensorMap out;  // [rows, n] bf16 in boxes of 16 rows × 64 columns
  Codes codes;
  Factors factors;
  float gamma;
  RowGrids grids, grids0;    // of now and of Φ0
  const float* groupScale;   // [rows, groups], with kGroups
  uint32_t groups;           // a row
  uint32_t groupReciprocal;  // ceil(2^32 / group size)
  uint32_t* mask;            // [rows, ceil(n / 32)]
  ClippedCounter counter;
  int blocksPerPanel;
};

/// Part `index` of `count` steps dealt out evenly to `parts`.
struct Share {
  int first, end;

  static __device__ __forceinline__ Share of(int count, int parts, int index) {
    const int each = count / parts;
    const int longer = count % parts;  // parts with one step more
    const int first = index * each + min(index, longer);
    return {first, first + each + (index < longer ? 1 : 0)};
  }
};

/// What the columns of a lane in one row have in common.
struct LaneGrid {
  float scale = 1;
  float zero = 0, zero0 = 0;  // zero points now and of Φ0
};

#ifdef LRQAT_HOPPER_CODE

/// One row's eight weights as bf16 pairs; with kMask bit 2i, or 2i + 17, of `outside` for those that were clipped.
template <bool kGroups, bool kMask, class Codes>
__device__ __forceinline__ uint4 finishOctet(const HopperRebuild<Codes>& p, const Codes& codes, const LaneGrid& grid,
                                             const typename Codes::Raw& raw, const float (&product)[kOctet],
                                             uint32_t& outside) {
  float rounded[kOctet];
  // Codes count from the lower end of the grid of Φ0.
  roundOctet<false>(codes.around(grid.zero0), raw, product, {p.gamma, 0, 0}, rounded);
  const float low = 0.0F - grid.zero;
  const float high = p.grids.levels - grid.zero;
  uint32_t pairs[kOctet / 2];
  if constexpr (!kGroups) {
    // Clipped in bf16, two at a time: integers up to 256 are exact in it, and what is rounded stays outside.
    const __nv_bfloat162 low2 = __float2bfloat162_rn(low);
    const __nv_bfloat162 high2 = __float2bfloat162_rn(high);
#pragma unroll
    for (int i = 0; i < kOctet / 2; ++i) {
      const uint32_t bits = packBf16(rounded[2 * i], rounded[2 * i + 1]);
      const auto whole = reinterpret_cast<const __nv_bfloat162&>(bits);
      const __nv_bfloat162 q = __hmin2(__hmax2(whole, low2), high2);
      pairs[i] = reinterpret_cast<const uint32_t&>(q);
      if constexpr (kMask) outside |= __hneu2_mask(whole, q) & (1U << 2 * i | 1U << (2 * i + 17));
    }
  } else {
#pragma unroll
    for (int i = 0; i < kOctet / 2; ++i) {
      const float first = clampTo(rounded[2 * i], low, high);
      const float second = clampTo(rounded[2 * i + 1], low, high);
      if constexpr (kMask) {
        outside |= first != rounded[2 * i] ? 1U << 2 * i : 0U;
        outside |= second != rounded[2 * i + 1] ? 1U << (2 * i + 17) : 0U;
      }
      pairs[i] = packBf16(first * grid.scale, second * grid.scale);
    }
  }
  return make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

__device__ __forceinline__ void storeShared(uint32_t to, const uint4& value) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(value.x), "r"(value.y), "r"(value.z),
               "r"(value.w)
               : "memory");
}

/// Sends 16 rows × 64 columns off; what lies outside of the weight is left out.
__device__ __forceinline__ void storeBox(const CUtensorMap& map, uint32_t from, int column, int row) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(&map), "r"(column),
               "r"(row), "r"(from)
               : "memory");
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
#endif

/// Writes the mask of a warp's step and returns the number of its bits, this lane's share. outside: of a lane's two
/// rows, even columns' bits in the lower half, odd ones' in the upper one.
__device__ __forceinline__ int writeMask(uint32_t* mask, const Factors& factors, int row, int column,
                                         const uint32_t (&outside)[2]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  uint32_t mine = ((outside[0] | outside[0] >> 16) & 0xffffU) | (outside[1] | outside[1] >> 16) << 16;
  const int left = factors.n - (column + lane % 4 * kLaneColumns);
  if (left < kLaneColumns) mine = left < kOctet ? 0U : mine & 0x00ff00ffU;
  // Two lanes have a word of each row: the even one writes the first row's, the odd one the second's.
  const uint32_t other = __shfl_xor_sync(0xffffffffU, mine, 1);
  const uint32_t word = __byte_perm(mine, other, lane % 2 != 0 ? 0x3276 : 0x5410);
  const int of = row + lane / 4 + lane % 2 * 8;
  const uint32_t words = (static_cast<uint32_t>(factors.n) + 31) / 32;
  const auto at = static_cast<uint32_t>(column) / 32 + static_cast<uint32_t>(lane % 4 / 2);
  if (of >= factors.m || at >= words) return 0;
  mask[static_cast<uint32_t>(of) * words + at] = word;
  return __popc(word);
}

/// Blocks: `blocksPerPanel` for each panel of 256 columns. The steps of a panel, row block after row block and in it
/// column after column, are dealt out evenly to its blocks, those of a block to its groups of four warps.
template <class Codes, bool kGroups, bool kMask>
__global__ void __launch_bounds__(kHopperThreads, 1) rebuildOnHopper(const __grid_constant__ HopperRebuild<Codes> p) {
#ifdef LRQAT_HOPPER_CODE
  extern __shared__ uint4 dynamicMemory[];
  const auto dynamic = static_cast<uint32_t>(__cvta_generic_to_shared(dynamicMemory));
  const uint32_t panelAddress = (dynamic + 1023U) & ~1023U;
  const HopperPanel panelOfB{dynamicMemory + (panelAddress - dynamic) / 16};
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const uint32_t stage = panelAddress + HopperPanel::bytes + static_cast<uint32_t>(warp) * 2 * kStageBytes;
  Factors factors = p.factors;
  factors.aVectorized = factors.bVectorized = true;  // launchers see to it
  const Codes codes = p.codes;
  if constexpr (kMask) p.counter.begin();

  const int panel = static_cast<int>(blockIdx.x) / p.blocksPerPanel;
  const int columnSteps = (min(kHopperColumns, factors.n - panel * kHopperColumns) + kStepColumns - 1) / kStepColumns;
  const Share block = Share::of((factors.m + kStepRows - 1) / kStepRows * columnSteps, p.blocksPerPanel,
                                static_cast<int>(blockIdx.x) % p.blocksPerPanel);
  const Share share = Share::of(block.end - block.first, kHopperThreads / 128, warp / 4);
  const int first = block.first + share.first;
  int left = share.end - share.first;
  int columnStep = first % columnSteps;
  int warpRow = first / columnSteps * kStepRows + warp % 4 * 16;
  const int panelColumn = panel * kHopperColumns;
  const int laneColumn = panelColumn + lane % 4 * kLaneColumns;
  const int mostColumn = (factors.n + 31) / 32 * 32 - kLaneColumns;

  typename Codes::Raw raw[2][2];
  LaneGrid grid[2];
  if (!p.grids.zero) grid[0].zero = grid[1].zero = 0.0F - p.grids.qmin;  // Φ0 is decoded around it
  const auto fetch = [&](int row, int step) {
    const int column = min(laneColumn + step * kStepColumns, mostColumn);
#pragma unroll
    for (int slot = 0; slot < 2; ++slot) {
      codes.loadTwo(codes.row(min(row + slot * 8 + lane / 4, factors.m - 1)), column, raw[slot]);
    }
  };
  const auto fetchGrid = [&](int row, int step) {
    const auto column = static_cast<uint32_t>(min(laneColumn + step * kStepColumns, factors.n - 1));
    const uint32_t inRow = kGroups ? __umulhi(column, p.groupReciprocal) : 0U;
#pragma unroll
    for (int slot = 0; slot < 2; ++slot) {
      const auto of = static_cast<uint32_t>(min(row + slot * 8 + lane / 4, factors.m - 1));
      const uint32_t at = of * p.grids.rowStride + inRow;
      if (p.grids.zero) {
        grid[slot].zero = __ldg(p.grids.zero + at);
        grid[slot].zero0 = __ldg(p.grids0.zero + at);
      }
      if constexpr (kGroups) grid[slot].scale = __ldg(p.groupScale + (of * p.groups + inRow));
    }
  };
  // All loads fly while B is split.
  SplitRows rows;
  RawRows rawRows;
  if (left > 0) {
    fetch(warpRow, columnStep);
    fetchGrid(warpRow, columnStep);
    rawRows.load(factors, warpRow, 0);
  }
  panelOfB.template fill<kHopperThreads>(factors, panelColumn);
  // Ordinary stores wrote what wgmma reads.
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  if (left > 0) rawRows.split(rows);
  // Nothing has been written so far, and what has been read is not written by what may still run in front.
  awaitFront();
  releaseNext();

  int clipped = 0;
  uint32_t buffer = 0;
  while (left > 0) {
    --left;
    HopperTile d;
    multiplyStep(rows, panelAddress, columnStep, d);
    const int row = warpRow;
    const int column = panelColumn + columnStep * kStepColumns;
    if (++columnStep == columnSteps) {
      columnStep = 0;
      warpRow += kStepRows;
    }
    typename Codes::Raw now[2][2];
    LaneGrid nowGrid[2];
#pragma unroll
    for (int slot = 0; slot < 2; ++slot) {
      now[slot][0] = raw[slot][0];
      now[slot][1] = raw[slot][1];
      nowGrid[slot] = grid[slot];
      nowGrid[slot].zero = zeroPointOn(grid[slot].zero, p.grids.levels);
      nowGrid[slot].zero0 = zeroPointOn(grid[slot].zero0, p.grids.levels);
    }
    // In flight while this step is worked on; after the last one, some place that is not used.
    fetch(warpRow, columnStep);
    if (kGroups || columnStep == 0) fetchGrid(warpRow, columnStep);
    const bool nextRows = columnStep == 0 && left > 0;
    if (nextRows) rawRows.load(factors, warpRow, 0);

    // Until the copy engine has read what this buffer held.
    if (lane == 0) asm volatile("cp.async.bulk.wait_group.read 1;" ::: "memory");
    __syncwarp();
    uint32_t outside[2] = {0, 0};
#pragma unroll
    for (int slot = 0; slot < 2; ++slot) {
#pragma unroll
      for (int octet = 0; octet < 2; ++octet) {
        float product[kOctet];
#pragma unroll
        for (int j = 0; j < kOctet; ++j) product[j] = d[octet * 4 + j / 2][slot * 2 + j % 2];
        uint32_t bits = 0;
        const uint4 out = finishOctet<kGroups, kMask>(p, codes, nowGrid[slot], now[slot][octet], product, bits);
        outside[slot] |= bits << (octet * 8);
        const auto piece = static_cast<uint32_t>((lane % 4 * 2 + octet) ^ (lane / 4));
        storeShared(stage + buffer + static_cast<uint32_t>(slot * 8 + lane / 4) * 128 + piece * 16, out);
      }
    }
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncwarp();
    if (lane == 0) storeBox(p.out, stage + buffer, column, row);
    buffer ^= kStageBytes;
    if (nextRows) rawRows.split(rows);
    if constexpr (kMask) clipped += writeMask(p.mask, factors, row, column, outside);
  }
  if (lane == 0) asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
  if constexpr (kMask) p.counter.add(clipped);
#endif
}

}  // namespace lrqat::cuda
