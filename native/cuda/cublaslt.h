// The few entry points of cuBLASLt that the engine uses, as its public C interface declares them (stable across CUDA 12
// and 13). Declared here so that building needs no cuBLAS and running takes whichever version is installed.
#pragma once

#include <cuda_runtime_api.h>
#include <library_types.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/dynamic_library.h"

namespace lrqat::cuda::cublaslt {

using Handle = void*;
using Layout = void*;
using Operation = void*;
using Preference = void*;
using Status = int;  // 0: success

struct Algorithm {
  uint64_t data[8] = {};
};

struct Heuristic {
  Algorithm algorithm;
  size_t workspaceBytes = 0;
  Status state = 0;
  float waves = 0;
  int reserved[4] = {};
};

inline constexpr int computeFloat32 = 68;                   // CUBLAS_COMPUTE_32F: float32 sums, no TF32
inline constexpr int transposeA = 3;                        // CUBLASLT_MATMUL_DESC_TRANSA
inline constexpr int transposeB = 4;                        // CUBLASLT_MATMUL_DESC_TRANSB
inline constexpr int preferenceWorkspace = 1;               // CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES
inline constexpr int preferenceAlignment[] = {5, 6, 7, 8};  // CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_{A,B,C,D}_BYTES

/// The library's functions; throws Unsupported when it cannot be opened or lacks one.
struct Library {
  explicit Library(const std::string& path)
      : library(path, "install cuBLAS of CUDA 12 or 13, or name its libcublasLt in LRQAT_CUBLASLT"),
        create(library.require<decltype(create)>("cublasLtCreate")),
        destroy(library.require<decltype(destroy)>("cublasLtDestroy")),
        version(library.require<decltype(version)>("cublasLtGetVersion")),
        operationCreate(library.require<decltype(operationCreate)>("cublasLtMatmulDescCreate")),
        operationDestroy(library.require<decltype(operationDestroy)>("cublasLtMatmulDescDestroy")),
        operationSet(library.require<decltype(operationSet)>("cublasLtMatmulDescSetAttribute")),
        layoutCreate(library.require<decltype(layoutCreate)>("cublasLtMatrixLayoutCreate")),
        layoutDestroy(library.require<decltype(layoutDestroy)>("cublasLtMatrixLayoutDestroy")),
        preferenceCreate(library.require<decltype(preferenceCreate)>("cublasLtMatmulPreferenceCreate")),
        preferenceDestroy(library.require<decltype(preferenceDestroy)>("cublasLtMatmulPreferenceDestroy")),
        preferenceSet(library.require<decltype(preferenceSet)>("cublasLtMatmulPreferenceSetAttribute")),
        heuristic(library.require<decltype(heuristic)>("cublasLtMatmulAlgoGetHeuristic")),
        algorithmCheck(library.require<decltype(algorithmCheck)>("cublasLtMatmulAlgoCheck")),
        matmul(library.require<decltype(matmul)>("cublasLtMatmul")) {}

  DynamicLibrary library;
  Status (*create)(Handle*);
  Status (*destroy)(Handle);
  size_t (*version)();
  Status (*operationCreate)(Operation*, int computeType, cudaDataType_t scaleType);
  Status (*operationDestroy)(Operation);
  Status (*operationSet)(Operation, int attribute, const void* value, size_t bytes);
  Status (*layoutCreate)(Layout*, cudaDataType_t, uint64_t rows, uint64_t cols, int64_t leadingDimension);
  Status (*layoutDestroy)(Layout);
  Status (*preferenceCreate)(Preference*);
  Status (*preferenceDestroy)(Preference);
  Status (*preferenceSet)(Preference, int attribute, const void* value, size_t bytes);
  Status (*heuristic)(Handle, Operation, Layout a, Layout b, Layout c, Layout d, Preference, int wanted, Heuristic* out,
                      int* found);
  Status (*algorithmCheck)(Handle, Operation, Layout a, Layout b, Layout c, Layout d, const Algorithm*, Heuristic* out);
  Status (*matmul)(Handle, Operation, const void* alpha, const void* a, Layout aLayout, const void* b, Layout bLayout,
                   const void* beta, const void* c, Layout cLayout, void* d, Layout dLayout, const Algorithm*,
                   void* workspace, size_t workspaceBytes, cudaStream_t);
};

}  // namespace lrqat::cuda::cublaslt
