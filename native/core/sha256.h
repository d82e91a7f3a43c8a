// SHA-256 (FIPS 180-4), streaming.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace lrqat {

class Sha256 {
 public:
  void update(const void* data, size_t size);
  /// Lower-case hexadecimal; the object must not be used afterwards.
  std::string finish();

 private:
  void block(const std::byte* data);

  std::array<uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::byte, 64> buffer_{};
  uint64_t length_ = 0;
};

}  // namespace lrqat
