// Where the rounded weight goes for the products: clipped, scaled for groups, and the clipped entries as a mask.
#pragma once

#include "cuda/kernels/rebuild_tiles.cuh"

namespace lrqat::cuda {

/// kAligned: rows are whole octets and start 16-byte aligned, groups are whole octets.
template <typename E, bool kMask, bool kAligned>
struct WeightSink {
  E* out;                   // [rows, n]
  const float* groupScale;  // [rows, n / groupSize]; null: integers are written
  int groupSize;
  uint32_t* mask;     // [rows, ceil(n / 32)], with kMask
  int32_t* rowCount;  // [rows], zeroed, with kMask
  float qmin, qmax;
  int n;

  struct State {
    int clipped[kMask ? 4 : 1] = {};  // of the slots' rows, in the first lane of four
  };

  __device__ __forceinline__ void octet(State& state, int slot, int row, int column, bool valid,
                                        const float (&)[kOctet], const float (&rounded)[kOctet]) const {
    uint32_t outside = 0;
    if (sizeof(E) == 2 && kAligned && !groupScale) {
      uint32_t pairs[kOctet / 2];
      outside = clipPairs(rounded, pairs);
      if (valid) storePairs(row, column, pairs);
    } else {
      float q[kOctet];
#pragma unroll
      for (int i = 0; i < kOctet; ++i) {
        q[i] = clampTo(rounded[i], qmin, qmax);
        if (kMask) outside |= (q[i] != rounded[i] ? 1U : 0U) << i;
      }
      if (valid) {
        if (groupScale) multiplyScales(row, column, q);
        store(row, column, q);
      }
    }
    if constexpr (kMask) writeMask(state, slot, row, column, valid, outside);
  }

  __device__ __forceinline__ void finish(const State& state, int firstRow) const {
    if constexpr (kMask) {
      if (threadIdx.x % 4 != 0) return;
#pragma unroll
      for (int slot = 0; slot < 4; ++slot) {
        if (state.clipped[slot] != 0) atomicAdd(rowCount + firstRow + slot * 8, state.clipped[slot]);
      }
    }
  }

 private:
  /// Clips in bf16, two at a time: integers up to 256 are exact in it, and what is rounded stays outside. Returns the
  /// bits of the entries outside.
  __device__ __forceinline__ uint32_t clipPairs(const float (&rounded)[kOctet], uint32_t (&pairs)[kOctet / 2]) const {
    const __nv_bfloat162 low = __float2bfloat162_rn(qmin);
    const __nv_bfloat162 high = __float2bfloat162_rn(qmax);
    uint32_t changed[kOctet / 2];
#pragma unroll
    for (int i = 0; i < kOctet / 2; ++i) {
      const uint32_t bits = packBf16(rounded[2 * i], rounded[2 * i + 1]);
      const __nv_bfloat162 q = __hmin2(__hmax2(reinterpret_cast<const __nv_bfloat162&>(bits), low), high);
      pairs[i] = reinterpret_cast<const uint32_t&>(q);
      changed[i] = bits ^ pairs[i];
    }
    uint32_t outside = 0;
    if constexpr (kMask) {
      if ((changed[0] | changed[1] | changed[2] | changed[3]) != 0) {
#pragma unroll
        for (int i = 0; i < kOctet / 2; ++i) {
          outside |= ((changed[i] & 0xffffU) != 0 ? 1U : 0U) << (2 * i);
          outside |= ((changed[i] >> 16) != 0 ? 1U : 0U) << (2 * i + 1);
        }
      }
    }
    return outside;
  }

  __device__ __forceinline__ void storePairs(int row, int column, const uint32_t (&pairs)[kOctet / 2]) const {
    *reinterpret_cast<uint4*>(out + static_cast<int64_t>(row) * n + column) =
        make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
  }

  /// The four lanes of a row hold one word.
  __device__ __forceinline__ void writeMask(State& state, int slot, int row, int column, bool valid,
                                            uint32_t outside) const {
    if (!valid) {
      outside = 0;
    } else if (!kAligned && column + kOctet > n) {
      outside &= (1U << (n - column)) - 1U;
    }
    uint32_t word = outside << (column % 32);
    word |= __shfl_xor_sync(0xffffffffU, word, 1);
    word |= __shfl_xor_sync(0xffffffffU, word, 2);
    if (valid && threadIdx.x % 4 == 0) {
      mask[static_cast<int64_t>(row) * ((n + 31) / 32) + column / 32] = word;
      state.clipped[slot] += __popc(word);
    }
  }

  __device__ __forceinline__ void multiplyScales(int row, int column, float (&q)[kOctet]) const {
    const float* scales = groupScale + static_cast<int64_t>(row) * (n / groupSize);
    if constexpr (kAligned) {
      const float scale = __ldg(scales + column / groupSize);
#pragma unroll
      for (int i = 0; i < kOctet; ++i) q[i] *= scale;
    } else {
#pragma unroll
      for (int i = 0; i < kOctet; ++i) {
        if (column + i < n) q[i] *= __ldg(scales + (column + i) / groupSize);
      }
    }
  }

  __device__ __forceinline__ void store(int row, int column, const float (&q)[kOctet]) const {
    E* to = out + static_cast<int64_t>(row) * n + column;
    if constexpr (!kAligned) {
#pragma unroll
      for (int i = 0; i < kOctet; ++i) {
        if (column + i < n) to[i] = fromFloat<E>(q[i]);
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
