// Reproducible random numbers for tests.
#pragma once

#include <cstdint>

namespace lrqat::test {

/// Reproducible numbers on every platform (the standard's distributions are not).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15U + 1) {}
  uint64_t bits() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
  }
  int64_t below(int64_t limit) { return static_cast<int64_t>(bits() % static_cast<uint64_t>(limit)); }
  /// Uniform in [-1, 1).
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-52 - 1; }

 private:
  uint64_t state_;
};

}  // namespace lrqat::test
