// Φ0 one number at a time, for numbers that are not W/s0 of a checkpoint's weight (those the backends encode row by
// row). The same codes as Backend::encode.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/types.h"

namespace lrqat {

/// The integers less the zero point that an entry may have.
struct GridEnds {
  float low = 0;
  float high = 0;
};

/// The code of `value`: that of packed storages counts from the lower end of the grid, of the others it is the bits.
uint32_t encodePhi0(const QuantSpec& spec, float value, GridEnds ends);

/// What a code is read back as.
float decodePhi0(const QuantSpec& spec, uint32_t code, GridEnds ends);

/// The code of the number next to `value − product` that gives, with `product` (γ·A·B) added, the integer `rounded` of
/// `value`. Storages with few fraction bits would else move some numbers over a tie, whose error others have taken up.
uint32_t encodePhi0Inside(const QuantSpec& spec, float value, float product, float rounded, GridEnds ends);

/// Puts a code into a row; its bits must be 0 before.
void storePhi0(const QuantSpec& spec, std::byte* row, int64_t column, uint32_t code);

}  // namespace lrqat
