// Reading tensors of the mapped checkpoint.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "core/types.h"

namespace lrqat {

/// Element number `index` in row-major order, as float32 (exact).
float hostValue(const HostTensor& tensor, int64_t index);

/// One row of `tensor.cols` elements in type `to` (F32 or BF16; rounded to nearest even) at `out`.
void copyHostRow(const HostTensor& tensor, int64_t row, DType to, std::byte* out);

/// Column of the first NaN or infinity of a row; none: all are finite.
std::optional<int64_t> firstNotFinite(const HostTensor& tensor, int64_t row);

}  // namespace lrqat
