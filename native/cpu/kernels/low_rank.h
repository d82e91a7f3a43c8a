// Inner loops of the low-rank gradient's sparse correction: sampled products D_ij = Σ_t dY_ti·X_tj over the clipped
// entries.
#pragma once

#include <cstdint>

#include "cpu/isa.h"
#include "cpu/kernels/gather.h"

namespace lrqat::cpu {

struct LowRankKernels {
  /// d[e] += Σ_t y[t]·x[index[columns[e]], t] over `length` (a multiple of 16) tokens; x rows are kTokenStride apart.
  void (*sampledProducts)(const float* y, const float* x, const int32_t* columns, const int32_t* index, int64_t count,
                          int64_t length, float* d);
  /// out += factor·x
  void (*addScaled)(float* out, const float* x, float factor, int64_t count);
  void (*scaledFloat)(const float* in, float factor, int64_t count, float* out);
  void (*scaledBf16)(const float* in, float factor, int64_t count, uint16_t* out);
};

LRQAT_DECLARE_KERNELS(LowRankKernels, lowRankKernels)

}  // namespace lrqat::cpu
