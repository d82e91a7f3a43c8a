// Gradients of what is not quantized: norm weights and embedding rows. (That of the head is a product.)
#pragma once

#include <cuda_runtime_api.h>

#include "core/backend.h"
#include "cuda/scratch.h"

namespace lrqat::cuda {

/// gradient [d] += Σ_t dy_t∘x_t·rstd_t; dy [T, d] float32, x [T, d] float32 or bf16, rstd [T].
void rmsNormWeightGradient(Matrix dy, Matrix x, const float* rstd, float* gradient, Scratch& scratch,
                           cudaStream_t stream);
int64_t rmsNormWeightGradientScratchBytes(int64_t tokens, int64_t columns);

/// gradient [headDim] += that of the weight of the norm of heads, which reads s∘P + bias; dOut [T, heads·headDim] is
/// left as it is.
void headNormWeightGradient(Matrix dOut, const RawOutput& raw, const HeadTransform& transform, float* gradient,
                            Scratch& scratch, cudaStream_t stream);
int64_t headNormWeightGradientScratchBytes(int64_t tokens, int64_t headDim);

/// gradient [vocab, d] float32: row ids[t] += dX_t for t = 0, 1, …; dX [T, d] float32, ids [T] in 0 … vocab − 1.
void embedGradient(Matrix dX, const int32_t* ids, Matrix gradient, cudaStream_t stream);

}  // namespace lrqat::cuda
