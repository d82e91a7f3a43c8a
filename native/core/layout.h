// One pass over a list of buffers, run twice: with a null base it only counts (the memory plan), with real memory it
// hands out pointers. What is planned and what is used can therefore not differ.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/types.h"

namespace lrqat {

class Layout {
 public:
  /// `base` null: count only.
  explicit Layout(void* base = nullptr) : base_(static_cast<std::byte*>(base)) {}

  static constexpr int64_t alignment = 256;

  void* bytes(int64_t count) {
    std::byte* pointer = base_ ? base_ + used_ : nullptr;
    used_ += (count + alignment - 1) / alignment * alignment;
    return pointer;
  }
  float* floats(int64_t count) { return static_cast<float*>(bytes(count * 4)); }
  Matrix matrix(DType type, int64_t rows, int64_t cols) {
    return {bytes(rows * cols * byteSize(type)), type, rows, cols};
  }

  int64_t used() const { return used_; }
  /// Starts again at `mark`, for buffers whose lifetimes do not overlap; used() never shrinks below `highest()`.
  void rewind(int64_t mark) {
    highest_ = highest();
    used_ = mark;
  }
  int64_t highest() const { return used_ > highest_ ? used_ : highest_; }

 private:
  std::byte* base_;
  int64_t used_ = 0;
  int64_t highest_ = 0;
};

}  // namespace lrqat
