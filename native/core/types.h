// Plain value types shared by the core and every backend. Sizes are element counts unless a name says bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace lrqat {

enum class DType : uint8_t { F32, BF16, F16 };

constexpr int64_t byteSize(DType type) {
  return type == DType::F32 ? 4 : 2;
}

/// Which implementation of Backend a model runs on.
enum class Device : uint8_t { Cpu, Cuda };

/// Row-major matrix without padding; the memory belongs to the backend (host memory on the CPU, device memory on CUDA).
struct Matrix {
  void* data = nullptr;
  DType type = DType::F32;
  int64_t rows = 0;
  int64_t cols = 0;

  int64_t elements() const { return rows * cols; }
  int64_t bytes() const { return elements() * byteSize(type); }
  /// `count` rows starting at row `first`, sharing the memory.
  Matrix slice(int64_t first, int64_t count) const {
    return {static_cast<std::byte*>(data) + first * cols * byteSize(type), type, count, cols};
  }
};

/// A tensor of the checkpoint, mapped read-only in host memory (never owned by who holds this).
struct HostTensor {
  const void* data = nullptr;
  DType type = DType::F32;
  int64_t rows = 0;
  int64_t cols = 0;
};

/// How the frozen Φ0 is kept (lr-qat.md §1.4). Trained: there is none, a float32 copy of the weight itself is trained.
enum class Storage : uint8_t { F32, BF16, F16, FixedPoint, Integer, Trained };

/// What shares one scale: the whole matrix, an output row, or `groupSize` consecutive input columns of a row.
enum class Granularity : uint8_t { Tensor, Channel, Group };

enum class ScaleDomain : uint8_t { Linear, Log };

/// Numbers that scales are kept to (straight-through: the trained number stays float32), so that a file format holds
/// them exactly.
enum class ScaleFormat : uint8_t { F32, BF16, F16 };

enum class RangeMethod : uint8_t { MinMax, Mse, Lp24, Lp3, Lp35, Lp4, Lp5 };

/// Fixed-point code: Reference = clamp, ×2^f, round half to even (the official encoding); Centred = floor, decoded at
/// (code + ½)/2^f, which never flips an integer against round-to-nearest (engine.md).
enum class FixedPointCode : uint8_t { Reference, Centred };

/// Everything that decides the arithmetic of one quantized linear.
///
/// A symmetric grid holds the integers qmin … qmax. An asymmetric one has a zero point z a scale, an integer in 0 …
/// levels; everything is computed with V = Q − z, which lies in −z … levels − z, so that Ŵ = s∘V as in the symmetric
/// case.
struct QuantSpec {
  int bits = 4;
  bool symmetric = true;
  Granularity granularity = Granularity::Channel;
  int64_t groupSize = 0;  // Granularity::Group only; divides the input width
  Storage storage = Storage::FixedPoint;
  int fractionBits = 4;  // FixedPoint only; bits + fractionBits <= 8
  FixedPointCode code = FixedPointCode::Reference;
  RangeMethod range = RangeMethod::MinMax;
  ScaleDomain scaleDomain = ScaleDomain::Linear;
  ScaleFormat scaleFormat = ScaleFormat::F32;
  bool learnScales = true;
  bool learnZeroPoints = true;  // asymmetric only
  int rank = 0;                 // 0: no low-rank term
  float alpha = 1;              // γ = alpha / rank
  /// Storage::Trained: gradients of scales and zero points are multiplied by 1/√(qmax·N), N weights a scale.
  bool gradientScaling = false;

  int qmin() const { return -(1 << (bits - 1)); }
  int qmax() const { return (1 << (bits - 1)) - 1; }
  /// Steps of the grid: codes are 0 … levels.
  int levels() const { return (1 << bits) - 1; }
  bool trainsZeroPoints() const { return !symmetric && learnZeroPoints; }
  bool trainsWeights() const { return storage == Storage::Trained; }
  float gamma() const { return rank > 0 ? alpha / static_cast<float>(rank) : 0.0F; }
  int64_t scaleCount(int64_t m, int64_t n) const {
    return granularity == Granularity::Tensor ? 1 : granularity == Granularity::Channel ? m : m * (n / groupSize);
  }
  /// Width of one packed Φ0 code in bits (16 or 32 for the float storages, 0 where there is no Φ0).
  int codeBits() const {
    switch (storage) {
      case Storage::F32:
        return 32;
      case Storage::BF16:
      case Storage::F16:
        return 16;
      case Storage::FixedPoint:
        return bits + fractionBits;
      case Storage::Integer:
        return bits;
      case Storage::Trained:
        return 0;
    }
    return 0;
  }
};

/// Bytes of one packed row: little-endian bit stream along the input dimension, each row padded to whole groups of 32
/// codes (32 codes of w bits = w words of 32 bits). Float storages are plain arrays without padding.
constexpr int64_t packedRowBytes(int codeBits, int64_t n) {
  return codeBits >= 16 ? n * (codeBits / 8) : (n + 31) / 32 * 4 * codeBits;
}

/// The frozen part of one quantized linear, m outputs × n inputs, in backend memory.
struct LinearWeight {
  int64_t m = 0;
  int64_t n = 0;
  QuantSpec spec;
  void* phi0 = nullptr;     // [m] packed rows of packedRowBytes(spec.codeBits(), n)
  float* scale0 = nullptr;  // [scaleCount] scale of the range search; defines Φ0 = φ(W/s0); never changes
  float* zero0 = nullptr;   // [scaleCount] asymmetric: its zero point, unrounded; null: symmetric
  HostTensor source;        // pretrained weight [m, n] in the mapped checkpoint
  const void* merged =
      nullptr;  // host memory: [m] packed rows of packedRowBytes(bits, n), offset codes; null before merge
};

