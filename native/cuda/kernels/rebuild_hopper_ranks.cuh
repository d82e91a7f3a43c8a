// The rebuild on Hopper for more ranks than rebuild_hopper.cuh serves; the finished weights to memory by the copy
// engine. Integers are those of the kernels on mma.sync (merging, statistics, other shapes).
#pragma once

#include <cuda.h>

#include <cstdint>

#include "cuda/kernels/clipped_count.cuh"
#include "cuda/kernels/early_launch.h"
#include "cuda/kernels/rebuild_codes.cuh"
#include "cuda/kernels/rebuild_hopper_ranks_panel.cuh"
#include "cuda/kernels/rebuild_tiles.cuh"
#include "cuda/kernels/row_grids.cuh"

namespace lrqat::cuda::ranks {

/// Threads of a block, one on a multiprocessor: as many as leave each the registers for A and a product.
template <int kChunks>
inline constexpr int kThreads = kChunks <= 2 ? 384 : 256;
/// What a warp hands to the copy engine at a time: 16 rows × 64 columns; twice the two of a product.
inline constexpr int kBoxBytes = 16 * kBoxColumns * 2;
inline constexpr int kStages = 4;
template <int kChunks>
inline constexpr int kSharedBytes = 1024 + Panel<kChunks>::bytes + kThreads<kChunks> / 32 * kStages* kBoxBytes;

template <class Codes>
struct Rebuild {
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

/// What the columns of a lane in one row have in common.
struct LaneGrid {
  float scale = 1;
  float zero = 0, zero0 = 0;  // zero points now and of Φ0
};

#ifdef LRQAT_HOPPER_CODE

/// Codes of 16 columns; the line that they are in comes into the second-level cache, where the row's next columns find
/// it.
template <int kWidth, RoundForm kForm>
__device__ __forceinline__ void loadCodes(const PackedCodes<kWidth, kForm>& codes, uint32_t row, int column,
                                          typename PackedCodes<kWidth, kForm>::Raw (&raw)[2]) {
  const auto cursor = codes.column(column);
  const uint8_t* from = codes.codes + (row + cursor.first);
  if constexpr (kWidth == 8) {
    uint4 words;
    asm volatile("ld.global.nc.L2::256B.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
                 : "l"(from));
    raw[0] = {words.x, words.y};
    raw[1] = {words.z, words.w};
  } else if constexpr (kWidth == 4) {
    uint2 words;
    asm volatile("ld.global.nc.L2::128B.v2.b32 {%0, %1}, [%2];" : "=r"(words.x), "=r"(words.y) : "l"(from));
    raw[0] = {words.x, 0U};
    raw[1] = {words.y, 0U};
  } else {
    raw[0] = codes.load(row, cursor);
    raw[1] = codes.load(row, codes.column(column + kOctet));
  }
}
template <typename E>
__device__ __forceinline__ void loadCodes(const FloatCodes<E>& codes, uint32_t row, int column,
                                          typename FloatCodes<E>::Raw (&raw)[2]) {
  raw[0] = codes.load(row, codes.column(column));
  raw[1] = codes.load(row, codes.column(column + kOctet));
}

/// One row's eight weights as bf16 pairs; with kMask bit 2i, or 2i + 17, of `outside` for those that were clipped.
template <bool kGroups, bool kMask, class Codes>
__device__ __forceinline__ uint4 finishOctet(const Rebuild<Codes>& p, const Codes& codes, const LaneGrid& grid,
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
}

/// Writes a row's eight words of the mask, 32 bytes; returns the number of their bits, this lane's share. bits: of the
/// four times 64 columns of the panel, of each the lane's 16 columns, two in a word.
__device__ __forceinline__ int writeMaskRow(uint32_t* mask, const Factors& factors, int row, int panelColumn,
                                            uint32_t first, uint32_t second) {
  const int q = static_cast<int>(threadIdx.x) % 4;
  // Lane q collects the q-th 64 columns from the four lanes of the row: halves of pairs, then pairs of lanes.
  const uint32_t other = __shfl_xor_sync(0xffffffffU, q < 2 ? second : first, 2);
  const uint32_t low = q < 2 ? first : other;    // of lane q % 2
  const uint32_t high = q < 2 ? other : second;  // of lane q % 2 + 2
  const bool odd = q % 2 != 0;
  const uint32_t received = __shfl_xor_sync(0xffffffffU, __byte_perm(low, high, odd ? 0x5410 : 0x7632), 1);
  // Halves of lanes 0 and 1, of 2 and 3.
  uint32_t word[2];
  word[0] = odd ? __byte_perm(received, low, 0x7610) : __byte_perm(low, received, 0x5410);
  word[1] = odd ? __byte_perm(received, high, 0x7632) : __byte_perm(high, received, 0x7610);
  const int words = (factors.n + 31) / 32;
  const int at = panelColumn / 32 + 2 * q;
  if (row >= factors.m) return 0;
  uint32_t* to = mask + (static_cast<uint32_t>(row) * static_cast<uint32_t>(words) + static_cast<uint32_t>(at));
  int count = 0;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if (at + i >= words) continue;
    const int columns = factors.n - (at + i) * 32;
    if (columns < 32) word[i] &= (1U << columns) - 1U;
    count += __popc(word[i]);
  }
  if (words % 2 == 0) {
    if (at < words) *reinterpret_cast<uint2*>(to) = make_uint2(word[0], word[1]);
  } else {
    if (at < words) to[0] = word[0];
    if (at + 1 < words) to[1] = word[1];
  }
  return count;
}
#endif

/// For ranks up to 32 · kChunks. Blocks: `blocksPerPanel` for each panel of 256 columns. The row blocks of a panel are
/// dealt out to the groups of four warps of its blocks in turn, so that all of them work on neighbouring memory.
template <class Codes, bool kGroups, bool kMask, int kChunks>
__global__ void __launch_bounds__(kThreads<kChunks>, 1) rebuild(const __grid_constant__ Rebuild<Codes> p) {
#ifdef LRQAT_HOPPER_CODE
  extern __shared__ uint4 dynamicMemory[];
  const auto dynamic = static_cast<uint32_t>(__cvta_generic_to_shared(dynamicMemory));
  const uint32_t panelAddress = (dynamic + 1023U) & ~1023U;
  const Panel<kChunks> panelOfB{dynamicMemory + (panelAddress - dynamic) / 16};
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const uint32_t stages = panelAddress + Panel<kChunks>::bytes + static_cast<uint32_t>(warp) * kStages * kBoxBytes;
  Factors factors = p.factors;
  factors.aVectorized = factors.bVectorized = true;  // launchers see to it
  const Codes codes = p.codes;
  if constexpr (kMask) p.counter.begin();

  const int panelColumn = static_cast<int>(blockIdx.x) / p.blocksPerPanel * kPanelColumns;
  const int part = static_cast<int>(blockIdx.x) % p.blocksPerPanel;
  const int tiles = factors.n - panelColumn > kTileColumns ? 2 : 1;
  const int rowStep = p.blocksPerPanel * (kThreads<kChunks> / 128) * kRows;
  int warpRow = (warp / 4 * p.blocksPerPanel + part) * kRows + warp % 4 * 16;
  const int endRow = (factors.m + kRows - 1) / kRows * kRows;  // of whole row blocks, so that groups stay together
  const int laneColumn = panelColumn + lane % 4 * kLaneColumns;
  const int mostColumn = (factors.n + 31) / 32 * 32 - kLaneColumns;

  typename Codes::Raw raw[2][2][2];  // [times 64 columns][row][octet]
  LaneGrid grid[kGroups ? 2 : 1][2];
  if (!p.grids.zero) {
#pragma unroll
    for (auto& ofBox : grid) ofBox[0].zero = ofBox[1].zero = 0.0F - p.grids.qmin;  // Φ0 is decoded around it
  }
  const auto fetch = [&](int row, int tile) {
#pragma unroll
    for (int box = 0; box < 2; ++box) {
      const int column = min(laneColumn + (tile * 2 + box) * kBoxColumns, mostColumn);
#pragma unroll
      for (int slot = 0; slot < 2; ++slot) {
        loadCodes(codes, codes.row(min(row + slot * 8 + lane / 4, factors.m - 1)), column, raw[box][slot]);
      }
    }
  };
  const auto fetchGrid = [&](int row, int tile) {
    if (!kGroups && !p.grids.zero) return;
#pragma unroll
    for (int box = 0; box < (kGroups ? 2 : 1); ++box) {
      const auto column = static_cast<uint32_t>(min(laneColumn + (tile * 2 + box) * kBoxColumns, factors.n - 1));
      const uint32_t inRow = kGroups ? __umulhi(column, p.groupReciprocal) : 0U;
#pragma unroll
      for (int slot = 0; slot < 2; ++slot) {
        const auto of = static_cast<uint32_t>(min(row + slot * 8 + lane / 4, factors.m - 1));
        const uint32_t at = of * p.grids.rowStride + inRow;
        if (p.grids.zero) {
          grid[box][slot].zero = __ldg(p.grids.zero + at);
          grid[box][slot].zero0 = __ldg(p.grids0.zero + at);
        }
        if constexpr (kGroups) grid[box][slot].scale = __ldg(p.groupScale + (of * p.groups + inRow));
      }
    }
  };
  Rows<kChunks> rows;
  // All loads fly while B is split.
  if (warpRow < endRow) {
    fetch(warpRow, 0);
    fetchGrid(warpRow, 0);
    rows.load(factors, warpRow);
  }
  panelOfB.template fill<kThreads<kChunks>>(factors, panelColumn);
  // Ordinary stores wrote what wgmma reads.
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  if (warpRow < endRow) rows.splitLoaded();
  // Nothing has been written so far, and what has been read is not written by what may still run in front.
  awaitFront();
  releaseNext();

  int clipped = 0;
  uint32_t stage = 0;
  int tile = 0;
  uint32_t bits[2][2] = {};  // [row][half of the panel], with kMask
  while (warpRow < endRow) {
    Tile d;
    multiply<kChunks>(rows, panelAddress, tile, d);
    const int row = warpRow;
    const int column = panelColumn + tile * kTileColumns;
    const int ofTile = tile;
    const bool rowEnds = ++tile == tiles;
    if (rowEnds) {
      tile = 0;
      warpRow += rowStep;
    }
    typename Codes::Raw now[2][2][2];
    LaneGrid nowGrid[kGroups ? 2 : 1][2];
#pragma unroll
    for (int i = 0; i < 8; ++i) now[i / 4][i / 2 % 2][i % 2] = raw[i / 4][i / 2 % 2][i % 2];
#pragma unroll
    for (int i = 0; i < (kGroups ? 4 : 2); ++i) {
      LaneGrid& to = nowGrid[i / 2][i % 2];
      to = grid[i / 2][i % 2];
      to.zero = zeroPointOn(to.zero, p.grids.levels);
      to.zero0 = zeroPointOn(to.zero0, p.grids.levels);
    }
    // In flight while this product is worked on; after the last one, some place that is not used.
    fetch(warpRow, tile);
    if (kGroups || rowEnds) fetchGrid(warpRow, tile);
    const bool nextRows = rowEnds && warpRow < endRow;
    // Into the registers of the rows that are done.
    if (nextRows) rows.load(factors, warpRow);

    // Until the copy engine has read what these buffers held.
    if (lane == 0) asm volatile("cp.async.bulk.wait_group.read 1;" ::: "memory");
    __syncwarp();
#pragma unroll
    for (int box = 0; box < 2; ++box) {
#pragma unroll
      for (int slot = 0; slot < 2; ++slot) {
        uint32_t outside = 0;
#pragma unroll
        for (int octet = 0; octet < 2; ++octet) {
          float product[kOctet];
#pragma unroll
          for (int j = 0; j < kOctet; ++j) product[j] = d[box][octet * 4 + j / 2][slot * 2 + j % 2];
          uint32_t ofOctet = 0;
          const uint4 out = finishOctet<kGroups, kMask>(p, codes, nowGrid[kGroups ? box : 0][slot],
                                                        now[box][slot][octet], product, ofOctet);
          outside |= ofOctet << (octet * 8);
          const auto piece = static_cast<uint32_t>((lane % 4 * 2 + octet) ^ (lane / 4));
          storeShared(
              stages + stage + static_cast<uint32_t>(box * kBoxBytes + (slot * 8 + lane / 4) * 128) + piece * 16, out);
        }
        if constexpr (kMask) {
          const uint32_t half = ((outside | outside >> 16) & 0xffffU) << (box * 16);
          bits[slot][0] = ofTile == 0 ? bits[slot][0] | half : bits[slot][0];
          bits[slot][1] = ofTile == 0 ? bits[slot][1] : bits[slot][1] | half;
        }
      }
    }
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncwarp();
    if (lane == 0) {
      storeBox(p.out, stages + stage, column, row);
      if (column + kBoxColumns < factors.n) storeBox(p.out, stages + stage + kBoxBytes, column + kBoxColumns, row);
      asm volatile("cp.async.bulk.commit_group;" ::: "memory");
    }
    stage ^= 2 * kBoxBytes;
    if (nextRows) rows.splitLoaded();
    if constexpr (kMask) {
      if (rowEnds) {
#pragma unroll
        for (int slot = 0; slot < 2; ++slot) {
          clipped +=
              writeMaskRow(p.mask, factors, row + slot * 8 + lane / 4, panelColumn, bits[slot][0], bits[slot][1]);
          bits[slot][0] = bits[slot][1] = 0;
        }
      }
    }
  }
  if (lane == 0) asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
  if constexpr (kMask) p.counter.add(clipped);
#endif
}

}  // namespace lrqat::cuda::ranks
