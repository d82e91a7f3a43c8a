// Kernels of the built-in matrix product: packing and one tile (microkernel.h).
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace lrqat::cpu {

/// An operand in memory, element (row, depth) of A or (depth, column) of B.
struct PackSource {
  const void* data;
  bool bf16;             // else float32
  bool depthContiguous;  // stored [rows or columns][stride] rather than [depth][stride]
  int64_t stride;        // elements
};

struct GemmKernels {
  int tileRows;
  int panelColumns;
  bool pairs;  // a unit is two bf16 (then every operand must be bf16), else one float32
  /// Rows first … first + rows of A, depth from … from + depth, to target[rows][units].
  void (*packA)(const PackSource& source, int64_t first, int64_t rows, int64_t from, int64_t depth, float* target);
  /// The same for columns of B, to panels.
  void (*packB)(const PackSource& source, int64_t first, int64_t columns, int64_t from, int64_t depth, float* target);
  /// c [rows, columns] = a·panel (+ c): rows ≤ tileRows, columns ≤ panelColumns.
  void (*tile)(int rows, int columns, int64_t units, const float* a, int64_t aStride, const float* panel, void* c,
               bool cBf16, int64_t cStride, bool accumulate);
};

LRQAT_DECLARE_KERNELS(GemmKernels, gemmKernels)
LRQAT_DECLARE_BF16_KERNELS(GemmKernels, gemmKernels)

}  // namespace lrqat::cpu
