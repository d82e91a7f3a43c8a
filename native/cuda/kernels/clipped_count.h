// The number of clipped entries of a rebuilt weight, on its way to the host.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace lrqat::cuda {

/// Where the device writes it: pinned host memory. The host knows by the sequence number that it is the one of its
/// call.
struct ClippedReport {
  uint64_t* published = nullptr;  // sequence << 32 | entries
  uint32_t sequence = 0;

#ifdef __CUDACC__
  __device__ __forceinline__ void publish(uint32_t entries) const {
    *static_cast<volatile uint64_t*>(published) = static_cast<uint64_t>(sequence) << 32 | entries;
    __threadfence_system();
  }
#endif
};

/// Publishes 0 when what came before on the stream is done.
void publishNoneClipped(const ClippedReport& report, cudaStream_t stream);

}  // namespace lrqat::cuda
