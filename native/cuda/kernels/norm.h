// RMSNorm of the residual stream, forward and backward, alone or with the residual sum before it.
#pragma once

#include <cuda_runtime_api.h>

#include "core/backend.h"

namespace lrqat::cuda {

/// y = x·rsqrt(mean x² + epsilon)·weight. x [T, d] float32 or bf16, weight [d], y [T, d] float32 or bf16, rstd [T].
/// Throws Unsupported for d above 32768 (8192 where d is no multiple of 8).
void rmsNorm(Matrix x, const float* weight, float epsilon, Matrix y, float* rstd, cudaStream_t stream);

/// out = x + s∘P + bias, then y = rmsNorm(out) in the same pass: the norm reads out as it was rounded, so the bits are
/// those of addResidual followed by rmsNorm. out may be the memory of x.
void addResidualNorm(Matrix x, const RawOutput& raw, Matrix out, const float* weight, float epsilon, Matrix y,
                     float* rstd, cudaStream_t stream);

/// dx [T, d] float32 += the gradient of x for dy [T, d] float32 or bf16.
void rmsNormBackward(Matrix dy, Matrix x, const float* weight, const float* rstd, Matrix dx, cudaStream_t stream);

}  // namespace lrqat::cuda
