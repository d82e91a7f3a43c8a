// How many entries a kernel has clipped, told to the host by the last of its blocks, without a launch or an event of
// its own: the counters are zero before and after.
#pragma once

#include <cstdint>

#include "cuda/kernels/clipped_count.h"

namespace lrqat::cuda {

struct ClippedCounter {
  uint32_t* counters;  // [2], 8-byte aligned: parts that are done, entries so far, as one number; zero between kernels
  ClippedReport report;

  /// In front of a barrier of the block.
  __device__ __forceinline__ void begin() const {
    if (threadIdx.x == 0) ofBlock() = 0;
  }

  /// By every warp of the grid once, each lane with its share. Entries and parts are added in one operation: no fence
  /// is needed, which would wait for all that the warp has written.
  __device__ __forceinline__ void add(int clipped) const {
    const auto ofWarp = static_cast<uint32_t>(__reduce_add_sync(0xffffffffU, clipped));
    if (threadIdx.x % 32 != 0) return;
    const uint64_t inBlock = addPart(&ofBlock(), ofWarp);
    if (partsOf(inBlock) != blockDim.x / 32) return;
    const uint64_t inAll = addPart(reinterpret_cast<unsigned long long*>(counters), entriesOf(inBlock));
    if (partsOf(inAll) != gridDim.x * gridDim.y) return;
    *reinterpret_cast<unsigned long long*>(counters) = 0;
    report.publish(entriesOf(inAll));
  }

 private:
  static __device__ __forceinline__ uint32_t partsOf(uint64_t sum) { return static_cast<uint32_t>(sum); }
  static __device__ __forceinline__ uint32_t entriesOf(uint64_t sum) { return static_cast<uint32_t>(sum >> 32); }
  /// The sum with this part.
  static __device__ __forceinline__ uint64_t addPart(unsigned long long* sum, uint32_t entries) {
    const uint64_t part = static_cast<uint64_t>(entries) << 32 | 1U;
    return atomicAdd(sum, part) + part;
  }
  static __device__ __forceinline__ unsigned long long& ofBlock() {
    __shared__ unsigned long long block;
    return block;
  }
};

}  // namespace lrqat::cuda
