// The rebuild on Hopper: A·B by wgmma, 64 rows × 64 columns of a group of four warps at a time. The multiplications and
// the order of their sums are those of rebuild_product.cuh and the rounding is that of roundOctet, so that the integers
// are those of the kernels on mma.sync (merging, statistics, other shapes).
//
// What counts here is the order in which memory is touched, its latency, and the number of instructions: all groups
// sweep over the rows together, what a warp reads is copied to shared memory a unit (its 16 rows × a panel's columns)
// ahead, the steps of a unit are unrolled so that places in shared memory are constants, and pairs of weights are
// worked on as bf16 (rebuild_hopper_octet.cuh).
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/kernels/clipped_count.cuh"
#include "cuda/kernels/early_launch.h"
#include "cuda/kernels/rebuild_codes.cuh"
#include "cuda/kernels/rebuild_hopper_octet.cuh"
#include "cuda/kernels/rebuild_hopper_panel.cuh"
#include "cuda/kernels/rebuild_hopper_stage.cuh"
#include "cuda/kernels/rebuild_tiles.cuh"
#include "cuda/kernels/row_grids.cuh"

namespace lrqat::cuda {

template <class Codes>
struct HopperRebuild {
  __nv_bfloat16* out;  // [rows, n]
  Codes codes;
  bool wholePieces;  // rows of packed codes are a multiple of 16 bytes
  Factors factors;
  float gamma;
  RowGrids grids, grids0;    // of now and of Φ0
  const float* groupScale;   // [rows, grids.rowStride], of groups
  uint32_t groupReciprocal;  // ceil(2^32 / group size)
  uint32_t* mask;            // [rows, ceil(n / 32)]
  ClippedCounter counter;
  int blocksPerPanel;
};

/// Columns of a panel, as measured. The mask is written in pieces of an eighth of a panel's columns, and of those whole
/// sectors of 32 bytes are worth more than the order of the weights.
template <bool kMask>
struct HopperShape {
  static constexpr int columns = kMask ? 256 : 128;
  static constexpr int steps = columns / kStepColumns;
};

/// Shared memory of a block: the panel, then of each warp two stages of codes, one of A, and bits of the mask.
template <class Codes, bool kMask>
struct HopperLayout {
  static constexpr int columns = HopperShape<kMask>::columns;
  static constexpr uint32_t codeBytes = Codes::packed ? StagedCodes<Codes, columns>::bytes : 0;
  static constexpr uint32_t maskBytes = kMask ? kUnitRows * columns / 8 : 0;
  static constexpr uint32_t rowsAt = 2 * codeBytes;
  static constexpr uint32_t maskAt = rowsAt + kUnitBytesOfA;
  static constexpr uint32_t warpBytes = maskAt + maskBytes;
  static constexpr int bytes = 1024 + HopperPanel<columns>::bytes + kHopperThreads / 32 * static_cast<int>(warpBytes);
};

#ifdef LRQAT_HOPPER_CODE

/// Zero points now and of Φ0, as loaded.
struct ZeroPair {
  float now = 0, start = 0;
};

/// x, which the compiler shall keep instead of making it anew in each step.
template <typename T>
__device__ __forceinline__ T hidden(T x) {
  if constexpr (sizeof(T) == 8) {
    asm volatile("" : "+l"(x));
  } else if constexpr (std::is_same_v<T, float>) {
    asm volatile("" : "+f"(x));
  } else {
    asm volatile("" : "+r"(x));
  }
  return x;
}

__device__ __forceinline__ void storeByte(uint32_t to, uint32_t byte) {
  asm volatile("st.shared.u8 [%0], %1;" ::"r"(to), "r"(byte) : "memory");
}

/// Writes the mask of a unit from bytes in shared memory, [16][kColumns / 8]; returns the number of its bits, this
/// lane's share.
template <int kColumns>
__device__ __forceinline__ int writeMask(uint32_t* mask, const Factors& factors, int row, int panelColumn,
                                         uint32_t from) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int of = row + lane / 2;
  const int words = (factors.n + 31) / 32;
  constexpr int each = kColumns / 64;
  const int first = panelColumn / 32 + lane % 2 * each;
  uint32_t word[each];
  int count = 0;
#pragma unroll
  for (int i = 0; i < each; ++i) {
    word[i] = readShared(from + static_cast<uint32_t>(lane * each + i) * 4);
    // Columns past the last one have no bits.
    const int columns = factors.n - (first + i) * 32;
    if (columns < 32) word[i] = columns <= 0 ? 0U : word[i] & ((1U << columns) - 1U);
    if (of < factors.m) count += __popc(word[i]);
  }
  if (of >= factors.m) return 0;
  uint32_t* to = mask + (static_cast<uint32_t>(of) * static_cast<uint32_t>(words) + static_cast<uint32_t>(first));
  if (words % 2 == 0 && first + each <= words) {
#pragma unroll
    for (int i = 0; i < each; i += 2) *reinterpret_cast<uint2*>(to + i) = make_uint2(word[i], word[i + 1]);
  } else {
#pragma unroll
    for (int i = 0; i < each; ++i) {
      if (first + i < words) to[i] = word[i];
    }
  }
  return count;
}
#endif