/// The trained part: values in float32, row-major.
struct LowRank {
  const float* a = nullptr;  // [m, r]
  const float* b = nullptr;  // [r, n]
  const float* scale =
      nullptr;  // [scaleCount] scales of this step, linear domain, floored (see Backend::materializeScales)
  const float* zero = nullptr;    // [scaleCount] integer zero points of this step; null: symmetric
  const float* weight = nullptr;  // [m, n] the trained weight of Storage::Trained, else null
};

/// Which weight a rebuild produces.
enum class WeightForm : uint8_t {
  Trained,         // clip(round(Φ0 + γAB)), or clip(round(W/s)) of a trained W, with the current scales
  Merged,          // the stored integers with the current scales
  RoundToNearest,  // clip(round(W/s0)) with s0
  Float,           // the pretrained weight itself
};

/// Coordinates whose rounded value fell outside [qmin, qmax]. On the CPU listed row by row: rowStart[m] counts all of
/// them even when it exceeds `capacity`; then `column` is incomplete and the dense gradient must be used. On CUDA a bit
/// an entry; lists are made from it when they are needed.
struct ClippedSet {
  int64_t* rowStart = nullptr;   // [m + 1], CPU
  int32_t* column = nullptr;     // [capacity], CPU
  uint32_t* mask = nullptr;      // [m, ceil(n / 32)], CUDA: bit j % 32 of word j / 32 of a row
  uint32_t* counters = nullptr;  // [2], CUDA: zero between operations
  int64_t capacity = 0;
};

/// Tensors of a block that can be quantized on their way through it (lr-qat.md §1.6), in the order of the forward.
enum class ActivationSite : uint8_t {
  AttentionInput,   // output of the first norm: input of q, k and v
  Keys,             // output of k_proj, before norm and rotation
  Values,           // output of v_proj
  RotatedQueries,   // a grid a head
  RotatedKeys,      // a grid a head
  AttentionOutput,  // input of o_proj, a grid a head
  MlpInput,         // output of the second norm: input of gate and up
  MlpProduct,       // silu(gate)·up: input of down
};
inline constexpr size_t activationSiteCount = 8;

/// Which activations are quantized, with how many bits. Each token has grids of its own, found from its values, or each
/// tensor has one, found on calibration sequences (`staticRanges`).
struct ActivationSpec {
  std::array<int, activationSiteCount> bits{};  // by site; 0: float
  /// ζ = −min/δ as it is, as in the authors' code; false: an integer zero point, on a range that holds 0. Of a token's
  /// grids alone.
  bool fractionalZeroPoint = false;
  bool staticRanges = false;
  // Of static ranges:
  bool symmetric = false;
  /// Scales and zero points are trained.
  bool learnRanges = false;
  /// Their gradients are multiplied by 1/√(qmax·N), N numbers of the tensor in a step.
  bool gradientScaling = false;

  int bitsOf(ActivationSite site) const { return bits[static_cast<size_t>(site)]; }
  int sites() const {
    int count = 0;
    for (const int each : bits) count += each > 0 ? 1 : 0;
    return count;
  }
  bool learnsRanges() const { return staticRanges && learnRanges && sites() > 0; }
};

/// Smallest and largest number of a tensor.
struct ActivationRange {
  float low = 0;
  float high = 0;
};

/// A grid that all numbers of a tensor share: codes clip(round(x/scale) + zero, low, high) stand for
/// scale·(code − zero).
struct StaticGrid {
  float scale = 1;
  float zero = 0;
  float low = 0;
  float high = 0;
};

/// Grids of one tensor of activations.
struct ActivationGrid {
  int bits = 8;
  bool fractionalZeroPoint = false;
  int64_t width = 0;  // consecutive columns of a row that share a grid; divides the columns
  /// Backend memory [1]; null: every row and group of columns has a grid of its own. The members above are then of no
  /// concern.
  const StaticGrid* shared = nullptr;
};

/// Words of 32 bits that mark the columns of a row.
constexpr int64_t markWords(int64_t cols) {
  return (cols + 31) / 32;
}

/// Training that follows the float model beside the text (docs/method.md, Distillation):
///   loss = (1 − weight)·CE + weight·temperature²·D.
struct Distillation {
  int64_t classes =
      0;  // k: of each position so many of the float model's likeliest tokens are known; 0: no distillation
  float weight = 0;
  float temperature = 1;
};

inline constexpr int64_t maxTeacherClasses = 1024;

/// What is known of the float model's distribution for each of some rows, at the temperature of the distillation. The
/// last logarithm is that of all other tokens together (−∞ where there is none).
struct TeacherRows {
  int32_t* classes = nullptr;         // [rows, k], ascending in a row
  float* logProbabilities = nullptr;  // [rows, k + 1]
  int64_t k = 0;

  /// The rows from `first` on, sharing the memory.
  TeacherRows from(int64_t first) const { return {classes + first * k, logProbabilities + first * (k + 1), k}; }
};

/// Float gradients of one linear, accumulated over the micro-batches of a step.
struct LinearGradient {
  float* a = nullptr;  // [m, r]
  float* b = nullptr;  // [r, n]
  float* scale =
      nullptr;  // [scaleCount] with respect to the trained number (log s in the log domain); null: not learned
  float* zero = nullptr;    // [scaleCount] with respect to the unrounded zero point; null: not learned
  float* weight = nullptr;  // [m, n]; null: not trained
};

}  // namespace lrqat
