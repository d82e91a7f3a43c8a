// A quantized linear with its memory, and the plain formulas it is compared with.
#pragma once

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/grid.h"
#include "core/half.h"
#include "core/packing.h"
#include "core/types.h"
#include "cpu/cpu_backend.h"
#include "test/check.h"

namespace lrqat::test {

inline std::string describe(const QuantSpec& spec, int64_t m, int64_t n) {
  const char* storage[] = {"fp32", "bf16", "fp16", "fixed", "integer", "trained"};
  std::string text = std::to_string(m) + "x" + std::to_string(n) + " b" + std::to_string(spec.bits) + " " +
                     storage[static_cast<int>(spec.storage)];
  if (spec.storage == Storage::FixedPoint) {
    text += "." + std::to_string(spec.fractionBits) + (spec.code == FixedPointCode::Centred ? "c" : "r");
  }
  if (spec.granularity == Granularity::Tensor) text += " tensor";
  if (spec.granularity == Granularity::Channel) text += " channel";
  if (spec.granularity == Granularity::Group) text.append(" g").append(std::to_string(spec.groupSize));
  if (!spec.symmetric) text += " asymmetric";
  return text.append(" r").append(std::to_string(spec.rank));
}

/// A backend whose scratch is exactly `scratchBytes`: more than planned would throw. Matrix products are for those who
/// ask for them (their memory would be most of the cost of a small test).
inline std::unique_ptr<cpu::CpuBackend> makeBackend(int threads, int64_t scratchBytes, DType type = DType::F32,
                                                    bool products = false) {
  auto backend =
      std::make_unique<cpu::CpuBackend>(cpu::CpuOptions{.threads = threads, .computeType = type, .oneDnnPath = {}});
  backend->allocateScratch(scratchBytes, products);
  return backend;
}

class TestLinear {
 public:
  /// `lowRankSize`: deviation of the entries of γ·A·B, in grid steps.
  TestLinear(const QuantSpec& spec, int64_t m, int64_t n, uint32_t seed, float lowRankSize = 0.5F)
      : w(randomNormal(static_cast<size_t>(m * n), seed, 0.05F)),
        phi0(static_cast<size_t>(m * packedRowBytes(spec.codeBits(), n))),
        scale0(static_cast<size_t>(spec.scaleCount(m, n))) {
    weight.m = m;
    weight.n = n;
    weight.spec = spec;
    weight.phi0 = phi0.data();
    weight.scale0 = scale0.data();
    if (!spec.symmetric) {
      zero0.resize(scale0.size());
      weight.zero0 = zero0.data();
      // Weights that do not lie around zero.
      std::mt19937 generator(seed);
      std::uniform_real_distribution<float> shift(-0.06F, 0.06F);
      for (int64_t i = 0; i < m; ++i) {
        const float by = shift(generator);
        for (int64_t j = 0; j < n; ++j) w[static_cast<size_t>(i * n + j)] += by;
      }
    }
    weight.source = {w.data(), DType::F32, m, n};
    const auto r = static_cast<size_t>(spec.rank);
    a = randomNormal(static_cast<size_t>(m) * r, seed + 1, 1.0F);
    const float perTerm = spec.rank > 0 ? lowRankSize / (spec.gamma() * std::sqrt(static_cast<float>(spec.rank))) : 0;
    b = randomNormal(r * static_cast<size_t>(n), seed + 2, perTerm);
  }

  /// Scales of this step: s0 moved by up to 5 %, zero points by up to 1.2 steps.
  void moveScales(uint32_t seed) {
    std::mt19937 generator(seed);
    std::uniform_real_distribution<float> factor(0.95F, 1.05F);
    scale = scale0;
    for (float& value : scale) value *= factor(generator);
    std::uniform_real_distribution<float> step(-1.2F, 1.2F);
    zeroTheta = zero0;
    for (float& value : zeroTheta) value += step(generator);
    useZeroPoints();
  }
  /// Scales and zero points of the range search.
  void keepScales() {
    scale = scale0;
    zeroTheta = zero0;
    useZeroPoints();
  }
  void useZeroPoints() {
    zero = zeroTheta;
    for (float& value : zero) value = zeroPoint(value, weight.spec.levels());
  }

  LowRank lowRank() const {
    return {a.data(), b.data(), scale.data(), weight.spec.symmetric ? nullptr : zero.data(),
            weight.spec.trainsWeights() ? w.data() : nullptr};
  }

  struct Limits {
    float low, high;
  };
  /// Integers of the grid of an entry, less its zero point.
  Limits limits(int64_t i, int64_t j, const std::vector<float>& zeros) const {
    const QuantSpec& spec = weight.spec;
    if (spec.symmetric) return {static_cast<float>(spec.qmin()), static_cast<float>(spec.qmax())};
    const float z = zeroPoint(zeros[scaleIndex(i, j)], spec.levels());
    return {-z, static_cast<float>(spec.levels()) - z};
  }
  size_t scaleIndex(int64_t i, int64_t j) const {
    const QuantSpec& spec = weight.spec;
    switch (spec.granularity) {
      case Granularity::Tensor:
        return 0;
      case Granularity::Channel:
        return static_cast<size_t>(i);
      case Granularity::Group:
        return static_cast<size_t>(i * (weight.n / spec.groupSize) + j / spec.groupSize);
    }
    return 0;
  }
  float source(int64_t i, int64_t j) const { return w[static_cast<size_t>(i * weight.n + j)]; }

