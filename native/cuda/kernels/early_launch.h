// Kernels that begin before the one in front of them on the stream has ended (programmatic dependent launch, from sm_90
// on), so that the start of one hides behind the end of the other.
//
// What such a kernel does before `awaitFront` may read only what nothing still running writes, and write nothing. As
// a kernel in front may itself have begun early, that is more than the one directly in front: every kernel up to the
// last one that was launched plainly. Every thread block calls `awaitFront` before it ends, so that the end of a kernel
// means the end of all before it.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <utility>

#include "cuda/check.h"

namespace lrqat::cuda {

/// Whether the current device and driver can do it (also while a graph is recorded).
bool canBeginEarly();

enum class Start : uint8_t {
  InOrder,
  Early,  // where the device can
};

/// Launches a kernel; Early only one that keeps to the rules above.
template <typename... Parameters, typename... Arguments>
void launchKernel(Start start, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t sharedBytes,
                  cudaStream_t stream, Arguments&&... arguments) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = sharedBytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = start == Start::Early && canBeginEarly() ? 1 : 0;
  LRQAT_CUDA(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...));
}

#ifdef __CUDACC__
/// Waits until all kernels in front have ended and what they wrote can be seen. Nothing to wait for where the kernel
/// was launched plainly.
__device__ __forceinline__ void awaitFront() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// Lets the next kernel begin, if it was launched to begin early, as soon as every block has said so and there is room.
__device__ __forceinline__ void releaseNext() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
#endif

}  // namespace lrqat::cuda
