// bf16 products on AMX tiles, one call per piece of work that a thread takes (gemm_tiles.cpp shares the pieces out).
// A [rows, depth] is read where it lies; 32 columns of B at a time are packed into a panel that all rows use.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace lrqat::cpu {

/// Rows of A and columns of a panel.
constexpr int64_t kProductBlock = 32;

/// C [rows, columns] = or += A·B for at most kProductBlock rows and some panels of B.
struct TileProduct {
  const uint16_t* a = nullptr;
  int64_t aStride = 0;
  bool aPacked = false;  // by packColumns
  int64_t rows = 0;
  int64_t depth = 0;
  const uint16_t* panels = nullptr;  // each of panelElements(depth)
  bool prefetch = false;             // the next panel while one multiplies
  void* c = nullptr;                 // float32 or bf16
  int64_t cStride = 0;
  int64_t columns = 0;
  bool cBf16 = false;
  bool add = false;
  uint16_t* copy = nullptr;  // rowElements(depth): A where it does not fill its tiles
};

struct GemmTileKernels {
  /// Rows of B [depth, …] in `columns` ≤ 32 columns, at b, as a panel. `transposed`: b holds Bᵀ, `columns` rows of it.
  void (*packPanel)(const uint16_t* b, bool transposed, int64_t stride, int64_t columns, int64_t depth,
                    uint16_t* panel);
  /// `columns` ≤ 32 columns of a matrix [depth, …] at a, as rows of Aᵀ: rowElements(depth).
  void (*packColumns)(const uint16_t* a, int64_t stride, int64_t columns, int64_t depth, uint16_t* rows);
  void (*multiply)(const TileProduct& product);
  /// The sum of products to the same rows and columns of a float32 C, overwritten where the first does not add: the
  /// same bits as if each were added in turn.
  void (*multiplySum)(const TileProduct* products, int64_t count);
};

namespace gemm_tiles {

constexpr int64_t padded(int64_t count) {
  return (count + kProductBlock - 1) / kProductBlock * kProductBlock;
}
constexpr int64_t panelElements(int64_t depth) {
  return padded(depth) * kProductBlock;
}
constexpr int64_t rowElements(int64_t depth) {
  return padded(depth) * kProductBlock;
}

}  // namespace gemm_tiles

LRQAT_DECLARE_TILE_KERNELS(GemmTileKernels, gemmTileKernels)

}  // namespace lrqat::cpu
