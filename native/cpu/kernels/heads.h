// Projected heads: scale, bias, optional RMSNorm per head, optional rotary embedding.
#pragma once

#include <cstdint>

#include "cpu/isa.h"
#include "cpu/kernels/raw_row.h"

namespace lrqat::cpu {

/// Largest head the kernels have room for.
inline constexpr int64_t maximumHeadDim = 512;

struct HeadRow {
  int64_t heads;
  int64_t headDim;
  const float* normWeight;  // [headDim] or null
  float normEpsilon;
  const float* cosine;  // [headDim/2] of this row's position, or null
  const float* sine;
};

struct HeadKernels {
  /// One row of all heads.
  void (*forward)(const HeadRow& row, const void* p, bool bf16, const RawColumns& columns, void* out);
  /// One row; sums[heads·headDim] += dY∘P where not null.
  void (*backward)(const HeadRow& row, const void* dOut, const void* p, bool bf16, const RawColumns& columns, void* dYs,
                   float* sums);
};

LRQAT_DECLARE_KERNELS(HeadKernels, headKernels)
LRQAT_DECLARE_BF16_KERNELS(HeadKernels, headKernels)

}  // namespace lrqat::cpu
