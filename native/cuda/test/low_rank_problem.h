// Linears that share an input, with memory on the device, and their gradients in double from the dense G.
#pragma once

#include <cuda_runtime_api.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "core/backend.h"
#include "core/grid.h"
#include "core/half.h"
#include "core/packing.h"
#include "cuda/check.h"
#include "test/check.h"

namespace lrqat::test {

/// Device memory between guards that a test can look at.
class GuardedMemory {
 public:
  explicit GuardedMemory(size_t bytes) : bytes_(bytes) {
    LRQAT_CUDA(cudaMalloc(reinterpret_cast<void**>(&base_), bytes + 2 * guard));
    LRQAT_CUDA(cudaMemset(base_, 0xa5, bytes + 2 * guard));
    poison();
  }
  ~GuardedMemory() { cudaFree(base_); }
  GuardedMemory(GuardedMemory&& other) noexcept : base_(std::exchange(other.base_, nullptr)), bytes_(other.bytes_) {}
  GuardedMemory& operator=(GuardedMemory&&) = delete;

  template <typename T>
  static GuardedMemory of(const std::vector<T>& values) {
    GuardedMemory memory(values.size() * sizeof(T));
    memory.write(values);
    return memory;
  }
  template <typename T>
  void write(const std::vector<T>& values) {
    LRQAT_CUDA(cudaMemcpy(data(), values.data(), bytes_, cudaMemcpyHostToDevice));
  }
  /// NaN everywhere.
  void poison() { LRQAT_CUDA(cudaMemset(data(), 0xff, bytes_)); }
  template <typename T = void>
  T* data() const {
    return reinterpret_cast<T*>(base_ + guard);
  }
  template <typename T>
  std::vector<T> read() const {
    std::vector<T> values(bytes_ / sizeof(T));
    LRQAT_CUDA(cudaMemcpy(values.data(), data(), bytes_, cudaMemcpyDeviceToHost));
    std::vector<unsigned char> edge(guard);
    for (const std::byte* from : {base_, base_ + guard + bytes_}) {
      LRQAT_CUDA(cudaMemcpy(edge.data(), from, guard, cudaMemcpyDeviceToHost));
      for (const unsigned char byte : edge) {
        if (byte != 0xa5) {
          fail("memory outside of a buffer was written");
          break;
        }
      }
    }
    return values;
  }

