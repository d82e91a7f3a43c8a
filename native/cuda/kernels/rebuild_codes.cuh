// Φ0 as stored → float32, eight consecutive columns of a row at a time: loads first (`load`), arithmetic later
// (`decode`), so that the loads of the next columns fly while these are worked on. A place is a row (`row`) and a
// column in it (`column`). Loads are not conditional: rows past the end are for the caller to replace by the last one,
// columns past it are read from the last place there is, and never used.
#pragma once

#include <cstdint>

#include "cuda/kernels/element.cuh"
#include "cuda/kernels/row_grids.cuh"

namespace lrqat::cuda {

/// Columns of one thread.
inline constexpr int kOctet = 8;
/// Columns of a packed group, and of one step of a thread.
inline constexpr int kGroupColumns = 32;

/// 1.5·2^23: floats of its exponent are integers.
inline constexpr float kMagic = 12582912.0F;

/// How an offset code u becomes a number, without a conversion instruction: u is put into the fraction of a float of
/// known exponent, with the half step of the centred code behind it, and the constant part subtracted. Exact.
struct CodeNumbers {
  uint32_t pattern = 0;     // exponent, and the half step
  float origin = 0;         // value of the pattern where Φ0 = 0
  float integerOrigin = 0;  // of kMagic + u where the integer is 0
  float binade = 0;         // added to what is rounded (roundOctet); 0: grids of more than 64 integers
};

/// How a weight is rounded (lr-qat.md §1.2).
enum class RoundForm : uint8_t {
  Sum,      // R = round(Φ0 + C)
  Product,  // R = W_int + round(C), integer storage
};

/// [rows] packed rows of offset codes of kWidth bits (0: `width`, for whom speed does not matter).
template <int kWidth, RoundForm kForm>
struct PackedCodes {
  static constexpr RoundForm form = kForm;
  static constexpr int bits = kWidth;  // 0: see codeWidth
  static constexpr bool packed = true;
  static constexpr bool shifted = false;
  /// Bits of the fraction behind the code's last one.
  static constexpr int kFractionShift = kWidth == 8 ? 8 : 1;
  struct Raw {
    uint32_t low, high;
  };
  /// The first word with bits of a thread's eight codes, and the place of those bits.
  struct Cursor {
    uint32_t first;  // bytes of the row before that word
    int shift;       // of the first bit in it
    int present;     // words of the group from it on
  };
  const uint8_t* codes;  // [rows, rowBytes]
  uint32_t rowBytes;
  uint32_t width;
  CodeNumbers numbers;

  __device__ __forceinline__ uint32_t codeWidth() const { return kWidth > 0 ? kWidth : width; }

  __device__ __forceinline__ uint32_t row(int row) const { return static_cast<uint32_t>(row) * rowBytes; }

  /// `column` is a multiple of 8; eight codes are kWidth bytes.
  __device__ __forceinline__ Cursor column(int column) const {
    const uint32_t w = codeWidth();
    if constexpr (kWidth == 2 || kWidth == 4 || kWidth == 8) {
      return {static_cast<uint32_t>(column) / kOctet * w, 0, 0};
    } else {
      const uint32_t group = static_cast<uint32_t>(column) / kGroupColumns * 4 * w;
      const uint32_t byte = static_cast<uint32_t>(column) / kOctet % 4 * w;
      return {group + byte / 4 * 4, static_cast<int>(byte % 4 * 8), static_cast<int>(w - byte / 4)};
    }
  }

  __device__ __forceinline__ Raw load(uint32_t row, const Cursor& cursor) const {
    const uint8_t* from = codes + (row + cursor.first);
    if constexpr (kWidth == 8) {
      const uint2 words = __ldg(reinterpret_cast<const uint2*>(from));
      return {words.x, words.y};
    } else if constexpr (kWidth == 4) {
      return {__ldg(reinterpret_cast<const uint32_t*>(from)), 0U};
    } else if constexpr (kWidth == 2) {
      return {__ldg(reinterpret_cast<const uint16_t*>(from)), 0U};
    } else {
      // A group of 32 codes is w whole words; rows are padded to whole groups.
      const auto* words = reinterpret_cast<const uint32_t*>(from);
      const uint32_t a = __ldg(words);
      const uint32_t b = cursor.present > 1 ? __ldg(words + 1) : 0U;
      Raw raw{__funnelshift_r(a, b, cursor.shift), 0U};
      if constexpr (kWidth == 0 || kWidth > 4) {
        const uint32_t c = cursor.shift + 8 * static_cast<int>(codeWidth()) > 64 ? __ldg(words + 2) : 0U;
        raw.high = __funnelshift_r(b, c, cursor.shift);
      }
      return raw;
    }
  }

