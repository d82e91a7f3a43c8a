// Arithmetic of the rebuild on Hopper: eight products of a row → eight weights as bf16 pairs.
//
// Grids of up to 64 integers ("narrow") are worked on in pairs of bf16, whose last bit is worth 1 from 128 to 256: the
// conversion of −(192 + C) to bf16 rounds C to an integer, and the codes, put into the fraction of a bf16 as 192 +
// (levels − u), are added exactly. What is beyond that range stays outside of the grid.
#pragma once

#include <cstdint>

#include "cuda/kernels/rebuild_codes.cuh"
#include "cuda/kernels/rebuild_hopper_stage.cuh"
#include "cuda/kernels/rebuild_tiles.cuh"

namespace lrqat::cuda {

#ifdef LRQAT_HOPPER_CODE

/// x + y in bf16, not negative; NaN stays.
__device__ __forceinline__ uint32_t addPairsNotNegative(uint32_t x, uint32_t y) {
  uint32_t sum;
  asm("fma.rn.relu.bf16x2 %0, %1, %2, %3;" : "=r"(sum) : "r"(x), "r"(0x3f803f80U), "r"(y));
  return sum;
}
__device__ __forceinline__ uint32_t addPairs(uint32_t x, uint32_t y) {
  uint32_t sum;
  asm("add.rn.bf16x2 %0, %1, %2;" : "=r"(sum) : "r"(x), "r"(y));
  return sum;
}
__device__ __forceinline__ uint32_t subtractPairs(uint32_t x, uint32_t y) {
  uint32_t difference;
  asm("sub.rn.bf16x2 %0, %1, %2;" : "=r"(difference) : "r"(x), "r"(y));
  return difference;
}
/// NaN: y.
__device__ __forceinline__ uint32_t leastPairs(uint32_t x, uint32_t y) {
  uint32_t least;
  asm("min.bf16x2 %0, %1, %2;" : "=r"(least) : "r"(x), "r"(y));
  return least;
}
__device__ __forceinline__ uint32_t mostPairs(uint32_t x, uint32_t y) {
  uint32_t most;
  asm("max.bf16x2 %0, %1, %2;" : "=r"(most) : "r"(x), "r"(y));
  return most;
}
/// 1 in the halves that differ, or are not numbers, else 0.
__device__ __forceinline__ uint32_t differentPairs(uint32_t x, uint32_t y) {
  const __nv_bfloat162 different =
      __hneu2(reinterpret_cast<const __nv_bfloat162&>(x), reinterpret_cast<const __nv_bfloat162&>(y));
  return reinterpret_cast<const uint32_t&>(different);
}
__device__ __forceinline__ uint32_t multiplyAddPairs(uint32_t x, uint32_t y, uint32_t z) {
  uint32_t sum;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(sum) : "r"(x), "r"(y), "r"(z));
  return sum;
}
__device__ __forceinline__ uint32_t bothHalves(float x) {
  return packBf16(x, x);
}

/// Codes 2k and 2k + 1 of an octet as bf16: 192 + (2^kWidth − 1 − u).
template <int kWidth, typename Raw>
__device__ __forceinline__ uint32_t codePair(const Raw& raw, int k) {
  constexpr uint32_t mask = (1U << kWidth) - 1U;
  uint32_t pair;
  if constexpr (kWidth == 4) {
    pair = __byte_perm(raw.low, raw.low >> 4, 0x4040U | 0x101U * static_cast<uint32_t>(k) | 0x0400U);
  } else {
    const uint64_t all = static_cast<uint64_t>(raw.high) << 32 | raw.low;
    pair = __byte_perm(static_cast<uint32_t>(all >> 2 * k * kWidth), static_cast<uint32_t>(all >> (2 * k + 1) * kWidth),
                       0x5410);
  }
  // (~pair & fields) | 192; left to itself the compiler makes two instructions of it.
  uint32_t code;
  asm("lop3.b32 %0, %1, %2, %3, 0xae;" : "=r"(code) : "r"(pair), "r"(mask | mask << 16), "r"(0x43404340U));
  return code;
}

