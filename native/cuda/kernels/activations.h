// Activations on a grid: one a token and group of columns, or one for all.
#pragma once

#include <cuda_runtime_api.h>

#include "core/types.h"
#include "cuda/scratch.h"

namespace lrqat::cuda {

/// Backend::quantizeActivations. x, y [T, cols] of one type (y may be x); inside [T, markWords(cols)] or null: bits of
/// columns that a row has not are not defined.
void quantizeActivations(Matrix x, const ActivationGrid& grid, Matrix y, uint32_t* inside, cudaStream_t stream);
/// Backend::maskGradient. gradient [T, cols], inside [T, markWords(cols)].
void maskActivationGradient(Matrix gradient, const uint32_t* inside, cudaStream_t stream);

/// Smallest and largest numbers of parts of a tensor, for the host to combine; both NaN where one is not finite.
struct ActivationRangeParts {
  ActivationRange* parts = nullptr;  // device memory
  int count = 0;
};
ActivationRangeParts activationRangeParts(Matrix x, Scratch& scratch, cudaStream_t stream);
int64_t activationRangeScratchBytes();

/// Backend::learnGrid. x and gradient [T, cols].
void learnGrid(Matrix x, const ActivationGrid& grid, Matrix gradient, float* scaleGradient, float* zeroGradient,
               Scratch& scratch, cudaStream_t stream);
int64_t learnGridScratchBytes();

}  // namespace lrqat::cuda
