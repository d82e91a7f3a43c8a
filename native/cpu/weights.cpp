// Everything that is made of a quantized linear's rounded rows: the weight for the products, the merged integers, the
// statistics.
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "core/grid.h"
#include "cpu/rounded_rows.h"
#include "cpu/row_blocks.h"
#include "cpu/scratch.h"
#include "cpu/source_rows.h"

namespace lrqat::cpu {

namespace {

/// body(firstRow, rows) for blocks of kRowBlock rows, in parallel; each thread gets consecutive blocks.
template <typename Body>
void forRowBlocks(int64_t m, int threads, Body body) {
  const int64_t blocks = (m + kRowBlock - 1) / kRowBlock;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t first = block * kRowBlock;
    body(first, static_cast<int>(std::min<int64_t>(kRowBlock, m - first)));
  }
}

/// body(firstColumn, columns) for the chunks of a row.
template <typename Body>
void forChunks(int64_t n, Body body) {
  for (int64_t first = 0; first < n; first += kChunkColumns) {
    body(first, static_cast<int>(std::min<int64_t>(kChunkColumns, n - first)));
  }
}

void* elementAt(const Matrix& matrix, int64_t row, int64_t column) {
  return static_cast<std::byte*>(matrix.data) + (row * matrix.cols + column) * byteSize(matrix.type);
}

/// Masks of 16 columns each, row by row → row-major list of the columns.
class ClippedCollector {
 public:
  static int64_t maskWords(int64_t n) { return (n + 15) / 16; }

  ClippedCollector(ClippedSet& set, int64_t m, int64_t n, uint16_t* masks)
      : set_(set), m_(m), words_(maskWords(n)), masks_(masks) {}

  uint16_t* masks(int64_t row, int64_t firstColumn) const { return masks_ + row * words_ + firstColumn / 16; }
  void setCount(int64_t row, int64_t count) const { set_.rowStart[row + 1] = count; }

  void finish(int threads) const {
    set_.rowStart[0] = 0;
    for (int64_t i = 0; i < m_; ++i) set_.rowStart[i + 1] += set_.rowStart[i];
    if (set_.rowStart[m_] == 0 || set_.rowStart[m_] > set_.capacity) return;
#pragma omp parallel for num_threads(threads) schedule(static) if (worthWaking(m_ * words_))
    for (int64_t i = 0; i < m_; ++i) {
      if (set_.rowStart[i + 1] == set_.rowStart[i]) continue;
      int32_t* out = set_.column + set_.rowStart[i];
      for (int64_t word = 0; word < words_; ++word) {
        for (uint32_t mask = masks_[i * words_ + word]; mask != 0; mask &= mask - 1) {
          *out++ = static_cast<int32_t>(word * 16) + __builtin_ctz(mask);
        }
      }
    }
  }

 private:
  ClippedSet& set_;
  int64_t m_;
  int64_t words_;
  uint16_t* masks_;
};

}  // namespace

int64_t CpuBackend::rebuildScratchBytes(int64_t m, int64_t n, int64_t rank) {
  return Scratch::padded(4 * LowRankPanel::elements(rank, n)) + Scratch::padded(2 * m * ClippedCollector::maskWords(n));
}

void CpuBackend::rebuildWeight(const LinearWeight& weight, const LowRank& lowRank, WeightForm form, Matrix out,
                               ClippedSet* clipped) {
  const int64_t m = weight.m;
  const int64_t n = weight.n;
  LRQAT_CHECK(out.rows == m && out.cols == n && out.type != DType::F16);
  LRQAT_CHECK(form != WeightForm::Merged || weight.merged);
  const WeightKernels& kernels = LRQAT_SELECT_KERNELS(weightKernels);
  if (clipped && form != WeightForm::Trained) std::fill_n(clipped->rowStart, m + 1, 0);

  if (form == WeightForm::Float) {
#pragma omp parallel for num_threads(threads_) schedule(static)
    for (int64_t i = 0; i < m; ++i) {
      alignas(64) float values[kChunkColumns];
      forChunks(n, [&](int64_t first, int columns) {
        float* target = out.type == DType::F32 ? static_cast<float*>(elementAt(out, i, first)) : values;
        readSource(weight.source, i, first, columns, target);
        if (out.type == DType::BF16) {
          kernels.narrowBf16(values, columns, static_cast<uint16_t*>(elementAt(out, i, first)));
        }
      });
    }
    return;
  }

  const QuantSpec& spec = weight.spec;
  Scratch scratch(*this);
  std::optional<LowRankPanel> panel;
  if (form == WeightForm::Trained && spec.rank > 0) {
    panel.emplace(lowRank.b, spec.rank, n, scratch.take<float>(LowRankPanel::elements(spec.rank, n)), threads_);
  }
  std::optional<ClippedCollector> collector;
  if (clipped && form == WeightForm::Trained) {
    collector.emplace(*clipped, m, n, scratch.take<uint16_t>(m * ClippedCollector::maskWords(n)));
  }
  const RoundedRows rounded(weight, lowRank, form, panel ? &*panel : nullptr);
  const float* groupScale = spec.granularity == Granularity::Group
                                ? (form == WeightForm::RoundToNearest ? weight.scale0 : lowRank.scale)
                                : nullptr;

  forRowBlocks(m, threads_, [&](int64_t firstRow, int rows) {
    alignas(64) float values[kRowBlock * kChunkColumns];
    alignas(64) float scales[kChunkColumns];
    int64_t count[kRowBlock] = {};
    forChunks(n, [&](int64_t first, int columns) {
      rounded.compute(firstRow, rows, first, columns, values);
      for (int i = 0; i < rows; ++i) {
        const float* row = values + i * kChunkColumns;
        if (groupScale) expandColumnScales(spec, n, groupScale, firstRow + i, first, columns, scales);
        rounded.grids().forParts(firstRow + i, first, columns, [&](int offset, int part, float low, float high) {
          void* target = elementAt(out, firstRow + i, first + offset);
          const float* columnScale = groupScale ? scales + offset : nullptr;
          if (out.type == DType::F32) {
            kernels.emitFloat(row + offset, columnScale, part, low, high, static_cast<float*>(target));
          } else {
            kernels.emitBf16(row + offset, columnScale, part, low, high, static_cast<uint16_t*>(target));
          }
        });
        if (collector) {
          count[i] += rounded.grids().outsideMasks(kernels, row, firstRow + i, first, columns,
                                                   collector->masks(firstRow + i, first));
        }
      }
    });
    if (collector) {
      for (int i = 0; i < rows; ++i) collector->setCount(firstRow + i, count[i]);
    }
  });
  if (collector) collector->finish(threads_);
}

