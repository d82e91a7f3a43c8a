#include "cpu/kernels/gemm.h"

#include "cpu/kernels/microkernel.h"

namespace lrqat::cpu::LRQAT_ISA {

namespace {

/// Address of element (index, depth) where `index` counts rows of A or columns of B.
template <typename T>
const T* at(const PackSource& source, int64_t index, int64_t depth) {
  return static_cast<const T*>(source.data) +
         (source.depthContiguous ? index * source.stride + depth : depth * source.stride + index);
}

template <typename T>
void packAOf(const PackSource& source, int64_t first, int64_t rows, int64_t from, int64_t depth, float* target) {
  const T* memory = at<T>(source, first, from);
  if (source.depthContiguous) {
    packRows(memory, source.stride, rows, depth, target, unitsOf(depth));
  } else {
    packRowsTransposed(memory, source.stride, rows, depth, target, unitsOf(depth));
  }
}

template <typename T>
void packBOf(const PackSource& source, int64_t first, int64_t columns, int64_t from, int64_t depth, float* target) {
  const T* memory = at<T>(source, first, from);
  if (source.depthContiguous) {
    packPanelsTransposed(memory, source.stride, depth, columns, target);
  } else {
    packPanels(memory, source.stride, depth, columns, target);
  }
}

void packA(const PackSource& source, int64_t first, int64_t rows, int64_t from, int64_t depth, float* target) {
  if constexpr (!dotPairs) {
    if (!source.bf16) return packAOf<float>(source, first, rows, from, depth, target);
  }
  packAOf<bf16>(source, first, rows, from, depth, target);
}

void packB(const PackSource& source, int64_t first, int64_t columns, int64_t from, int64_t depth, float* target) {
  if constexpr (!dotPairs) {
    if (!source.bf16) return packBOf<float>(source, first, columns, from, depth, target);
  }
  packBOf<bf16>(source, first, columns, from, depth, target);
}

template <int rows>
void multiplyRows(int wanted, int64_t units, const float* a, int64_t aStride, const float* panel, float* c,
                  int64_t cStride, bool accumulate) {
  if constexpr (rows > 1) {
    if (wanted < rows) return multiplyRows<rows - 1>(wanted, units, a, aStride, panel, c, cStride, accumulate);
  }
  multiplyTile<rows>(units, a, aStride, panel, c, cStride, accumulate);
}

template <typename C>
void finish(int rows, int columns, const float* tile, C* c, int64_t cStride, bool accumulate) {
  for (int i = 0; i < rows; ++i) {
    forEachVector(columns, [&](int64_t j, auto part) {
      const Vec value = load(tile + i * panelColumns + j, part);
      C* target = c + i * cStride + j;
      store(target, accumulate ? load(target, part) + value : value, part);
    });
  }
}

void tile(int rows, int columns, int64_t units, const float* a, int64_t aStride, const float* panel, void* c,
          bool cBf16, int64_t cStride, bool accumulate) {
  if (!cBf16 && columns == panelColumns) {
    multiplyRows<tileRows>(rows, units, a, aStride, panel, static_cast<float*>(c), cStride, accumulate);
    return;
  }
  alignas(64) float buffer[tileRows * panelColumns];
  multiplyRows<tileRows>(rows, units, a, aStride, panel, buffer, panelColumns, false);
  if (cBf16) {
    finish(rows, columns, buffer, static_cast<bf16*>(c), cStride, accumulate);
  } else {
    finish(rows, columns, buffer, static_cast<float*>(c), cStride, accumulate);
  }
}

}  // namespace

extern const GemmKernels gemmKernels = {tileRows, panelColumns, dotPairs, packA, packB, tile};

}  // namespace lrqat::cpu::LRQAT_ISA
