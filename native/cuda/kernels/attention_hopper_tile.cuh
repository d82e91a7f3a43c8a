// Pieces of attention for the tensor cores of Hopper (sm_90a): products by groups of four warps that read shared memory
// themselves (wgmma), tiles that the copy engine brings (TMA), barriers in shared memory between them.
//
// A tile [rows, D] lies as D/64 panels [rows, 64], 128 bytes a row, whose 16-byte chunks are exchanged within groups of
// 8 rows (chunk ^ row % 8, the 128-byte swizzle of both engines); a panel begins at a multiple of 1024 bytes.
// Accumulators and A operands in registers: warp w of a group holds rows 16·w … 16·w + 15 of 64, laid out within as
// attention_fragments.cuh says.
#pragma once

#include <cuda.h>

#include "cuda/kernels/attention_fragments.cuh"

namespace lrqat::cuda::attention {

template <int Rows, int D>
struct PanelTile {
  static_assert(D % 64 == 0 && Rows % 8 == 0);
  static constexpr int panelBytes = Rows * 128;
  static constexpr int bytes = panelBytes * (D / 64);
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
    copyPanel(target + panel * PanelTile<Rows, D>::panelBytes, map, barrier, panel * 64, head, row, sequence);
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

// -- products ---------------------------------------------------------------------------------------------------------

/// Operand whose rows are rows of the tile; its depth runs along D. `tile` may point at any multiple of 8 rows.
template <int Rows, int D>
__device__ __forceinline__ uint64_t rowsDescriptor(uint32_t tile, int k) {
  const uint32_t address = tile + k / 4 * PanelTile<Rows, D>::panelBytes + k % 4 * 32;
  return static_cast<uint64_t>((address & 0x3ffffU) >> 4) | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 |
         uint64_t{1} << 62;
}
/// Operand whose depth runs along the rows of the tile; its columns are those of the tile.
template <int Rows, int D>
__device__ __forceinline__ uint64_t depthDescriptor(uint32_t tile, int k) {
  const uint32_t address = tile + k * 2048;
  return static_cast<uint64_t>((address & 0x3ffffU) >> 4) | uint64_t{PanelTile<Rows, D>::panelBytes >> 4} << 16 |
         uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}

/// Before the first of a series of products, after any change of their registers.
__device__ __forceinline__ void beginProducts() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void commitProducts() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int pending>
__device__ __forceinline__ void waitProducts() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}
/// Keeps the compiler from using sums before the wait above it.
template <int NT>
__device__ __forceinline__ void settle(float (&sums)[NT][4]) {
#pragma unroll
  for (int n = 0; n < NT; ++n) {
#pragma unroll
    for (int c = 0; c < 4; ++c) asm volatile("" : "+f"(sums[n][c])::"memory");
  }
}

// d [64, 8·tiles] += a·b, or, the first of a series, d = a·b. The columns of b are rows of its tile; where the name
// says depth, the rows of its tile are its depth.

__device__ __forceinline__ void multiplyShared(float (&d)[8][4], uint64_t a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "%32, %33, 1, 1, 1, 0, 0;"
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]),
        "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]),
        "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]),
        "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]), "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]),
        "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3])
      : "l"(a), "l"(b));
}

__device__ __forceinline__ void multiplyRegistersDepth(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, 1, 1, 1, 1;"
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]),
        "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]),
        "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]),
        "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]), "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]),
        "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

__device__ __forceinline__ void multiplyShared(float (&d)[16][4], uint64_t a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "%64, %65, 1, 1, 1, 0, 0;"
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]),
        "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]),
        "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]),
        "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]), "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]),
        "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3]), "+f"(d[8][0]), "+f"(d[8][1]), "+f"(d[8][2]),
        "+f"(d[8][3]), "+f"(d[9][0]), "+f"(d[9][1]), "+f"(d[9][2]), "+f"(d[9][3]), "+f"(d[10][0]), "+f"(d[10][1]),
        "+f"(d[10][2]), "+f"(d[10][3]), "+f"(d[11][0]), "+f"(d[11][1]), "+f"(d[11][2]), "+f"(d[11][3]), "+f"(d[12][0]),
        "+f"(d[12][1]), "+f"(d[12][2]), "+f"(d[12][3]), "+f"(d[13][0]), "+f"(d[13][1]), "+f"(d[13][2]), "+f"(d[13][3]),
        "+f"(d[14][0]), "+f"(d[14][1]), "+f"(d[14][2]), "+f"(d[14][3]), "+f"(d[15][0]), "+f"(d[15][1]), "+f"(d[15][2]),
        "+f"(d[15][3])
      : "l"(a), "l"(b));
}