  /// The same codes, counted from `zero` steps further down.
  __device__ __forceinline__ PackedCodes around(float zero) const {
    PackedCodes shifted = *this;
    shifted.numbers.origin += zero;
    shifted.numbers.integerOrigin += zero;
    return shifted;
  }

  /// Φ0 + numbers.origin.
  __device__ __forceinline__ void place(const Raw& raw, float (&placed)[kOctet]) const {
    if constexpr (kWidth == 8) {
#pragma unroll
      for (int i = 0; i < kOctet; ++i) {
        placed[i] = __uint_as_float(__byte_perm(i < 4 ? raw.low : raw.high, numbers.pattern, 0x7604 | i % 4 << 4));
      }
    } else {
      const uint32_t mask = ((1U << codeWidth()) - 1U) << 1;
      forShifted<1>(raw,
                    [&](int i, uint32_t shifted) { placed[i] = __uint_as_float((shifted & mask) | numbers.pattern); });
    }
  }

  __device__ __forceinline__ void decode(const Raw& raw, float (&phi)[kOctet]) const {
    place(raw, phi);
#pragma unroll
    for (int i = 0; i < kOctet; ++i) phi[i] -= numbers.origin;
  }

  /// kMagic + code i.
  __device__ __forceinline__ void placeIntegers(const Raw& raw, float (&placed)[kOctet]) const {
    if constexpr (kWidth == 8) {
#pragma unroll
      for (int i = 0; i < kOctet; ++i) {
        placed[i] = __uint_as_float(__byte_perm(i < 4 ? raw.low : raw.high, __float_as_uint(kMagic), 0x7650 | i % 4));
      }
    } else {
      uint32_t bits[kOctet];
#pragma unroll
      for (int i = 0; i < kOctet; ++i) bits[i] = __float_as_uint(kMagic);
      addTo(raw, bits);
#pragma unroll
      for (int i = 0; i < kOctet; ++i) placed[i] = __uint_as_float(bits[i]);
    }
  }

  /// bits[i] += code i.
  __device__ __forceinline__ void addTo(const Raw& raw, uint32_t (&bits)[kOctet]) const {
    if constexpr (kWidth > 0) {
      constexpr uint32_t mask = (1U << kWidth) - 1U;
#pragma unroll
      for (int i = 0; i < kOctet; ++i) {
        const int first = i * kWidth;
        if (first < 32 && first + kWidth > 32) {
          bits[i] += __funnelshift_r(raw.low, raw.high, first) & mask;
        } else {
          const int place = first % 32;
          const uint32_t field = keep(first < 32 ? raw.low : raw.high, mask << place);
          bits[i] += field >> place;
        }
      }
    } else {
      const uint32_t mask = (1U << width) - 1U;
      forShifted<0>(raw, [&](int i, uint32_t shifted) { bits[i] += shifted & mask; });
    }
  }

 private:
  /// word & mask, hidden from the compiler, so that the shift behind it becomes one instruction with the addition.
  static __device__ __forceinline__ uint32_t keep(uint32_t word, uint32_t mask) {
    uint32_t kept;
    asm("and.b32 %0, %1, %2;" : "=r"(kept) : "r"(word), "r"(mask));
    return kept;
  }

