// The clipped integers Q of some rows of a weight, one byte each: what the gradient of group scales needs.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "core/types.h"

namespace lrqat::cuda {

/// Elements from row to row of the integers.
constexpr int64_t integerStride(int64_t n) {
  return (n + 7) / 8 * 8;
}

/// out [rows, integerStride(n)] = Q of the rows from `firstRow` on, as the forward used them; around zero points the
/// unsigned codes Q + z. `exact` as in rebuildWeight.
void rebuildIntegers(const LinearWeight& weight, const LowRank& lowRank, int64_t firstRow, int64_t rows, bool exact,
                     int8_t* out, cudaStream_t stream);

}  // namespace lrqat::cuda
