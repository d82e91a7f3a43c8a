// Reading and writing single codes of a packed row: little-endian bit stream along the input dimension (engine.md). The
// backends have faster whole-row forms; this is what they are tested against, and what small tools use.
#pragma once

#include <cstdint>

namespace lrqat {

/// Code number `index` of `width` ≤ 8 bits.
inline uint32_t readCode(const uint8_t* row, int width, int64_t index) {
  const int64_t bit = index * width;
  const auto shift = static_cast<int>(bit % 8);
  uint32_t word = row[bit / 8];
  if (shift + width > 8) word |= static_cast<uint32_t>(row[bit / 8 + 1]) << 8;
  return (word >> shift) & ((1U << width) - 1U);
}

/// Sets code number `index`; its bits must be 0 before.
inline void writeCode(uint8_t* row, int width, int64_t index, uint32_t code) {
  const int64_t bit = index * width;
  const auto shift = static_cast<int>(bit % 8);
  const uint32_t word = code << shift;
  row[bit / 8] = static_cast<uint8_t>(row[bit / 8] | (word & 0xffU));
  if (shift + width > 8) row[bit / 8 + 1] = static_cast<uint8_t>(row[bit / 8 + 1] | (word >> 8));
}

}  // namespace lrqat
