#include "cpu/cpu_backend.h"

#include <cstdlib>

#include "core/error.h"
#include "cpu/gemm.h"

namespace lrqat::cpu {

CpuBackend::CpuBackend(const CpuOptions& options) : threads_(options.threads), computeType_(options.computeType) {
  if (options.threads < 1) throw Error(ErrorCode::InvalidArgument, "threads must be at least 1");
  if (options.computeType == DType::F16) throw Error(ErrorCode::InvalidArgument, "compute type must be float32 or bf16");
  gemm_ = std::make_unique<Gemm>(options.oneDnnPath, options.threads);
}

CpuBackend::~CpuBackend() {
  for (void* memory : allocations_) std::free(memory);
}

}  // namespace lrqat::cpu
