// Vectors of float32 as wide as the instruction set of the kernel file, through the compiler's vector extension, with
// the few operations that the extension has no operator for. Loads and stores take float or bf16 memory.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

namespace lrqat::cpu::LRQAT_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int lanes = 16;
#elif defined(__AVX2__)
constexpr int lanes = 8;
#else
constexpr int lanes = 4;
#endif

using Vec = float __attribute__((vector_size(lanes * 4)));
using VecInt = int32_t __attribute__((vector_size(lanes * 4)));
using VecBits = uint32_t __attribute__((vector_size(lanes * 4)));
using HalfBits = uint16_t __attribute__((vector_size(lanes * 2)));

/// Storage of one bf16 value.
struct bf16 {
  uint16_t bits;
};

inline Vec broadcast(float value) {
  return value - Vec{};
}

inline Vec load(const float* memory) {
  Vec v;
  std::memcpy(&v, memory, sizeof v);
  return v;
}

// gcc 12 splits the conversions between 16 and 32 bits that the extension offers, hence the intrinsics.
inline VecBits widen(HalfBits half) {
#if defined(__AVX512F__)
  return __builtin_bit_cast(VecBits, _mm512_cvtepu16_epi32(__builtin_bit_cast(__m256i, half)));
#else
  return __builtin_convertvector(half, VecBits);
#endif
}

/// Of numbers below 2^16.
inline HalfBits narrow(VecBits bits) {
#if defined(__AVX512F__)
  return __builtin_bit_cast(HalfBits, _mm512_cvtepi32_epi16(__builtin_bit_cast(__m512i, bits)));
#elif defined(__AVX2__)
  const auto whole = __builtin_bit_cast(__m256i, bits);
  const __m256i halves = _mm256_permute4x64_epi64(_mm256_packus_epi32(whole, whole), 0x08);
  return __builtin_bit_cast(HalfBits, _mm256_castsi256_si128(halves));
#else
  return __builtin_convertvector(bits, HalfBits);
#endif
}

inline Vec load(const bf16* memory) {
  HalfBits half;
  std::memcpy(&half, memory, sizeof half);
  return __builtin_bit_cast(Vec, widen(half) << 16);
}

inline void store(float* memory, Vec v) {
  std::memcpy(memory, &v, sizeof v);
}

/// The 16 high bits, rounded to nearest even; NaN stays NaN.
inline VecBits roundToBf16(Vec v) {
#if defined(__AVX512BF16__)
  // Subnormal numbers become zero here.
  return __builtin_bit_cast(VecBits, _mm512_cvtepu16_epi32(__builtin_bit_cast(__m256i, _mm512_cvtneps_pbh(v))));
#else
  const auto bits = __builtin_bit_cast(VecBits, v);
  const VecBits rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  return v == v ? rounded : (bits >> 16) | 0x40U;
#endif
}

inline void store(bf16* memory, Vec v) {
  const HalfBits half = narrow(roundToBf16(v));
  std::memcpy(memory, &half, sizeof half);
}

/// The first `count` < lanes elements; the others are zero.
template <typename T>
inline Vec loadPart(const T* memory, int64_t count) {
  T buffer[lanes] = {};
  std::memcpy(buffer, memory, static_cast<size_t>(count) * sizeof(T));
  return load(buffer);
}

template <typename T>
inline void storePart(T* memory, Vec v, int64_t count) {
  T buffer[lanes];
  store(buffer, v);
  std::memcpy(memory, buffer, static_cast<size_t>(count) * sizeof(T));
}

/// a·b + c in one rounding where the instruction set has it.
inline Vec multiplyAdd(Vec a, Vec b, Vec c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__)
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

/// `b` where either is no number.
inline Vec maximum(Vec a, Vec b) {
#if defined(__AVX512F__)
  return _mm512_max_ps(a, b);
#elif defined(__AVX2__)
  return _mm256_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}
/// `b` where either is no number.
inline Vec minimum(Vec a, Vec b) {
#if defined(__AVX512F__)
  return _mm512_min_ps(a, b);
#elif defined(__AVX2__)
  return _mm256_min_ps(a, b);
#else
  return a < b ? a : b;
#endif
}

inline Vec squareRoot(Vec v) {
#if defined(__AVX512F__)
  return _mm512_sqrt_ps(v);
#elif defined(__AVX2__)
  return _mm256_sqrt_ps(v);
#else
  for (int i = 0; i < lanes; ++i) v[i] = std::sqrt(v[i]);
  return v;
#endif
}

/// 1/v within 1 ulp for v of 2^-125 to 2^125. A division takes as long as ten other operations.
inline Vec reciprocal(Vec v) {
#if defined(__AVX512F__)
  const Vec guess = _mm512_rcp14_ps(v);
  // 1 − v·guess is exact enough in one rounding to double the digits.
  return multiplyAdd(guess, multiplyAdd(-v, guess, broadcast(1.0F)), guess);
#else
  return 1.0F / v;
#endif
}

/// Lanes of `a` (0 …) and `b` (lanes …) in the given order.
template <int... lane>
inline Vec pick(Vec a, Vec b) {
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 12
  return __builtin_shuffle(a, b, VecInt{lane...});
#else
  return __builtin_shufflevector(a, b, lane...);
#endif
}

/// Lane i is lane i + distance of `v`, around the end.
template <int distance, int... lane>
inline Vec turn(Vec v, std::integer_sequence<int, lane...>) {
  return pick<((lane + distance) % lanes)...>(v, v);
}

