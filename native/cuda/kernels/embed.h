// Rows of the embedding table.
#pragma once

#include <cuda_runtime_api.h>

#include "core/types.h"

namespace lrqat::cuda {

/// x [T, d] float32 or bf16 = table[ids]; table [vocab, d] in its own type, in device memory or pinned host memory that
/// is mapped; ids [T] device memory, checked by the caller.
void embed(Matrix table, const int32_t* ids, Matrix x, cudaStream_t stream);

}  // namespace lrqat::cuda
