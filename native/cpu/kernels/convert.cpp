#include "cpu/kernels/convert.h"

#include "cpu/kernels/vector_math.h"

namespace lrqat::cpu::LRQAT_ISA {

namespace {

/// Storage of one float16 value.
struct half {
  uint16_t bits;
};

#if defined(__AVX2__)
inline Vec load(const half* memory) {
#if defined(__AVX512F__)
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(memory)));
#else
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(memory)));
#endif
}

inline void store(half* memory, Vec v) {
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(memory), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
#else
  _mm_storeu_si128(reinterpret_cast<__m128i*>(memory), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
#endif
}
#else
inline Vec load(const half* memory) {
  Vec v;
  for (int i = 0; i < lanes; ++i) {
    const uint32_t bits = memory[i].bits;
    const uint32_t sign = (bits & 0x8000U) << 16;
    const uint32_t rest = bits & 0x7fffU;
    // The exponent is placed by a product, which also makes subnormal halves right; infinity and NaN by their own bits.
    float value = __builtin_bit_cast(float, rest << 13) * 0x1p112F;
    if (rest >= 0x7c00U) value = __builtin_bit_cast(float, 0x7f800000U | (rest << 13));
    v[i] = __builtin_bit_cast(float, __builtin_bit_cast(uint32_t, value) | sign);
  }
  return v;
}

inline void store(half* memory, Vec v) {
  for (int i = 0; i < lanes; ++i) {
    const auto bits = __builtin_bit_cast(uint32_t, v[i]);
    const uint32_t sign = (bits >> 16) & 0x8000U;
    const uint32_t rest = bits & 0x7fffffffU;
    uint32_t out = 0;
    if (rest > 0x7f800000U) {
      out = 0x7e00U | ((rest >> 13) & 0x3ffU);
    } else if (rest >= 0x477ff000U) {
      out = 0x7c00U;  // 65520 and more round to infinity
    } else if (rest < 0x38800000U) {
      // Adding ½ puts the last bit of a subnormal half where float32 rounds.
      out = __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, rest) + 0.5F) - 0x3f000000U;
    } else {
      out = (rest + 0xfffU + ((rest >> 13) & 1U) - 0x38000000U) >> 13;
    }
    memory[i].bits = static_cast<uint16_t>(sign | out);
  }
}
#endif

template <typename From, typename To>
void convertOf(const From* from, To* to, int64_t count) {
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) store(to + i, load(from + i));
  if (i < count) {
    From in[lanes] = {};
    To out[lanes];
    std::memcpy(in, from + i, static_cast<size_t>(count - i) * sizeof(From));
    store(out, load(in));
    std::memcpy(to + i, out, static_cast<size_t>(count - i) * sizeof(To));
  }
}

template <typename From>
void convertFrom(const From* from, void* to, DType toType, int64_t count) {
  switch (toType) {
    case DType::F32:
      return convertOf(from, static_cast<float*>(to), count);
    case DType::BF16:
      return convertOf(from, static_cast<bf16*>(to), count);
    case DType::F16:
      return convertOf(from, static_cast<half*>(to), count);
  }
}

void convert(const void* from, DType fromType, void* to, DType toType, int64_t count) {
  switch (fromType) {
    case DType::F32:
      return convertFrom(static_cast<const float*>(from), to, toType, count);
    case DType::BF16:
      return convertFrom(static_cast<const bf16*>(from), to, toType, count);
    case DType::F16:
      return convertFrom(static_cast<const half*>(from), to, toType, count);
  }
}

}  // namespace

extern const ConvertKernels convertKernels = {convert};

}  // namespace lrqat::cpu::LRQAT_ISA
