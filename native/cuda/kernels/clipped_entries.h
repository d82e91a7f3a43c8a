// The clipped entries of a weight as lists, made from the bit mask. Two orders, both without sorting:
//   row order   panels of 4096 columns; in a panel row by row, in a row by column. Position p of an entry in it is
//   where
//               its sampled product lies.
//   tile order  the same panels and blocks of 32 rows, in a block by words of 32 columns, in a word row by row. It
//   holds
//               positions p. The entries of 32 columns are one piece in each block of rows.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "core/types.h"
#include "cuda/scratch.h"

namespace lrqat::cuda {

constexpr int kPanelColumns = 4096;
constexpr int kPanelWords = kPanelColumns / 32;
constexpr int kBlockRows = 32;
/// A listed entry: row << kColumnBits | column in its panel.
constexpr int kColumnBits = 12;
constexpr uint32_t kColumnMask = kPanelColumns - 1;

struct ClippedEntries {
  int64_t m = 0;
  int64_t n = 0;
  int64_t count = 0;
  int32_t* blockCount = nullptr;  // [panels · rowBlocks]
  int32_t* rowStart = nullptr;    // [panels · rowBlocks · 32 + 1] row order: first position of a row of a panel
  int32_t* tileStart = nullptr;   // [rowBlocks · words + 1] tile order: first place of a tile, see tileIndex
  uint32_t* entry = nullptr;      // [count] row order
  int32_t* position = nullptr;    // [count] tile order → row order

  int64_t panels() const { return (n + kPanelColumns - 1) / kPanelColumns; }
  int64_t rowBlocks() const { return (m + kBlockRows - 1) / kBlockRows; }
  int64_t words() const { return (n + 31) / 32; }
};

/// Index of a tile of 32 × 32 entries in `tileStart`; `word` counts from the first column of the weight.
#ifdef __CUDACC__
__host__ __device__
#endif
    inline int64_t
    tileIndex(const ClippedEntries& entries, int64_t rowBlock, int64_t word) {
  const int64_t panelWord = word / kPanelWords * kPanelWords;
  const int64_t rest = (entries.n + 31) / 32 - panelWord;
  const int64_t width = rest < kPanelWords ? rest : kPanelWords;
  return panelWord * ((entries.m + kBlockRows - 1) / kBlockRows) + rowBlock * width + word - panelWord;
}

/// For at most `capacity` entries of an m × n weight.
int64_t clippedEntriesScratchBytes(int64_t m, int64_t n, int64_t capacity);
/// Lists the set bits of `mask` [m, ceil(n / 32)], of which there are exactly `count` ≥ 1.
ClippedEntries listClipped(const uint32_t* mask, int64_t m, int64_t n, int64_t count, Scratch& scratch,
                           cudaStream_t stream);

}  // namespace lrqat::cuda