/// Grid of a lane's columns in one row, in bf16 pairs: bounds of levels − R, R counted from the lower end of Φ0's grid,
/// and what that is taken from to be a weight.
struct PairGrid {
  uint32_t low, high, top;
  uint32_t origin;  // RoundForm::Sum: added to what has been rounded
  float shift;      // zero point that codes do not have in their origin
};

/// Which of a row's eight weights were clipped, collected by arithmetic in bf16, which has room beside the unit of
/// logical operations: 128 + Σ 4^i of pair i's halves.
struct OutsideBits {
  uint32_t sum = 0x43004300U;

  __device__ __forceinline__ void add(int i, uint32_t before, uint32_t after) {
    // 4^i as bf16.
    const uint32_t weight = 0x3f80U + 0x100U * static_cast<uint32_t>(i);
    sum = multiplyAddPairs(differentPairs(before, after), weight | weight << 16, sum);
  }
  /// Bit i of the lowest eight: weight i.
  __device__ __forceinline__ uint32_t byte() const { return sum | sum >> 15; }
};

/// Pairs of levels − R, R counted from the lower end of Φ0's grid, to weights. kZeroPoints: bounds are those of `grid`;
/// else 0 and its upper one.
template <bool kZeroPoints, bool kMask>
__device__ __forceinline__ uint32_t clipSum(uint32_t rounded, uint32_t code, const PairGrid& grid, int i,
                                            OutsideBits& outside) {
  uint32_t inside;
  if constexpr (kZeroPoints) {
    const uint32_t below = addPairs(rounded, code);
    inside = mostPairs(leastPairs(below, grid.high), grid.low);
    if constexpr (kMask) outside.add(i, below, inside);
  } else {
    inside = leastPairs(addPairsNotNegative(rounded, code), grid.high);
    if constexpr (kMask) outside.add(i, addPairs(rounded, code), inside);
  }
  return subtractPairs(grid.top, inside);
}

