#include "cpu/kernels/weights.h"

#include "cpu/kernels/lanes16.h"

namespace lrqat::cpu::LRQAT_ISA {

namespace {

/// Runs body(offset, lanes) over whole vectors and once more for what is left.
template <typename Body>
inline void forLanes(int64_t count, Body body) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) body(i, kLanes);
  if (i < count) body(i, static_cast<int>(count - i));
}

inline F16 take(const float* p, int lanes) {
  return lanes == kLanes ? load(p) : loadPart(p, lanes);
}

inline void put(float* p, F16 x, int lanes) {
  if (lanes == kLanes) {
    store(p, x);
  } else {
    storePart(p, x, lanes);
  }
}

// Eight codes of w bits are w bytes. A code spans at most two bytes, so vectors fetch the two bytes of each code with
// one byte shuffle and shift them into place; the plain form treats the eight codes as one little-endian number.
#if defined(LRQAT_ISA_IS_avx512) || defined(LRQAT_ISA_IS_avx2)

template <int kWidth, int kCodes>
struct CodePlaces {
  alignas(64) int8_t bytes[kCodes * 4] = {};  // source byte of each byte of a 32-bit lane; -1: zero
  alignas(64) int32_t shifts[kCodes] = {};
  /// Codes 8·i… start at byte i·kWidth of the source.
  constexpr CodePlaces() {
    for (int k = 0; k < kCodes; ++k) {
      const int first = k * kWidth / 8;
      const bool spans = k * kWidth % 8 + kWidth > 8;
      bytes[k * 4] = static_cast<int8_t>(first);
      bytes[k * 4 + 1] = static_cast<int8_t>(spans ? first + 1 : -1);
      bytes[k * 4 + 2] = bytes[k * 4 + 3] = -1;
      shifts[k] = k * kWidth % 8;
    }
  }
};

#endif

template <int kWidth>
void unpackWidth(const uint8_t* codes, int64_t tiles, float scale, float bias, float* out) {
#if defined(LRQAT_ISA_IS_avx512)
  static constexpr CodePlaces<kWidth, 16> places;
  const __m512i bytes = _mm512_load_si512(places.bytes);
  const __m512i shifts = _mm512_load_si512(places.shifts);
  const __m512i mask = _mm512_set1_epi32((1 << kWidth) - 1);
  for (int64_t i = 0; i < tiles * (kTileColumns / 16); ++i) {
    const auto valid = static_cast<__mmask16>((1U << (2 * kWidth)) - 1U);
    const __m512i source = _mm512_broadcast_i32x4(_mm_maskz_loadu_epi8(valid, codes));
    const __m512i code = _mm512_and_si512(_mm512_srlv_epi32(_mm512_shuffle_epi8(source, bytes), shifts), mask);
    _mm512_storeu_ps(out, _mm512_fmadd_ps(_mm512_cvtepi32_ps(code), _mm512_set1_ps(scale), _mm512_set1_ps(bias)));
    codes += 2 * kWidth;
    out += 16;
  }
#elif defined(LRQAT_ISA_IS_avx2)
  static constexpr CodePlaces<kWidth, 8> places;
  const __m256i bytes = _mm256_load_si256(reinterpret_cast<const __m256i*>(places.bytes));
  const __m256i shifts = _mm256_load_si256(reinterpret_cast<const __m256i*>(places.shifts));
  const __m256i mask = _mm256_set1_epi32((1 << kWidth) - 1);
  for (int64_t i = 0; i < tiles * (kTileColumns / 8); ++i) {
    int64_t bits = 0;
    std::memcpy(&bits, codes, kWidth);
    const __m256i source = _mm256_broadcastsi128_si256(_mm_cvtsi64_si128(bits));
    const __m256i code = _mm256_and_si256(_mm256_srlv_epi32(_mm256_shuffle_epi8(source, bytes), shifts), mask);
    _mm256_storeu_ps(out, _mm256_fmadd_ps(_mm256_cvtepi32_ps(code), _mm256_set1_ps(scale), _mm256_set1_ps(bias)));
    codes += kWidth;
    out += 8;
  }
#else
  constexpr uint64_t mask = (uint64_t{1} << kWidth) - 1;
  for (int64_t eight = 0; eight < tiles * (kTileColumns / 8); ++eight) {
    uint64_t bits = 0;
    std::memcpy(&bits, codes, kWidth);
    codes += kWidth;
    for (int k = 0; k < 8; ++k) {
      const auto code = static_cast<int32_t>((bits >> (k * kWidth)) & mask);
      out[k] = static_cast<float>(code) * scale + bias;
    }
    out += 8;
  }
#endif
}

void unpack(const uint8_t* codes, int width, int64_t tiles, float scale, float bias, float* out) {
  switch (width) {
    case 2:
      return unpackWidth<2>(codes, tiles, scale, bias, out);
    case 3:
      return unpackWidth<3>(codes, tiles, scale, bias, out);
    case 4:
      return unpackWidth<4>(codes, tiles, scale, bias, out);
    case 5:
      return unpackWidth<5>(codes, tiles, scale, bias, out);
    case 6:
      return unpackWidth<6>(codes, tiles, scale, bias, out);
    case 7:
      return unpackWidth<7>(codes, tiles, scale, bias, out);
    default:
      return unpackWidth<8>(codes, tiles, scale, bias, out);
  }
}

