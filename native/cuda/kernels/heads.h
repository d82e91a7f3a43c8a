// Queries, keys and values from raw outputs: scale, bias, per-head RMSNorm, rotary embedding; and the backward.
#pragma once

#include <cuda_runtime_api.h>

#include "core/backend.h"
#include "cuda/scratch.h"

namespace lrqat::cuda {

/// out [T, heads·headDim] = rotate(norm(s∘P + bias)) per head; P and out of one type, float32 or bf16; row t has
/// position t % length. Throws Unsupported for head dimensions above 512.
void projectHeads(const RawOutput& raw, const HeadTransform& transform, Matrix out, cudaStream_t stream);

/// dYs = dY∘s and ds += Σ_t dY·P, where dY is the gradient of s∘P + bias that dOut gives. dYs may lie over dOut.
void projectHeadsBackward(Matrix dOut, const RawOutput& raw, const HeadTransform& transform,
                          const RawOutputGradient& gradient, Scratch& scratch, cudaStream_t stream);
int64_t projectHeadsBackwardScratchBytes(int64_t tokens, int64_t columns);

}  // namespace lrqat::cuda
