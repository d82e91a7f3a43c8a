// A counter-based generator: the value of an element depends on seed, stream and index alone, never on what was drawn
// before.
#pragma once

#include <cstdint>

namespace lrqat {

/// SplitMix64's finalizer, twice.
inline uint64_t randomBits(uint64_t seed, uint64_t stream, uint64_t index) {
  uint64_t x = seed * 0x9e3779b97f4a7c15ULL + stream * 0xd1b54a32d192ed03ULL + index;
  for (int round = 0; round < 2; ++round) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    x ^= x >> 31;
    x += 0x9e3779b97f4a7c15ULL;
  }
  return x;
}

/// In [0, 1).
inline double uniformAt(uint64_t seed, uint64_t stream, uint64_t index) {
  return static_cast<double>(randomBits(seed, stream, index) >> 11) * 0x1p-53;
}

}  // namespace lrqat