void pack(const float* values, int64_t count, float offset, int width, uint8_t* codes) {
  const int64_t padded = (count + kTileColumns - 1) / kTileColumns * kTileColumns;
  for (int64_t i = 0; i < padded; i += 8) {
    uint64_t bits = 0;
    for (int64_t k = 0; k < 8; ++k) {
      // Padding holds the code of 0, so that a row's bytes depend on its weights alone.
      const float value = i + k < count ? values[i + k] : 0.0F;
      bits |= static_cast<uint64_t>(static_cast<uint32_t>(value + offset)) << (k * width);
    }
    std::memcpy(codes, &bits, static_cast<size_t>(width));
    codes += width;
  }
}

void widenBf16(const uint16_t* in, int64_t count, float* out) {
  forLanes(count, [&](int64_t i, int lanes) {
    uint16_t part[kLanes] = {};
    if (lanes < kLanes) std::memcpy(part, in + i, static_cast<size_t>(lanes) * 2);
    put(out + i, loadBf16(lanes < kLanes ? part : in + i), lanes);
  });
}

void widenHalf(const uint16_t* in, int64_t count, float* out) {
  forLanes(count, [&](int64_t i, int lanes) {
    uint16_t part[kLanes] = {};
    if (lanes < kLanes) std::memcpy(part, in + i, static_cast<size_t>(lanes) * 2);
    put(out + i, loadHalf(lanes < kLanes ? part : in + i), lanes);
  });
}

inline void putBf16(uint16_t* out, F16 x, int lanes) {
  if (lanes == kLanes) return storeBf16(out, x);
  uint16_t part[kLanes];
  storeBf16(part, x);
  std::memcpy(out, part, static_cast<size_t>(lanes) * 2);
}

void narrowBf16(const float* in, int64_t count, uint16_t* out) {
  forLanes(count, [&](int64_t i, int lanes) { putBf16(out + i, take(in + i, lanes), lanes); });
}

void narrowHalf(const float* in, int64_t count, uint16_t* out) {
  forLanes(count, [&](int64_t i, int lanes) {
    uint16_t part[kLanes];
    storeHalf(part, take(in + i, lanes));
    std::memcpy(out + i, part, static_cast<size_t>(lanes) * 2);
  });
}

void divide(float* values, const float* divisors, int64_t count) {
  forLanes(count,
           [&](int64_t i, int lanes) { put(values + i, take(values + i, lanes) / take(divisors + i, lanes), lanes); });
}

void roundInside(float* values, int64_t count, float low, float high) {
  const F16 lowest = fill(low);
  const F16 highest = fill(high);
  forLanes(count, [&](int64_t i, int lanes) {
    put(values + i, roundSmall(clamp(take(values + i, lanes), lowest, highest)), lanes);
  });
}

void fixedPointCode(float* values, int64_t count, float qmin, float qmax, float steps, bool centred) {
  const F16 lowest = fill(qmin);
  const F16 highest = fill(qmax);
  const F16 factor = fill(steps);
  if (!centred) {
    forLanes(count, [&](int64_t i, int lanes) {
      put(values + i, roundSmall(clamp(take(values + i, lanes), lowest, highest) * factor), lanes);
    });
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const float x = values[i] < qmin ? qmin : (values[i] > qmax ? qmax : values[i]);
    const bool tieRoundedDown = x - __builtin_rintf(x) == 0.5F;
    values[i] = __builtin_floorf(x * steps) - (tieRoundedDown ? 1.0F : 0.0F);
  }
}

#if defined(LRQAT_ISA_IS_avx512)
constexpr int kRowsAtOnce = 8;  // 16 accumulators of 32 registers
#elif defined(LRQAT_ISA_IS_avx2)
constexpr int kRowsAtOnce = 2;  // 8 accumulators of 16 registers
#else
constexpr int kRowsAtOnce = 1;  // 8 accumulators
#endif

template <int kRows>
inline void roundRows(const RoundArguments& p, int firstRow) {
  const F16 gamma = fill(p.gamma);
  const F16 low = fill(p.low);
  const F16 high = fill(p.high);
  const F16 wideLow = fill(-1024.0F);
  const F16 wideHigh = fill(1024.0F);
  const int rank = p.rank;
  const float* a = p.a + static_cast<int64_t>(firstRow) * rank;
  const float* b = p.panel;
  float* values = p.values + static_cast<int64_t>(firstRow) * kChunkColumns;
  for (int tile = 0; tile < p.tiles; ++tile) {
    F16 left[kRows];
    F16 right[kRows];
    for (int i = 0; i < kRows; ++i) left[i] = right[i] = fill(0.0F);
    for (int k = 0; k < rank; ++k) {
      const F16 b0 = load(b);
      const F16 b1 = load(b + kLanes);
      b += kTileColumns;
      for (int i = 0; i < kRows; ++i) {
        const F16 factor = fill(a[i * rank + k]);
        left[i] = multiplyAdd(factor, b0, left[i]);
        right[i] = multiplyAdd(factor, b1, right[i]);
      }
    }
    for (int i = 0; i < kRows; ++i) {
      float* row = values + i * kChunkColumns + tile * kTileColumns;
      const auto finish = [&](float* at, F16 product) {
        const F16 c = gamma * product;
        if (p.roundProduct) {
          store(at, clamp(load(at) + roundSmall(clamp(c, wideLow, wideHigh)), low, high));
        } else {
          store(at, roundSmall(clamp(load(at) + c, low, high)));
        }
      };
      finish(row, left[i]);
      finish(row + kLanes, right[i]);
    }
  }
}

