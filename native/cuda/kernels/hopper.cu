#include "cuda/kernels/hopper.h"

#include <cuda_runtime.h>

#include "cuda/check.h"
#include "cuda/kernels/early_launch.h"

namespace lrqat::cuda {

namespace {

/// Has shared memory where kernels have Hopper's code; never launched.
__global__ void hopperMarker(int* out) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  __shared__ int shared[32];
  shared[threadIdx.x] = out[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = shared[threadIdx.x ^ 1];
#else
  out[0] = 0;
#endif
}

int attribute(cudaDeviceAttr which) {
  int device = 0;
  int value = 0;
  LRQAT_CUDA(cudaGetDevice(&device));
  LRQAT_CUDA(cudaDeviceGetAttribute(&value, which, device));
  return value;
}

}  // namespace

PFN_cuTensorMapEncodeTiled_v12000 tensorMapEncoder() {
  static const auto function = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult found{};
    const cudaError_t status =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &found);
    const bool usable = status == cudaSuccess && found == cudaDriverEntryPointSuccess;
    return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(usable ? entry : nullptr);
  }();
  return function;
}

bool usesHopper() {
  if (attribute(cudaDevAttrComputeCapabilityMajor) != 9 || attribute(cudaDevAttrComputeCapabilityMinor) != 0) {
    return false;
  }
  cudaFuncAttributes attributes{};
  LRQAT_CUDA(cudaFuncGetAttributes(&attributes, hopperMarker));
  return attributes.sharedSizeBytes > 0 && tensorMapEncoder() != nullptr;
}

bool canBeginEarly() {
  // Recorded into graphs by drivers of CUDA 12.3 and newer.
  static const bool driverCan = [] {
    int version = 0;
    return cudaDriverGetVersion(&version) == cudaSuccess && version >= 12030;
  }();
  return driverCan && attribute(cudaDevAttrComputeCapabilityMajor) >= 9;
}

int multiprocessors() {
  return attribute(cudaDevAttrMultiProcessorCount);
}

}  // namespace lrqat::cuda