  /// body(i, word with code i from bit kPlace on).
  template <int kPlace, typename Body>
  __device__ __forceinline__ void forShifted(const Raw& raw, Body body) const {
    if constexpr (kWidth > 0) {
      const uint64_t all = static_cast<uint64_t>(raw.high) << 32 | raw.low;
#pragma unroll
      for (int i = 0; i < kOctet; ++i) {
        const int shift = i * kWidth - kPlace;
        body(i, static_cast<uint32_t>(shift >= 0 ? all >> shift : all << -shift));
      }
    } else {
      const int w = static_cast<int>(width);
      uint32_t low = raw.low;
      uint32_t high = raw.high;
      body(0, low << kPlace);
#pragma unroll
      for (int i = 1; i < kOctet; ++i) {
        const int step = i == 1 ? w - kPlace : w;
        low = __funnelshift_r(low, high, step);
        high >>= step;
        body(i, low);
      }
    }
  }
};

/// [rows, n] floats of type E.
template <typename E>
struct FloatCodes {
  static constexpr RoundForm form = RoundForm::Sum;
  static constexpr int bits = 0;
  static constexpr bool packed = false;
  static constexpr bool shifted = false;
  struct Raw {
    alignas(16) E value[kOctet];
  };
  using Cursor = uint32_t;  // elements
  const E* values;
  uint32_t n;
  uint32_t limit;   // of the last octet where vectorized, else of the last element
  bool vectorized;  // n % 8 == 0 and 16-byte aligned

  __device__ __forceinline__ uint32_t row(int row) const { return static_cast<uint32_t>(row) * n; }
  __device__ __forceinline__ Cursor column(int column) const { return static_cast<uint32_t>(column); }

  __device__ __forceinline__ Raw load(uint32_t row, const Cursor& cursor) const {
    Raw raw;
    const uint32_t offset = row + cursor;
    if (vectorized) {
      const auto* from = reinterpret_cast<const uint4*>(values + min(offset, limit));
      auto* words = reinterpret_cast<uint4*>(raw.value);
#pragma unroll
      for (int i = 0; i < static_cast<int>(sizeof(E)) / 2; ++i) words[i] = __ldg(from + i);
    } else {
#pragma unroll
      for (int i = 0; i < kOctet; ++i) raw.value[i] = values[min(offset + i, limit)];
    }
    return raw;
  }

  __device__ __forceinline__ FloatCodes around(float) const {
    return *this;
  }

  __device__ __forceinline__ void decode(const Raw& raw, float (&phi)[kOctet]) const {
#pragma unroll
    for (int i = 0; i < kOctet; ++i) phi[i] = toFloat(raw.value[i]);
  }
};

/// Packed codes that count from the lower end of a grid around a zero point.
template <class Inner>
struct ShiftedCodes {
  static constexpr RoundForm form = Inner::form;
  static constexpr int bits = Inner::bits;
  static constexpr bool packed = false;  // as many registers as plain floats
  static constexpr bool shifted = true;
  struct Raw {
    typename Inner::Raw codes;
    float low[kOctet];
  };
  struct Cursor {
    typename Inner::Cursor codes;
    uint32_t column;
  };
  Inner inner;
  RowGrids grids;  // of Φ0
  uint32_t n;
  CodeNumbers numbers;

  __device__ __forceinline__ uint32_t row(int row) const { return static_cast<uint32_t>(row); }
  __device__ __forceinline__ Cursor column(int column) const {
    return {inner.column(column), static_cast<uint32_t>(column)};
  }
  __device__ __forceinline__ Raw load(uint32_t row, const Cursor& cursor) const {
    Raw raw;
    raw.codes = inner.load(inner.row(static_cast<int>(row)), cursor.codes);
    grids.lows(row, cursor.column, n, raw.low);
    return raw;
  }
  __device__ __forceinline__ void place(const Raw& raw, float (&placed)[kOctet]) const {
    inner.place(raw.codes, placed);
  }
  __device__ __forceinline__ void decode(const Raw& raw, float (&phi)[kOctet]) const {
    inner.decode(raw.codes, phi);
#pragma unroll
    for (int i = 0; i < kOctet; ++i) phi[i] += raw.low[i];
  }
  __device__ __forceinline__ void placeIntegers(const Raw& raw, float (&placed)[kOctet]) const {
    inner.placeIntegers(raw.codes, placed);
  }
  __device__ __forceinline__ void addTo(const Raw& raw, uint32_t (&bits)[kOctet]) const {
    inner.addTo(raw.codes, bits);
  }
};

}  // namespace lrqat::cuda