void round(const RoundArguments& p) {
  int row = 0;
  for (; row + kRowsAtOnce <= p.rows; row += kRowsAtOnce) roundRows<kRowsAtOnce>(p, row);
  for (; row < p.rows; ++row) roundRows<1>(p, row);
}

inline F16 emitted(const float* rounded, const float* columnScale, int64_t i, int lanes, F16 qmin, F16 qmax) {
  const F16 q = clamp(take(rounded + i, lanes), qmin, qmax);
  return columnScale ? q * take(columnScale + i, lanes) : q;
}

void emitFloat(const float* rounded, const float* columnScale, int64_t count, float qmin, float qmax, float* out) {
  const F16 low = fill(qmin);
  const F16 high = fill(qmax);
  forLanes(count,
           [&](int64_t i, int lanes) { put(out + i, emitted(rounded, columnScale, i, lanes, low, high), lanes); });
}

void emitBf16(const float* rounded, const float* columnScale, int64_t count, float qmin, float qmax, uint16_t* out) {
  const F16 low = fill(qmin);
  const F16 high = fill(qmax);
  forLanes(count,
           [&](int64_t i, int lanes) { putBf16(out + i, emitted(rounded, columnScale, i, lanes, low, high), lanes); });
}

int64_t outsideMasks(const float* rounded, int64_t count, float qmin, float qmax, uint16_t* masks) {
  const F16 low = fill(qmin);
  const F16 high = fill(qmax);
  int64_t found = 0;
  forLanes(count, [&](int64_t i, int lanes) {
    const uint32_t mask = outside(take(rounded + i, lanes), low, high) & ((1U << lanes) - 1U);
    masks[i / kLanes] = static_cast<uint16_t>(mask);
    found += __builtin_popcount(mask);
  });
  return found;
}

int64_t flipped(const float* a, const float* b, int64_t count, float qmin, float qmax) {
  const F16 low = fill(qmin);
  const F16 high = fill(qmax);
  int64_t found = 0;
  forLanes(count, [&](int64_t i, int lanes) {
    found += __builtin_popcount(different(clamp(take(a + i, lanes), low, high), clamp(take(b + i, lanes), low, high)));
  });
  return found;
}

float gradientProduct(const float* gradient, const float* rounded, int64_t count, float qmin, float qmax) {
  const F16 low = fill(qmin);
  const F16 high = fill(qmax);
  F16 total = fill(0.0F);
  forLanes(count, [&](int64_t i, int lanes) {
    total = multiplyAdd(take(gradient + i, lanes), clamp(take(rounded + i, lanes), low, high), total);
  });
  return sum(total);
}

void maskGradient(const float* gradient, const float* rounded, const float* columnScale, int64_t count, float qmin,
                  float qmax, float* out) {
  const F16 low = fill(qmin);
  const F16 high = fill(qmax);
  forLanes(count, [&](int64_t i, int lanes) {
    F16 value = take(gradient + i, lanes);
    if (columnScale) value = value * take(columnScale + i, lanes);
    put(out + i, keepInside(take(rounded + i, lanes), low, high, value), lanes);
  });
}

float outsideSum(const float* gradient, const float* rounded, int64_t count, float qmin, float qmax) {
  const F16 low = fill(qmin);
  const F16 high = fill(qmax);
  F16 total = fill(0.0F);
  forLanes(count, [&](int64_t i, int lanes) {
    const F16 value = take(gradient + i, lanes);
    total = total + (value - keepInside(take(rounded + i, lanes), low, high, value));
  });
  return sum(total);
}

}  // namespace

extern const WeightKernels weightKernels = {
    .unpack = unpack,
    .pack = pack,
    .widenBf16 = widenBf16,
    .widenHalf = widenHalf,
    .narrowBf16 = narrowBf16,
    .narrowHalf = narrowHalf,
    .divide = divide,
    .roundInside = roundInside,
    .fixedPointCode = fixedPointCode,
    .round = round,
    .emitFloat = emitFloat,
    .emitBf16 = emitBf16,
    .outsideMasks = outsideMasks,
    .flipped = flipped,
    .gradientProduct = gradientProduct,
    .maskGradient = maskGradient,
    .outsideSum = outsideSum,
};

}  // namespace lrqat::cpu::LRQAT_ISA