/// Blocks: `blocksPerPanel` for each panel of columns. Its row blocks are dealt out in turn to the groups of four warps
/// of all these blocks, so that the whole grid sweeps over memory from the first row to the last: where every group has
/// rows of its own, reading and writing take a sixth longer.
template <class Codes, bool kGroups, bool kZeroPoints, bool kMask>
__global__ void __launch_bounds__(kHopperThreads, 1) rebuildOnHopper(const __grid_constant__ HopperRebuild<Codes> p) {
#ifdef LRQAT_HOPPER_CODE
  using Layout = HopperLayout<Codes, kMask>;
  using Shape = HopperShape<kMask>;
  using Staged = StagedCodes<Codes, Shape::columns>;
  using Panel = HopperPanel<Shape::columns>;
  using Raw = typename Codes::Raw;
  // What a warp keeps to store a row's columns at once; groups around zero points leave no registers for it.
  constexpr int heldSteps = kMask || (kGroups && kZeroPoints) ? 1 : 2;
  extern __shared__ uint4 dynamicMemory[];
  const auto dynamic = static_cast<uint32_t>(__cvta_generic_to_shared(dynamicMemory));
  const uint32_t panelAddress = (dynamic + 1023U) & ~1023U;
  const Panel panelOfB{dynamicMemory + (panelAddress - dynamic) / 16};
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = __shfl_sync(0xffffffffU, static_cast<int>(threadIdx.x) / 32, 0);
  const uint32_t ofWarp = panelAddress + Panel::bytes + static_cast<uint32_t>(warp) * Layout::warpBytes;
  const Factors& factors = p.factors;
  if constexpr (kMask) p.counter.begin();

  const int panel = static_cast<int>(blockIdx.x) / p.blocksPerPanel;
  const int panelColumn = panel * Shape::columns;
  const int rowStride = p.blocksPerPanel * kHopperGroups * kStepRows;
  int row =
      (static_cast<int>(blockIdx.x) % p.blocksPerPanel * kHopperGroups + warp / 4) * kStepRows + warp % 4 * kUnitRows;
  // Of four warps together: all multiply or none does.
  const int endRow = factors.m + warp % 4 * kUnitRows;

  const StagedRows stagedRows{ofWarp + Layout::rowsAt};
  const auto copyRows = [&](int of) {
    if (of < endRow && factors.rank > 0) stagedRows.copy(factors, of);
  };
  const auto copyCodes = [&](int of, uint32_t stage) {
    if constexpr (Codes::packed) {
      if (of >= endRow) return;
      const uint32_t pitch = p.codes.rowBytes;
      const uint32_t start = static_cast<uint32_t>(panel) * Staged::rowBytes;
      const uint8_t* from = p.codes.codes + start;
      if (p.wholePieces) {
        Staged::template copy<16>(ofWarp + stage, from, pitch, pitch - start, of, factors.m - 1);
      } else {
        Staged::template copy<4>(ofWarp + stage, from, pitch, pitch - start, of, factors.m - 1);
      }
    }
  };
  // All loads fly while B is split.
  copyCodes(row, 0);
  copyRows(row);
  closeCopies();
  copyCodes(row + rowStride, Layout::codeBytes);
  closeCopies();
  panelOfB.template fill<kHopperThreads>(factors, panelColumn);
  // Ordinary stores wrote what wgmma reads.
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  releaseNext();

  const int laneRow = lane / 4;
  const int laneColumn = panelColumn + lane % 4 * kOctet;
  const auto octetColumn = [&](int step, int octet) { return laneColumn + step * kStepColumns + octet * 32; };
  constexpr Finish finish = finishOf<Codes, kZeroPoints>;
  const float levels = p.grids.levels;
  const PairGrid symmetric = symmetricGrid<finish>(levels, p.grids.qmin);
  // Of a row: its first scale or zero point.
  const auto firstOf = [&](int of) { return static_cast<uint32_t>(min(of, factors.m - 1)) * p.grids.rowStride; };
  const auto zerosAt = [&](uint32_t at) { return ZeroPair{__ldg(p.grids.zero + at), __ldg(p.grids0.zero + at)}; };
  const auto gridOf = [&](const ZeroPair& zeros) {
    return gridAround<finish>(levels, zeroPointOn(zeros.now, levels), zeroPointOn(zeros.start, levels));
  };
  [[maybe_unused]] ZeroPair nextZeros[2];
  if constexpr (kZeroPoints && !kGroups) {
#pragma unroll
    for (int slot = 0; slot < 2; ++slot) nextZeros[slot] = zerosAt(firstOf(row + slot * 8 + laneRow));
  }

  uint32_t place = ofWarp;
  if constexpr (Codes::packed) place += Staged::lanePlace();
  const float gamma = hidden(p.gamma);
  const uint32_t maskPlace = ofWarp + Layout::maskAt + static_cast<uint32_t>(laneRow * (Shape::columns / 8) + lane % 4);
  int clipped = 0;
  uint32_t stage = 0;
  while (row < endRow) {
    awaitCopies<1>();
    __syncwarp();
    SplitRows rows;
    {
      RawRows rawRows;
      if (factors.rank > 0) {
        stagedRows.read(rawRows);
      } else {
#pragma unroll
        for (int i = 0; i < 16; ++i) rawRows.value[i / 8][i % 8] = 0.0F;
      }
      rawRows.split(rows);
    }
    __syncwarp();
    copyRows(row + rowStride);
    closeCopies();

    const uint32_t codesAt = hidden(place + stage);
    __nv_bfloat16* out[2];
    int columnsLeft[2];
#pragma unroll
    for (int slot = 0; slot < 2; ++slot) {
      const int of = row + slot * 8 + laneRow;
      const auto at = static_cast<uint32_t>(of * factors.n + laneColumn);
      out[slot] = hidden(p.out + at);
      columnsLeft[slot] = hidden(of < factors.m ? factors.n - laneColumn : 0);
    }
    PairGrid rowGrid[2] = {symmetric, symmetric};
    [[maybe_unused]] uint32_t firstScale[2];
#pragma unroll
    for (int slot = 0; slot < 2; ++slot) {
      if constexpr (kGroups) {
        firstScale[slot] = hidden(firstOf(row + slot * 8 + laneRow));
      } else if constexpr (kZeroPoints) {
        rowGrid[slot] = gridOf(nextZeros[slot]);
        nextZeros[slot] = zerosAt(firstOf(row + rowStride + slot * 8 + laneRow));
      }
    }
    uint4 held[heldSteps][2][2];
#pragma unroll
    for (int step = 0; step < Shape::steps; ++step) {
      HopperTile d;
      beginStep<Shape::columns>(rows, panelAddress, step, d);
      Raw raw[2][2];
      [[maybe_unused]] float scale[2][2];
      [[maybe_unused]] ZeroPair zeros[2][2];
#pragma unroll
      for (int slot = 0; slot < 2; ++slot) {
#pragma unroll
        for (int octet = 0; octet < 2; ++octet) {
          if constexpr (Codes::packed) {
            raw[slot][octet] = Staged::read(codesAt, step, octet, slot);
          } else {
            const int of = min(row + slot * 8 + laneRow, factors.m - 1);
            const int column = min(octetColumn(step, octet), factors.n - kOctet);
            raw[slot][octet] = p.codes.load(p.codes.row(of), p.codes.column(column));
          }
          if constexpr (kGroups) {
            const auto column = static_cast<uint32_t>(min(octetColumn(step, octet), factors.n - 1));
            const uint32_t at = firstScale[slot] + __umulhi(column, p.groupReciprocal);
            scale[slot][octet] = __ldg(p.groupScale + at);
            if constexpr (kZeroPoints) zeros[slot][octet] = zerosAt(at);
          }
        }
      }
      awaitStep<0>(d);
#pragma unroll
      for (int slot = 0; slot < 2; ++slot) {
#pragma unroll
        for (int octet = 0; octet < 2; ++octet) {
          float product[kOctet];
#pragma unroll
          for (int j = 0; j < kOctet; ++j) product[j] = d[octet * 4 + j / 2][slot * 2 + j % 2];
          OutsideBits outside;
          PairGrid grid = rowGrid[slot];
          if constexpr (kGroups && kZeroPoints) grid = gridOf(zeros[slot][octet]);
          uint4& octets = held[step % heldSteps][slot][octet];
          octets = finishOctet<kZeroPoints, kMask>(p.codes, grid, gamma, raw[slot][octet], product, outside);
          if constexpr (kGroups) {
            const float by = scale[slot][octet];
            octets = make_uint4(scalePair(octets.x, by), scalePair(octets.y, by), scalePair(octets.z, by),
                                scalePair(octets.w, by));
          }
          if constexpr (kMask) {
            storeByte(maskPlace + static_cast<uint32_t>(slot * Shape::columns + step * 8 + octet * 4), outside.byte());
          }
        }
      }
      if (step % heldSteps < heldSteps - 1) continue;
      // Nothing has been written so far, and what has been read is not written by what may still run in front.
      awaitFront();
#pragma unroll
      for (int slot = 0; slot < 2; ++slot) {
#pragma unroll
        for (int i = 0; i < 2 * heldSteps; ++i) {
          const int column = (step + 1 - heldSteps) * kStepColumns + i * 32;
          if (column < columnsLeft[slot]) *reinterpret_cast<uint4*>(out[slot] + column) = held[i / 2][slot][i % 2];
        }
      }
    }
    __syncwarp();
    if constexpr (kMask) {
      clipped += writeMask<Shape::columns>(p.mask, factors, row, panelColumn, ofWarp + Layout::maskAt);
    }
    copyCodes(row + 2 * rowStride, stage);
    closeCopies();
    row += rowStride;
    stage ^= Layout::codeBytes;
  }
  awaitFront();
  if constexpr (kMask) p.counter.add(clipped);
#endif
}

}  // namespace lrqat::cuda
