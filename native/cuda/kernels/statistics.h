// What training did to the integers and scales of a linear.
#pragma once

#include <cuda_runtime_api.h>

#include "core/backend.h"
#include "cuda/kernels/staging.h"
#include "cuda/scratch.h"

namespace lrqat::cuda {

/// Device memory that `weightStatistics` takes; of weights that are trained themselves also that of
/// countTrainedWeight.
int64_t statisticsScratchBytes(bool trainsWeights);

/// Counts of the integers as rebuildWeight(Trained) with the same `exact` makes them. Waits for the device.
WeightStatistics weightStatistics(const LinearWeight& weight, const LowRank& lowRank, bool exact, HostStaging& staging,
                                  Scratch& scratch, cudaStream_t stream);

}  // namespace lrqat::cuda
