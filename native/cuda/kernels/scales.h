// Trained scales: from the trained number to the scale of this step, and back for the gradient (lr-qat.md §1.3, §11.2).
// Names and meaning as in core/backend.h.
#pragma once

#include <cuda_runtime_api.h>

#include "core/types.h"

namespace lrqat::cuda {

void materializeScales(const LinearWeight& weight, const float* theta, float* scale, cudaStream_t stream);
void expandRowScale(const LinearWeight& weight, const float* scale, float* rowScale, cudaStream_t stream);
void reduceRowScaleGradient(const LinearWeight& weight, const float* theta, const float* scale,
                            const float* rowScaleGradient, float* scaleGradient, cudaStream_t stream);

}  // namespace lrqat::cuda
