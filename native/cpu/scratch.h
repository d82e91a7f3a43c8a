// Stack of temporary buffers inside the scratch region that the plan set aside. One operation runs at a time on the
// engine thread; nested operations nest their Scratch objects.
#pragma once

#include <string>

#include "core/error.h"
#include "cpu/cpu_backend.h"

namespace lrqat::cpu {

class CpuBackend::Scratch {
 public:
  explicit Scratch(CpuBackend& backend) : backend_(backend), start_(backend.scratchUsed_) {}
  ~Scratch() { backend_.scratchUsed_ = start_; }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  /// Uninitialized, 64-byte aligned, valid until this object ends. Throws Internal when the planned region is too
  /// small.
  template <typename T>
  T* take(int64_t count) {
    const int64_t bytes = padded(count * static_cast<int64_t>(sizeof(T)));
    if (backend_.scratchUsed_ + bytes > backend_.scratchBytes_) {
      throw Error(ErrorCode::Internal, "scratch region too small: " + std::to_string(backend_.scratchUsed_ + bytes) +
                                           " bytes needed, " + std::to_string(backend_.scratchBytes_) + " planned");
    }
    T* memory = reinterpret_cast<T*>(backend_.scratch_ + backend_.scratchUsed_);
    backend_.scratchUsed_ += bytes;
    return memory;
  }

  static constexpr int64_t padded(int64_t bytes) { return (bytes + 63) / 64 * 64; }

 private:
  CpuBackend& backend_;
  int64_t start_;
};

}  // namespace lrqat::cpu
