// A quantized linear in device memory beside its host twin (test/test_linear.h), and the sets of specifications that
// the weight tests go through.
#pragma once

#include <functional>
#include <type_traits>

#include "cuda/kernels/staging.h"
#include "cuda/scratch.h"
#include "cuda/test/elementwise.h"
#include "test/storages.h"
#include "test/test_linear.h"

namespace lrqat::test {

template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count) : count_(count), memory_(count * sizeof(T)) {}
  explicit DeviceArray(const std::vector<T>& host) : DeviceArray(host.size()) { write(host); }
  T* data() const { return reinterpret_cast<T*>(memory_.data()); }
  void write(const std::vector<T>& host) { memory_.write(host.data()); }
  void poison() { memory_.poison(); }
  std::vector<T> read() const {
    const std::vector<std::byte> bytes = memory_.read();
    std::vector<T> values(count_);
    if (count_ > 0) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }

 private:
  size_t count_;
  DeviceMemory memory_;
};

/// Scratch of exactly what was planned: more throws.
class DeviceScratch {
 public:
  explicit DeviceScratch(int64_t bytes) : memory_(static_cast<size_t>(bytes)), bytes_(bytes) {}
  cuda::Scratch make() const {
    // The guards of DeviceMemory are multiples of the alignment that scratch promises.
    return cuda::Scratch(memory_.data(), bytes_);
  }
  /// Fails where memory outside was written.
  void check() const { memory_.read(); }

 private:
  DeviceMemory memory_;
  int64_t bytes_;
};

/// Φ0, scales and factors of `host` as they are when this is made.
class DeviceLinear {
 public:
  explicit DeviceLinear(const TestLinear& host)
      : phi0(host.phi0),
        scale0(host.scale0),
        scale(host.scale),
        a(host.a),
        b(host.b),
        zero0(host.zero0),
        zero(host.zero),
        weight(host.weight) {
    weight.phi0 = phi0.data();
    weight.scale0 = scale0.data();
    weight.zero0 = weight.spec.symmetric ? nullptr : zero0.data();
  }
  LowRank lowRank() const { return {a.data(), b.data(), scale.data(), weight.spec.symmetric ? nullptr : zero.data()}; }

  DeviceArray<std::byte> phi0;
  DeviceArray<float> scale0, scale, a, b, zero0, zero;
  LinearWeight weight;
};

struct WeightShape {
  int64_t m, n, group;
};

/// All storages × bits × granularities, on a rotating choice of `shapes` and `ranks`.
inline void forAllSpecs(const std::vector<WeightShape>& shapes, const std::vector<int>& ranks, bool symmetric,
                        const std::function<void(const QuantSpec&, const WeightShape&, uint32_t seed)>& body) {
  uint32_t seed = symmetric ? 1 : 3;
  for (int bits = 2; bits <= 8; ++bits) {
    for (QuantSpec spec : storagesOf(bits)) {
      for (const Granularity granularity : {Granularity::Tensor, Granularity::Channel, Granularity::Group}) {
        const WeightShape& shape = shapes[seed % shapes.size()];
        spec.granularity = granularity;
        spec.symmetric = symmetric;
        spec.groupSize = granularity == Granularity::Group ? shape.group : 0;
        spec.rank = std::min<int>(ranks[seed / 11 % ranks.size()], static_cast<int>(std::min(shape.m, shape.n)));
        spec.alpha = static_cast<float>(1 + seed % 3);
        seed += 11;
        context = describe(spec, shape.m, shape.n);
        body(spec, shape, seed);
      }
    }
  }
}

inline std::unique_ptr<cpu::CpuBackend> cpuFor(const QuantSpec& spec, int64_t m, int64_t n) {
  return makeBackend(2, cpu::CpuBackend::rebuildScratchBytes(m, n, spec.rank));
}

inline int64_t maskWords(int64_t n) {
  return (n + 31) / 32;
}

}  // namespace lrqat::test
