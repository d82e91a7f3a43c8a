#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "core/error.h"
#include "cpu/gemm.h"
#include "cpu/scratch.h"

namespace lrqat::cpu {

void* CpuBackend::allocate(int64_t bytes, const char* part, MemoryPlace) {
  // Passes over activations touch a page every few rows: large pages save most of their address translations.
  constexpr size_t largePage = size_t{2} << 20;
  const auto wanted = static_cast<size_t>(bytes > 0 ? bytes : 1);
  const size_t alignment = wanted >= largePage ? largePage : 256;
  const size_t size = (wanted + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, size);
  if (!memory) {
    throw Error(
        ErrorCode::OutOfMemory, std::string("could not allocate ") + std::to_string(bytes) + " bytes for " + part,
        "a smaller training.microBatchSize, activationCheckpointing \"block\" or storage \"integer\" needs less");
  }
  allocations_.push_back(memory);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (alignment == largePage) (void)madvise(memory, size, MADV_HUGEPAGE);  // a wish; refusal changes nothing
#endif
  std::memset(memory, 0, wanted);
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
  constexpr int64_t piece = int64_t{1} << 18;
#pragma omp parallel for num_threads(threads_) schedule(static) if (bytes > piece)
  for (int64_t first = 0; first < bytes; first += piece) {
    std::memset(static_cast<std::byte*>(target) + first, 0, static_cast<size_t>(std::min(piece, bytes - first)));
  }
}

void CpuBackend::setScratch(void* memory, int64_t bytes) {
  const int64_t products = Gemm::scratchBytes(threads_);
  LRQAT_CHECK(bytes >= products);
  auto* const start = static_cast<std::byte*>(memory);
  wholeScratch_ = {start, static_cast<size_t>(bytes)};
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