  /// The stored number by the formulas of lr-qat.md §1.4 (for floats: the value, for codes: the signed code).
  float expectedCode(int64_t i, int64_t j) const {
    const QuantSpec& spec = weight.spec;
    const float x = source(i, j) / scale0[scaleIndex(i, j)];
    const auto [qmin, qmax] = limits(i, j, zero0);
    switch (spec.storage) {
      case Storage::F32:
        return x;
      case Storage::BF16:
        return floatFromBf16(bf16FromFloat(x));
      case Storage::F16:
        return floatFromF16(f16FromFloat(x));
      case Storage::Integer:
        return std::min(std::max(std::nearbyint(x), qmin), qmax);
      case Storage::FixedPoint: {
        const float u = std::min(std::max(x, qmin), qmax);
        const float steps = std::ldexp(1.0F, spec.fractionBits);
        if (spec.code == FixedPointCode::Reference) return std::nearbyint(u * steps);
        const float cell = std::floor(u * steps);
        return std::nearbyint((cell + 0.5F) / steps) == std::nearbyint(u) ? cell : cell - 1;
      }
      case Storage::Trained:
        break;
    }
    return 0;
  }

  /// What memory holds, decoded one by one: the same number as expectedCode.
  float storedCode(int64_t i, int64_t j) const {
    const QuantSpec& spec = weight.spec;
    const auto* row = reinterpret_cast<const uint8_t*>(phi0.data()) + i * packedRowBytes(spec.codeBits(), weight.n);
    switch (spec.storage) {
      case Storage::F32: {
        float value;
        std::memcpy(&value, row + j * 4, 4);
        return value;
      }
      case Storage::BF16:
      case Storage::F16: {
        uint16_t bits;
        std::memcpy(&bits, row + j * 2, 2);
        return spec.storage == Storage::BF16 ? floatFromBf16(bits) : floatFromF16(bits);
      }
      case Storage::FixedPoint:
      case Storage::Integer:
        // Codes count from the lower end of the grid; that of a symmetric one lies at −2^(width − 1).
        return static_cast<float>(readCode(row, spec.codeBits(), j)) +
               limits(i, j, zero0).low *
                   (spec.storage == Storage::Integer ? 1.0F : std::ldexp(1.0F, spec.fractionBits));
      case Storage::Trained:
        break;
    }
    return 0;
  }

  /// Φ0 as a number.
  double phi(int64_t i, int64_t j) const {
    const QuantSpec& spec = weight.spec;
    const double code = expectedCode(i, j);
    if (spec.storage != Storage::FixedPoint) return code;
    return (code + (spec.code == FixedPointCode::Centred ? 0.5 : 0)) / std::ldexp(1.0, spec.fractionBits);
  }

  struct Rounded {
    double value = 0;        // before clipping
    double tieDistance = 0;  // of what was rounded
    bool inside = true;
    double q = 0;  // asymmetric: less the zero point
  };
  /// round(Z) in float64.
  Rounded rounded(int64_t i, int64_t j) const {
    const QuantSpec& spec = weight.spec;
    double c = 0;
    for (int64_t k = 0; k < spec.rank; ++k) {
      c += static_cast<double>(a[static_cast<size_t>(i * spec.rank + k)]) *
           static_cast<double>(b[static_cast<size_t>(k * weight.n + j)]);
    }
    c *= static_cast<double>(spec.gamma());
    const double phi0Value = phi(i, j);
    const double z = spec.storage == Storage::Integer ? c : phi0Value + c;
    Rounded result;
    result.tieDistance = std::abs(std::abs(z - std::floor(z)) - 0.5);
    result.value = std::nearbyint(z) + (spec.storage == Storage::Integer ? phi0Value : 0);
    const auto [qmin, qmax] = limits(i, j, zero);
    result.inside = result.value >= static_cast<double>(qmin) && result.value <= static_cast<double>(qmax);
    result.q = std::min(std::max(result.value, static_cast<double>(qmin)), static_cast<double>(qmax));
    return result;
  }

  LinearWeight weight;
  std::vector<float> w, a, b;
  std::vector<std::byte> phi0;
  std::vector<float> scale0, scale;
  std::vector<float> zero0, zeroTheta, zero;  // asymmetric only
};

/// Z in float32 may differ from float64 by this much (|Z| up to 2^8, sums of 32 terms); closer to a tie either integer
/// is right.
constexpr double kTieTolerance = 3e-5;

}  // namespace lrqat::test