__device__ __forceinline__ void multiplyRegistersDepth(float (&d)[16][4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "{%64, %65, %66, %67}, %68, 1, 1, 1, 1;"
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]),
        "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]),
        "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]),
        "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]), "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]),
        "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3]), "+f"(d[8][0]), "+f"(d[8][1]), "+f"(d[8][2]),
        "+f"(d[8][3]), "+f"(d[9][0]), "+f"(d[9][1]), "+f"(d[9][2]), "+f"(d[9][3]), "+f"(d[10][0]), "+f"(d[10][1]),
        "+f"(d[10][2]), "+f"(d[10][3]), "+f"(d[11][0]), "+f"(d[11][1]), "+f"(d[11][2]), "+f"(d[11][3]), "+f"(d[12][0]),
        "+f"(d[12][1]), "+f"(d[12][2]), "+f"(d[12][3]), "+f"(d[13][0]), "+f"(d[13][1]), "+f"(d[13][2]), "+f"(d[13][3]),
        "+f"(d[14][0]), "+f"(d[14][1]), "+f"(d[14][2]), "+f"(d[14][3]), "+f"(d[15][0]), "+f"(d[15][1]), "+f"(d[15][2]),
        "+f"(d[15][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

__device__ __forceinline__ void multiplyRegistersRows(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, 1, 1, 1, 0;"
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]),
        "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]),
        "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]),
        "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]), "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]),
        "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

__device__ __forceinline__ void multiplySharedFirst(float (&d)[8][4], uint64_t a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "%32, %33, 0, 1, 1, 0, 0;"
      : "=&f"(d[0][0]), "=&f"(d[0][1]), "=&f"(d[0][2]), "=&f"(d[0][3]), "=&f"(d[1][0]), "=&f"(d[1][1]), "=&f"(d[1][2]),
        "=&f"(d[1][3]), "=&f"(d[2][0]), "=&f"(d[2][1]), "=&f"(d[2][2]), "=&f"(d[2][3]), "=&f"(d[3][0]), "=&f"(d[3][1]),
        "=&f"(d[3][2]), "=&f"(d[3][3]), "=&f"(d[4][0]), "=&f"(d[4][1]), "=&f"(d[4][2]), "=&f"(d[4][3]), "=&f"(d[5][0]),
        "=&f"(d[5][1]), "=&f"(d[5][2]), "=&f"(d[5][3]), "=&f"(d[6][0]), "=&f"(d[6][1]), "=&f"(d[6][2]), "=&f"(d[6][3]),
        "=&f"(d[7][0]), "=&f"(d[7][1]), "=&f"(d[7][2]), "=&f"(d[7][3])
      : "l"(a), "l"(b));
}

__device__ __forceinline__ void multiplySharedFirst(float (&d)[16][4], uint64_t a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "%64, %65, 0, 1, 1, 0, 0;"
      : "=&f"(d[0][0]), "=&f"(d[0][1]), "=&f"(d[0][2]), "=&f"(d[0][3]), "=&f"(d[1][0]), "=&f"(d[1][1]), "=&f"(d[1][2]),
        "=&f"(d[1][3]), "=&f"(d[2][0]), "=&f"(d[2][1]), "=&f"(d[2][2]), "=&f"(d[2][3]), "=&f"(d[3][0]), "=&f"(d[3][1]),
        "=&f"(d[3][2]), "=&f"(d[3][3]), "=&f"(d[4][0]), "=&f"(d[4][1]), "=&f"(d[4][2]), "=&f"(d[4][3]), "=&f"(d[5][0]),
        "=&f"(d[5][1]), "=&f"(d[5][2]), "=&f"(d[5][3]), "=&f"(d[6][0]), "=&f"(d[6][1]), "=&f"(d[6][2]), "=&f"(d[6][3]),
        "=&f"(d[7][0]), "=&f"(d[7][1]), "=&f"(d[7][2]), "=&f"(d[7][3]), "=&f"(d[8][0]), "=&f"(d[8][1]), "=&f"(d[8][2]),
        "=&f"(d[8][3]), "=&f"(d[9][0]), "=&f"(d[9][1]), "=&f"(d[9][2]), "=&f"(d[9][3]), "=&f"(d[10][0]),
        "=&f"(d[10][1]), "=&f"(d[10][2]), "=&f"(d[10][3]), "=&f"(d[11][0]), "=&f"(d[11][1]), "=&f"(d[11][2]),
        "=&f"(d[11][3]), "=&f"(d[12][0]), "=&f"(d[12][1]), "=&f"(d[12][2]), "=&f"(d[12][3]), "=&f"(d[13][0]),
        "=&f"(d[13][1]), "=&f"(d[13][2]), "=&f"(d[13][3]), "=&f"(d[14][0]), "=&f"(d[14][1]), "=&f"(d[14][2]),
        "=&f"(d[14][3]), "=&f"(d[15][0]), "=&f"(d[15][1]), "=&f"(d[15][2]), "=&f"(d[15][3])
      : "l"(a), "l"(b));
}

