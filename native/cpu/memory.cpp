#include <cstdlib>
#include <cstring>
#include <new>

#include "core/error.h"
#include "cpu/gemm.h"
#include "cpu/scratch.h"

namespace lrqat::cpu {

void* CpuBackend::allocate(int64_t bytes, const char* part, MemoryPlace) {
  constexpr size_t alignment = 256;
  const auto size = (static_cast<size_t>(bytes > 0 ? bytes : 1) + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, size);
  if (!memory) {
    throw Error(
        ErrorCode::OutOfMemory, std::string("could not allocate ") + std::to_string(bytes) + " bytes for " + part,
        "a smaller training.microBatchSize, activationCheckpointing \"block\" or storage \"integer\" needs less");
  }
  allocations_.push_back(memory);
  std::memset(memory, 0, size);
  return memory;
}

void CpuBackend::upload(void* target, const void* host, int64_t bytes) {
  std::memcpy(target, host, static_cast<size_t>(bytes));
}

void CpuBackend::download(void* host, const void* source, int64_t bytes) {
  std::memcpy(host, source, static_cast<size_t>(bytes));
}

void CpuBackend::copy(void* target, const void* source, int64_t bytes) {
  std::memcpy(target, source, static_cast<size_t>(bytes));
}

void CpuBackend::zero(void* target, int64_t bytes) {
  std::memset(target, 0, static_cast<size_t>(bytes));
}

void CpuBackend::setScratch(void* memory, int64_t bytes) {
  const int64_t products = Gemm::scratchBytes(threads_);
  LRQAT_CHECK(bytes >= products);
  auto* const start = static_cast<std::byte*>(memory);
  gemm_->setScratch({start, static_cast<size_t>(products)});
  scratch_ = start + products;
  scratchBytes_ = bytes - products;
  scratchUsed_ = 0;
}

void CpuBackend::allocateScratch(int64_t operationBytes, bool products) {
  if (products) {
    const int64_t bytes = Gemm::scratchBytes(threads_) + operationBytes;
    setScratch(allocate(bytes, "scratch", MemoryPlace::Device), bytes);
  } else {
    scratch_ = static_cast<std::byte*>(allocate(operationBytes, "scratch", MemoryPlace::Device));
    scratchBytes_ = operationBytes;
    scratchUsed_ = 0;
  }
}

}  // namespace lrqat::cpu