 private:
  static constexpr size_t guard = 1024;
  std::byte* base_ = nullptr;
  size_t bytes_;
};

/// Rounds to the type as the engine stores it.
inline float stored(float value, DType type) {
  return type == DType::BF16 ? floatFromBf16(bf16FromFloat(value)) : value;
}

inline GuardedMemory upload(const std::vector<float>& values, DType type) {
  if (type == DType::F32) return GuardedMemory::of(values);
  std::vector<uint16_t> narrow(values.size());
  for (size_t i = 0; i < values.size(); ++i) narrow[i] = bf16FromFloat(values[i]);
  return GuardedMemory::of(narrow);
}

/// Which entries lie outside the grid.
struct Clipping {
  double fraction = 0;  // of all entries, at random
  int64_t row = -1;     // and this whole row
  int64_t column = -1;  // and this whole column
};

class ProblemLinear {
 public:
  ProblemLinear(const QuantSpec& spec, int64_t m, const std::vector<float>& x, int64_t tokens, int64_t n, DType type,
                const Clipping& clipping, uint32_t seed)
      : spec_(spec), m_(m), n_(n), tokens_(tokens), type_(type) {
    std::mt19937 generator(seed);
    std::uniform_real_distribution<double> uniform(0, 1);
    const auto r = static_cast<size_t>(spec.rank);
    a_ = randomNormal(static_cast<size_t>(m) * r, seed + 1);
    b_ = randomNormal(r * static_cast<size_t>(n), seed + 2, 0.3F);
    const auto scales = static_cast<size_t>(spec.scaleCount(m, n));
    const bool log = spec.scaleDomain == ScaleDomain::Log && spec.storage != Storage::Integer;
    for (size_t i = 0; i < scales; ++i) {
      scale_.push_back(static_cast<float>(0.01 + 0.02 * uniform(generator)));
      theta_.push_back(log ? std::log(scale_[i]) : scale_[i]);
    }
    // Below the floor: no gradient in the linear domain.
    theta_[scales / 2] = log ? theta_[scales / 2] : 0.0F;
    if (!spec.symmetric) {
      for (size_t i = 0; i < scales; ++i) {
        zeroTheta_.push_back(static_cast<float>((spec.levels() + 0.8) * uniform(generator) - 0.4));
      }
      // Off the grid: no gradient.
      if (scales > 1) zeroTheta_[scales / 2] = -1.2F;
      for (const float value : zeroTheta_) zero_.push_back(zeroPoint(value, spec.levels()));
    }

    dYs_ = randomNormal(static_cast<size_t>(tokens * m), seed + 3);
    for (float& value : dYs_) value = stored(value, type);
    makeWeight(generator, clipping);
    reference(x);

    // Gradients accumulate over micro-batches, so they start at something.
    dA0_ = randomNormal(a_.size(), seed + 4, 0.01F);
    dB0_ = randomNormal(b_.size(), seed + 5, 0.01F);
    dScale0_ = randomNormal(scales, seed + 6, 0.01F);
    const auto device = [&](const std::vector<float>& values) {
      memory_.push_back(GuardedMemory::of(values));
      return memory_.back().data<float>();
    };
    memory_.reserve(16);
    weight_.m = m;
    weight_.n = n;
    weight_.spec = spec;
    memory_.push_back(GuardedMemory::of(codes_));
    weight_.phi0 = memory_.back().data();
    weight_.scale0 = device(scale_);
    memory_.push_back(GuardedMemory::of(mask_));
    task_.clipped.mask = memory_.back().data<uint32_t>();
    memory_.push_back(upload(dYs_, type));
    task_.dYs = {memory_.back().data(), type, tokens, m};
    task_.lowRank = {device(a_), device(b_), device(scale_)};
    task_.theta = device(theta_);
    dZero0_ = randomNormal(zero_.size(), seed + 7, 0.01F);
    if (!spec.symmetric) {
      weight_.zero0 = device(zeroTheta_);
      task_.lowRank.zero = device(zero_);
      task_.zeroTheta = device(zeroTheta_);
    }
    first_ = memory_.size();
    task_.gradient.a = device(dA0_);
    task_.gradient.b = device(dB0_);
    task_.gradient.scale = device(dScale0_);
    if (spec.trainsZeroPoints()) task_.gradient.zero = device(dZero0_);
    if (spec.rank == 0) task_.gradient.a = task_.gradient.b = nullptr;
    if (!isGroup() || !spec.learnScales) task_.gradient.scale = nullptr;
  }
  ProblemLinear(ProblemLinear&&) = default;

  LowRankTask task() const {
    LowRankTask task = task_;
    task.weight = &weight_;
    return task;
  }
  int64_t clipped() const { return clipped_; }
  const QuantSpec& spec() const { return spec_; }
  int64_t m() const { return m_; }
  bool isGroup() const { return spec_.granularity == Granularity::Group; }

