// Products of a large bf16 matrix Y with a thin factor, over Y's columns or over its rows. Y is streamed once; the
// factor comes as two bf16 halves whose products go into the same float32 sums (split_factors.h).
//
// The length of the sum is cut into splits so that there is work for every multiprocessor; each split writes its own
// partial result and splitSums or addSums adds them in order. The cut depends on shapes alone.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>

#include "cuda/kernels/split_factors.h"

namespace lrqat::cuda {

enum class ThinForm {
  OverColumns,  // out[row, k] = Σ_c Y[row, c]·W[k, c];   W [thin, cols]
  OverRows,     // out[c, k]   = Σ_row Y[row, c]·W[row, k]; W [rows, thin]
};

/// Thin widths are handled in steps of this many columns; a rank is padded to it.
constexpr int64_t kThinStep = 32;
/// Side of a tile of the long dimension that is kept: results are written up to a multiple of it.
constexpr int64_t kThinTile = 128;
/// Step of the dimension that is summed over: W is 0 up to a multiple of it.
constexpr int64_t kThinChunk = 64;
/// Tiles · splits of one group of products aimed at: two thread blocks for each multiprocessor of a large GPU.
constexpr int64_t kThinUnits = 264;

constexpr int64_t roundedUp(int64_t value, int64_t step) {
  return (value + step - 1) / step * step;
}
constexpr int64_t paddedRank(int64_t rank) {
  return roundedUp(rank, kThinStep);
}

struct ThinProduct {
  ThinForm form = ThinForm::OverColumns;
  const uint16_t* y = nullptr;  // [rows, cols] bf16
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t yStride = 0;
  SplitMatrix w;     // padded with zeros to a multiple of kThinChunk along the sum
  int64_t thin = 0;  // multiple of kThinStep
  int64_t splits = 1;
  float* partial = nullptr;  // [splits][kept, thin], kept rounded up to whole tiles
  bool thinMajor = false;    // … or [splits][thin, kept]

  int64_t kept() const { return form == ThinForm::OverColumns ? rows : cols; }
  int64_t tiles() const { return (kept() + kThinTile - 1) / kThinTile; }
  int64_t splitStride() const { return tiles() * kThinTile * thin; }
  /// What is to be added of the elements [rows, cols] of `partial` from row `first` on.
  PartialSums sums(int64_t first, int64_t resultRows, int64_t resultCols) const {
    const int64_t stride = thinMajor ? tiles() * kThinTile : thin;
    return {partial + first * stride, splits, splitStride(), stride, resultRows, resultCols};
  }
  int64_t chunks() const { return ((form == ThinForm::OverColumns ? cols : rows) + kThinChunk - 1) / kThinChunk; }
};

/// Sets `splits` of products that are launched together, so that all thread blocks have about the same number of chunks
/// and there are about kThinUnits of them, not more unless a product has more tiles.
void planSplits(std::span<ThinProduct> products);

/// One launch for up to 16 products whose thin sides are at most 96 wide.
void thinProducts(std::span<const ThinProduct> products, cudaStream_t stream);

}  // namespace lrqat::cuda
