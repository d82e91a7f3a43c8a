// The integer grid of a quantized linear: checks of a specification and the scalar formulas that loading and tests
// share.
#pragma once

#include <cstdint>

#include "core/types.h"

namespace lrqat {

/// Throws InvalidArgument, naming the value and what is allowed, unless an m × n linear can be quantized like this.
void checkSpec(const QuantSpec& spec, int64_t m, int64_t n);

/// Value of an offset code u: u·scale + bias (integer and fixed-point storage; exact in float32). Asymmetric: of which
/// the zero point of the range search must still be taken away.
struct CodeDecoding {
  float scale = 1;
  float bias = 0;
};
CodeDecoding codeDecoding(const QuantSpec& spec);

/// Min/max range of an asymmetric quantizer with codes 0 … 2^bits − 1 (lr-qat.md §3).
struct AsymmetricRange {
  float scale = 1;
  float zeroPointUnrounded = 0;
  float zeroPoint = 0;
};
AsymmetricRange asymmetricMinMax(float lowest, float highest, int bits);

/// The zero point that a trained number stands for: rounded half to even into 0 … levels. Integers stay as they are;
/// NaN of a damaged file gives 0.
float zeroPoint(float unrounded, int levels);

/// The rounding of a zero point passes the gradient where it stays on the grid before clipping.
bool zeroPointPasses(float unrounded, int levels);

/// Scale of a symmetric min/max range: max(−lo, hi)/qmax with lo ≤ 0, hi ≥ 1e-8, floored at 1e-8.
float symmetricMinMax(float lowest, float highest, float qmax);

/// Smallest scale that is ever used.
constexpr float kScaleFloor = 1e-8F;

/// Half-precision scales stay between the smallest normal number of the type and its largest.
constexpr float kHalfScaleMin = 0x1p-14F;
constexpr float kHalfScaleMax = 65504.0F;

/// The number of a format that is nearest to a scale, ties to even.
float scaleOnGrid(ScaleFormat format, float scale);

}  // namespace lrqat
