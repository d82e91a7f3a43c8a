#include <cstdlib>
#include <cstring>
#include <new>

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
  scratch_ = static_cast<std::byte*>(memory);
  scratchBytes_ = bytes;
  scratchUsed_ = 0;
}

}  // namespace lrqat::cpu
