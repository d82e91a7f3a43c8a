// The path of attention for Hopper. Its kernels need code for sm_90a; a library built without it has none, and the
// launchers then say so.
#pragma once

#include "cuda/kernels/attention_arguments.h"

namespace lrqat::cuda::attention {

/// False, without a launch, where this device or this build cannot.
bool forwardHopper(const Forward<Bf16>& arguments, cudaStream_t stream);
/// Computes the row statistics itself.
bool backwardHopper(const Backward<Bf16>& arguments, cudaStream_t stream);

}  // namespace lrqat::cuda::attention
