// Sums over tokens, column by column (row_blocks.h), with the partial sums in scratch memory.
#pragma once

#include <cstring>

#include "cpu/row_blocks.h"
#include "cpu/scratch.h"

namespace lrqat::cpu {

class ColumnSums {
 public:
  /// `target` [columns] receives += the sums; null: they are not wanted.
  ColumnSums(CpuBackend& backend, const RowBlocks& blocks, int64_t columns, float* target)
      : scratch_(backend),
        threads_(backend.threads()),
        blocks_(blocks.count),
        columns_(columns),
        stride_(stride(columns)),
        partial_(target ? scratch_.take<float>(blocks_ * stride_) : nullptr),
        target_(target) {}

  /// Zeroed sums of one block, or null.
  float* clear(int64_t block) {
    if (!partial_) return nullptr;
    float* sums = partial_ + block * stride_;
    std::memset(sums, 0, static_cast<size_t>(columns_) * sizeof(float));
    return sums;
  }

  void add() {
    if (partial_) addBlocks(partial_, blocks_, stride_, columns_, target_, threads_);
  }

  static constexpr int64_t stride(int64_t columns) { return (columns + 15) / 16 * 16; }

 private:
  CpuBackend::Scratch scratch_;
  int threads_;
  int64_t blocks_;
  int64_t columns_;
  int64_t stride_;
  float* partial_;
  float* target_;
};

}  // namespace lrqat::cpu
