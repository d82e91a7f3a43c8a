// Sixteen float32 lanes as one value on every instruction set: one AVX-512 register, two of AVX2 or four of the
// baseline. Kernels written against it add in the same order everywhere, so that results differ between instruction
// sets at most by the rounding that a fused multiply-add saves (multiplyAdd), and not at all where only the other
// operations are used. For kernel files only: everything here lives in the namespace of the instruction set being
// compiled.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(LRQAT_ISA_IS_avx512) || defined(LRQAT_ISA_IS_avx2)
#include <immintrin.h>
#endif

namespace lrqat::cpu::LRQAT_ISA {

constexpr int kLanes = 16;

#if defined(LRQAT_ISA_IS_avx512)

struct F16 {
  __m512 v;
};

static inline F16 load(const float* p) {
  return {_mm512_loadu_ps(p)};
}
static inline void store(float* p, F16 x) {
  _mm512_storeu_ps(p, x.v);
}
static inline F16 fill(float x) {
  return {_mm512_set1_ps(x)};
}
static inline F16 operator+(F16 a, F16 b) {
  return {_mm512_add_ps(a.v, b.v)};
}
static inline F16 operator-(F16 a, F16 b) {
  return {_mm512_sub_ps(a.v, b.v)};
}
static inline F16 operator*(F16 a, F16 b) {
  return {_mm512_mul_ps(a.v, b.v)};
}
static inline F16 operator/(F16 a, F16 b) {
  return {_mm512_div_ps(a.v, b.v)};
}
static inline F16 multiplyAdd(F16 a, F16 b, F16 c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
static inline F16 larger(F16 a, F16 b) {
  return {_mm512_max_ps(a.v, b.v)};
}
static inline F16 smaller(F16 a, F16 b) {
  return {_mm512_min_ps(a.v, b.v)};
}
static inline F16 roundSmall(F16 a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
static inline F16 absolute(F16 a) {
  return {_mm512_abs_ps(a.v)};
}
static inline F16 squareRoot(F16 a) {
  return {_mm512_sqrt_ps(a.v)};
}
static inline uint32_t outside(F16 a, F16 low, F16 high) {
  return static_cast<uint32_t>(_mm512_cmp_ps_mask(a.v, low.v, _CMP_LT_OQ)) |
         static_cast<uint32_t>(_mm512_cmp_ps_mask(a.v, high.v, _CMP_GT_OQ));
}
static inline uint32_t different(F16 a, F16 b) {
  return static_cast<uint32_t>(_mm512_cmp_ps_mask(a.v, b.v, _CMP_NEQ_UQ));
}
/// value where low <= probe <= high, else 0.
static inline F16 keepInside(F16 probe, F16 low, F16 high, F16 value) {
  const __mmask16 keep =
      _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(probe.v, low.v, _CMP_GE_OQ), probe.v, high.v, _CMP_LE_OQ);
  return {_mm512_maskz_mov_ps(keep, value.v)};
}
/// ((lane l + lane l+8) + 4) + 2) + 1.
static inline float sum(F16 a) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
static inline F16 loadHalf(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
static inline void storeHalf(uint16_t* p, F16 x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline F16 loadBf16(const uint16_t* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
/// Round to nearest even; finite values only.
static inline void storeBf16(uint16_t* p, F16 x) {
  const __m512i bits = _mm512_castps_si512(x.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}
/// (magic - bits) reinterpreted: the start value of reciprocal roots. `share` divides the exponent.
static inline F16 rootGuess(F16 a, float share, int32_t magic) {
  const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_castps_si512(a.v)), _mm512_set1_ps(share));
  return {_mm512_castsi512_ps(_mm512_sub_epi32(_mm512_set1_epi32(magic), _mm512_cvttps_epi32(scaled)))};
}

#elif defined(LRQAT_ISA_IS_avx2)

struct F16 {
  __m256 lo, hi;
};

static inline F16 load(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
static inline void store(float* p, F16 x) {
  _mm256_storeu_ps(p, x.lo);
  _mm256_storeu_ps(p + 8, x.hi);
}
static inline F16 fill(float x) {
  const __m256 v = _mm256_set1_ps(x);
  return {v, v};
}
static inline F16 operator+(F16 a, F16 b) {
  return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}
static inline F16 operator-(F16 a, F16 b) {
  return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}
static inline F16 operator*(F16 a, F16 b) {
  return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}
static inline F16 operator/(F16 a, F16 b) {
  return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}
static inline F16 multiplyAdd(F16 a, F16 b, F16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
static inline F16 larger(F16 a, F16 b) {
  return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}
static inline F16 smaller(F16 a, F16 b) {
  return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}
static inline F16 roundSmall(F16 a) {
  constexpr int mode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.lo, mode), _mm256_round_ps(a.hi, mode)};
}
static inline F16 absolute(F16 a) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  return {_mm256_and_ps(a.lo, magnitude), _mm256_and_ps(a.hi, magnitude)};
}
static inline F16 squareRoot(F16 a) {
  return {_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)};
}
static inline uint32_t outside(F16 a, F16 low, F16 high) {
  const auto half = [](__m256 x, __m256 l, __m256 h) {
    return static_cast<uint32_t>(
        _mm256_movemask_ps(_mm256_or_ps(_mm256_cmp_ps(x, l, _CMP_LT_OQ), _mm256_cmp_ps(x, h, _CMP_GT_OQ))));
  };
  return half(a.lo, low.lo, high.lo) | (half(a.hi, low.hi, high.hi) << 8);
}
static inline uint32_t different(F16 a, F16 b) {
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a.lo, b.lo, _CMP_NEQ_UQ))) |
         (static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a.hi, b.hi, _CMP_NEQ_UQ))) << 8);
}
static inline F16 keepInside(F16 probe, F16 low, F16 high, F16 value) {
  const auto half = [](__m256 x, __m256 l, __m256 h, __m256 v) {
    return _mm256_and_ps(v, _mm256_and_ps(_mm256_cmp_ps(x, l, _CMP_GE_OQ), _mm256_cmp_ps(x, h, _CMP_LE_OQ)));
  };
  return {half(probe.lo, low.lo, high.lo, value.lo), half(probe.hi, low.hi, high.hi, value.hi)};
}
static inline float sum(F16 a) {
  const __m256 eight = _mm256_add_ps(a.lo, a.hi);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
static inline F16 loadHalf(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
          _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
}
static inline void storeHalf(uint16_t* p, F16 x) {
  constexpr int mode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x.lo, mode));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(x.hi, mode));
}
static inline F16 loadBf16(const uint16_t* p) {
  const auto half = [](const uint16_t* q) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(q)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
  };
  return {half(p), half(p + 8)};
}
static inline void storeBf16(uint16_t* p, F16 x) {
  const auto half = [](__m256 v) {
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    return _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd), 16);
  };
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(half(x.lo), half(x.hi)), 0xd8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), packed);
}
static inline F16 rootGuess(F16 a, float share, int32_t magic) {
  const auto half = [&](__m256 x) {
    const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_castps_si256(x)), _mm256_set1_ps(share));
    return _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_set1_epi32(magic), _mm256_cvttps_epi32(scaled)));
  };
  return {half(a.lo), half(a.hi)};
}