void CpuBackend::merge(const LinearWeight& weight, const LowRank& lowRank, void* hostCodes) {
  const QuantSpec& spec = weight.spec;
  const WeightKernels& kernels = LRQAT_SELECT_KERNELS(weightKernels);
  Scratch scratch(*this);
  std::optional<LowRankPanel> panel;
  if (spec.rank > 0) {
    panel.emplace(lowRank.b, spec.rank, weight.n, scratch.take<float>(LowRankPanel::elements(spec.rank, weight.n)),
                  threads_);
  }
  const RoundedRows rounded(weight, lowRank, WeightForm::Trained, panel ? &*panel : nullptr);
  const int64_t rowBytes = packedRowBytes(spec.bits, weight.n);
  const float offset = spec.symmetric ? static_cast<float>(-spec.qmin()) : 0.0F;
  forRowBlocks(weight.m, threads_, [&](int64_t firstRow, int rows) {
    alignas(64) float values[kRowBlock * kChunkColumns];
    forChunks(weight.n, [&](int64_t first, int columns) {
      rounded.compute(firstRow, rows, first, columns, values);
      for (int i = 0; i < rows; ++i) {
        float* row = values + i * kChunkColumns;
        rounded.grids().clip(kernels, row, firstRow + i, first, columns);
        if (!spec.symmetric) rounded.grids().fromLowerEnd(row, firstRow + i, first, columns, 1.0F);
        kernels.pack(row, columns, offset, spec.bits,
                     static_cast<uint8_t*>(hostCodes) + (firstRow + i) * rowBytes + first / 8 * spec.bits);
      }
    });
  });
}

WeightStatistics CpuBackend::weightStatistics(const LinearWeight& weight, const LowRank& lowRank) {
  const QuantSpec& spec = weight.spec;
  const WeightKernels& kernels = LRQAT_SELECT_KERNELS(weightKernels);
  Scratch scratch(*this);
  std::optional<LowRankPanel> panel;
  if (spec.rank > 0) {
    panel.emplace(lowRank.b, spec.rank, weight.n, scratch.take<float>(LowRankPanel::elements(spec.rank, weight.n)),
                  threads_);
  }
  const RoundedRows rounded(weight, lowRank, WeightForm::Trained, panel ? &*panel : nullptr);
  LowRank start0 = lowRank;
  start0.zero = weight.zero0;
  const WeightForm atStart = spec.trainsWeights() ? WeightForm::RoundToNearest : WeightForm::Trained;
  const RoundedRows initial(weight, start0, atStart, nullptr);
  const bool mayDiffer = panel || !spec.symmetric || spec.trainsWeights();
  // Wide enough for every zero point.
  const auto widest = static_cast<float>(spec.levels());
  std::atomic<int64_t> clipped = 0;
  std::atomic<int64_t> flipped = 0;
  forRowBlocks(weight.m, threads_, [&](int64_t firstRow, int rows) {
    alignas(64) float values[kRowBlock * kChunkColumns];
    alignas(64) float start[kRowBlock * kChunkColumns];
    uint16_t masks[kChunkColumns / 16];
    forChunks(weight.n, [&](int64_t first, int columns) {
      rounded.compute(firstRow, rows, first, columns, values);
      if (mayDiffer) initial.compute(firstRow, rows, first, columns, start);
      for (int i = 0; i < rows; ++i) {
        float* row = values + i * kChunkColumns;
        clipped += rounded.grids().outsideMasks(kernels, row, firstRow + i, first, columns, masks);
        if (!mayDiffer) continue;
        float* before = start + i * kChunkColumns;
        rounded.grids().clip(kernels, row, firstRow + i, first, columns);
        initial.grids().clip(kernels, before, firstRow + i, first, columns);
        flipped += kernels.flipped(row, before, columns, -widest, widest);
      }
    });
  });

  const int64_t scales = spec.scaleCount(weight.m, weight.n);
  double drift = 0;
  double zeroPointDrift = 0;
  for (int64_t i = 0; i < scales; ++i) {
    const double s0 = weight.scale0[i];
    drift += std::abs(static_cast<double>(lowRank.scale[i]) - s0) / s0;
    if (spec.symmetric) continue;
    zeroPointDrift += std::abs(static_cast<double>(lowRank.zero[i] - zeroPoint(weight.zero0[i], spec.levels())));
  }
  return {clipped, flipped, drift / static_cast<double>(scales), zeroPointDrift / static_cast<double>(scales)};
}

}  // namespace lrqat::cpu
