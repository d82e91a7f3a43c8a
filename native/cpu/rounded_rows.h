// R = round(Z) of a weight, block of rows by block of rows: the one source of its integers, masks and statistics.
#pragma once

#include <cstdint>

#include "core/types.h"
#include "cpu/kernels/weights.h"
#include "cpu/row_grids.h"

namespace lrqat::cpu {

/// B [r, n] cut into tiles of 32 columns, [tiles][r][32], so that the product reads it as one stream.
class LowRankPanel {
 public:
  static int64_t elements(int64_t rank, int64_t n) {
    return (n + kTileColumns - 1) / kTileColumns * kTileColumns * rank;
  }
  /// Fills `memory` of elements(rank, n) floats.
  LowRankPanel(const float* b, int rank, int64_t n, float* memory, int threads);
  const float* tile(int64_t index) const { return memory_ + index * rank_ * kTileColumns; }

 private:
  const float* memory_;
  int64_t rank_;
};

/// Values of `count` scales' worth of columns of one row, one a column.
void expandColumnScales(const QuantSpec& spec, int64_t n, const float* scale, int64_t row, int64_t firstColumn,
                        int64_t count, float* out);

class RoundedRows {
 public:
  /// `panel` may be null where the rank is 0 or the form is not Trained.
  RoundedRows(const LinearWeight& weight, const LowRank& lowRank, WeightForm form, const LowRankPanel* panel);

  /// Rows [firstRow, firstRow + rows), columns [firstColumn, firstColumn + columns): R limited to one more than the
  /// grid at either end (asymmetric: than any zero point allows) → out [rows, kChunkColumns]. rows ≤ kRowBlock, columns
  /// ≤ kChunkColumns, firstColumn a multiple of kTileColumns. What lies behind `columns` in a row of `out` is undefined
  /// up to the end of its tile.
  void compute(int64_t firstRow, int rows, int64_t firstColumn, int columns, float* out) const;
  /// What R is clipped to in this form.
  const RowGrids& grids() const { return grids_; }

 private:
  void decode(int64_t row, int64_t firstColumn, int columns, float* out) const;
  /// Codes counted from the lower end of `grids` → values.
  void unpack(const void* memory, int width, CodeDecoding decoding, const RowGrids& grids, int64_t row,
              int64_t firstColumn, int columns, float* out) const;

  const LinearWeight& weight_;
  LowRank lowRank_;
  WeightForm form_;
  const LowRankPanel* panel_;
  RowGrids grids_;
  RowGrids grids0_;  // those of Φ0
  const WeightKernels& kernels_;
};

}  // namespace lrqat::cpu
