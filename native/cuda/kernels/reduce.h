// Second half of the sums over tokens: partial sums of row tiles, left in scratch memory by the kernel that had the
// values in registers anyway, are added tile by tile to the target. The cut depends on the shape alone.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/scratch.h"

namespace lrqat::cuda {

/// Rows whose contributions one block sums before it writes them down.
inline constexpr int64_t sumTileRows = 64;

constexpr int64_t sumTiles(int64_t rows) {
  return (rows + sumTileRows - 1) / sumTileRows;
}

/// Scratch bytes of `sets` column sums over a [rows, cols] matrix.
constexpr int64_t columnSumsScratchBytes(int64_t rows, int64_t cols, int64_t sets) {
  return sets * Scratch::padded(sumTiles(rows) * cols * 4);
}

/// Cut for kernels whose blocks hold whole rows and walk down their tile: at most 256 tiles of at least 4 rows.
struct RowTiles {
  explicit constexpr RowTiles(int64_t rows)
      : size(rows > 4 * 256 ? (rows + 255) / 256 : 4), count((rows + size - 1) / size) {}
  int64_t size;
  int64_t count;
};

/// Scratch bytes of the column sums of such a kernel.
constexpr int64_t rowTileSumsScratchBytes(int64_t rows, int64_t cols) {
  return Scratch::padded(RowTiles(rows).count * cols * 4);
}

struct ColumnSums {
  const float* partial = nullptr;  // [tiles, cols]
  float* target = nullptr;         // [cols] += sums; null: not wanted
};

/// target[j] += Σ_tile partial[tile][j] of one or two sets of the same shape, in one launch.
void addColumnSums(int64_t tiles, int64_t cols, const ColumnSums& first, const ColumnSums& second, cudaStream_t stream);

}  // namespace lrqat::cuda
