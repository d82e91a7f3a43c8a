// The clipped entries of linears that share an input as lists, made from the bit masks. Two orders, both without
// sorting:
//   row order   panels of 4096 columns; in a panel row by row, in a row by column. Position p of an entry in it is
//   where
//               its sampled product lies.
//   tile order  the same panels and blocks of 32 rows, in a block by words of 32 columns, in a word row by row. It
//   holds
//               positions p. The entries of 32 columns are one piece in each block of rows.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>

#include "cuda/scratch.h"

namespace lrqat::cuda {

constexpr int kPanelColumns = 4096;
constexpr int kPanelWords = kPanelColumns / 32;
constexpr int kBlockRows = 32;
/// A listed entry: row << kColumnBits | column in its panel.
constexpr int kColumnBits = 12;
constexpr uint32_t kColumnMask = kPanelColumns - 1;
/// Linears of one call.
constexpr int kMostClipped = 8;

#ifdef __CUDACC__
#define LRQAT_BOTH __host__ __device__ __forceinline__
#else
#define LRQAT_BOTH inline
#endif

/// Entries of one m × n weight. Offsets count from the first entry of the weight.
struct ClippedEntries {
  const uint32_t* mask = nullptr;  // [m, ceil(n / 32)]
  int64_t m = 0;
  int64_t n = 0;
  int64_t count = 0;              // room for entries: their number, or more
  int64_t first = 0;              // room of the weights before this one: where the D of this one begin
  int32_t* blockCount = nullptr;  // [panels · rowBlocks]
  int32_t* rowStart = nullptr;    // [panels · rowBlocks · 32 + 1] row order: first position of a row of a panel
  int32_t* tileStart = nullptr;   // [rowBlocks · words + 1] tile order: first place of a tile, see tileIndex
  uint32_t* entry = nullptr;      // [count] row order
  uint2* tileEntry = nullptr;     // [count] tile order: entry, position in row order

  LRQAT_BOTH int panels() const { return static_cast<int>((n + kPanelColumns - 1) / kPanelColumns); }
  LRQAT_BOTH int rowBlocks() const { return static_cast<int>((m + kBlockRows - 1) / kBlockRows); }
  LRQAT_BOTH int words() const { return static_cast<int>((n + 31) / 32); }
  /// Index of a tile of 32 × 32 entries in `tileStart`; `word` counts from the first column of the weight.
  LRQAT_BOTH int tileIndex(int rowBlock, int word) const {
    const int panelWord = word / kPanelWords * kPanelWords;
    const int width = words() - panelWord < kPanelWords ? words() - panelWord : kPanelWords;
    return panelWord * rowBlocks() + rowBlock * width + word - panelWord;
  }
#ifdef __CUDACC__
  /// Entries listed: all of them or, where there is no room for all, none.
  __device__ __forceinline__ int listed() const {
    const int all = rowStart[panels() * rowBlocks() * kBlockRows];
    return all <= count ? all : 0;
  }
#endif
};

/// All weights of one call; they have the same n.
struct ClippedBatch {
  ClippedEntries weight[kMostClipped];
  int weights = 0;
  int64_t total = 0;  // room of all

#ifdef __CUDACC__
  /// Entries listed of the weights before `end`.
  __device__ __forceinline__ int64_t listedBefore(int end) const {
    int64_t sum = 0;
    for (int w = 0; w < end; ++w) sum += weight[w].listed();
    return sum;
  }
#endif
  void add(const uint32_t* mask, int64_t m, int64_t n, int64_t count);
};

/// For weights of at most m rows with at most `capacity` entries each.
int64_t clippedEntriesScratchBytes(int64_t weights, int64_t m, int64_t n, int64_t capacity);
/// Lists the set bits of the masks. A `count` that is larger than their number costs memory alone; of a mask with more
/// of them nothing is listed.
void listClipped(ClippedBatch& batch, Scratch& scratch, cudaStream_t stream);

}  // namespace lrqat::cuda
