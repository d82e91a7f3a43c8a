// How many entries a kernel has clipped, told to the host by the last of its blocks, without a launch or an event of
// its own: the counters are zero before and after.
#pragma once

#include <cstdint>

#include "cuda/kernels/clipped_count.h"

namespace lrqat::cuda {

struct ClippedCounter {
  uint32_t* counters;  // [2]: entries so far, blocks that are done; zero between kernels
  ClippedReport report;

  /// In front of a barrier of the block.
  __device__ __forceinline__ void begin() const {
    if (threadIdx.x != 0) return;
    uint32_t(&block)[2] = ofBlock();
    block[0] = 0;
    block[1] = 0;
  }

  /// By every warp of the grid once, each lane with its share.
  __device__ __forceinline__ void add(int clipped) const {
    const auto ofWarp = static_cast<uint32_t>(__reduce_add_sync(0xffffffffU, clipped));
    if (threadIdx.x % 32 != 0) return;
    uint32_t(&block)[2] = ofBlock();
    if (ofWarp != 0) atomicAdd(&block[0], ofWarp);
    __threadfence_block();
    if (atomicAdd(&block[1], 1U) + 1 != blockDim.x / 32) return;
    const uint32_t inBlock = atomicAdd(&block[0], 0U);
    if (inBlock != 0) atomicAdd(&counters[0], inBlock);
    __threadfence();
    const uint32_t blocks = gridDim.x * gridDim.y;
    // Wraps to zero at the last one.
    if (atomicInc(&counters[1], blocks - 1) != blocks - 1) return;
    report.publish(atomicExch(&counters[0], 0U));
  }

 private:
  static __device__ __forceinline__ uint32_t (&ofBlock())[2] {
    __shared__ uint32_t block[2];
    return block;
  }
};

}  // namespace lrqat::cuda