__device__ __forceinline__ void multiplyRegistersRowsFirst(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, 0, 1, 1, 0;"
      : "=&f"(d[0][0]), "=&f"(d[0][1]), "=&f"(d[0][2]), "=&f"(d[0][3]), "=&f"(d[1][0]), "=&f"(d[1][1]), "=&f"(d[1][2]),
        "=&f"(d[1][3]), "=&f"(d[2][0]), "=&f"(d[2][1]), "=&f"(d[2][2]), "=&f"(d[2][3]), "=&f"(d[3][0]), "=&f"(d[3][1]),
        "=&f"(d[3][2]), "=&f"(d[3][3]), "=&f"(d[4][0]), "=&f"(d[4][1]), "=&f"(d[4][2]), "=&f"(d[4][3]), "=&f"(d[5][0]),
        "=&f"(d[5][1]), "=&f"(d[5][2]), "=&f"(d[5][3]), "=&f"(d[6][0]), "=&f"(d[6][1]), "=&f"(d[6][2]), "=&f"(d[6][3]),
        "=&f"(d[7][0]), "=&f"(d[7][1]), "=&f"(d[7][2]), "=&f"(d[7][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

/// scores [64, N] = rows of the tile at `a` · rows of the tile at `b`, over D.
template <int RowsA, int RowsB, int D, int NT>
__device__ __forceinline__ void startRows(float (&scores)[NT][4], uint32_t a, uint32_t b) {
  multiplySharedFirst(scores, rowsDescriptor<RowsA, D>(a, 0), rowsDescriptor<RowsB, D>(b, 0));
#pragma unroll
  for (int k = 1; k < D / 16; ++k) {
    multiplyShared(scores, rowsDescriptor<RowsA, D>(a, k), rowsDescriptor<RowsB, D>(b, k));
  }
}
/// The same with the left rows in registers.
template <int RowsB, int D, int NT>
__device__ __forceinline__ void startRows(float (&scores)[NT][4], const uint32_t (&a)[D / 16][4], uint32_t b) {
  multiplyRegistersRowsFirst(scores, a[0], rowsDescriptor<RowsB, D>(b, 0));
#pragma unroll
  for (int k = 1; k < D / 16; ++k) multiplyRegistersRows(scores, a[k], rowsDescriptor<RowsB, D>(b, k));
}
/// This warp's 16 of the 64 rows at `tile` as A operands.
template <int Rows, int D>
__device__ __forceinline__ void loadRows(uint32_t (&a)[D / 16][4], uint32_t tile) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int row = static_cast<int>(threadIdx.x / 32 % 4) * 16 + lane % 16;
#pragma unroll
  for (int k = 0; k < D / 16; ++k) {
    const int chunk = k * 2 + lane / 16;
    loadMatrices(a[k], tile + chunk / 8 * PanelTile<Rows, D>::panelBytes + row * 128 + ((chunk % 8) ^ (row % 8)) * 16);
  }
}
/// sums [64, D] += factors [64, 16·KT] · tile, at most 128 columns at a time.
template <int Rows, int D, int KT>
__device__ __forceinline__ void startDepth(float (&sums)[D / 8][4], const uint32_t (&factors)[KT][4], uint32_t tile) {
  constexpr int columns = D < 128 ? D : 128;
#pragma unroll
  for (int part = 0; part < D / columns; ++part) {
    auto& own = reinterpret_cast<float(&)[columns / 8][4]>(sums[part * columns / 8]);
    const uint32_t panels = tile + part * columns / 64 * PanelTile<Rows, D>::panelBytes;
#pragma unroll
    for (int k = 0; k < KT; ++k) multiplyRegistersDepth(own, factors[k], depthDescriptor<Rows, D>(panels, k));
  }
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
/// Of the 128 threads of one group of warps.
__device__ __forceinline__ void synchronizeGroup(int group) {
  asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
}

/// Writes a group's 64 rows times factor[half] (of the lane's rows), through 64 rows of a tile that nobody else uses
/// any more, so that stores are 16 bytes wide. `panels` points at the group's first row of the first panel.
template <int Rows, int D>
__device__ __forceinline__ void storeGroupRows(const float (&sums)[D / 8][4], const float (&factor)[2],
                                               unsigned char* panels, int group, Bf16* target, int64_t stride, int rows,
                                               int columns) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warpRow = static_cast<int>(threadIdx.x / 32 % 4) * 16;
  synchronizeGroup(group);
  const auto place = [&](int row, int chunk) {
    return panels + chunk / 8 * PanelTile<Rows, D>::panelBytes + row * 128 + ((chunk % 8) ^ (row % 8)) * 16;
  };
#pragma unroll
  for (int n = 0; n < D / 8; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      *reinterpret_cast<uint32_t*>(place(warpRow + half * 8 + lane / 4, n) + lane % 4 * 4) =
          packBf16(sums[n][half * 2] * factor[half], sums[n][half * 2 + 1] * factor[half]);
    }
  }
  __syncwarp();
#pragma unroll
  for (int index = lane; index < 16 * (D / 8); index += 32) {
    const int row = warpRow + index / (D / 8);
    const int chunk = index % (D / 8);
    if (row < rows && chunk * 8 < columns) {
      *reinterpret_cast<uint4*>(target + row * stride + chunk * 8) = *reinterpret_cast<const uint4*>(place(row, chunk));
    }
  }
}

}  // namespace lrqat::cuda::attention
