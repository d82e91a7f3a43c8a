// Where the rounded weight goes for the products: clipped, scaled for groups, and the clipped entries as a mask.
#pragma once

#include "cuda/kernels/clipped_count.cuh"
#include "cuda/kernels/rebuild_tiles.cuh"

namespace lrqat::cuda {

/// What the kernel knows about the output: Any takes every shape.
enum class WeightLayout : uint8_t {
  Any,
  Octets,    // any grid and scales; rows are whole octets and start 16-byte aligned
  Integers,  // no group scales; rows are whole octets and start 16-byte aligned
  Groups,    // the same with group scales, the group size a power of two of at least 8
};

template <typename E, bool kMask, WeightLayout kLayout>
struct WeightSink {
  E* out;                   // [rows, n]
  const float* groupScale;  // [rows, groups]; null: integers are written
  uint32_t groupSize;
  uint32_t groupShift;     // log2 groupSize, for Groups
  uint32_t groups;         // a row
  uint32_t mostScales;     // index of the last
  uint32_t* mask;          // [rows, ceil(n / 32)], with kMask
  ClippedCounter counter;  // with kMask
  float qmin, qmax;
  uint32_t n;
  RowGrids grids;  // of this form, for Any and Octets

  struct State {
    uint32_t row;                                               // of slot 0
    uint32_t first;                                             // elements before that row
    uint32_t blockWord;                                         // mask word of the block's first column
    int firstGroup, group;                                      // of 32 columns, in the block
    float scale[kLayout == WeightLayout::Groups ? kSlots : 1];  // of the slots' octets
    uint32_t octets[kMask ? kSlots : 1];  // bits of a slot's octets outside, a byte for each of four groups
    int clipped;                          // of all slots and rows, this lane's share
    int column;                           // of the last octets
    uint32_t changed[kMask ? kSlots : 1][kOctet / 2];  // by clipping, as bf16 pairs
  };

  __device__ __forceinline__ void start(State& state, int row, int column, int group) const {
    state.row = static_cast<uint32_t>(row);
    state.first = state.row * n;
    state.firstGroup = state.group = group;
    state.blockWord = static_cast<uint32_t>(column / kGroupColumns - group);
    if constexpr (kMask) {
#pragma unroll
      for (int slot = 0; slot < kSlots; ++slot) state.octets[slot] = 0;
    }
    fetchScales(state, row, column);
  }

  template <class Codes>
  __device__ __forceinline__ void octet(State& state, int slot, int rowsLeft, int column, const Codes&,
                                        const typename Codes::Raw&, const float (&rounded)[kOctet]) const {
    const bool valid = rowsLeft > slot * 8 && column < static_cast<int>(n);
    const uint32_t row = state.row + static_cast<uint32_t>(slot) * 8;
    E* to = out + (state.first + static_cast<uint32_t>(slot) * 8 * n + static_cast<uint32_t>(column));
    uint32_t outside = 0;
    if constexpr (kInPairs) {
      uint32_t pairs[kOctet / 2];
      clipPairs(rounded, pairs, state.changed[kMask ? slot : 0]);
      state.column = column;
      if (valid) *reinterpret_cast<uint4*>(to) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
    } else {
      float q[kOctet];
      if constexpr (kLayout == WeightLayout::Groups) {
#pragma unroll
        for (int i = 0; i < kOctet; ++i) {
          q[i] = clampTo(rounded[i], qmin, qmax);
          if (kMask) outside |= (q[i] != rounded[i] ? 1U : 0U) << i;
        }
      } else {
        float low[kOctet];
        grids.lows(valid ? row : 0U, static_cast<uint32_t>(column), n, low);
#pragma unroll
        for (int i = 0; i < kOctet; ++i) {
          q[i] = clampTo(rounded[i], low[i], low[i] + grids.levels);
          if (kMask) outside |= (q[i] != rounded[i] ? 1U : 0U) << i;
        }
      }
      if constexpr (kLayout == WeightLayout::Groups) {
#pragma unroll
        for (int i = 0; i < kOctet; ++i) q[i] *= state.scale[slot];
      } else if (groupScale && valid) {
#pragma unroll
        for (int i = 0; i < kOctet; ++i) {
          if (column + i < static_cast<int>(n)) {
            q[i] *= __ldg(groupScale + (row * groups + (static_cast<uint32_t>(column) + i) / groupSize));
          }
        }
      }
      if (valid) store(to, column, q);
    }
    if constexpr (kMask && !kInPairs) {
      if constexpr (kLayout == WeightLayout::Any) {
        const int left = static_cast<int>(n) - column;
        if (left < kOctet) outside &= left > 0 ? (1U << left) - 1U : 0U;
      }
      if (valid) state.octets[slot] |= outside << (state.group % 4 * 8);
    }
  }

