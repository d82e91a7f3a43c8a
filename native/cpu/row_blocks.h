// Sums over tokens, column by column, in an order that does not depend on the thread count: the rows are cut into at
// most `maximumRowBlocks` blocks, each block adds its rows in order, then the blocks are added in order.
#pragma once

#include <algorithm>
#include <cstdint>

namespace lrqat::cpu {

inline constexpr int64_t maximumRowBlocks = 64;

/// Whether a loop over so many numbers in the caches takes longer than waking sleeping threads for it.
constexpr bool worthWaking(int64_t numbers) {
  return numbers >= int64_t{1} << 17;
}

/// Cut of `rows` into `count` blocks of `size` rows (the last may be shorter).
struct RowBlocks {
  explicit RowBlocks(int64_t rowCount)
      : rows(rowCount),
        size(std::max<int64_t>(16, (rowCount + maximumRowBlocks - 1) / maximumRowBlocks)),
        count((rowCount + size - 1) / size) {}
  int64_t first(int64_t block) const { return block * size; }
  int64_t end(int64_t block) const { return std::min(rows, (block + 1) * size); }

  int64_t rows;
  int64_t size;
  int64_t count;
};

/// target[i] += (Σ over blocks of partial[block][i]), for i < columns.
inline void addBlocks(const float* partial, int64_t blocks, int64_t stride, int64_t columns, float* target,
                      int threads) {
  constexpr int64_t piece = 256;
#pragma omp parallel for num_threads(threads) schedule(static) if (worthWaking(blocks * columns))
  for (int64_t first = 0; first < columns; first += piece) {
    const int64_t count = std::min(columns - first, piece);
    float sums[piece] = {};
    for (int64_t block = 0; block < blocks; ++block) {
      const float* from = partial + block * stride + first;
      for (int64_t i = 0; i < count; ++i) sums[i] += from[i];
    }
    for (int64_t i = 0; i < count; ++i) target[first + i] += sums[i];
  }
}

}  // namespace lrqat::cpu
