// Softmax cross-entropy of logits.
#pragma once

#include <cuda_runtime_api.h>

#include "core/types.h"
#include "cuda/scratch.h"

namespace lrqat::cuda {

/// logits [rows, vocab] float32; targets [rows] device memory, -1: ignored (no loss, zero gradient).
/// gradient = (softmax − onehot)·gradientScale: data null: not wanted; float32, perhaps the memory of the logits; or
/// bf16 in memory of its own. *lossSum (device) += Σ loss, a double sum in fixed order.
void crossEntropy(Matrix logits, const int32_t* targets, float gradientScale, Matrix gradient, double* lossSum,
                  Scratch& scratch, cudaStream_t stream);
/// losses [rows]: of each row, 0 where targets is −1. Scratch as for crossEntropy.
void rowLosses(Matrix logits, const int32_t* targets, float* losses, Scratch& scratch, cudaStream_t stream);
int64_t crossEntropyScratchBytes(int64_t rows);

}  // namespace lrqat::cuda
