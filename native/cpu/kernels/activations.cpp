#include "cpu/kernels/activations.h"

#include "cpu/kernels/vector_math.h"

namespace lrqat::cpu::LRQAT_ISA {

namespace {

/// Half to even, of any size; NaN stays NaN.
inline Vec roundEven(Vec v) {
#if defined(__AVX512F__)
  return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__AVX2__)
  return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  // From 2^23 on there is no fraction, and the sum with it leaves none.
  const auto sign = __builtin_bit_cast(VecBits, v) & 0x80000000U;
  const Vec magic = __builtin_bit_cast(Vec, sign | 0x4b000000U);
  const Vec rounded = (v + magic) - magic;
  const Vec magnitude = __builtin_bit_cast(Vec, __builtin_bit_cast(VecBits, v) & 0x7fffffffU);
  return magnitude < broadcast(8388608.0F) ? rounded : v;
#endif
}

/// Lane i is bit i: those whose sign bit is set.
inline uint32_t signBits(VecInt v) {
#if defined(__AVX512F__)
  return static_cast<uint32_t>(_mm512_cmplt_epi32_mask(__builtin_bit_cast(__m512i, v), _mm512_setzero_si512()));
#elif defined(__AVX2__)
  return static_cast<uint32_t>(_mm256_movemask_ps(__builtin_bit_cast(__m256, v)));
#else
  uint32_t bits = 0;
  for (int i = 0; i < lanes; ++i) bits |= static_cast<uint32_t>(v[i] < 0) << i;
  return bits;
#endif
}

/// Lowest and highest number of a group; order does not matter to either.
struct Extent {
  float low;
  float high;
};

template <typename T>
Extent extentOf(const T* x, int64_t n) {
  Vec low = broadcast(__builtin_inff());
  Vec high = -low;
  // Where a row ends within a vector, the last one begins earlier instead of being filled with zeros.
  const int64_t last = n >= lanes ? n - lanes : 0;
  const auto include = [&](Vec v) {
    low = minimum(v, low);
    high = maximum(v, high);
  };
  if (n >= lanes) {
    for (int64_t i = 0; i < last; i += lanes) include(load(x + i));
    include(load(x + last));
  } else {
    const Vec v = loadPart(x, n);
    include(laneNumbers() < static_cast<int32_t>(n) ? v : broadcast(v[0]));
  }
  return {-highest(-low), highest(high)};
}

SharedGrid gridOf(Extent extent, int bits, bool fractionalZeroPoint) {
  const auto levels = static_cast<float>((1 << bits) - 1);
  if (!fractionalZeroPoint) {
    extent.low = extent.low < 0 ? extent.low : 0;
    extent.high = extent.high > 0 ? extent.high : 0;
  }
  float delta = (extent.high - extent.low) / levels;
  delta = delta < 1e-8F ? 1e-8F : delta;
  float zero = -extent.low / delta;
  if (!fractionalZeroPoint) {
    zero = __builtin_rintf(zero);
    zero = zero > levels ? levels : zero;
  }
  return {delta, zero, 0, levels};
}

/// Sets bits `offset` … of `words`, which were zero there.
inline void setBits(uint32_t* words, int64_t offset, uint32_t bits, int64_t count) {
  const int64_t word = offset / 32;
  const int64_t shift = offset % 32;
  words[word] |= bits << shift;
  if (shift + count > 32) words[word + 1] |= bits >> (32 - shift);
}

/// Columns `start` … `start` + `width` of a row, whose marks are still zero.
template <typename T>
inline void quantizeGroup(const T* x, const SharedGrid& grid, int64_t start, int64_t width, T* y, uint32_t* inside) {
  const Vec scale = broadcast(grid.scale);
  const Vec zero = broadcast(grid.zero);
  const Vec low = broadcast(grid.low);
  const Vec high = broadcast(grid.high);
  forEachVector(width, [&](int64_t i, auto part) {
    const Vec value = roundEven(load(x + start + i, part) / scale) + zero;
    Vec code = value < low ? low : value;  // NaN stays
    code = code > high ? high : code;
    store(y + start + i, scale * (code - zero), part);
    if (!inside) return;
    const VecInt keep = (value >= low) & (value <= high);
    int64_t count = lanes;
    uint32_t marks = signBits(keep);
    if constexpr (requires { part.count; }) {
      count = part.count;
      marks &= (1U << count) - 1U;
    }
    setBits(inside, start + i, marks, count);
  });
}

inline void clearMarks(int64_t cols, uint32_t* inside) {
  if (!inside) return;
  for (int64_t word = 0; word < (cols + 31) / 32; ++word) inside[word] = 0;
}

template <typename T>
void quantizeOf(const T* x, int bits, bool fractionalZeroPoint, int64_t cols, int64_t width, T* y, uint32_t* inside) {
  clearMarks(cols, inside);
  for (int64_t start = 0; start < cols; start += width) {
    const SharedGrid grid = gridOf(extentOf(x + start, width), bits, fractionalZeroPoint);
    quantizeGroup(x, grid, start, width, y, inside);
  }
}

template <typename T>
void rangeOf(const T* x, int64_t cols, float* range) {
  const Extent extent = extentOf(x, cols);
  Vec rest = {};  // 0, or NaN where a number is not finite
  forEachVector(cols, [&](int64_t i, auto part) { rest += load(x + i, part) * 0.0F; });
  const float isFinite = sum(rest);
  range[0] = extent.low + isFinite;
  range[1] = extent.high + isFinite;
}

template <typename T, typename G>
void learnOf(const T* x, const SharedGrid& grid, int64_t cols, G* gradient, double* sums) {
  const Vec scale = broadcast(grid.scale);
  const Vec zero = broadcast(grid.zero);
  const Vec low = broadcast(grid.low);
  const Vec high = broadcast(grid.high);
  Vec scaleSum = {};
  Vec outsideSum = {};
  forEachVector(cols, [&](int64_t i, auto part) {
    const Vec steps = load(x + i, part) / scale;
    const Vec value = roundEven(steps) + zero;
    Vec code = value < low ? low : value;
    code = code > high ? high : code;
    const VecInt keep = (value >= low) & (value <= high);
    const Vec dY = load(gradient + i, part);  // 0 behind the end of the row
    const Vec inside = __builtin_bit_cast(Vec, __builtin_bit_cast(VecInt, dY) & keep);
    const Vec moved = keep ? steps : Vec{};
    scaleSum += dY * ((code - zero) - moved);
    outsideSum += dY - inside;
    store(gradient + i, inside, part);
  });
  sums[0] += static_cast<double>(sum(scaleSum));
  sums[1] += static_cast<double>(sum(outsideSum));
}

template <typename T>
void maskOf(T* gradient, int64_t cols, const uint32_t* inside) {
  // A vector never reaches over two words.
  forEachVector(cols, [&](int64_t i, auto part) {
    const VecInt bits = VecInt{} + static_cast<int32_t>(inside[i / 32] >> (i % 32));
    const VecInt keep = -((bits >> laneNumbers()) & 1);
    const Vec value = load(gradient + i, part);
    store(gradient + i, __builtin_bit_cast(Vec, __builtin_bit_cast(VecInt, value) & keep), part);
  });
}

void quantize(const void* x, bool isBf16, int bits, bool fractionalZeroPoint, int64_t cols, int64_t width, void* y,
              uint32_t* inside) {
  if (isBf16) {
    quantizeOf(static_cast<const bf16*>(x), bits, fractionalZeroPoint, cols, width, static_cast<bf16*>(y), inside);
  } else {
    quantizeOf(static_cast<const float*>(x), bits, fractionalZeroPoint, cols, width, static_cast<float*>(y), inside);
  }
}

void mask(void* gradient, bool isBf16, int64_t cols, const uint32_t* inside) {
  if (isBf16) {
    maskOf(static_cast<bf16*>(gradient), cols, inside);
  } else {
    maskOf(static_cast<float*>(gradient), cols, inside);
  }
}

void quantizeShared(const void* x, bool isBf16, const SharedGrid& grid, int64_t cols, void* y, uint32_t* inside) {
  clearMarks(cols, inside);
  if (isBf16) {
    quantizeGroup(static_cast<const bf16*>(x), grid, 0, cols, static_cast<bf16*>(y), inside);
  } else {
    quantizeGroup(static_cast<const float*>(x), grid, 0, cols, static_cast<float*>(y), inside);
  }
}

void range(const void* x, bool isBf16, int64_t cols, float* range) {
  if (isBf16) {
    rangeOf(static_cast<const bf16*>(x), cols, range);
  } else {
    rangeOf(static_cast<const float*>(x), cols, range);
  }
}

template <typename T>
void learnFrom(const T* x, const SharedGrid& grid, int64_t cols, void* gradient, bool gradientBf16, double* sums) {
  if (gradientBf16) {
    learnOf(x, grid, cols, static_cast<bf16*>(gradient), sums);
  } else {
    learnOf(x, grid, cols, static_cast<float*>(gradient), sums);
  }
}

void learn(const void* x, bool isBf16, const SharedGrid& grid, int64_t cols, void* gradient, bool gradientBf16,
           double* sums) {
  if (isBf16) {
    learnFrom(static_cast<const bf16*>(x), grid, cols, gradient, gradientBf16, sums);
  } else {
    learnFrom(static_cast<const float*>(x), grid, cols, gradient, gradientBf16, sums);
  }
}

}  // namespace

extern const ActivationKernels activationKernels = {quantize, mask, quantizeShared, range, learn};

}  // namespace lrqat::cpu::LRQAT_ISA
