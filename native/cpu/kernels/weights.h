// Inner loops over the rows of one quantized weight: decoding Φ0, R = round(Φ0 + γAB), and what is made of R.
//
// R is the rounded value before clipping, limited to [qmin − 1, qmax + 1]: enough to know Q = clip(R) and whether the
// entry is masked. `round` is the only code that computes it; forward, recomputation, mask, statistics and merge all
// call it, so they agree to the bit.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace lrqat::cpu {

/// Columns are handled in tiles; a packed group of 32 codes is one tile.
constexpr int kTileColumns = 32;
/// One call covers at most this many columns: a block of rows of it stays in the first-level cache.
constexpr int kChunkColumns = 512;
/// Rows of one call.
constexpr int kRowBlock = 8;

struct RoundArguments {
  float* values = nullptr;       // [rows, kChunkColumns]: Φ0 in, R out
  const float* a = nullptr;      // [rows, rank]
  const float* panel = nullptr;  // [tiles, rank, 32]: B, cut into tiles (LowRankPanel)
  int rows = 0;
  int tiles = 0;
  int rank = 0;
  float gamma = 0;
  float low = 0;   // qmin − 1
  float high = 0;  // qmax + 1
  /// Integer storage: R = W_int + round(C). Otherwise R = round(float32(Φ0 + C)).
  bool roundProduct = false;
};

struct WeightKernels {
  /// Offset codes of `width` bits → code·scale + bias. Writes tiles·32 values.
  void (*unpack)(const uint8_t* codes, int width, int64_t tiles, float scale, float bias, float* out);
  /// Integers as float (count of them; the rest of the last tile becomes `padding`) + offset → codes of `width` bits.
  void (*pack)(const float* values, int64_t count, float offset, int width, uint8_t* codes);
  void (*widenBf16)(const uint16_t* in, int64_t count, float* out);
  void (*widenHalf)(const uint16_t* in, int64_t count, float* out);
  void (*narrowBf16)(const float* in, int64_t count, uint16_t* out);
  void (*narrowHalf)(const float* in, int64_t count, uint16_t* out);
  /// In place x/scale; divisors one a column.
  void (*divide)(float* values, const float* divisors, int64_t count);
  /// In place R = round(clamp(x)).
  void (*roundInside)(float* values, int64_t count, float low, float high);
  /// In place fixed-point code of x = W/s0: round(clamp(x)·steps) or, centred, the half-open cell [k, k + 1)/steps that
  /// holds x, one lower where x is a tie that half-to-even rounds down, so that round(decoded) = round(x).
  void (*fixedPointCode)(float* values, int64_t count, float qmin, float qmax, float steps, bool centred);
  void (*round)(const RoundArguments& arguments);
  /// clip(R), times columnScale where not null.
  void (*emitFloat)(const float* rounded, const float* columnScale, int64_t count, float qmin, float qmax, float* out);
  void (*emitBf16)(const float* rounded, const float* columnScale, int64_t count, float qmin, float qmax,
                   uint16_t* out);
  /// Bit j of `masks` (16 a word, bits from `count` on are 0): R[j] lies outside the grid. Returns how many.
  int64_t (*outsideMasks)(const float* rounded, int64_t count, float qmin, float qmax, uint16_t* masks);
  /// Positions at which clip(a) ≠ clip(b).
  int64_t (*flipped)(const float* a, const float* b, int64_t count, float qmin, float qmax);
  /// Σ g·clip(R).
  float (*gradientProduct)(const float* gradient, const float* rounded, int64_t count, float qmin, float qmax);
  /// out = gradient·columnScale (1 where null) inside the grid, 0 outside. May be in place.
  void (*maskGradient)(const float* gradient, const float* rounded, const float* columnScale, int64_t count, float qmin,
                       float qmax, float* out);
  /// Σ g over the entries outside the grid.
  float (*outsideSum)(const float* gradient, const float* rounded, int64_t count, float qmin, float qmax);
};

LRQAT_DECLARE_KERNELS(WeightKernels, weightKernels)

}  // namespace lrqat::cpu
