// Pieces of attention on Hopper (sm_90a): tiles that the copy engine (TMA) brings and the tensor cores (wgmma) read
// themselves, barriers in shared memory between them, the roles of a block's warps.
//
// A tile [rows, D] lies as D/64 panels [rows, 64], 128 bytes a row, whose 16-byte chunks are exchanged within groups of
// 8 rows (chunk ^ row % 8, the 128-byte swizzle of both engines); a panel begins at a multiple of 1024 bytes.
//
// A group is four warps (128 threads), warp w of which holds rows 16·w … 16·w + 15 of 64, laid out within as
// attention_fragments.cuh says. Group 0 of a block asks the copy engine for tiles, the two others multiply.
#pragma once

#include <cuda.h>

#include "cuda/kernels/attention_fragments.cuh"

namespace lrqat::cuda::attention {

template <int Rows>
inline constexpr int panelBytes = Rows * 128;
template <int Rows, int D>
inline constexpr int tileBytes = panelBytes<Rows>*(D / 64);

// -- order of work ----------------------------------------------------------------------------------------------------

/// Blocks of rows of all heads, rank 0 of a head with most work, for blocks of threads that stay and take one after
/// another. Paired, a turn is a heavy and a light block of one head, all turns weigh the same and the heads in work at
/// a time are few enough for the L2 cache; where there are too few pairs, blocks go out singly, the heaviest first.
struct Schedule {
  int blocks;  // of a head
  int heads;   // of all sequences
  bool paired;
};

inline Schedule scheduleOf(const Problem& problem, int heads, int rows, int multiprocessors) {
  const int blocks = (problem.length + rows - 1) / rows;
  const int all = problem.batch * heads;
  const int64_t pairs = static_cast<int64_t>(all) * ((blocks + 1) / 2);
  return {blocks, all, 4 * pairs > 3 * static_cast<int64_t>(multiprocessors)};
}

/// A block of threads' way through its share of a schedule.
class Walk {
 public:
  __device__ explicit Walk(const Schedule& schedule) : schedule_(schedule) {}
  __device__ bool done() const { return unit() >= units(); }
  __device__ int head() const { return schedule_.paired ? unit() / perHead() : unit() % schedule_.heads; }
  __device__ int rank() const {
    if (!schedule_.paired) return unit() / schedule_.heads;
    const int pair = unit() % perHead();
    return second_ ? schedule_.blocks - 1 - pair : pair;
  }
  __device__ void advance() {
    const bool other = schedule_.paired && !second_ && rank() != schedule_.blocks - 1 - rank();
    second_ = other;
    if (!other) ++round_;
  }

 private:
  __device__ int perHead() const { return (schedule_.blocks + 1) / 2; }
  __device__ int units() const { return schedule_.heads * (schedule_.paired ? perHead() : schedule_.blocks); }
  /// Forth and back, so that single heavy and light blocks meet.
  __device__ int unit() const {
    const unsigned within = round_ % 2 == 0 ? blockIdx.x : gridDim.x - 1 - blockIdx.x;
    return static_cast<int>(static_cast<unsigned>(round_) * gridDim.x + within);
  }