/// Grids of up to 64 integers.
template <bool kZeroPoints, bool kMask, class Codes>
__device__ __forceinline__ uint4 finishNarrow(const Codes& codes, const PairGrid& grid, float gamma,
                                              const typename Codes::Raw& raw, const float (&product)[kOctet],
                                              OutsideBits& outside) {
  float t[kOctet];
  if constexpr (Codes::form == RoundForm::Product) {
#pragma unroll
    for (int i = 0; i < kOctet; ++i) t[i] = fmaf(-gamma, product[i], -192.0F);
  } else {
    float placed[kOctet];
    codes.place(raw, placed);
    const float origin = codes.numbers.origin - codes.numbers.binade + grid.shift;
#pragma unroll
    for (int i = 0; i < kOctet; ++i) t[i] = fmaf(-gamma, product[i], origin - placed[i]);
  }
  uint32_t pairs[kOctet / 2];
#pragma unroll
  for (int i = 0; i < kOctet / 2; ++i) {
    uint32_t code = grid.origin;
    if constexpr (Codes::form == RoundForm::Product) code = codePair<Codes::bits>(raw, i);
    pairs[i] = clipSum<kZeroPoints, kMask>(packBf16(t[2 * i], t[2 * i + 1]), code, grid, i, outside);
  }
  return make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

/// Integer codes of more than 6 bits on symmetric grids, rounded as roundOctet does.
template <bool kMask, class Codes>
__device__ __forceinline__ uint4 finishLarge(const Codes& codes, const PairGrid& grid, float gamma,
                                             const typename Codes::Raw& raw, const float (&product)[kOctet],
                                             OutsideBits& outside) {
  float placed[kOctet];
  codes.placeIntegers(raw, placed);
  const float top = kMagic + static_cast<float>((1 << Codes::bits) - 1);
  float below[kOctet];
#pragma unroll
  for (int i = 0; i < kOctet; ++i) below[i] = fmaf(-gamma, product[i], -placed[i]) + top;
  uint32_t pairs[kOctet / 2];
#pragma unroll
  for (int i = 0; i < kOctet / 2; ++i) {
    uint32_t inside;
    if constexpr (kMask) {
      const uint32_t whole = packBf16(below[2 * i], below[2 * i + 1]);
      inside = leastPairs(addPairsNotNegative(whole, 0U), grid.high);
      outside.add(i, whole, inside);
    } else {
      uint32_t whole;
      asm("cvt.rn.relu.bf16x2.f32 %0, %1, %2;" : "=r"(whole) : "f"(below[2 * i + 1]), "f"(below[2 * i]));
      inside = leastPairs(whole, grid.high);
    }
    pairs[i] = subtractPairs(grid.top, inside);
  }
  return make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

/// Any Φ0 and grid, in the order of the other kernels. `grid`: bounds of R.
template <bool kMask, class Codes>
__device__ __forceinline__ uint4 finishAny(const Codes& codes, const PairGrid& grid, float gamma,
                                           const typename Codes::Raw& raw, const float (&product)[kOctet],
                                           OutsideBits& outside) {
  float rounded[kOctet];
  // Codes count from the lower end of the grid of Φ0.
  roundOctet<false>(codes.around(grid.shift), raw, product, {gamma, 0, 0}, rounded);
  uint32_t pairs[kOctet / 2];
#pragma unroll
  for (int i = 0; i < kOctet / 2; ++i) {
    // Integers up to 256 are exact in bf16, and what is rounded stays outside.
    const uint32_t whole = packBf16(rounded[2 * i], rounded[2 * i + 1]);
    pairs[i] = leastPairs(mostPairs(whole, grid.low), grid.high);
    if constexpr (kMask) outside.add(i, whole, pairs[i]);
  }
  return make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

__device__ __forceinline__ uint32_t scalePair(uint32_t pair, float scale) {
  return packBf16(__uint_as_float(pair << 16) * scale, __uint_as_float(pair & 0xffff0000U) * scale);
}

/// How weights are made of Φ0 and products.
enum class Finish : uint8_t { Narrow, Large, Any };

template <class Codes, bool kZeroPoints>
inline constexpr Finish finishOf = Codes::packed&& mayBeNarrow<Codes> ? Finish::Narrow
                                   : Codes::packed && !kZeroPoints    ? Finish::Large
                                                                      : Finish::Any;

template <Finish kFinish>
__device__ __forceinline__ PairGrid gridAround(float levels, float zero, float zero0) {
  if constexpr (kFinish == Finish::Any) {
    return {bothHalves(0.0F - zero), bothHalves(levels - zero), 0U, 0U, zero0};
  } else {
    return {bothHalves(zero - zero0), bothHalves(levels + zero - zero0), bothHalves(levels - zero0),
            bothHalves(192.0F + levels - zero0), zero0};
  }
}
/// Codes have the offset of a symmetric grid in their origin.
template <Finish kFinish>
__device__ __forceinline__ PairGrid symmetricGrid(float levels, float qmin) {
  PairGrid grid = gridAround<kFinish>(levels, 0.0F - qmin, 0.0F - qmin);
  grid.shift = 0;
  return grid;
}

template <bool kZeroPoints, bool kMask, class Codes>
__device__ __forceinline__ uint4 finishOctet(const Codes& codes, const PairGrid& grid, float gamma,
                                             const typename Codes::Raw& raw, const float (&product)[kOctet],
                                             OutsideBits& outside) {
  constexpr Finish finish = finishOf<Codes, kZeroPoints>;
  if constexpr (finish == Finish::Narrow) {
    return finishNarrow<kZeroPoints, kMask>(codes, grid, gamma, raw, product, outside);
  } else if constexpr (finish == Finish::Large) {
    return finishLarge<kMask>(codes, grid, gamma, raw, product, outside);
  } else {
    return finishAny<kMask>(codes, grid, gamma, raw, product, outside);
  }
}

#endif

}  // namespace lrqat::cuda
