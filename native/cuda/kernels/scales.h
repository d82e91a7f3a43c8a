// Trained scales: from the trained number to the scale of this step, and back for the gradient (lr-qat.md §1.3, §11.2).
// Names and meaning as in core/backend.h; as many linears a launch as its parameters hold.
#pragma once

#include <cuda_runtime_api.h>

#include <span>

#include "core/backend.h"

namespace lrqat::cuda {

void materializeScales(std::span<const ScaleTask> tasks, cudaStream_t stream);
void sumRowScaleGradient(int64_t m, const float* rowScaleGradient, float* scaleGradient, cudaStream_t stream);
void finishScaleGradients(std::span<const ScaleGradientTask> tasks, cudaStream_t stream);

}  // namespace lrqat::cuda
