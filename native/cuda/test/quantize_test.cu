// Range search and encoding against the CPU backend: the same scales and the same bytes.
#include "cuda/kernels/quantize.h"

#include "core/error.h"
#include "cuda/test/device_linear.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

constexpr RangeMethod kMethods[] = {RangeMethod::MinMax, RangeMethod::Mse, RangeMethod::Lp24, RangeMethod::Lp3,
                                    RangeMethod::Lp35,   RangeMethod::Lp4, RangeMethod::Lp5};

/// The numbers of `values` as a checkpoint of type `type`, `offset` bytes off any alignment.
std::vector<std::byte> asFile(const std::vector<float>& values, DType type, size_t offset) {
  std::vector<std::byte> file(offset + values.size() * static_cast<size_t>(byteSize(type)));
  for (size_t i = 0; i < values.size(); ++i) {
    if (type == DType::F32) {
      std::memcpy(file.data() + offset + i * 4, &values[i], 4);
    } else {
      const uint16_t bits = type == DType::BF16 ? bf16FromFloat(values[i]) : f16FromFloat(values[i]);
      std::memcpy(file.data() + offset + i * 2, &bits, 2);
    }
  }
  return file;
}

class Checker {
 public:
  void check(const QuantSpec& spec, int64_t m, int64_t n, uint32_t seed, DType type, size_t offset,
             const std::function<void(std::vector<float>&)>& change = {}) {
    context = describe(spec, m, n) + " method " + std::to_string(static_cast<int>(spec.range)) + " type " +
              std::to_string(static_cast<int>(type));
    TestLinear host(spec, m, n, seed);
    if (change) change(host.w);
    const std::vector<std::byte> file = asFile(host.w, type, offset);
    host.weight.source = {file.data() + offset, type, m, n};
    host.scale = host.scale0;
    DeviceLinear linear(host);
    linear.phi0.poison();
    linear.scale0.poison();
    linear.zero0.poison();
    const DeviceScratch memory(cuda::quantizeScratchBytes(spec.granularity, m));
    cuda::Scratch scratch = memory.make();
    cuda::quantizeWeight(linear.weight, staging_, scratch, nullptr);
    cpuFor(spec, m, n)->quantize(host.weight);
    const std::vector<float> scale0 = linear.scale0.read();
    for (size_t i = 0; i < scale0.size(); ++i) expectEqual(scale0[i], host.scale0[i], "scale " + std::to_string(i));
    const std::vector<float> zero0 = linear.zero0.read();
    for (size_t i = 0; i < zero0.size(); ++i) expectEqual(zero0[i], host.zero0[i], "zero point " + std::to_string(i));
    expect(linear.phi0.read() == host.phi0, "codes");

    linear.phi0.poison();
    scratch = memory.make();
    cuda::encodeWeight(linear.weight, staging_, scratch, nullptr);
    expect(linear.phi0.read() == host.phi0, "codes from scales");
    memory.check();
  }

 private:
  cuda::HostStaging staging_;
};

void encodings(bool symmetric) {
  Checker checker;
  int turn = 0;
  const std::vector<WeightShape> shapes = {{7, 172, 43}, {9, 96, 4}, {130, 64, 32}, {3, 1032, 86}, {33, 40, 8}};
  forAllSpecs(shapes, {0}, symmetric, [&](QuantSpec spec, const WeightShape& shape, uint32_t seed) {
    ++turn;
    spec.range = kMethods[static_cast<size_t>(turn) % std::size(kMethods)];
    checker.check(spec, shape.m, shape.n, seed, static_cast<DType>(turn % 3), static_cast<size_t>(turn % 2));
  });
}

/// Segments of every kind: below and at the lengths that the kernels tell apart, several blocks, several rounds.
void searches(bool symmetric) {
  Checker checker;
  uint32_t seed = 100;
  for (const RangeMethod method : kMethods) {
    for (const int bits : {2, 3, 4, 8}) {
      for (const auto& [m, n, group] : std::vector<WeightShape>{{65, 64, 16},
                                                                {10, 256, 64},
                                                                {5, 128, 128},
                                                                {130, 257, 257},
                                                                {4, 1000, 250},
                                                                {3, 5000, 1000},
                                                                {2, 11008, 128}}) {
        for (const Granularity granularity : {Granularity::Tensor, Granularity::Channel, Granularity::Group}) {
          QuantSpec spec;
          spec.bits = bits;
          spec.symmetric = symmetric;
          spec.fractionBits = 8 - bits;
          spec.granularity = granularity;
          spec.groupSize = group;
          spec.range = method;
          ++seed;
          checker.check(spec, m, n, seed, seed % 2 == 0 ? DType::F32 : DType::BF16, 0);
        }
      }
    }
  }
}