  const Schedule& schedule_;
  int round_ = 0;
  bool second_ = false;
};

// -- barriers: a phase ends when all arrivals and all announced bytes have come ---------------------------------------

__device__ __forceinline__ void initBarrier(uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void publishBarriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
__device__ __forceinline__ void arriveExpecting(uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
/// Until the phase of this parity has ended; a fresh barrier counts as having ended parity 1.
__device__ __forceinline__ void waitBarrier(uint32_t barrier, int parity) {
  asm volatile(
      "{\n.reg .pred done;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra finished;\nbra again;\nfinished:\n}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

/// Barriers of a ring of `Stages` shared buffers: `ready` when the copy engine has filled one, `free` when its readers
/// are done. Writer and readers count the uses themselves.
///
/// compute-sanitizer's racecheck reports the copy of the row statistics (a write by the copying thread) against the
/// readers' loads of them, the only loads here that are neither wgmma's nor behind a barrier of the block: it follows
/// neither the bytes that complete `ready` nor the arrivals at `free`. Both orders hold. Written, then read: a reader
/// waits for `ready`, whose phase ends only when the announced bytes are visible to those who wait. Read, then written:
/// every value has reached its lane's registers before the lane goes into the __syncwarp of release(), the arrival
/// behind it releases, and the copying thread acquires it by waiting for `free` before it starts the next copy into the
/// buffer.
template <int Stages>
struct Ring {
  uint32_t barriers;  // [2·Stages] of 8 bytes
  __device__ uint32_t end() const { return barriers + 2 * Stages * 8; }
  __device__ uint32_t ready(int use) const { return barriers + use % Stages * 8; }
  __device__ uint32_t free(int use) const { return barriers + (Stages + use % Stages) * 8; }
  __device__ void init(int readers) const {
    for (int stage = 0; stage < Stages; ++stage) {
      initBarrier(ready(stage), 1);
      initBarrier(free(stage), readers);
    }
  }
  /// Writer: until the use before this one of the same buffer has been read; then announces the bytes.
  __device__ void claim(int use, int announced) const {
    waitBarrier(free(use), use / Stages % 2 ^ 1);
    arriveExpecting(ready(use), announced);
  }
  __device__ void await(int use) const { waitBarrier(ready(use), use / Stages % 2); }
  /// Readers, each warp once, when all its lanes have read.
  __device__ void release(int use) const {
    __syncwarp();
    if (threadIdx.x % 32 == 0) arrive(free(use));
  }
};

struct BackwardMaps {
  CUtensorMap q, k, v, o, dO;  // boxes as the kernel's tiles
};

// -- copies -----------------------------------------------------------------------------------------------------------

/// Box of one panel of a tensor [batch, length, heads, headDim]; what lies outside becomes zeros.
__device__ __forceinline__ void copyPanel(uint32_t target, const CUtensorMap& map, uint32_t barrier, int column,
                                          int head, int row, int sequence) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], "
      "[%6];" ::"r"(target),
      "l"(&map), "r"(column), "r"(head), "r"(row), "r"(sequence), "r"(barrier)
      : "memory");
}
template <int Rows, int D>
__device__ __forceinline__ void copyPanels(uint32_t target, const CUtensorMap& map, uint32_t barrier, int head, int row,
                                           int sequence) {
#pragma unroll
  for (int panel = 0; panel < D / 64; ++panel) {
    copyPanel(target + panel * panelBytes<Rows>, map, barrier, panel * 64, head, row, sequence);
  }
}

/// Consecutive bytes; both addresses and the count are multiples of 16.
__device__ __forceinline__ void copyBytes(uint32_t target, const void* source, int bytes, uint32_t barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(target),
               "l"(source), "r"(bytes), "r"(barrier)
               : "memory");
}

/// After ordinary accesses to shared memory that the copy engine writes next.
__device__ __forceinline__ void publishToCopies() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// -- roles ------------------------------------------------------------------------------------------------------------

template <int count>
__device__ __forceinline__ void shrinkRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count));
}
template <int count>
__device__ __forceinline__ void growRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count));
}
/// This thread's group of four warps; the shuffle tells the compiler that a warp agrees on it.
__device__ __forceinline__ int groupOfWarps() {
  return __shfl_sync(0xffffffffU, static_cast<int>(threadIdx.x / 128), 0);
}
/// Of the 128 threads of one of the working groups.
__device__ __forceinline__ void synchronizeGroup(int group) {
  asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
}
/// Of both working groups.
__device__ __forceinline__ void synchronizeGroups() {
  asm volatile("bar.sync 3, 256;" ::: "memory");
}

/// How two groups of warps share a block of rows: 64 rows each, or, where the sums of 64 rows do not fit the registers,
/// the same 64 rows and half of the columns each; then both compute P and dS.
template <int D_>
struct HopperShare {
  static constexpr int D = D_;
  static constexpr int groups = 2;
  static constexpr int threads = 128 * (groups + 1);
  static constexpr bool halves = D > 128;
  static constexpr int rows = halves ? 64 : 128;
  static constexpr int columns = halves ? D / 2 : D;  // of a group's sums
  __device__ static int firstRow(int group) { return halves ? 0 : group * 64; }
  __device__ static int firstColumn(int group) { return halves ? group * columns : 0; }
  /// Bytes from a tile of the block's rows to the group's first row of its first panel.
  __device__ static int offset(int group) { return firstRow(group) * 128 + firstColumn(group) / 64 * panelBytes<rows>; }
};

/// Writes a group's 64 rows times factor[half] (of the lane's rows), through 64 rows of a tile that nobody else uses
/// any more, so that stores are 16 bytes wide. `panels` points at the group's first row of its first panel.
template <int Rows, int NT>
__device__ __forceinline__ void storeGroupRows(const float (&sums)[NT][4], const float (&factor)[2],
                                               unsigned char* panels, int group, Bf16* target, int64_t stride, int rows,
                                               int columns) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warpRow = static_cast<int>(threadIdx.x / 32 % 4) * 16;
  synchronizeGroup(group);
  const auto place = [&](int row, int chunk) {
    return panels + chunk / 8 * panelBytes<Rows> + row * 128 + ((chunk % 8) ^ (row % 8)) * 16;
  };
#pragma unroll
  for (int n = 0; n < NT; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      *reinterpret_cast<uint32_t*>(place(warpRow + half * 8 + lane / 4, n) + lane % 4 * 4) =
          packBf16(sums[n][half * 2] * factor[half], sums[n][half * 2 + 1] * factor[half]);
    }
  }
  __syncwarp();
#pragma unroll
  for (int index = lane; index < 16 * NT; index += 32) {
    const int row = warpRow + index / NT;
    const int chunk = index % NT;
    if (row < rows && chunk * 8 < columns) {
      *reinterpret_cast<uint4*>(target + row * stride + chunk * 8) = *reinterpret_cast<const uint4*>(place(row, chunk));
    }
  }
}

}  // namespace lrqat::cuda::attention
