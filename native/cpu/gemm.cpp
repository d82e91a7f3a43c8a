#include "cpu/gemm.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <string>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/isa.h"
#include "cpu/kernels/gemm.h"
#include "cpu/kernels/gemm_tiles.h"

namespace lrqat::cpu {

namespace {

constexpr int64_t maximumRows = 64;                     // of A packed at a time
constexpr int64_t maximumDepth = 2048;                  // 64 rows and one panel stay in the second-level cache
constexpr int64_t deepestTiles = 2048;                  // of products on tiles that sum in registers alone
constexpr int64_t deepestRounded = 16384;               // the same where C could not hold sums in between
constexpr int64_t deepestSum = 6144;                    // of all products of a sum together
constexpr int64_t packedPanelBytes = int64_t{1} << 20;  // of a group of panels, in the second-level cache
constexpr int64_t ownPanelElements = int64_t{1} << 17;  // that each thread packs for itself
constexpr int64_t packedFloatsA = int64_t{1} << 18;     // of each thread
constexpr int64_t packedFloatsB = int64_t{1} << 20;     // shared by all threads

int64_t ceilDivide(int64_t value, int64_t by) {
  return (value + by - 1) / by;
}

const GemmKernels& kernelsFor(DType a, DType b) {
  if (a == DType::BF16 && b == DType::BF16) {
    if (const GemmKernels* pairs = LRQAT_SELECT_BF16_KERNELS(gemmKernels)) return *pairs;
  }
  return LRQAT_SELECT_KERNELS(gemmKernels);
}

}  // namespace

Gemm::Gemm(const std::string& oneDnnPath, int threads, bool preferLibrary)
    : threads_(threads), preferLibrary_(preferLibrary) {
  if (!oneDnnPath.empty()) oneDnn_ = OneDnnLibrary::open(oneDnnPath, threads);
}

Gemm::~Gemm() = default;

int64_t Gemm::scratchBytes(int threads) {
  return (packedFloatsB + threads * packedFloatsA) * static_cast<int64_t>(sizeof(float));
}

void Gemm::multiply(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate) {
  LRQAT_CHECK((transposeA ? a.cols : a.rows) == c.rows);
  LRQAT_CHECK((transposeB ? b.rows : b.cols) == c.cols);
  LRQAT_CHECK((transposeA ? a.rows : a.cols) == (transposeB ? b.cols : b.rows));
  LRQAT_CHECK(a.type != DType::F16 && b.type != DType::F16 && c.type != DType::F16);
  LRQAT_CHECK(static_cast<int64_t>(scratch_.size()) >= scratchBytes(threads_));
  if (c.elements() == 0) return;
  const bool libraryFirst = oneDnn_ && preferLibrary_;
  if (libraryFirst && multiplyByOneDnn(a, transposeA, b, transposeB, c, accumulate)) return;
  if (multiplyByTiles(a, transposeA, b, transposeB, c, accumulate)) return;
  if (oneDnn_ && multiplyByOneDnn(a, transposeA, b, transposeB, c, accumulate)) return;
  multiplyBuiltIn(a, transposeA, b, transposeB, c, accumulate);
}

bool Gemm::multiplyByOneDnn(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate) {
  const int64_t k = transposeA ? a.rows : a.cols;
  const auto element = [](DType type) { return type == DType::F32 ? onednn::Element::F32 : onednn::Element::BF16; };
  if (k == 0 || a.type != b.type) return false;
  if (a.type == DType::F32 && c.type != DType::F32) return false;
  // Without the instructions oneDNN emulates bf16 or refuses it; our own product converts to float32 once.
  if (a.type == DType::BF16 && !hasFastBf16()) return false;
  const onednn::Product product{.m = c.rows,
                                .n = c.cols,
                                .k = k,
                                .a = element(a.type),
                                .b = element(b.type),
                                .c = element(c.type),
                                .transposeA = transposeA,
                                .transposeB = transposeB,
                                .accumulate = accumulate};
  return oneDnn_->multiply(product, a.data, b.data, c.data, scratch_);
}

bool Gemm::multiplyByTiles(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate) {
  const GemmTileKernels* kernels = LRQAT_SELECT_TILE_KERNELS(gemmTileKernels);
  if (!kernels || a.type != DType::BF16 || b.type != DType::BF16) return false;
  const int64_t depth = transposeA ? a.rows : a.cols;
  const int64_t m = c.rows;
  const int64_t n = c.cols;
  const bool cBf16 = c.type == DType::BF16;
  // Deep products add to C block by block, which only float32 can hold without rounding.
  const int64_t deepest = cBf16 ? deepestRounded : deepestTiles;
  const int64_t blocks = depth <= deepest ? 1 : ceilDivide(depth, deepestTiles / 2);
  if (depth == 0 || (cBf16 && blocks > 1)) return false;
  const int64_t depthBlock = gemm_tiles::padded(ceilDivide(depth, blocks));
  const int64_t panelElements = gemm_tiles::panelElements(depthBlock);
  const int64_t panels = ceilDivide(n, kProductBlock);
  // A group of panels stays in the second-level cache while all rows pass by.
  const int64_t fitting = std::clamp<int64_t>(packedPanelBytes / (2 * panelElements), 1, panels);
  const int64_t groups = ceilDivide(panels, fitting);
  const int64_t groupPanels = ceilDivide(panels, groups);
  const int64_t rowBlocks = ceilDivide(m, kProductBlock);
  // Few rows: the panels of a group are shared out as well, at the price of packing transposed rows once for each part.
  const int64_t enoughBlocks = (transposeA ? 2 : 4) * threads_;
  const int64_t parts = rowBlocks >= enoughBlocks ? 1 : std::min<int64_t>(groupPanels, 2 * threads_);
  const int64_t partPanels = ceilDivide(groupPanels, parts);
  // A small B is packed by every thread for itself: that takes less than waiting for each other.
  const bool apart = panels * panelElements <= ownPanelElements && blocks == 1;
  auto* const shared = reinterpret_cast<uint16_t*>(scratch_.data());
  float* const own = reinterpret_cast<float*>(scratch_.data()) + packedFloatsB;
  const auto* const left = static_cast<const uint16_t*>(a.data);
  const auto* const right = static_cast<const uint16_t*>(b.data);

#pragma omp parallel num_threads(threads_)
  for (int64_t firstPanel = 0; firstPanel < panels; firstPanel += groupPanels) {
    const int64_t endPanel = std::min(panels, firstPanel + groupPanels);
    auto* const mine = reinterpret_cast<uint16_t*>(own + omp_get_thread_num() * packedFloatsA);
    uint16_t* const packed = apart ? mine + gemm_tiles::rowElements(depthBlock) : shared;
    for (int64_t from = 0; from < depth; from += depthBlock) {
      const int64_t length = std::min(depthBlock, depth - from);
      const auto pack = [&](int64_t panel) {
        const int64_t column = panel * kProductBlock;
        kernels->packPanel(right + (transposeB ? column * depth + from : from * n + column), transposeB, b.cols,
                           std::min(kProductBlock, n - column), length,
                           packed + (panel - firstPanel) * gemm_tiles::panelElements(length));
      };
      if (apart) {
        for (int64_t panel = firstPanel; panel < endPanel; ++panel) pack(panel);
      } else {
#pragma omp for schedule(static)
        for (int64_t panel = firstPanel; panel < endPanel; ++panel) pack(panel);
      }
#pragma omp for schedule(dynamic) nowait
      for (int64_t task = 0; task < rowBlocks * parts; ++task) {
        const int64_t row = task / parts * kProductBlock;
        const int64_t panel = firstPanel + task % parts * partPanels;
        const int64_t column = panel * kProductBlock;
        const int64_t end = std::min(n, std::min(endPanel, panel + partPanels) * kProductBlock);
        if (column >= end) continue;
        const int64_t rows = std::min(kProductBlock, m - row);
        if (transposeA) kernels->packColumns(left + from * m + row, m, rows, length, mine);
        kernels->multiply({.a = transposeA ? mine : left + row * depth + from,
                           .aStride = depth,
                           .aPacked = transposeA,
                           .rows = rows,
                           .depth = length,
                           .panels = packed + (panel - firstPanel) * gemm_tiles::panelElements(length),
                           // Measured: lanes gain, threads that share a product lose.
                           .prefetch = threads_ == 1,
                           .c = static_cast<std::byte*>(c.data) + (row * n + column) * byteSize(c.type),
                           .cStride = n,
                           .columns = end - column,
                           .cBf16 = cBf16,
                           .add = accumulate || from > 0,
                           .copy = mine});
      }
      // Whoever packs next must not take the panels from under the others.
      const bool last = endPanel == panels && from + length == depth;
      if (!last) {
#pragma omp barrier
      }
    }
  }
  return true;
}

bool Gemm::multiplySumByTiles(std::span<const GemmProduct> products, Matrix c) {
  constexpr size_t most = 3;
  const GemmTileKernels* kernels = LRQAT_SELECT_TILE_KERNELS(gemmTileKernels);
  if (!kernels || (oneDnn_ && preferLibrary_) || products.size() > most || c.type != DType::F32) return false;
  int64_t totalDepth = 0;
  std::array<int64_t, most> place{};  // of a product's rows or columns, in those of all
  for (size_t i = 0; i < products.size(); ++i) {
    const auto& [a, b] = products[i];
    if (a.type != DType::BF16 || b.type != DType::BF16 || a.cols == 0 || a.cols > deepestTiles) return false;
    place[i] = totalDepth;
    totalDepth += gemm_tiles::padded(a.cols);
  }
  if (totalDepth > deepestSum) return false;
  const int64_t m = c.rows;
  const int64_t n = c.cols;
  const int64_t panels = ceilDivide(n, kProductBlock);
  const int64_t fitting = std::clamp<int64_t>(packedPanelBytes / (2 * totalDepth * kProductBlock), 1, panels);
  const int64_t groups = ceilDivide(panels, fitting);
  const int64_t groupPanels = ceilDivide(panels, groups);
  const int64_t rowBlocks = ceilDivide(m, kProductBlock);
  auto* const packed = reinterpret_cast<uint16_t*>(scratch_.data());
  float* const own = reinterpret_cast<float*>(scratch_.data()) + packedFloatsB;

#pragma omp parallel num_threads(threads_)
  for (int64_t firstPanel = 0; firstPanel < panels; firstPanel += groupPanels) {
    const int64_t endPanel = std::min(panels, firstPanel + groupPanels);
    const int64_t column = firstPanel * kProductBlock;
    // The panels of a group lie product by product.
    const auto panelsOf = [&](size_t i) { return packed + place[i] * kProductBlock * groupPanels; };
    for (size_t i = 0; i < products.size(); ++i) {
      const Matrix& b = products[i].b;
#pragma omp for schedule(static) nowait
      for (int64_t panel = firstPanel; panel < endPanel; ++panel) {
        const int64_t first = panel * kProductBlock;
        kernels->packPanel(static_cast<const uint16_t*>(b.data) + first, false, n, std::min(kProductBlock, n - first),
                           b.rows, panelsOf(i) + (panel - firstPanel) * gemm_tiles::panelElements(b.rows));
      }
    }
#pragma omp barrier
    auto* const mine = reinterpret_cast<uint16_t*>(own + omp_get_thread_num() * packedFloatsA);
#pragma omp for schedule(dynamic)
    for (int64_t block = 0; block < rowBlocks; ++block) {
      const int64_t row = block * kProductBlock;
      std::array<TileProduct, most> parts;
      for (size_t i = 0; i < products.size(); ++i) {
        const Matrix& a = products[i].a;
        parts[i] = {.a = static_cast<const uint16_t*>(a.data) + row * a.cols,
                    .aStride = a.cols,
                    .rows = std::min(kProductBlock, m - row),
                    .depth = a.cols,
                    .panels = panelsOf(i),
                    .c = static_cast<float*>(c.data) + row * n + column,
                    .cStride = n,
                    .columns = std::min(n, endPanel * kProductBlock) - column,
                    .add = i > 0,
                    .copy = mine};
      }
      kernels->multiplySum(parts.data(), static_cast<int64_t>(products.size()));
    }
  }
  return true;
}

void Gemm::multiplySum(std::span<const GemmProduct> products, Matrix c) {
  for (const auto& [a, b] : products) LRQAT_CHECK(a.rows == c.rows && b.cols == c.cols && a.cols == b.rows);
  if (products.size() > 1 && c.elements() > 0 && multiplySumByTiles(products, c)) return;
  bool add = false;
  for (const auto& [a, b] : products) {
    multiply(a, false, b, false, c, add);
    add = true;
  }
}

void Gemm::multiplyBuiltIn(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate) {
  const GemmKernels& kernels = kernelsFor(a.type, b.type);
  const PackSource sourceA{a.data, a.type == DType::BF16, !transposeA, a.cols};
  const PackSource sourceB{b.data, b.type == DType::BF16, transposeB, b.cols};
  const int64_t depth = transposeA ? a.rows : a.cols;
  const int64_t m = c.rows;
  const int64_t n = c.cols;
  const bool cBf16 = c.type == DType::BF16;
  const int64_t cElement = byteSize(c.type);

  // Partial sums of depth blocks live in C, which only float32 can hold without rounding.
  const int64_t depthBlock = cBf16 ? depth : std::min(depth, maximumDepth);
  const int64_t maximumUnits = kernels.pairs ? (depthBlock + 1) / 2 : depthBlock;
  const int64_t panelFloats = maximumUnits * kernels.panelColumns;
  const int64_t panels = ceilDivide(n, kernels.panelColumns);
  const int64_t fittingRows = packedFloatsA / std::max<int64_t>(maximumUnits, 1) / kernels.tileRows * kernels.tileRows;
  if (panelFloats > packedFloatsB || fittingRows == 0) {
    throw Error(
        ErrorCode::Unsupported,
        "a product summed over " + std::to_string(depth) + " bf16 elements is too deep for the built-in product",
        "install oneDNN, or set compute to float32");
  }
  const int64_t rowBlock = std::min(fittingRows, maximumRows);
  const int64_t panelBlock = std::clamp<int64_t>(packedFloatsB / std::max<int64_t>(panelFloats, 1), 1, panels);
  auto* const packedB = reinterpret_cast<float*>(scratch_.data());
  float* const packedA = packedB + packedFloatsB;

  for (int64_t firstPanel = 0; firstPanel < panels; firstPanel += panelBlock) {
    const int64_t panelCount = std::min(panelBlock, panels - firstPanel);
    // Depth 0 still writes C.
    for (int64_t from = 0; from == 0 || from < depth; from += depthBlock) {
      const int64_t length = std::min(depthBlock, depth - from);
      const int64_t units = kernels.pairs ? (length + 1) / 2 : length;
      const bool add = accumulate || from > 0;
      const int64_t rowBlocks = ceilDivide(m, rowBlock);
      // Few rows: the panels are shared out as well, at the price of packing A once for each group.
      const int64_t groups = rowBlocks >= 2 * threads_ ? 1 : std::min<int64_t>(panelCount, threads_);
#pragma omp parallel num_threads(threads_)
      {
#pragma omp for schedule(static)
        for (int64_t panel = 0; panel < panelCount; ++panel) {
          const int64_t column = (firstPanel + panel) * kernels.panelColumns;
          kernels.packB(sourceB, column, std::min<int64_t>(kernels.panelColumns, n - column), from, length,
                        packedB + panel * units * kernels.panelColumns);
        }
        float* rowsOfA = packedA + omp_get_thread_num() * packedFloatsA;
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < rowBlocks * groups; ++task) {
          const int64_t row = task / groups * rowBlock;
          const int64_t rows = std::min(rowBlock, m - row);
          kernels.packA(sourceA, row, rows, from, length, rowsOfA);
          for (int64_t panel = task % groups; panel < panelCount; panel += groups) {
            const int64_t column = (firstPanel + panel) * kernels.panelColumns;
            const auto columns = static_cast<int>(std::min<int64_t>(kernels.panelColumns, n - column));
            for (int64_t i = 0; i < rows; i += kernels.tileRows) {
              kernels.tile(static_cast<int>(std::min<int64_t>(kernels.tileRows, rows - i)), columns, units,
                           rowsOfA + i * units, units, packedB + panel * units * kernels.panelColumns,
                           static_cast<std::byte*>(c.data) + ((row + i) * n + column) * cElement, cBf16, n, add);
            }
          }
        }
      }
      if (depth == 0) break;
    }
  }
}

void CpuBackend::gemm(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate) {
  gemm_->multiply(a, transposeA, b, transposeB, c, accumulate);
}

void CpuBackend::gemmSum(std::span<const GemmProduct> products, Matrix c) {
  gemm_->multiplySum(products, c);
}

}  // namespace lrqat::cpu