/// Where x/s needs care: exact ties, powers of two, zero rows, tiny and huge numbers, subnormals.
void specialValues(bool symmetric) {
  Checker checker;
  uint32_t seed = 500;
  const std::function<void(std::vector<float>&)> changes[] = {
      [](std::vector<float>& w) { std::fill(w.begin(), w.end(), 0.0F); },
      [](std::vector<float>& w) {
        for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(static_cast<int>(i % 41) - 20) / 32;
      },
      [](std::vector<float>& w) {
        for (float& x : w) x *= 1e-7F;
      },
      [](std::vector<float>& w) {
        for (float& x : w) x *= 1e-38F;
      },
      [](std::vector<float>& w) {
        for (float& x : w) x *= 1e38F;
      },
      [](std::vector<float>& w) {
        for (size_t i = 0; i < w.size(); i += 17) w[i] *= 1000;
      },
      // Scales whose fraction is all ones.
      [](std::vector<float>& w) {
        w[0] = 7.0F * 0.99999994F;
        w[1] = -7.0F * 1.9999999F;
      }};
  for (const RangeMethod method : kMethods) {
    for (const auto& change : changes) {
      for (const Granularity granularity : {Granularity::Tensor, Granularity::Channel, Granularity::Group}) {
        QuantSpec spec;
        spec.symmetric = symmetric;
        spec.granularity = granularity;
        spec.groupSize = 40;
        spec.range = method;
        checker.check(spec, 12, 440, ++seed, DType::F32, 0, change);
      }
    }
  }
}

/// More rows than one panel: blocks of 64 rows lie across panels.
void severalPanels(bool symmetric) {
  Checker checker;
  uint32_t seed = 900;
  for (const auto& [m, n, group] : std::vector<WeightShape>{{2100, 1500, 100}, {9001, 40, 20}}) {
    for (const Granularity granularity : {Granularity::Tensor, Granularity::Channel, Granularity::Group}) {
      QuantSpec spec;
      spec.symmetric = symmetric;
      spec.granularity = granularity;
      spec.groupSize = group;
      spec.range = RangeMethod::Lp4;
      checker.check(spec, m, n, ++seed, DType::F32, 0);
    }
  }
}

void notFinite(bool symmetric) {
  cuda::HostStaging staging;
  for (const float bad : {std::nanf(""), HUGE_VALF, -HUGE_VALF}) {
    for (const Granularity granularity : {Granularity::Tensor, Granularity::Channel, Granularity::Group}) {
      for (const RangeMethod method : kMethods) {
        for (const int64_t n : {36, 600}) {
          QuantSpec spec;
          spec.symmetric = symmetric;
          spec.granularity = granularity;
          spec.groupSize = 12;
          spec.range = method;
          TestLinear host(spec, 9, n, 4);
          host.w[static_cast<size_t>(7 * n + 35)] = bad;
          host.w[static_cast<size_t>(8 * n + 1)] = bad;
          host.scale = host.scale0;
          host.weight.source = {host.w.data(), DType::F32, 9, n};
          const DeviceLinear linear(host);
          const DeviceScratch memory(cuda::quantizeScratchBytes(granularity, 9));
          cuda::Scratch scratch = memory.make();
          const std::string message = expectThrows<Error>(
              [&] { cuda::quantizeWeight(linear.weight, staging, scratch, nullptr); }, "a value that is not finite");
          expect(message.find("[7, 35]") != std::string::npos, "the message names the first place: " + message);
        }
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (skippedWithoutGpu()) return 0;
  const auto on = [](void (*test)(bool), bool symmetric) { return [=] { test(symmetric); }; };
  return run({{"all encodings", on(encodings, true)},
              {"all searches", on(searches, true)},
              {"special values", on(specialValues, true)},
              {"several panels", on(severalPanels, true)},
              {"values that are not finite", on(notFinite, true)},
              {"all encodings around zero points", on(encodings, false)},
              {"all searches around zero points", on(searches, false)},
              {"special values around zero points", on(specialValues, false)},
              {"several panels around zero points", on(severalPanels, false)},
              {"values that are not finite around zero points", on(notFinite, false)}},
             argc, argv);
}
