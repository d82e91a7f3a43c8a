// The C interface of lrqat_cuda (core/cuda_library.h).
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "core/cuda_library.h"
#include "core/error.h"
#include "cuda/check.h"
#include "cuda/cuda_backend.h"
#include "cuda/scratch_plan.h"

namespace {

using namespace lrqat;
using cuda_interface::Failure;

template <size_t N>
void copyText(char (&target)[N], const std::string& text) {
  std::snprintf(target, N, "%s", text.c_str());
}

/// The value of `body`, or `otherwise` with the failure filled in: nothing is thrown through the C interface.
template <typename T, typename Body>
T guarded(Failure* failure, T otherwise, Body body) {
  try {
    return body();
  } catch (...) {
    failure->setCurrent();
  }
  return otherwise;
}

int deviceCount() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess) return count;
  (void)cudaGetLastError();
  if (status == cudaErrorNoDevice) return 0;
  throw Error(ErrorCode::Unsupported, std::string("the CUDA driver cannot be used: ") + cudaGetErrorString(status),
              status == cudaErrorInsufficientDriver
                  ? "the NVIDIA driver is missing or older than the CUDA version of this build; update it"
                  : "nvidia-smi tells whether the driver works");
}

CudaDeviceInfo describe(int index) {
  cudaDeviceProp properties{};
  LRQAT_CUDA(cudaGetDeviceProperties(&properties, index));
  CudaDeviceInfo info;
  copyText(info.name, properties.name);
  const auto* id = reinterpret_cast<const unsigned char*>(properties.uuid.bytes);
  std::snprintf(info.uuid, sizeof info.uuid, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                id[0], id[1], id[2], id[3], id[4], id[5], id[6], id[7], id[8], id[9], id[10], id[11], id[12], id[13],
                id[14], id[15]);
  info.computeMajor = properties.major;
  info.computeMinor = properties.minor;
  info.multiprocessors = properties.multiProcessorCount;
  info.totalBytes = static_cast<int64_t>(properties.totalGlobalMem);
  size_t available = 0;
  size_t total = 0;
  LRQAT_CUDA(cudaSetDevice(index));
  LRQAT_CUDA(cudaMemGetInfo(&available, &total));
  info.freeBytes = static_cast<int64_t>(available);
  return info;
}

}  // namespace

#define LRQAT_EXPORT extern "C" __attribute__((visibility("default")))

LRQAT_EXPORT int lrqat_cuda_interface() {
  return cuda_interface::number;
}

LRQAT_EXPORT CudaVersions lrqat_cuda_versions() {
  CudaVersions versions{.runtime = CUDART_VERSION, .driver = 0};
  if (cudaDriverGetVersion(&versions.driver) != cudaSuccess) versions.driver = 0;
  return versions;
}

LRQAT_EXPORT int lrqat_cuda_devices(CudaDeviceInfo* out, int capacity, Failure* failure) {
  return guarded(failure, -1, [&] {
    const int count = deviceCount();
    for (int i = 0; i < std::min(count, capacity); ++i) out[i] = describe(i);
    return count;
  });
}

LRQAT_EXPORT int64_t lrqat_cuda_scratch(const EngineShape* shape) {
  return cuda::scratchBytes(*shape);
}

LRQAT_EXPORT Backend* lrqat_cuda_create(int index, int computeType, const char* cublasLt, int graphs,
                                        Failure* failure) {
  return guarded<Backend*>(failure, nullptr, [&] {
    const int count = deviceCount();
    if (index < 0 || index >= count) {
      throw Error(ErrorCode::Unsupported,
                  "device cuda:" + std::to_string(index) + " does not exist: this machine has " +
                      std::to_string(count) + (count == 1 ? " GPU" : " GPUs"),
                  count == 0 ? "use device \"cpu\"" : "use cuda:0 to cuda:" + std::to_string(count - 1));
    }
    const CudaDeviceInfo info = describe(index);
    if (info.computeMajor < 8) {
      throw Error(ErrorCode::Unsupported,
                  std::string(info.name) + " has compute capability " + std::to_string(info.computeMajor) + "." +
                      std::to_string(info.computeMinor) + "; bf16 tensor cores need 8.0 (Ampere) or newer",
                  "use device \"cpu\"");
    }
    return new boundary::GuardedBackend<boundary::Catching>(
        std::make_unique<cuda::CudaBackend>(index, static_cast<DType>(computeType), cublasLt, graphs != 0), *failure);
  });
}
