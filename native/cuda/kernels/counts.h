// Sum of counts that lie on the device, for the host.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace lrqat::cuda {

/// *total (pinned host memory) = Σ counts [n].
void sumCounts(const int32_t* counts, int64_t n, int64_t* total, cudaStream_t stream);

}  // namespace lrqat::cuda
