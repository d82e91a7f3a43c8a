// Φ0 as stored → float32, eight consecutive columns of a row at a time: loads first (`load`), arithmetic later
// (`decode`), so that the loads of the next columns fly while these are worked on.
#pragma once

#include <cstdint>

#include "cuda/kernels/element.cuh"

namespace lrqat::cuda {

/// Columns of one thread.
inline constexpr int kOctet = 8;
/// Columns of a packed group, and of one step of a thread.
inline constexpr int kGroupColumns = 32;

/// How an offset code u becomes a number, without a conversion instruction: u is put into the fraction of a float of
/// known exponent, with the half step of the centred code behind it, and the constant part subtracted. Exact.
struct CodeNumbers {
  uint32_t pattern = 0;  // exponent, and the half step
  float origin = 0;      // value of the pattern where Φ0 = 0; for RoundForm::Product that of Φ0 = kMagic
};

/// 1.5·2^23: floats of its exponent are integers.
inline constexpr float kMagic = 12582912.0F;

/// How a weight is rounded (lr-qat.md §1.2).
enum class RoundForm : uint8_t {
  Sum,      // R = round(Φ0 + C)
  Product,  // R = W_int + round(C), integer storage
};

/// [rows] packed rows of offset codes of kWidth bits (0: `width`, for whom speed does not matter).
template <int kWidth, RoundForm kForm>
struct PackedCodes {
  static constexpr RoundForm form = kForm;
  /// Φ0 is what `decode` gives plus this.
  static constexpr float origin = kForm == RoundForm::Product ? kMagic : 0.0F;
  struct Raw {
    uint32_t low, high;
  };
  /// Where a thread starts: the first word with bits of its eight codes, and the place of those bits.
  struct Cursor {
    uint32_t offset;  // bytes
    int shift;        // of the first bit in the first word
    int present;      // words of the group from the first word on
  };
  const uint8_t* codes;  // [rows, rowBytes]
  uint32_t rowBytes;
  uint32_t width;
  CodeNumbers numbers;

  __device__ __forceinline__ uint32_t codeWidth() const { return kWidth > 0 ? kWidth : width; }

  /// `column` is a multiple of 8.
  __device__ __forceinline__ Cursor start(int row, int column) const {
    const uint32_t w = codeWidth();
    const uint32_t byte = static_cast<uint32_t>(column) / kOctet % 4 * w;
    const uint32_t group =
        static_cast<uint32_t>(row) * rowBytes + static_cast<uint32_t>(column) / kGroupColumns * 4 * w;
    if constexpr (kWidth == 2 || kWidth == 4 || kWidth == 8) {
      return {group + byte, 0, 0};
    } else {
      return {group + byte / 4 * 4, static_cast<int>(byte % 4 * 8), static_cast<int>(w - byte / 4)};
    }
  }
  __device__ __forceinline__ void advance(Cursor& cursor) const { cursor.offset += 4 * codeWidth(); }

  /// Of the octet `rows` further on: kWidth bytes.
  __device__ __forceinline__ Raw load(const Cursor& cursor, int rows, int /*column*/) const {
    const uint8_t* from = codes + (cursor.offset + static_cast<uint32_t>(rows) * rowBytes);
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

  __device__ __forceinline__ void decode(const Raw& raw, float (&phi)[kOctet]) const {
    const int w = static_cast<int>(codeWidth());
    const uint32_t mask = ((1U << w) - 1U) << 1;
    if constexpr (kWidth > 0) {
      const uint64_t bits = static_cast<uint64_t>(raw.high) << 32 | raw.low;
#pragma unroll
      for (int i = 0; i < kOctet; ++i) {
        const auto code = static_cast<uint32_t>(i > 0 ? bits >> (i * kWidth - 1) : bits << 1) & mask;
        phi[i] = __uint_as_float(code | numbers.pattern) - numbers.origin;
      }
    } else {
      uint32_t low = raw.low << 1;
      uint32_t high = raw.high;
#pragma unroll
      for (int i = 0; i < kOctet; ++i) {
        phi[i] = __uint_as_float((low & mask) | numbers.pattern) - numbers.origin;
        const int step = i > 0 ? w : w - 1;
        low = __funnelshift_r(i > 0 ? low : raw.low, high, step);
        high >>= step;
      }
    }
  }
};

/// [rows, n] floats of type E.
template <typename E>
struct FloatCodes {
  static constexpr RoundForm form = RoundForm::Sum;
  static constexpr float origin = 0.0F;
  struct Raw {
    alignas(16) E value[kOctet];
  };
  using Cursor = const E*;
  const E* values;
  int n;
  bool vectorized;  // n % 8 == 0 and 16-byte aligned

  __device__ __forceinline__ Cursor start(int row, int column) const {
    return values + (static_cast<int64_t>(row) * n + column);
  }
  __device__ __forceinline__ void advance(Cursor& cursor) const { cursor += kGroupColumns; }

  __device__ __forceinline__ Raw load(const Cursor& cursor, int rows, int column) const {
    Raw raw;
    const E* from = cursor + static_cast<int64_t>(rows) * n;
    if (vectorized) {
      auto* words = reinterpret_cast<uint4*>(raw.value);
#pragma unroll
      for (int i = 0; i < static_cast<int>(sizeof(E)) / 2; ++i) {
        words[i] = __ldg(reinterpret_cast<const uint4*>(from) + i);
      }
    } else {
#pragma unroll
      for (int i = 0; i < kOctet; ++i) raw.value[i] = column + i < n ? from[i] : fromFloat<E>(0.0F);
    }
    return raw;
  }

  __device__ __forceinline__ void decode(const Raw& raw, float (&phi)[kOctet]) const {
#pragma unroll
    for (int i = 0; i < kOctet; ++i) phi[i] = toFloat(raw.value[i]);
  }
};

}  // namespace lrqat::cuda
