// The gated activation of the feed-forward half.
#pragma once

#include <cuda_runtime_api.h>

#include "core/backend.h"
#include "cuda/scratch.h"

namespace lrqat::cuda {

/// h = silu(gate)·up with gate, up = s∘P + bias; all [T, f] of one type, float32 or bf16.
void swiglu(const RawOutput& gate, const RawOutput& up, Matrix h, cudaStream_t stream);

/// dYs and ds of both linears for dH [T, f]. With h.data, h = silu(gate)·up is written as well (recomputed for the
/// gradient of the linear that follows). Outputs may lie over dH or over the P they belong to.
void swigluBackward(Matrix dH, const RawOutput& gate, const RawOutput& up, const RawOutputGradient& dGate,
                    const RawOutputGradient& dUp, Matrix h, Scratch& scratch, cudaStream_t stream);
int64_t swigluBackwardScratchBytes(int64_t tokens, int64_t columns);

}  // namespace lrqat::cuda
