#include "core/grid.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "core/error.h"

namespace lrqat {

namespace {

[[noreturn]] void refuse(const std::string& message, const std::string& hint) {
  throw Error(ErrorCode::InvalidArgument, message, hint);
}

}  // namespace

void checkSpec(const QuantSpec& spec, int64_t m, int64_t n) {
  if (m < 1 || n < 1) refuse("a linear of " + std::to_string(m) + " × " + std::to_string(n) + " has no weights", "");
  if (spec.bits < 2 || spec.bits > 8) refuse("bits is " + std::to_string(spec.bits), "allowed are 2 to 8");
  if (spec.granularity == Granularity::Group && (spec.groupSize < 1 || n % spec.groupSize != 0)) {
    refuse("group size " + std::to_string(spec.groupSize) + " does not divide the input width " + std::to_string(n),
           "use a divisor of " + std::to_string(n) + ", or per-channel scales");
  }
  if (spec.storage == Storage::FixedPoint) {
    if (spec.fractionBits < 0 || spec.bits + spec.fractionBits > 8) {
      refuse("bits " + std::to_string(spec.bits) + " and fractionBits " + std::to_string(spec.fractionBits) +
                 " do not fit a code of 8 bits",
             "fractionBits may be 0 to " + std::to_string(8 - spec.bits));
    }
    if (spec.code == FixedPointCode::Centred && spec.fractionBits == 0) {
      refuse("the centred encoding needs a fraction bit: without one every decoded value is a tie",
             "use encoding \"reference\", or fractionBits of at least 1");
    }
  }
  if (spec.trainsWeights() && spec.rank > 0) {
    refuse("a trained weight has no low-rank term, rank is " + std::to_string(spec.rank), "use rank 0");
  }
  if (spec.rank < 0 || spec.rank > std::min(m, n)) {
    refuse("rank " + std::to_string(spec.rank) + " is above the smaller side of the " + std::to_string(m) + " × " +
               std::to_string(n) + " weight",
           "allowed are 0 to " + std::to_string(std::min(m, n)));
  }
}

CodeDecoding codeDecoding(const QuantSpec& spec) {
  if (spec.storage == Storage::Integer) return {1.0F, spec.symmetric ? static_cast<float>(spec.qmin()) : 0.0F};
  const float step = std::ldexp(1.0F, -spec.fractionBits);
  const float offset = spec.symmetric ? -std::ldexp(1.0F, spec.bits - 1) : 0.0F;
  return {step, spec.code == FixedPointCode::Centred ? offset + step / 2 : offset};
}

AsymmetricRange asymmetricMinMax(float lowest, float highest, int bits) {
  const float lo = std::min(lowest, 0.0F);
  const float hi = std::max(highest, 1e-8F);
  const float steps = static_cast<float>((1 << bits) - 1);
  AsymmetricRange range;
  const float step = (hi - lo) / steps;  // the floor enters the scale alone, not the zero point
  range.scale = std::max(step, kScaleFloor);
  range.zeroPointUnrounded = -lo / step;
  range.zeroPoint = zeroPoint(range.zeroPointUnrounded, (1 << bits) - 1);
  return range;
}

float zeroPoint(float unrounded, int levels) {
  const float rounded = std::nearbyint(unrounded);
  return rounded > 0 ? std::min(rounded, static_cast<float>(levels)) : 0.0F;
}

bool zeroPointPasses(float unrounded, int levels) {
  const float rounded = std::nearbyint(unrounded);
  return rounded >= 0 && rounded <= static_cast<float>(levels);
}

float symmetricMinMax(float lowest, float highest, float qmax) {
  const float lo = std::min(lowest, 0.0F);
  const float hi = std::max(highest, 1e-8F);
  return std::max(std::max(-lo, hi) / qmax, kScaleFloor);
}

float scaleOnGrid(ScaleFormat format, float scale) {
  // Rounding away the lower bits of a float32, ties to even; a carry moves into the exponent as it should.
  const auto rounded = [](float value, int bits) {
    const auto word = std::bit_cast<uint32_t>(value);
    const uint32_t half = (1U << (bits - 1)) - 1 + ((word >> bits) & 1);
    return std::bit_cast<float>((word + half) & ~((1U << bits) - 1));
  };
  if (format == ScaleFormat::F32 || std::isnan(scale)) return scale;
  if (format == ScaleFormat::BF16) return rounded(scale, 16);
  return rounded(std::clamp(scale, kHalfScaleMin, kHalfScaleMax), 13);
}

}  // namespace lrqat
