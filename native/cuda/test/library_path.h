// Where tests and benchmarks of whole engines find lrqat_cuda and cuBLASLt: LRQAT_TEST_CUDA and LRQAT_CUBLASLT, else
// beside the executable and by the loader.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>

#include "core/cuda_library.h"
#include "core/dynamic_library.h"
#include "core/error.h"

namespace lrqat::test {

inline std::string cublasLtPath() {
  if (const char* named = std::getenv("LRQAT_CUBLASLT")) return named;
  for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12"}) {
    try {
      DynamicLibrary{name, ""};
      return name;
    } catch (const Error&) {
    }
  }
  return "libcublasLt.so";
}

/// Nothing after a line that says why, where there is no GPU.
inline std::optional<CudaLibrary> openLibrary() {
  const char* named = std::getenv("LRQAT_TEST_CUDA");
  CudaLibrary library = CudaLibrary::open(named ? named : "./liblrqat_cuda.so");
  try {
    if (!library.devices().empty()) return library;
    std::printf("skipped: this machine has no GPU\n");
  } catch (const Error& error) {
    if (error.code() != ErrorCode::Unsupported) throw;
    std::printf("skipped: %s\n", error.what());
  }
  return std::nullopt;
}

}  // namespace lrqat::test
