// Wide loads and stores around float32 arithmetic, and the columns that turn a raw output P into s∘P + bias.
#pragma once

#include <cstdint>

#include "core/backend.h"
#include "cuda/kernels/element.cuh"

namespace lrqat::cuda {

/// Elements of one 16-byte access when the widest of the operands' types is `type`.
constexpr int vectorWidth(DType widest) {
  return widest == DType::F32 ? 4 : 8;
}

inline bool isAligned(const void* pointer, int64_t bytes = 16) {
  return reinterpret_cast<uintptr_t>(pointer) % static_cast<uintptr_t>(bytes) == 0;
}

/// Whether the parameters of a raw output can be read four at a time.
inline bool allowsWidth(const RawOutput& raw) {
  return isAligned(raw.rowScale) && isAligned(raw.bias);
}

/// Whether rows of `m` can be read `width` elements at a time.
inline bool allowsWidth(const Matrix& m, int width) {
  return m.cols % width == 0 && isAligned(m.data, width * byteSize(m.type) < 16 ? width * byteSize(m.type) : 16);
}

namespace detail {

__device__ __forceinline__ void unpack(uint32_t word, bf16, float* v) {
  v[0] = __uint_as_float(word << 16);
  v[1] = __uint_as_float(word & 0xffff0000U);
}
__device__ __forceinline__ void unpack(uint32_t word, __half, float* v) {
  const float2 pair = __half22float2(reinterpret_cast<const __half2&>(word));
  v[0] = pair.x;
  v[1] = pair.y;
}
__device__ __forceinline__ void unpack(uint32_t word, float, float* v) {
  v[0] = __uint_as_float(word);
}

__device__ __forceinline__ uint32_t pack(const float* v, bf16) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(v[0], v[1]);
  return reinterpret_cast<const uint32_t&>(pair);
}
__device__ __forceinline__ uint32_t pack(const float* v, __half) {
  const __half2 pair = __floats2half2_rn(v[0], v[1]);
  return reinterpret_cast<const uint32_t&>(pair);
}
__device__ __forceinline__ uint32_t pack(const float* v, float) {
  return __float_as_uint(v[0]);
}

}  // namespace detail

/// The bits of N consecutive elements, loaded but not yet converted: loads can be issued far ahead of their use.
template <typename E, int N>
struct Bits {
  static constexpr int bytes = N * static_cast<int>(sizeof(E));
  static constexpr int words = bytes / 4;
  static constexpr int perWord = 4 / static_cast<int>(sizeof(E));
  static_assert(bytes % 4 == 0 && (bytes < 16 || bytes % 16 == 0));
  uint32_t word[words];

  __device__ __forceinline__ void load(const E* p) {
    if constexpr (bytes >= 16) {
#pragma unroll
      for (int i = 0; i < words; i += 4) {
        const uint4 four = reinterpret_cast<const uint4*>(p)[i / 4];
        word[i] = four.x;
        word[i + 1] = four.y;
        word[i + 2] = four.z;
        word[i + 3] = four.w;
      }
    } else if constexpr (bytes == 8) {
      const uint2 two = *reinterpret_cast<const uint2*>(p);
      word[0] = two.x;
      word[1] = two.y;
    } else {
      static_assert(bytes == 4);
      word[0] = *reinterpret_cast<const uint32_t*>(p);
    }
  }
  __device__ __forceinline__ void store(E* p) const {
    if constexpr (bytes >= 16) {
#pragma unroll
      for (int i = 0; i < words; i += 4) {
        reinterpret_cast<uint4*>(p)[i / 4] = make_uint4(word[i], word[i + 1], word[i + 2], word[i + 3]);
      }
    } else if constexpr (bytes == 8) {
      *reinterpret_cast<uint2*>(p) = make_uint2(word[0], word[1]);
    } else {
      *reinterpret_cast<uint32_t*>(p) = word[0];
    }
  }
  __device__ __forceinline__ void unpack(float (&v)[N]) const {
#pragma unroll
    for (int i = 0; i < words; ++i) detail::unpack(word[i], E{}, v + i * perWord);
  }
  __device__ __forceinline__ void pack(const float (&v)[N]) {
#pragma unroll
    for (int i = 0; i < words; ++i) word[i] = detail::pack(v + i * perWord, E{});
  }
};

/// One element of 2 bytes: the scalar path of odd widths.
template <typename E>
requires(sizeof(E) == 2) struct Bits<E, 1> {
  E value;
  __device__ __forceinline__ void load(const E* p) { value = *p; }
  __device__ __forceinline__ void store(E* p) const { *p = value; }
  __device__ __forceinline__ void unpack(float (&v)[1]) const { v[0] = toFloat(value); }
  __device__ __forceinline__ void pack(const float (&v)[1]) { value = fromFloat<E>(v[0]); }
};

template <int N, typename E>
__device__ __forceinline__ void loadFloats(const E* p, float (&v)[N]) {
  Bits<E, N> bits;
  bits.load(p);
  bits.unpack(v);
}

template <int N, typename E>
__device__ __forceinline__ void storeFloats(E* p, const float (&v)[N]) {
  Bits<E, N> bits;
  bits.pack(v);
  bits.store(p);
}

/// N numbers of a vector of parameters, which launchers have checked to be aligned when N > 1.
template <int N>
__device__ __forceinline__ void loadParameters(const float* p, float (&v)[N]) {
  if constexpr (N % 4 == 0) {
#pragma unroll
    for (int i = 0; i < N; i += 4) {
      const float4 four = __ldg(reinterpret_cast<const float4*>(p + i));
      v[i] = four.x;
      v[i + 1] = four.y;
      v[i + 2] = four.z;
      v[i + 3] = four.w;
    }
  } else {
    static_assert(N == 1);
    v[0] = __ldg(p);
  }
}

/// Scale and bias of N columns in registers; a scale that is absent is 1, a bias that is absent 0.
template <int N>
struct RawColumns {
  float scale[N];
  float bias[N];

  __device__ __forceinline__ void load(const float* rowScale, const float* rowBias, int64_t column) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      scale[i] = 1;
      bias[i] = 0;
    }
    if (rowScale) loadParameters(rowScale + column, scale);
    if (rowBias) loadParameters(rowBias + column, bias);
  }
  /// Rounded after the product, as s∘P + bias is on the CPU.
  __device__ __forceinline__ float value(float p, int i) const {
    return p * scale[i] + bias[i];
  }
};

/// A RawOutput as kernels take it.
template <typename E>
struct DeviceRaw {
  const E* p;             // [T, m]
  const float* rowScale;  // [m] or null
  const float* bias;      // [m] or null

  static DeviceRaw of(const RawOutput& raw) { return {static_cast<const E*>(raw.p.data), raw.rowScale, raw.bias}; }
};

}  // namespace lrqat::cuda