#else

typedef float F4 __attribute__((vector_size(16)));
typedef int32_t I4 __attribute__((vector_size(16)));

struct F16 {
  F4 v[4];
};

template <typename Operation>
static inline F16 each(Operation operation) {
  return {{operation(0), operation(1), operation(2), operation(3)}};
}
static inline F16 load(const float* p) {
  F16 x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
static inline void store(float* p, F16 x) {
  std::memcpy(p, &x, sizeof x);
}
static inline F16 fill(float x) {
  return each([&](int) { return F4{x, x, x, x}; });
}
static inline F16 operator+(F16 a, F16 b) {
  return each([&](int i) { return a.v[i] + b.v[i]; });
}
static inline F16 operator-(F16 a, F16 b) {
  return each([&](int i) { return a.v[i] - b.v[i]; });
}
static inline F16 operator*(F16 a, F16 b) {
  return each([&](int i) { return a.v[i] * b.v[i]; });
}
static inline F16 operator/(F16 a, F16 b) {
  return each([&](int i) { return a.v[i] / b.v[i]; });
}
/// No fused operation in the baseline: product and sum are rounded separately.
static inline F16 multiplyAdd(F16 a, F16 b, F16 c) {
  return a * b + c;
}
/// b where either is NaN, like the x86 instruction.
static inline F16 larger(F16 a, F16 b) {
  return each([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
static inline F16 smaller(F16 a, F16 b) {
  return each([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
/// Half to even for |a| < 2^22: adding 1.5·2^23 leaves no bit for the fraction.
static inline F16 roundSmall(F16 a) {
  const F16 magic = fill(12582912.0F);
  return (a + magic) - magic;
}
static inline F16 absolute(F16 a) {
  return each([&](int i) {
    const I4 magnitude = {0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff};
    return reinterpret_cast<F4>(reinterpret_cast<I4>(a.v[i]) & magnitude);
  });
}
static inline F16 squareRoot(F16 a) {
  float values[kLanes];
  store(values, a);
  for (float& value : values) value = __builtin_sqrtf(value);
  return load(values);
}
static inline uint32_t outside(F16 a, F16 low, F16 high) {
  uint32_t mask = 0;
  for (int i = 0; i < kLanes; ++i) {
    const float x = a.v[i / 4][i % 4];
    mask |= static_cast<uint32_t>(x < low.v[i / 4][i % 4] || x > high.v[i / 4][i % 4]) << i;
  }
  return mask;
}
static inline uint32_t different(F16 a, F16 b) {
  uint32_t mask = 0;
  for (int i = 0; i < kLanes; ++i) mask |= static_cast<uint32_t>(a.v[i / 4][i % 4] != b.v[i / 4][i % 4]) << i;
  return mask;
}
static inline F16 keepInside(F16 probe, F16 low, F16 high, F16 value) {
  return each([&](int i) {
    const I4 keep = (probe.v[i] >= low.v[i]) & (probe.v[i] <= high.v[i]);
    return reinterpret_cast<F4>(reinterpret_cast<I4>(value.v[i]) & keep);
  });
}
static inline float sum(F16 a) {
  const F4 four = (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]);
  return (four[0] + four[2]) + (four[1] + four[3]);
}
static inline float floatOfBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
static inline uint32_t bitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}
static inline F16 loadHalf(const uint16_t* p) {
  float values[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    const uint32_t sign = static_cast<uint32_t>(p[i] & 0x8000U) << 16;
    const uint32_t exponent = (p[i] >> 10) & 0x1fU;
    const uint32_t fraction = p[i] & 0x3ffU;
    if (exponent == 0x1f) {
      values[i] = floatOfBits(sign | 0x7f800000U | (fraction << 13));
    } else if (exponent == 0) {
      values[i] = floatOfBits(sign | bitsOf(static_cast<float>(fraction) * 0x1p-24F));
    } else {
      values[i] = floatOfBits(sign | ((exponent + 112) << 23) | (fraction << 13));
    }
  }
  return load(values);
}
static inline void storeHalf(uint16_t* p, F16 x) {
  for (int i = 0; i < kLanes; ++i) {
    const uint32_t bits = bitsOf(x.v[i / 4][i % 4]);
    const uint32_t sign = (bits >> 16) & 0x8000U;
    const uint32_t magnitude = bits & 0x7fffffffU;
    uint32_t half;
    if (magnitude > 0x7f800000U) {
      half = 0x7e00U;
    } else if (magnitude >= 0x477ff000U) {
      half = 0x7c00U;  // rounds to 65536 or more
    } else if (magnitude < 0x38800000U) {
      // Subnormal: adding ½ aligns the binary point, so that the float addition rounds at the right bit.
      half = bitsOf(floatOfBits(magnitude) + 0.5F) - 0x3f000000U;
    } else {
      half = (magnitude + 0xfffU + ((magnitude >> 13) & 1U) - 0x38000000U) >> 13;
    }
    p[i] = static_cast<uint16_t>(sign | half);
  }
}
static inline F16 loadBf16(const uint16_t* p) {
  float values[kLanes];
  for (int i = 0; i < kLanes; ++i) values[i] = floatOfBits(static_cast<uint32_t>(p[i]) << 16);
  return load(values);
}
static inline void storeBf16(uint16_t* p, F16 x) {
  float values[kLanes];
  store(values, x);
  for (int i = 0; i < kLanes; ++i) {
    const uint32_t bits = bitsOf(values[i]);
    p[i] = static_cast<uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
  }
}
static inline F16 rootGuess(F16 a, float share, int32_t magic) {
  float values[kLanes];
  store(values, a);
  for (float& value : values) {
    const float scaled = static_cast<float>(static_cast<int32_t>(bitsOf(value))) * share;
    value = floatOfBits(static_cast<uint32_t>(magic - static_cast<int32_t>(scaled)));
  }
  return load(values);
}

#endif

static inline F16 clamp(F16 x, F16 low, F16 high) {
  return smaller(larger(x, low), high);
}

/// First `count` < 16 lanes from memory, the rest 0.
static inline F16 loadPart(const float* p, int64_t count) {
  float values[kLanes] = {};
  std::memcpy(values, p, static_cast<size_t>(count) * sizeof(float));
  return load(values);
}
static inline void storePart(float* p, F16 x, int64_t count) {
  float values[kLanes];
  store(values, x);
  std::memcpy(p, values, static_cast<size_t>(count) * sizeof(float));
}

}  // namespace lrqat::cpu::LRQAT_ISA
