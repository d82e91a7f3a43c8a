// Products of attention on the tensor cores of Hopper (wgmma): a group of four warps multiplies 64 rows, operands in
// shared memory lie as attention_hopper_tile.cuh says. Products run behind the program until they are waited for.
#pragma once

#include "cuda/kernels/attention_hopper_tile.cuh"

namespace lrqat::cuda::attention {

/// Operand whose rows are rows of the tile; its depth runs along D. `tile` may point at any multiple of 8 rows.
template <int Rows>
__device__ __forceinline__ uint64_t rowsDescriptor(uint32_t tile, int k) {
  const uint32_t address = tile + k / 4 * panelBytes<Rows> + k % 4 * 32;
  return static_cast<uint64_t>((address & 0x3ffffU) >> 4) | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 |
         uint64_t{1} << 62;
}
/// Operand whose depth runs along the rows of the tile; its columns are those of the tile.
template <int Rows>
__device__ __forceinline__ uint64_t depthDescriptor(uint32_t tile, int k) {
  const uint32_t address = tile + k * 2048;
  return static_cast<uint64_t>((address & 0x3ffffU) >> 4) | uint64_t{panelBytes<Rows> >> 4} << 16 |
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
  multiplySharedFirst(scores, rowsDescriptor<RowsA>(a, 0), rowsDescriptor<RowsB>(b, 0));
#pragma unroll
  for (int k = 1; k < D / 16; ++k) {
    multiplyShared(scores, rowsDescriptor<RowsA>(a, k), rowsDescriptor<RowsB>(b, k));
  }
}
/// The same with the left rows in registers.
template <int RowsB, int D, int NT>
__device__ __forceinline__ void startRows(float (&scores)[NT][4], const uint32_t (&a)[D / 16][4], uint32_t b) {
  multiplyRegistersRowsFirst(scores, a[0], rowsDescriptor<RowsB>(b, 0));
#pragma unroll
  for (int k = 1; k < D / 16; ++k) multiplyRegistersRows(scores, a[k], rowsDescriptor<RowsB>(b, k));
}
/// This warp's 16 of the 64 rows at `tile` as A operands.
template <int Rows, int D>
__device__ __forceinline__ void loadRows(uint32_t (&a)[D / 16][4], uint32_t tile) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int row = static_cast<int>(threadIdx.x / 32 % 4) * 16 + lane % 16;
#pragma unroll
  for (int k = 0; k < D / 16; ++k) {
    const int chunk = k * 2 + lane / 16;
    loadMatrices(a[k], tile + chunk / 8 * panelBytes<Rows> + row * 128 + ((chunk % 8) ^ (row % 8)) * 16);
  }
}
/// sums [64, 8·NT] += factors [64, 16·KT] · columns of a tile from those of panel `panels` on, at most 128 at a time.
template <int Rows, int NT, int KT>
__device__ __forceinline__ void startDepth(float (&sums)[NT][4], const uint32_t (&factors)[KT][4], uint32_t panels) {
  constexpr int width = NT < 16 ? NT : 16;
#pragma unroll
  for (int n = 0; n < NT; n += width) {
    auto& own = reinterpret_cast<float(&)[width][4]>(sums[n]);
    const uint32_t first = panels + n / 8 * panelBytes<Rows>;
#pragma unroll
    for (int k = 0; k < KT; ++k) multiplyRegistersDepth(own, factors[k], depthDescriptor<Rows>(first, k));
  }
}

}  // namespace lrqat::cuda::attention
