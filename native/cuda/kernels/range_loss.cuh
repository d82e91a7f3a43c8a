// Loss Σ|x − Q(x)|^p of one scale candidate over sixteen values, operation by operation as on the CPU (cpu/kernels/
// range.cpp: no fused operations where they would round differently), so that both find the same scales to the bit.
//
// The order of summation that both share: a vector is cut into blocks of 256 values; lane l of 16 adds values l, l +
// 16, …; the lanes are added halves first; the blocks are added in double.
#pragma once

#include <cstdint>

#include "core/types.h"

namespace lrqat::cuda {

/// Exponent of the loss.
enum class LossPower : uint8_t { P2, P24, P3, P35, P4, P5 };

inline constexpr int kCandidates = 100;
inline constexpr int kLossLanes = 16;
inline constexpr int kLossBlock = 256;

/// u^(1/5) for u ≥ 0: three Newton steps on u^(−1/5).
__device__ __forceinline__ float fifthRoot(float u) {
  const float scaled = __int2float_rn(__float_as_int(u)) * 0.2F;
  float r = __int_as_float(1277970874 - __float2int_rz(scaled));
#pragma unroll
  for (int step = 0; step < 3; ++step) {
    const float square = r * r;
    r = r * (1.2F - 0.2F * (((u * square) * square) * r));
  }
  const float square = r * r;
  return u * (square * square);
}

template <LossPower kPower>
__device__ __forceinline__ float powered(float difference) {
  const float square = difference * difference;
  if constexpr (kPower == LossPower::P2) return square;
  if constexpr (kPower == LossPower::P24) return square * fifthRoot(square);
  if constexpr (kPower == LossPower::P4) return square * square;
  const float d = fabsf(difference);
  if constexpr (kPower == LossPower::P3) return square * d;
  if constexpr (kPower == LossPower::P35) return square * d * __fsqrt_rn(d);
  if constexpr (kPower == LossPower::P5) return square * square * d;
  return 0;
}

/// Scale of a candidate with its reciprocal.
struct Candidate {
  float scale;
  float reciprocal;
  /// Whether x·(1/s) with two corrections is x/s to the last bit (Markstein): 1/s normal and correctly rounded, and s
  /// no power of two less one unit. Otherwise the division itself is used.
  bool quick;
};

/// max(max((R/100)·i, 1e-8)/qmax, 1e-8), all in float32 and in this order.
__device__ __forceinline__ Candidate candidateOf(float range, int candidate, float qmax) {
  float threshold = __fdiv_rn(range, 100.0F) * static_cast<float>(candidate);
  if (!(threshold > 1e-8F)) threshold = 1e-8F;
  const float wanted = __fdiv_rn(threshold, qmax);
  const float scale = wanted > 1e-8F ? wanted : 1e-8F;
  return {scale, __frcp_rn(scale), scale < 1e30F && (__float_as_uint(scale) & 0x7fffffU) != 0x7fffffU};
}

/// Values of one lane: its part of one block's loss.
template <LossPower kPower, int kLength>
__device__ __forceinline__ float laneLoss(const float (&x)[kLength], const Candidate& candidate, float qmin,
                                          float qmax) {
  constexpr float magic = 12582912.0F;
  const float s = candidate.scale;
  float part = 0;
  const auto add = [&](float value, float quotient) {
    const float q = (fminf(fmaxf(quotient, qmin), qmax) + magic) - magic;
    part = part + powered<kPower>(value - q * s);
  };
  if (candidate.quick) {
#pragma unroll
    for (int i = 0; i < kLength; ++i) {
      float quotient = x[i] * candidate.reciprocal;
      quotient = fmaf(fmaf(-quotient, s, x[i]), candidate.reciprocal, quotient);
      quotient = fmaf(fmaf(-quotient, s, x[i]), candidate.reciprocal, quotient);
      add(x[i], quotient);
    }
  } else {
#pragma unroll
    for (int i = 0; i < kLength; ++i) add(x[i], __fdiv_rn(x[i], s));
  }
  return part;
}

/// Of 16 lanes, as the CPU adds a vector; all lanes get it.
__device__ __forceinline__ float addLanes(float part) {
#pragma unroll
  for (int offset = 8; offset > 0; offset /= 2) part += __shfl_xor_sync(0xffffffffU, part, offset);
  return part;
}

/// f.template operator()<power>(); min/max takes any.
template <typename F>
void withPower(RangeMethod method, F&& f) {
  switch (method) {
    case RangeMethod::MinMax:
    case RangeMethod::Mse:
      return f.template operator()<LossPower::P2>();
    case RangeMethod::Lp24:
      return f.template operator()<LossPower::P24>();
    case RangeMethod::Lp3:
      return f.template operator()<LossPower::P3>();
    case RangeMethod::Lp35:
      return f.template operator()<LossPower::P35>();
    case RangeMethod::Lp4:
      return f.template operator()<LossPower::P4>();
    case RangeMethod::Lp5:
      return f.template operator()<LossPower::P5>();
  }
}

}  // namespace lrqat::cuda