  struct Gradients {
    std::vector<float> dA, dB, dScale, dZero;
    bool operator==(const Gradients& other) const {
      const auto same = [](const std::vector<float>& p, const std::vector<float>& q) {
        return p.size() == q.size() && (p.empty() || std::memcmp(p.data(), q.data(), p.size() * 4) == 0);
      };
      return same(dA, other.dA) && same(dB, other.dB) && same(dScale, other.dScale) && same(dZero, other.dZero);
    }
  };
  void reset() {
    memory_[first_].write(dA0_);
    memory_[first_ + 1].write(dB0_);
    memory_[first_ + 2].write(dScale0_);
    if (task_.gradient.zero) memory_[first_ + 3].write(dZero0_);
  }
  Gradients read() const {
    return {memory_[first_].read<float>(), memory_[first_ + 1].read<float>(), memory_[first_ + 2].read<float>(),
            task_.gradient.zero ? memory_[first_ + 3].read<float>() : std::vector<float>{}};
  }
  /// Compares what was added with double; `tolerance` relative to the largest element.
  void expectGradients(const Gradients& actual, double tolerance) const {
    const auto compare = [&](const std::vector<float>& after, const std::vector<float>& before,
                             const std::vector<double>& added, const char* name) {
      std::vector<double> expected(added);
      double largest = 0;
      for (size_t i = 0; i < added.size(); ++i) {
        expected[i] += static_cast<double>(before[i]);
        largest = std::max(largest, std::abs(added[i]));
      }
      const double error = relativeError(after, expected);
      expectNear(error, 0, tolerance, name);
      worst_ = std::max(worst_, error);
      if (!added.empty()) expect(largest > 0, std::string(name) + " of the reference is not zero");
    };
    if (spec_.rank > 0) {
      compare(actual.dA, dA0_, dA_, "dA");
      compare(actual.dB, dB0_, dB_, "dB");
    }
    if (task_.gradient.scale) {
      compare(actual.dScale, dScale0_, dScale_, "ds");
    } else {
      expect(actual.dScale == dScale0_, "ds was left alone");
    }
    if (task_.gradient.zero && clipped_ > 0) compare(actual.dZero, dZero0_, dZero_, "dz");
    if (task_.gradient.zero && clipped_ == 0) expect(actual.dZero == dZero0_, "dz was left alone");
  }
  static double worst() { return worst_; }

 private:
  int64_t scaleIndex(int64_t i, int64_t j) const {
    if (spec_.granularity == Granularity::Tensor) return 0;
    return isGroup() ? i * (n_ / spec_.groupSize) + j / spec_.groupSize : i;
  }

  /// Ends of the grid of an entry, less its zero point.
  int lowest(int64_t i, int64_t j) const {
    return spec_.symmetric ? spec_.qmin() : -static_cast<int>(zero_[static_cast<size_t>(scaleIndex(i, j))]);
  }
  int highest(int64_t i, int64_t j) const { return lowest(i, j) + spec_.levels(); }

  /// Φ0 such that the wanted entries, and no others, lie outside the grid, and none lies near a tie.
  void makeWeight(std::mt19937& generator, const Clipping& clipping) {
    std::uniform_real_distribution<double> uniform(0, 1);
    const int64_t rowBytes = packedRowBytes(spec_.codeBits(), n_);
    codes_.resize(static_cast<size_t>(m_ * rowBytes));
    q_.resize(static_cast<size_t>(m_ * n_));
    inside_.resize(q_.size());
    const int64_t words = (n_ + 31) / 32;
    mask_.assign(static_cast<size_t>(m_ * words), 0);
    const double steps = spec_.storage == Storage::FixedPoint ? std::ldexp(1.0, spec_.fractionBits) : 1;
    const auto gamma = static_cast<double>(spec_.gamma());
    for (int64_t i = 0; i < m_; ++i) {
      for (int64_t j = 0; j < n_; ++j) {
        double c = 0;
        for (int64_t k = 0; k < spec_.rank; ++k) {
          c += static_cast<double>(a_[static_cast<size_t>(i * spec_.rank + k)]) *
               static_cast<double>(b_[static_cast<size_t>(k * n_ + j)]);
        }
        c *= gamma;
        const bool clip = i == clipping.row || j == clipping.column || uniform(generator) < clipping.fraction;
        // A wanted value of R: the integer, not quite at its centre.
        const bool high = uniform(generator) < 0.5;
        const int qmin = lowest(i, j);
        const int qmax = highest(i, j);
        const int wanted =
            clip ? (high ? qmax + 1 : qmin - 1) : qmin + static_cast<int>(uniform(generator) * (spec_.levels() + 1));
        double phi = wanted + 0.4 * (uniform(generator) - 0.5) - c;
        if (spec_.storage == Storage::F32) {
          const auto value = static_cast<float>(phi);
          std::memcpy(&codes_[static_cast<size_t>(i * rowBytes + j * 4)], &value, 4);
          phi = static_cast<double>(value);
        } else {
          // FixedPoint: the nearest code that exists.
          double code = std::nearbyint(phi * steps);
          const double origin = qmin * steps;  // codes count from the lower end
          code = std::min(std::max(code, origin), origin + std::ldexp(1.0, spec_.codeBits()) - 1);
          phi = code / steps;
          const double z = phi + c;
          if (std::abs(z - std::floor(z) - 0.5) < 1e-3) {
            code += code - origin < 1 ? 1 : -1;
            phi = code / steps;
          }
          writeCode(reinterpret_cast<uint8_t*>(codes_.data()) + i * rowBytes, spec_.codeBits(), j,
                    static_cast<uint32_t>(static_cast<int>(code - origin)));
        }
        const double rounded = std::nearbyint(phi + c);
        const auto at = static_cast<size_t>(i * n_ + j);
        inside_[at] = rounded >= qmin && rounded <= qmax;
        q_[at] = static_cast<float>(std::min<double>(std::max<double>(rounded, qmin), qmax));
        if (!inside_[at]) {
          mask_[static_cast<size_t>(i * words + j / 32)] |= 1U << (j % 32);
          ++clipped_;
        }
      }
    }
  }

