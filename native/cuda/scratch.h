// Bump allocation inside the planned scratch region for the duration of one operation.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/error.h"

namespace lrqat::cuda {

class Scratch {
 public:
  static constexpr int64_t alignment = 256;
  static constexpr int64_t padded(int64_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

  Scratch() = default;
  Scratch(void* memory, int64_t bytes) : memory_(static_cast<std::byte*>(memory)), bytes_(bytes) {}

  /// 256-byte aligned device memory that lives until this object goes; not initialized. More than was planned is a
  /// defect of ours.
  template <typename T>
  T* take(int64_t count) {
    const int64_t bytes = padded(count * static_cast<int64_t>(sizeof(T)));
    LRQAT_CHECK(used_ + bytes <= bytes_);
    T* place = reinterpret_cast<T*>(memory_ + used_);
    used_ += bytes;
    return place;
  }
  int64_t used() const { return used_; }

 private:
  std::byte* memory_ = nullptr;
  int64_t bytes_ = 0;
  int64_t used_ = 0;
};

}  // namespace lrqat::cuda
