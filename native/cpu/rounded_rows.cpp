#include "cpu/rounded_rows.h"

#include <algorithm>
#include <cstring>

#include "core/grid.h"
#include "cpu/row_blocks.h"
#include "cpu/source_rows.h"

namespace lrqat::cpu {

LowRankPanel::LowRankPanel(const float* b, int rank, int64_t n, float* memory, int threads)
    : memory_(memory), rank_(rank) {
  const int64_t tiles = (n + kTileColumns - 1) / kTileColumns;
#pragma omp parallel for num_threads(threads) schedule(static) if (worthWaking(rank * n))
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t first = t * kTileColumns;
    const int64_t columns = std::min<int64_t>(kTileColumns, n - first);
    for (int64_t k = 0; k < rank; ++k) {
      float* out = memory + (t * rank + k) * kTileColumns;
      std::memcpy(out, b + k * n + first, static_cast<size_t>(columns) * sizeof(float));
      std::fill(out + columns, out + kTileColumns, 0.0F);
    }
  }
}

void expandColumnScales(const QuantSpec& spec, int64_t n, const float* scale, int64_t row, int64_t firstColumn,
                        int64_t count, float* out) {
  if (spec.granularity != Granularity::Group) {
    std::fill(out, out + count, scale[spec.granularity == Granularity::Tensor ? 0 : row]);
    return;
  }
  const float* groups = scale + row * (n / spec.groupSize);
  for (int64_t j = 0; j < count;) {
    const int64_t group = (firstColumn + j) / spec.groupSize;
    const int64_t end = std::min(count, (group + 1) * spec.groupSize - firstColumn);
    std::fill(out + j, out + end, groups[group]);
    j = end;
  }
}

RoundedRows::RoundedRows(const LinearWeight& weight, const LowRank& lowRank, WeightForm form, const LowRankPanel* panel)
    : weight_(weight),
      lowRank_(lowRank),
      form_(form),
      panel_(form == WeightForm::Trained && weight.spec.rank > 0 ? panel : nullptr),
      grids_(weight, form == WeightForm::RoundToNearest ? weight.zero0 : lowRank.zero),
      grids0_(weight, weight.zero0),
      kernels_(LRQAT_SELECT_KERNELS(weightKernels)) {}

void RoundedRows::decode(int64_t row, int64_t firstColumn, int columns, float* out) const {
  const QuantSpec& spec = weight_.spec;
  if (form_ == WeightForm::Merged) {
    const CodeDecoding decoding{1.0F, spec.symmetric ? static_cast<float>(spec.qmin()) : 0.0F};
    unpack(weight_.merged, spec.bits, decoding, grids_, row, firstColumn, columns, out);
    return;
  }
  if (form_ == WeightForm::RoundToNearest) {
    alignas(64) float scales[kChunkColumns];
    readSource(weight_.source, row, firstColumn, columns, out);
    expandColumnScales(spec, weight_.n, weight_.scale0, row, firstColumn, columns, scales);
    kernels_.divide(out, scales, columns);
    return;
  }
  const int64_t element = row * weight_.n + firstColumn;
  switch (spec.storage) {
    case Storage::Trained: {
      alignas(64) float scales[kChunkColumns];
      std::memcpy(out, lowRank_.weight + element, static_cast<size_t>(columns) * sizeof(float));
      expandColumnScales(spec, weight_.n, lowRank_.scale, row, firstColumn, columns, scales);
      kernels_.divide(out, scales, columns);
      break;
    }
    case Storage::F32:
      std::memcpy(out, static_cast<const float*>(weight_.phi0) + element, static_cast<size_t>(columns) * sizeof(float));
      break;
    case Storage::BF16:
      kernels_.widenBf16(static_cast<const uint16_t*>(weight_.phi0) + element, columns, out);
      break;
    case Storage::F16:
      kernels_.widenHalf(static_cast<const uint16_t*>(weight_.phi0) + element, columns, out);
      break;
    case Storage::FixedPoint:
    case Storage::Integer:
      unpack(weight_.phi0, spec.codeBits(), codeDecoding(spec), grids0_, row, firstColumn, columns, out);
      break;
  }
}

void RoundedRows::unpack(const void* memory, int width, CodeDecoding decoding, const RowGrids& grids, int64_t row,
                         int64_t firstColumn, int columns, float* out) const {
  const QuantSpec& spec = weight_.spec;
  const auto* codes =
      static_cast<const uint8_t*>(memory) + row * packedRowBytes(width, weight_.n) + firstColumn / 8 * width;
  const auto tiles = [](int count) { return (count + kTileColumns - 1) / kTileColumns; };
  if (spec.symmetric) {
    kernels_.unpack(codes, width, tiles(columns), decoding.scale, decoding.bias, out);
    return;
  }
  const bool wholeTiles = spec.granularity != Granularity::Group || spec.groupSize % kTileColumns == 0;
  if (!wholeTiles) kernels_.unpack(codes, width, tiles(columns), decoding.scale, decoding.bias, out);
  grids.forParts(row, firstColumn, columns, [&](int offset, int count, float low, float) {
    if (wholeTiles) {
      kernels_.unpack(codes + offset / 8 * width, width, tiles(count), decoding.scale, decoding.bias + low,
                      out + offset);
    } else {
      for (int j = offset; j < offset + count; ++j) out[j] += low;
    }
  });
}

void RoundedRows::compute(int64_t firstRow, int rows, int64_t firstColumn, int columns, float* out) const {
  const QuantSpec& spec = weight_.spec;
  const int tiles = (columns + kTileColumns - 1) / kTileColumns;
  const float low = static_cast<float>(spec.symmetric ? spec.qmin() - 1 : -spec.levels() - 1);
  const float high = static_cast<float>(spec.symmetric ? spec.qmax() + 1 : spec.levels() + 1);
  for (int i = 0; i < rows; ++i) {
    float* row = out + static_cast<int64_t>(i) * kChunkColumns;
    decode(firstRow + i, firstColumn, columns, row);
    // The rounding kernel works on whole tiles.
    std::fill(row + columns, row + tiles * kTileColumns, 0.0F);
    if (!panel_) kernels_.roundInside(row, columns, low, high);
  }
  if (!panel_) return;
  kernels_.round({.values = out,
                  .a = lowRank_.a + firstRow * spec.rank,
                  .panel = panel_->tile(firstColumn / kTileColumns),
                  .rows = rows,
                  .tiles = tiles,
                  .rank = spec.rank,
                  .gamma = spec.gamma(),
                  .low = low,
                  .high = high,
                  .roundProduct = spec.storage == Storage::Integer});
}

}  // namespace lrqat::cpu
