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
  float origin = 0;      // value of the pattern where Φ0 = 0
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
  struct Raw {
    uint32_t low, high;
  };
  /// Where a thread starts: the first word with bits of its eight codes, and the place of those bits.
  struct Cursor {
    const uint8_t* from;
    int shift;    // of the first bit in the first word
    int present;  // words of the group from the first word on
  };
  const uint8_t* codes;  // [rows, rowBytes]
  int rowBytes;
  int width;
  CodeNumbers numbers;

  __device__ __forceinline__ int codeWidth() const { return kWidth > 0 ? kWidth : width; }

  /// `column` is a multiple of 8.
  __device__ __forceinline__ Cursor start(int row, int column) const {
    const auto w = static_cast<unsigned>(codeWidth());
    const unsigned byte = static_cast<unsigned>(column) / kOctet % 4 * w;
    const unsigned group = static_cast<unsigned>(column) / kGroupColumns * 4 * w;
    const uint8_t* from = codes + static_cast<int64_t>(row) * rowBytes + group;
    if constexpr (kWidth == 2 || kWidth == 4 || kWidth == 8) {
      return {from + byte, 0, 0};
    } else {
      return {from + byte / 4 * 4, static_cast<int>(byte % 4 * 8), static_cast<int>(w - byte / 4)};
    }
  }

  /// Of the octet `rows` and `groups` further on: kWidth bytes.
  __device__ __forceinline__ Raw load(const Cursor& cursor, int rows, int groups, int /*column*/) const {
    const int w = codeWidth();
    const uint8_t* from = cursor.from + (rows * rowBytes + groups * 4 * w);
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
        const uint32_t c = cursor.shift + 8 * w > 64 ? __ldg(words + 2) : 0U;
        raw.high = __funnelshift_r(b, c, cursor.shift);
      }
      return raw;
    }
  }

  __device__ __forceinline__ void decode(const Raw& raw, float (&phi)[kOctet]) const {
    const int w = codeWidth();
    const uint64_t bits = static_cast<uint64_t>(raw.high) << 32 | raw.low;
    const uint32_t mask = ((1U << w) - 1U) << 1;
#pragma unroll
    for (int i = 0; i < kOctet; ++i) {
      const auto code = static_cast<uint32_t>(i * w > 0 ? bits >> (i * w - 1) : bits << 1) & mask;
      phi[i] = __uint_as_float(code | numbers.pattern) - numbers.origin;
    }
  }
};

/// [rows, n] floats of type E.
template <typename E>
struct FloatCodes {
  static constexpr RoundForm form = RoundForm::Sum;
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

  __device__ __forceinline__ Raw load(const Cursor& cursor, int rows, int groups, int column) const {
    Raw raw;
    const E* from = cursor + (static_cast<int64_t>(rows) * n + groups * kGroupColumns);
    if (vectorized) {
      auto* words = reinterpret_cast<uint4*>(raw.value);
#pragma unroll
      for (int i = 0; i < static_cast<int>(sizeof(E)) / 2; ++i)
        words[i] = __ldg(reinterpret_cast<const uint4*>(from) + i);
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
