// Conversion between element types.
#pragma once

#include <cuda_runtime_api.h>

#include "core/types.h"

namespace lrqat::cuda {

/// Same element count, any two types; rounds to nearest even. In place only where the types have one size.
void convert(Matrix from, Matrix to, cudaStream_t stream);

}  // namespace lrqat::cuda
