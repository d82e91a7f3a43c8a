// The CUDA backend is a shared library of its own (native/cuda), opened at run time: an engine without it still serves
// machines without a GPU. The interface is three C functions; a Backend that comes out of them must have been compiled
// with the headers, the compiler and the standard library of this engine, which is what the interface number stands
// for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/backend.h"
#include "core/backend_boundary.h"
#include "core/dynamic_library.h"

namespace lrqat {

struct CudaOptions {
  std::string library;   // file of lrqat_cuda
  std::string cublasLt;  // file or loader name
  int index = 0;
  DType computeType = DType::BF16;  // F32 or BF16
  bool graphs = true;               // micro-batches as CUDA graphs where they can be
};

struct CudaDeviceInfo {
  char name[128] = {};
  char uuid[48] = {};
  int computeMajor = 0;
  int computeMinor = 0;
  int multiprocessors = 0;
  int64_t totalBytes = 0;
  int64_t freeBytes = 0;
};

struct CudaVersions {
  int runtime = 0;  // 13000: CUDA 13.0, of the build
  int driver = 0;   // newest CUDA that the driver serves; 0: no driver
};

class CudaLibrary {
 public:
  /// Throws Unsupported with the loader's reason, or when the library is of another build.
  static CudaLibrary open(const std::string& path);

  /// Throws Unsupported with the driver's reason.
  std::vector<CudaDeviceInfo> devices() const;
  CudaVersions versions() const;
  /// Scratch memory that a model of this shape needs; asks no GPU.
  int64_t scratchBytes(const EngineShape& shape) const;
  /// Throws Unsupported (no such device, cuBLASLt not found), OutOfMemory.
  std::unique_ptr<Backend> createBackend(const CudaOptions& options) const;

 private:
  explicit CudaLibrary(DynamicLibrary library) : library_(std::move(library)) {}
  DynamicLibrary library_;
};

/// What both sides of the C interface share.
namespace cuda_interface {

constexpr int number = 10;

using boundary::Failure;

using NumberFunction = int (*)();
using VersionsFunction = CudaVersions (*)();
/// Fills at most `capacity` entries; returns the number of devices, or -1 with `failure`.
using DevicesFunction = int (*)(CudaDeviceInfo* out, int capacity, Failure* failure);
using ScratchFunction = int64_t (*)(const EngineShape* shape);
/// Null with `failure`, into which the backend's later calls put what they would throw: it outlives the backend.
using CreateFunction = Backend* (*)(int index, int computeType, const char* cublasLt, int graphs, Failure* failure);

}  // namespace cuda_interface

}  // namespace lrqat