  /// The lanes of a row have one octet of each of four words; lane q writes word q of them.
  __device__ __forceinline__ void group(State& state, int rowsLeft, int nextRow, int nextColumn, bool last) const {
    fetchScales(state, nextRow, nextColumn);
    if constexpr (kMask && kInPairs) collectChanged(state, rowsLeft);
    if constexpr (kMask) {
      if (state.group % 4 == 3 || last) {
        const int q = static_cast<int>(threadIdx.x) % 4;
        const int fourth = state.group & ~3;
        const bool mineToWrite = fourth + q >= state.firstGroup && fourth + q <= state.group;
        const uint32_t words = (n + 31) / 32;
        const uint32_t at = state.row * words + state.blockWord + static_cast<uint32_t>(fourth + q);
#pragma unroll
        for (int slot = 0; slot < kSlots; ++slot) {
          uint32_t mine = state.octets[slot];
          uint32_t other = __shfl_xor_sync(0xffffffffU, mine, 1);
          mine = __byte_perm(mine, other, q & 1 ? 0x3715 : 0x6240);
          other = __shfl_xor_sync(0xffffffffU, mine, 2);
          mine = __byte_perm(mine, other, q & 2 ? 0x3276 : 0x5410);
          if (rowsLeft > slot * 8 && mineToWrite) mask[at + static_cast<uint32_t>(slot) * 8 * words] = mine;
          state.clipped += __popc(mine);
          state.octets[slot] = 0;
        }
      }
    }
    ++state.group;
  }

  __device__ __forceinline__ void finish(const State&) const {}
  __device__ __forceinline__ void begin() const {
    if constexpr (kMask) counter.begin();
  }
  __device__ __forceinline__ void done(const State& state) const {
    if constexpr (kMask) counter.add(state.clipped);
  }

 private:
  /// Clipped in pairs as they are stored.
  static constexpr bool kInPairs = sizeof(E) == 2 && kLayout == WeightLayout::Integers;

  /// Bits of the entries outside. They are few: one branch a step, after all that is common.
  __device__ __forceinline__ void collectChanged(State& state, int rowsLeft) const {
    uint32_t any = 0;
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
#pragma unroll
      for (int i = 0; i < kOctet / 2; ++i) any |= state.changed[slot][i];
    }
    if (any == 0 || state.column >= static_cast<int>(n)) return;
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
      uint32_t outside = 0;
#pragma unroll
      for (int i = 0; i < kOctet / 2; ++i) {
        const uint32_t pair = state.changed[slot][i];
        outside |= ((pair & 0xffffU) != 0 ? 1U : 0U) << (2 * i);
        outside |= ((pair >> 16) != 0 ? 1U : 0U) << (2 * i + 1);
      }
      if (rowsLeft > slot * 8) state.octets[slot] |= outside << (state.group % 4 * 8);
    }
  }

  __device__ __forceinline__ void fetchScales(State& state, int row, int column) const {
    if constexpr (kLayout == WeightLayout::Groups) {
      const uint32_t at = static_cast<uint32_t>(row) * groups + (static_cast<uint32_t>(column) >> groupShift);
#pragma unroll
      for (int slot = 0; slot < kSlots; ++slot) {
        state.scale[slot] = __ldg(groupScale + min(at + static_cast<uint32_t>(slot) * 8 * groups, mostScales));
      }
    }
  }

  /// Clips in bf16, two at a time: integers up to 256 are exact in it, and what is rounded stays outside. `changed`:
  /// the bits that clipping has changed.
  __device__ __forceinline__ void clipPairs(const float (&rounded)[kOctet], uint32_t (&pairs)[kOctet / 2],
                                            uint32_t (&changed)[kOctet / 2]) const {
    const __nv_bfloat162 low = __float2bfloat162_rn(qmin);
    const __nv_bfloat162 high = __float2bfloat162_rn(qmax);
#pragma unroll
    for (int i = 0; i < kOctet / 2; ++i) {
      const uint32_t bits = packBf16(rounded[2 * i], rounded[2 * i + 1]);
      const __nv_bfloat162 q = __hmin2(__hmax2(reinterpret_cast<const __nv_bfloat162&>(bits), low), high);
      pairs[i] = reinterpret_cast<const uint32_t&>(q);
      if constexpr (kMask) changed[i] = bits ^ pairs[i];
    }
  }

  __device__ __forceinline__ void store(E* to, int column, const float (&q)[kOctet]) const {
    if constexpr (kLayout == WeightLayout::Any) {
#pragma unroll
      for (int i = 0; i < kOctet; ++i) {
        if (column + i < static_cast<int>(n)) to[i] = fromFloat<E>(q[i]);
      }
    } else if constexpr (sizeof(E) == 2) {
      *reinterpret_cast<uint4*>(to) =
          make_uint4(packBf16(q[0], q[1]), packBf16(q[2], q[3]), packBf16(q[4], q[5]), packBf16(q[6], q[7]));
    } else {
      reinterpret_cast<float4*>(to)[0] = make_float4(q[0], q[1], q[2], q[3]);
      reinterpret_cast<float4*>(to)[1] = make_float4(q[4], q[5], q[6], q[7]);
    }
  }
};

}  // namespace lrqat::cuda
