// Warp-level pieces of attention on the tensor cores of sm_80 and later: tiles in shared memory, fragments of
// mma.m16n8k16, asynchronous copies.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "cuda/kernels/attention_fragments.cuh"

namespace lrqat::cuda::attention {

/// A tile [rows, D] in shared memory. One 16-byte chunk of padding a row puts the same chunk of 8 consecutive rows into
/// different banks, for every D that is a multiple of 16.
template <int D>
struct Tile {
  static_assert(D % 16 == 0);
  static constexpr int rowBytes = (D + 8) * 2;
  static constexpr int chunks = D / 8;
  static constexpr int bytes(int rows) { return rows * rowBytes; }
};

/// 16 bytes from global to shared memory; zeros when not valid (then nothing is read).
__device__ __forceinline__ void copyChunk(uint32_t target, const void* source, bool valid) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(target), "l"(source),
               "r"(valid ? 16 : 0));
}
__device__ __forceinline__ void copyPair(uint32_t target, const void* source) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8;" ::"r"(target), "l"(source));
}
__device__ __forceinline__ void copyWord(uint32_t target, const void* source, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(target), "l"(source), "r"(valid ? 4 : 0));
}
__device__ __forceinline__ void commitCopies() {
  asm volatile("cp.async.commit_group;");
}
/// All but the last `pending` committed groups of this thread have arrived.
template <int pending>
__device__ __forceinline__ void waitCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

/// Starts the copy of `rows` rows (of `Rows`, the rest zero) of `columns` elements (of D, the rest zero).
template <int Rows, int D, int Threads>
__device__ __forceinline__ void copyTile(uint32_t target, const Bf16* source, int64_t stride, int rows, int columns) {
  constexpr int chunks = Tile<D>::chunks;
#pragma unroll
  for (int first = 0; first < Rows * chunks; first += Threads) {
    const int index = first + static_cast<int>(threadIdx.x);
    if (Rows * chunks % Threads != 0 && index >= Rows * chunks) break;
    const int row = index / chunks;
    const int chunk = index % chunks;
    const bool valid = row < rows && chunk * 8 < columns;
    copyChunk(target + row * Tile<D>::rowBytes + chunk * 16, source + (valid ? row * stride + chunk * 8 : 0), valid);
  }
}

__device__ __forceinline__ void loadMatricesTransposed(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

/// c [16, 8] += a [16, 16] · b [16, 8].
__device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Where a lane points ldmatrix.x4 for the A operand, rows row … row + 15 of a tile.
template <int D>
__device__ __forceinline__ uint32_t rowsOperand(uint32_t tile, int row) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  return tile + (row + lane % 16) * Tile<D>::rowBytes + lane / 16 * 16;
}
/// For the B operands of two neighbouring n-tiles whose columns are rows of the tile (products over D).
template <int D>
__device__ __forceinline__ uint32_t columnsOperand(uint32_t tile) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  return tile + (lane / 16 * 8 + lane % 8) * Tile<D>::rowBytes + lane / 8 % 2 * 16;
}
/// For the transposed B operands of two neighbouring n-tiles whose columns are columns of the tile (products over its
/// rows).
template <int D>
__device__ __forceinline__ uint32_t depthOperand(uint32_t tile) {
  return rowsOperand<D>(tile, 0);
}

/// scores[m][n] += rows of `a` (16·MT from the lane's address) · rows of `b` (8·NT), over D.
template <int D, int MT, int NT>
__device__ __forceinline__ void multiplyRows(float (&scores)[MT][NT][4], uint32_t a, uint32_t b) {
  static_assert(NT % 2 == 0);
#pragma unroll
  for (int k = 0; k < D / 16; ++k) {
    uint32_t left[MT][4];
#pragma unroll
    for (int m = 0; m < MT; ++m) loadMatrices(left[m], a + m * 16 * Tile<D>::rowBytes + k * 32);
#pragma unroll
    for (int n = 0; n < NT; n += 2) {
      uint32_t right[4];
      loadMatrices(right, b + n * 8 * Tile<D>::rowBytes + k * 32);
#pragma unroll
      for (int m = 0; m < MT; ++m) {
        multiply(scores[m][n], left[m], right[0], right[1]);
        multiply(scores[m][n + 1], left[m], right[2], right[3]);
      }
    }
  }
}

/// sums[m][·] += factors (16·MT rows, 16·KT columns, A fragments) · tile [16·KT, D] at the lane's depth address.
template <int D, int MT, int KT>
__device__ __forceinline__ void multiplyDepth(float (&sums)[MT][D / 8][4], const uint32_t (&factors)[MT][KT][4],
                                              uint32_t tile) {
#pragma unroll
  for (int k = 0; k < KT; ++k) {
#pragma unroll
    for (int n = 0; n < D / 8; n += 2) {
      uint32_t right[4];
      loadMatricesTransposed(right, tile + k * 16 * Tile<D>::rowBytes + n * 16);
#pragma unroll
      for (int m = 0; m < MT; ++m) {
        multiply(sums[m][n], factors[m][k], right[0], right[1]);
        multiply(sums[m][n + 1], factors[m][k], right[2], right[3]);
      }
    }
  }
}

/// Writes a warp's 16·MT accumulator rows, times factor[m][half], to global memory: through the warp's own rows of a
/// tile, so that stores are 16 bytes wide. `stage` is the tile's address of the first row; no other warp uses these
/// rows any more.
template <int D, int MT>
__device__ __forceinline__ void storeRows(const float (&sums)[MT][D / 8][4], const float (&factor)[MT][2],
                                          unsigned char* stage, Bf16* target, int64_t stride, int rows, int columns) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  __syncwarp();
#pragma unroll
  for (int m = 0; m < MT; ++m) {
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
      unsigned char* place = stage + (m * 16 + lane / 4) * Tile<D>::rowBytes + n * 16 + lane % 4 * 4;
      *reinterpret_cast<uint32_t*>(place) = packBf16(sums[m][n][0] * factor[m][0], sums[m][n][1] * factor[m][0]);
      *reinterpret_cast<uint32_t*>(place + 8 * Tile<D>::rowBytes) =
          packBf16(sums[m][n][2] * factor[m][1], sums[m][n][3] * factor[m][1]);
    }
  }
  __syncwarp();
#pragma unroll
  for (int index = lane; index < MT * 16 * Tile<D>::chunks; index += 32) {
    const int row = index / Tile<D>::chunks;
    const int chunk = index % Tile<D>::chunks;
    if (row < rows && chunk * 8 < columns) {
      *reinterpret_cast<uint4*>(target + row * stride + chunk * 8) =
          *reinterpret_cast<const uint4*>(stage + row * Tile<D>::rowBytes + chunk * 16);
    }
  }
}

}  // namespace lrqat::cuda::attention
