#include "core/cuda_library.h"

#include <algorithm>

#include "core/error.h"

namespace lrqat {

namespace {

constexpr const char* rebuildHint = "build the native code again where nvcc is installed, or use device \"cpu\"";

}  // namespace

CudaLibrary CudaLibrary::open(const std::string& path) {
  DynamicLibrary library(path, rebuildHint);
  const int number = library.require<cuda_interface::NumberFunction>("lrqat_cuda_interface")();
  if (number != cuda_interface::number) {
    throw Error(ErrorCode::Unsupported,
                path + " has interface " + std::to_string(number) + ", this engine needs " +
                    std::to_string(cuda_interface::number),
                rebuildHint);
  }
  return CudaLibrary(std::move(library));
}

std::vector<CudaDeviceInfo> CudaLibrary::devices() const {
  const auto list = library_.require<cuda_interface::DevicesFunction>("lrqat_cuda_devices");
  cuda_interface::Failure failure;
  std::vector<CudaDeviceInfo> devices(64);
  const int count = list(devices.data(), static_cast<int>(devices.size()), &failure);
  if (count < 0) failure.raise();
  devices.resize(std::min(devices.size(), static_cast<size_t>(count)));
  return devices;
}

CudaVersions CudaLibrary::versions() const {
  return library_.require<cuda_interface::VersionsFunction>("lrqat_cuda_versions")();
}

int64_t CudaLibrary::scratchBytes(const EngineShape& shape) const {
  return library_.require<cuda_interface::ScratchFunction>("lrqat_cuda_scratch")(&shape);
}

std::unique_ptr<Backend> CudaLibrary::createBackend(const CudaOptions& options) const {
  const auto create = library_.require<cuda_interface::CreateFunction>("lrqat_cuda_create");
  auto failure = std::make_unique<cuda_interface::Failure>();
  std::unique_ptr<Backend> backend(create(options.index, static_cast<int>(options.computeType),
                                          options.cublasLt.c_str(), options.graphs, failure.get()));
  if (!backend) failure->raise();
  return std::make_unique<boundary::GuardedBackend<boundary::Throwing>>(std::move(backend), std::move(failure));
}

}  // namespace lrqat
