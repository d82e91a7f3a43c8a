// Exact softmax attention by blocks, forward and backward; no buffer grows with length².
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "core/backend.h"
#include "cuda/scratch.h"

namespace lrqat::cuda {

/// Which kernels compute: Automatic takes the fastest for the device and shape; tests name the others, each of which
/// gives way to Plain where it cannot.
enum class AttentionPath : uint8_t {
  Automatic,
  TensorCores,  // mma.sync, any device
  Plain,        // float32 arithmetic
};

/// Backend::attention on the device. q, o [T, heads·headDim], k, v [T, kvHeads·headDim], all F32 or all BF16, headDim
/// at most 256; lse [batch, heads, length]; firstKey, hiddenFrom and
/// hiddenTo of the shape are device memory.
void attentionForward(const AttentionShape& shape, Matrix q, Matrix k, Matrix v, Matrix o, float* lse,
                      AttentionPath path, cudaStream_t stream);
inline void attentionForward(const AttentionShape& shape, Matrix q, Matrix k, Matrix v, Matrix o, float* lse,
                             cudaStream_t stream) {
  attentionForward(shape, q, k, v, o, lse, AttentionPath::Automatic, stream);
}

/// Device memory that attentionBackward takes from its scratch.
int64_t attentionBackwardScratchBytes(const AttentionShape& shape);

/// Backend::attentionBackward on the device; dQ like q, dK and dV like k, overwritten. The sums over queries, over keys
/// and over the heads of a group each have one owner and one order, so the bits depend on the inputs alone.
void attentionBackward(const AttentionShape& shape, Matrix q, Matrix k, Matrix v, Matrix o, const float* lse, Matrix dO,
                       Matrix dQ, Matrix dK, Matrix dV, Scratch& scratch, AttentionPath path, cudaStream_t stream);
inline void attentionBackward(const AttentionShape& shape, Matrix q, Matrix k, Matrix v, Matrix o, const float* lse,
                              Matrix dO, Matrix dQ, Matrix dK, Matrix dV, Scratch& scratch, cudaStream_t stream) {
  attentionBackward(shape, q, k, v, o, lse, dO, dQ, dK, dV, scratch, AttentionPath::Automatic, stream);
}

}  // namespace lrqat::cuda
