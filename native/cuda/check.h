// Failures of the CUDA runtime as the engine's one exception type.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "core/error.h"

namespace lrqat::cuda {

[[noreturn]] inline void throwCudaError(cudaError_t status, const char* statement, const char* file, int line) {
  const std::string where = std::string(statement) + " (" + file + ":" + std::to_string(line) + "): ";
  const std::string message = where + cudaGetErrorName(status) + ", " + cudaGetErrorString(status);
  if (status == cudaErrorMemoryAllocation) throw Error(ErrorCode::OutOfMemory, message);
  throw Error(ErrorCode::Internal, message);
}

/// Throws with the failing statement unless a call of the CUDA runtime succeeds. After a launch: LRQAT_CUDA(
/// cudaGetLastError()).
#define LRQAT_CUDA(statement)                                                     \
  do {                                                                            \
    if (const cudaError_t lrqatStatus = (statement); lrqatStatus != cudaSuccess)  \
      ::lrqat::cuda::throwCudaError(lrqatStatus, #statement, __FILE__, __LINE__); \
  } while (false)

}  // namespace lrqat::cuda