/// Combines the lanes, halves first: a fixed order.
template <int distance = lanes / 2, typename Combine>
inline float fold(Vec v, Combine combine) {
  v = combine(v, turn<distance>(v, std::make_integer_sequence<int, lanes>{}));
  if constexpr (distance > 1) {
    return fold<distance / 2>(v, combine);
  } else {
    return v[0];
  }
}

inline float sum(Vec v) {
  return fold(v, [](Vec a, Vec b) { return a + b; });
}

inline float highest(Vec v) {
  return fold(v, [](Vec a, Vec b) { return maximum(a, b); });
}

/// 0, 1, 2, …
inline VecInt laneNumbers() {
  VecInt v;
  for (int i = 0; i < lanes; ++i) v[i] = i;
  return v;
}

/// e^x within 2 ulp over the whole range, subnormal results included; NaN stays NaN.
/// x = n·ln 2 + r with |r| ≤ ln 2 / 2; e^r = 1 + r + r²·q(r), q of degree 4 with least greatest relative error of e^r
/// (3e-9); 2^n in two factors, so that neither overflows where the product does not.
inline Vec exponential(Vec x) {
  const Vec top = broadcast(89.0F);
  const Vec bottom = broadcast(-104.0F);
  x = x > top ? top : x;
  x = x < bottom ? bottom : x;
  const Vec shifted = multiplyAdd(x, broadcast(1.44269504F), broadcast(12582912.0F));  // 1.5·2^23 rounds to an integer
  const Vec whole = shifted - broadcast(12582912.0F);
  Vec r = multiplyAdd(whole, broadcast(-0.693145752F), x);  // 16 leading bits of ln 2: exact product
  r = multiplyAdd(whole, broadcast(-1.42860677e-6F), r);
  Vec q = broadcast(0.00138145394F);
  q = multiplyAdd(q, r, broadcast(0.00836874545F));
  q = multiplyAdd(q, r, broadcast(0.041668389F));
  q = multiplyAdd(q, r, broadcast(0.166665211F));
  q = multiplyAdd(q, r, broadcast(0.49999994F));
  const Vec p = multiplyAdd(q, r * r, r) + 1.0F;
#if defined(__AVX512F__)
  return _mm512_scalef_ps(p, whole);
#else
  const VecInt n = __builtin_bit_cast(VecInt, shifted) - 0x4b400000;
  const VecInt half = n >> 1;
  const Vec first = __builtin_bit_cast(Vec, (half + 127) << 23);
  const Vec second = __builtin_bit_cast(Vec, (n - half + 127) << 23);
  return p * first * second;
#endif
}

/// Binary exponent below which a probability of a softmax is 0. Beside the largest, which is at least 1 / (number of
/// keys), such a one is lost in float32 anyway; as a subnormal number, or times a small one, it would cost processors a
/// hundred times what another does, and peaked attention is full of them.
constexpr float leastExponent = -100;

/// e^x as {@link exponential}, 0 below 2^leastExponent.
inline Vec probability(Vec x) {
  const Vec bottom = broadcast(leastExponent * 0.693147181F);
  const Vec value = exponential(x < bottom ? bottom : x);
  return x < bottom ? Vec{} : value;
}

#if defined(__AVX512F__)
/// 2^x for x up to 127, within 3·2^-24 of the value; exact at 0; 0 below 2^leastExponent; NaN stays NaN.
inline Vec powerOfTwo(Vec x) {
  const Vec whole = (x + broadcast(12582912.0F)) - broadcast(12582912.0F);  // 1.5·2^23 rounds to an integer
  const Vec r = x - whole;
  // Least greatest relative error on [-1/2, 1/2], with the value at 0 kept.
  Vec p = broadcast(0.0013264727F);
  p = multiplyAdd(p, r, broadcast(0.009671513F));
  p = multiplyAdd(p, r, broadcast(0.055507336F));
  p = multiplyAdd(p, r, broadcast(0.24022242F));
  p = multiplyAdd(p, r, broadcast(0.693147F));
  p = multiplyAdd(p, r, broadcast(1.0F));
  const __mmask16 seen = _mm512_cmp_ps_mask(whole, broadcast(leastExponent), _CMP_NLT_UQ);
  return _mm512_maskz_scalef_ps(seen, p, whole);
}
#endif

/// A whole vector, or the first `count` lanes of one at the end of a row.
struct Whole {};
struct Part {
  int64_t count;
};

template <typename T>
inline Vec load(const T* memory, Whole) {
  return load(memory);
}
template <typename T>
inline Vec load(const T* memory, Part part) {
  return loadPart(memory, part.count);
}
template <typename T>
inline void store(T* memory, Vec v, Whole) {
  store(memory, v);
}
template <typename T>
inline void store(T* memory, Vec v, Part part) {
  storePart(memory, v, part.count);
}

/// Calls body(index, Whole or Part) for the vectors of a row.
template <typename Body>
inline void forEachVector(int64_t length, Body body) {
  int64_t i = 0;
  for (; i + lanes <= length; i += lanes) body(i, Whole{});
  if (i < length) body(i, Part{length - i});
}

/// Σ over a row of the vectors that body(index, Whole or Part) returns, in four chains added in a fixed order.
template <typename Body>
inline float sumOver(int64_t length, Body body) {
  Vec chain[4] = {};
  int64_t i = 0;
  for (; i + 4 * lanes <= length; i += 4 * lanes) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) chain[j] += body(i + j * lanes, Whole{});
  }
  for (; i + lanes <= length; i += lanes) chain[0] += body(i, Whole{});
  if (i < length) chain[1] += body(i, Part{length - i});
  return sum((chain[0] + chain[1]) + (chain[2] + chain[3]));
}

}  // namespace
}  // namespace lrqat::cpu::LRQAT_ISA
