// Reading tensors of the mapped checkpoint.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/types.h"

namespace lrqat {

/// Element number `index` in row-major order, as float32 (exact).
float hostValue(const HostTensor& tensor, int64_t index);

/// One row of `tensor.cols` elements in type `to` (F32 or BF16; rounded to nearest even) at `out`.
void copyHostRow(const HostTensor& tensor, int64_t row, DType to, std::byte* out);

}  // namespace lrqat
