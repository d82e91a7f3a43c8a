// Residual sums over raw outputs.
#pragma once

#include <cstdint>

#include "cpu/isa.h"
#include "cpu/kernels/raw_row.h"

namespace lrqat::cpu {

/// Rows whose sums over a column `backward` makes in a register: in their order, as if each had been added in memory.
constexpr int64_t kResidualRows = 4;

struct ResidualKernels {
  /// out = x + (s∘P + bias) for one row.
  void (*forward)(const float* x, const void* p, bool bf16, const RawColumns& columns, int64_t n, float* out);
  /// dYs = dY∘s for consecutive rows of n; sums[n] += Σ dY∘P where sums is not null.
  void (*backward)(const float* dY, const void* p, bool bf16, const RawColumns& columns, int64_t rows, int64_t n,
                   void* dYs, float* sums);
};

LRQAT_DECLARE_KERNELS(ResidualKernels, residualKernels)
LRQAT_DECLARE_BF16_KERNELS(ResidualKernels, residualKernels)

}  // namespace lrqat::cpu
