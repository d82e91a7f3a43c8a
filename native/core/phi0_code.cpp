#include "core/phi0_code.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/half.h"
#include "core/packing.h"

namespace lrqat {

namespace {

float stepsOf(const QuantSpec& spec) {
  return spec.storage == Storage::FixedPoint ? std::ldexp(1.0F, spec.fractionBits) : 1.0F;
}

bool centred(const QuantSpec& spec) {
  return spec.storage == Storage::FixedPoint && spec.code == FixedPointCode::Centred;
}

}  // namespace

uint32_t encodePhi0(const QuantSpec& spec, float value, GridEnds ends) {
  switch (spec.storage) {
    case Storage::F32:
      return std::bit_cast<uint32_t>(value);
    case Storage::BF16:
      return bf16FromFloat(value);
    case Storage::F16:
      return f16FromFloat(value);
    case Storage::FixedPoint:
    case Storage::Integer:
    case Storage::Trained:  // has no Φ0
      break;
  }
  const float inside = std::min(std::max(value, ends.low), ends.high);
  const float steps = stepsOf(spec);
  float code = std::nearbyint(inside * steps);
  if (centred(spec)) {
    // A tie that rounds down belongs to the cell below.
    const bool tieRoundedDown = inside - std::nearbyint(inside) == 0.5F;
    code = std::floor(inside * steps) - (tieRoundedDown ? 1.0F : 0.0F);
  }
  return static_cast<uint32_t>(code - ends.low * steps);
}

float decodePhi0(const QuantSpec& spec, uint32_t code, GridEnds ends) {
  switch (spec.storage) {
    case Storage::F32:
      return std::bit_cast<float>(code);
    case Storage::BF16:
      return floatFromBf16(static_cast<uint16_t>(code));
    case Storage::F16:
      return floatFromF16(static_cast<uint16_t>(code));
    case Storage::FixedPoint:
    case Storage::Integer:
    case Storage::Trained:  // has no Φ0
      break;
  }
  return (static_cast<float>(code) + (centred(spec) ? 0.5F : 0.0F)) / stepsOf(spec) + ends.low;
}

uint32_t encodePhi0Inside(const QuantSpec& spec, float value, float product, float rounded, GridEnds ends) {
  // The product is rounded on its own there.
  if (spec.storage == Storage::Integer) return encodePhi0(spec, rounded, ends);
  // What lies outside of the grid is no business of a storage that clamps.
  if (spec.storage == Storage::FixedPoint) value = std::min(std::max(value, ends.low), ends.high);
  uint32_t code = 0;
  for (const float share : {1.0F, 0.875F, 0.75F, 0.0F}) {
    const float wanted = share == 1.0F ? value : rounded + share * (value - rounded);
    code = encodePhi0(spec, wanted - product, ends);
    const float z = std::nearbyint(decodePhi0(spec, code, ends) + product);
    if (std::min(std::max(z, ends.low), ends.high) == rounded) break;
  }
  return code;
}

void storePhi0(const QuantSpec& spec, std::byte* row, int64_t column, uint32_t code) {
  const int width = spec.codeBits();
  if (width == 32) {
    std::memcpy(row + column * 4, &code, 4);
  } else if (width == 16) {
    const auto bits = static_cast<uint16_t>(code);
    std::memcpy(row + column * 2, &bits, 2);
  } else {
    writeCode(reinterpret_cast<uint8_t*>(row), width, column, code);
  }
}

}  // namespace lrqat
