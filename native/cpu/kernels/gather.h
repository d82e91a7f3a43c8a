// Columns of a matrix as rows of float32, for the sampled products of the low-rank gradient (low_rank.h).
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace lrqat::cpu {

/// Tokens handled at a time.
constexpr int64_t kTokenChunk = 256;
/// Length of the rows of transposed copies: with a power of two, columns that are written side by side would all fall
/// into the same few places of the first-level cache.
constexpr int64_t kTokenStride = kTokenChunk + 16;

struct GatherKernels {
  /// out[c, t] = in[t, columns[c]] for t < tokens ≤ kTokenChunk, 0 for t up to the next multiple of 16; out rows are
  /// kTokenStride apart. `in` has `stride` columns; `columns` ascend.
  void (*gatherFloat)(const float* in, int64_t stride, int64_t tokens, const int32_t* columns, int64_t count,
                      float* out);
  void (*gatherBf16)(const uint16_t* in, int64_t stride, int64_t tokens, const int32_t* columns, int64_t count,
                     float* out);
};

LRQAT_DECLARE_KERNELS(GatherKernels, gatherKernels)

}  // namespace lrqat::cpu