  void reference(const std::vector<float>& x) {
    dA_.assign(a_.size(), 0);
    dB_.assign(b_.size(), 0);
    dScale_.assign(scale_.size(), 0);
    dZero_.assign(zero_.size(), 0);
    const bool log = spec_.scaleDomain == ScaleDomain::Log && spec_.storage != Storage::Integer;
    const bool floored = spec_.scaleDomain == ScaleDomain::Linear && spec_.storage != Storage::Integer;
    std::vector<double> g(static_cast<size_t>(n_));
    for (int64_t i = 0; i < m_; ++i) {
      std::fill(g.begin(), g.end(), 0.0);
      for (int64_t t = 0; t < tokens_; ++t) {
        const auto y = static_cast<double>(dYs_[static_cast<size_t>(t * m_ + i)]);
        const float* row = x.data() + t * n_;
        for (int64_t j = 0; j < n_; ++j) g[static_cast<size_t>(j)] += y * static_cast<double>(row[j]);
      }
      for (int64_t j = 0; j < n_; ++j) {
        const auto at = static_cast<size_t>(i * n_ + j);
        const auto s = static_cast<size_t>(scaleIndex(i, j));
        const double value = g[static_cast<size_t>(j)];
        if (isGroup() && !(floored && theta_[s] < 1e-8F)) {
          dScale_[s] += value * static_cast<double>(q_[at]) * (log ? static_cast<double>(scale_[s]) : 1.0);
        }
        if (!inside_[at]) {
          if (!spec_.symmetric && zeroPointPasses(zeroTheta_[s], spec_.levels())) {
            dZero_[s] -= value * (isGroup() ? static_cast<double>(scale_[s]) : 1.0);
          }
          continue;
        }
        const double dZ =
            static_cast<double>(spec_.gamma()) * value * (isGroup() ? static_cast<double>(scale_[s]) : 1.0);
        for (int64_t k = 0; k < spec_.rank; ++k) {
          const auto atA = static_cast<size_t>(i * spec_.rank + k);
          const auto atB = static_cast<size_t>(k * n_ + j);
          dA_[atA] += dZ * static_cast<double>(b_[atB]);
          dB_[atB] += dZ * static_cast<double>(a_[atA]);
        }
      }
    }
  }

  QuantSpec spec_;
  int64_t m_, n_, tokens_;
  DType type_;
  std::vector<float> a_, b_, scale_, theta_, zeroTheta_, zero_, dYs_, q_;
  std::vector<char> inside_;
  std::vector<std::byte> codes_;
  std::vector<uint32_t> mask_;
  int64_t clipped_ = 0;
  std::vector<double> dA_, dB_, dScale_, dZero_;
  std::vector<float> dA0_, dB0_, dScale0_, dZero0_;
  std::vector<GuardedMemory> memory_;
  size_t first_ = 0;  // of the gradients in memory_
  LinearWeight weight_;
  LowRankTask task_;
  static inline double worst_ = 0;
};

}  // namespace lrqat::test
