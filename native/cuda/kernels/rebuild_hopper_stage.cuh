// What a warp of the rebuild on Hopper reads of a unit (its 16 rows × the panel's columns), copied to shared memory
// a unit ahead: rows of A, and packed codes. Pieces of 16 bytes lie so that the lanes' reads have no bank conflicts
// where the code width divides 16.
#pragma once

#include <cstdint>

#include "cuda/kernels/rebuild_codes.cuh"
#include "cuda/kernels/rebuild_hopper_panel.cuh"

namespace lrqat::cuda {

inline constexpr int kUnitRows = 16;
inline constexpr uint32_t kUnitBytesOfA = kUnitRows * kRankChunk * 4;

/// Asynchronous; where not `valid` zeros instead of what is at `from`.
template <int kBytes>
__device__ __forceinline__ void copyPiece(uint32_t to, const void* from, bool valid = true) {
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid ? 16 : 0)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(to), "l"(from), "n"(kBytes) : "memory");
  }
}
/// Ends a group of copies of this thread.
__device__ __forceinline__ void closeCopies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/// Until all but the last `kPending` groups of copies are done.
template <int kPending>
__device__ __forceinline__ void awaitCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

__device__ __forceinline__ uint32_t readShared(uint32_t from) {
  uint32_t word;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(word) : "r"(from));
  return word;
}

/// Rows of A in shared memory: [16][128 bytes].
struct StagedRows {
  uint32_t stage;

  __device__ __forceinline__ void copy(const Factors& factors, int firstRow) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int piece = lane % 8;
    const bool valid = piece * 4 < factors.rank;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 8 + 4 * i;
      const auto of = static_cast<uint32_t>(min(firstRow + row, factors.m - 1));
      const float* from = factors.a + (of * static_cast<uint32_t>(factors.rank) + static_cast<uint32_t>(piece * 4));
      copyPiece<16>(stage + static_cast<uint32_t>(row * 128 + ((piece ^ (row & 1)) << 4)), from, valid);
    }
  }

  __device__ __forceinline__ void read(RawRows& rows) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint32_t from =
          stage + static_cast<uint32_t>(lane / 4 * 128 + (((lane % 4 * 2 + half) ^ (lane / 4 & 1)) << 4));
#pragma unroll
      for (int slot = 0; slot < 2; ++slot) {
        float(&x)[8] = rows.value[slot];
        asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                     : "=f"(x[half * 4]), "=f"(x[half * 4 + 1]), "=f"(x[half * 4 + 2]), "=f"(x[half * 4 + 3])
                     : "r"(from + static_cast<uint32_t>(slot) * 1024));
      }
    }
  }
};

/// Packed codes of kWidth bits in shared memory: [16][kColumns].
template <class Codes, int kColumns>
struct StagedCodes {
  static constexpr int kWidth = Codes::bits;
  static constexpr uint32_t rowBytes = kColumns / 8 * kWidth;
  static constexpr uint32_t bytes = kUnitRows * rowBytes;
  static constexpr bool swizzled = kWidth == 2 || kWidth == 4 || kWidth == 8;
  using Raw = typename Codes::Raw;

  /// `from`: the panel's first column of the first row there is; rows past the last one repeat it, and what lies past
  /// the end of a row of `pitch` bytes is not used. kPiece: a power of two that divides `left` and `pitch`.
  template <int kPiece>
  static __device__ __forceinline__ void copy(uint32_t stage, const uint8_t* from, uint32_t pitch, uint32_t left,
                                              int firstRow, int lastRow) {
    const uint32_t lane = threadIdx.x % 32;
    constexpr uint32_t pieces = rowBytes / kPiece;
    constexpr uint32_t items = kUnitRows * pieces;
#pragma unroll(kPiece == 16 ? (items + 31) / 32 : 1)
    for (uint32_t i = 0; i < (items + 31) / 32; ++i) {
      const uint32_t item = lane + i * 32;
      if (items % 32 != 0 && item >= items) break;
      const uint32_t row = item / pieces;
      const uint32_t byte = item % pieces * kPiece;
      const auto of = static_cast<uint32_t>(min(firstRow + static_cast<int>(row), lastRow));
      copyPiece<kPiece>(stage + row * rowBytes + swizzle(row, byte), from + (of * pitch + min(byte, left - kPiece)));
    }
  }

  /// What the places of this lane's codes have in common.
  static __device__ __forceinline__ uint32_t lanePlace() {
    const uint32_t lane = threadIdx.x % 32;
    const uint32_t g = lane / 4;
    const uint32_t q = lane % 4;
    if constexpr (kWidth == 8) {
      return g * rowBytes + swizzle(g, q * 8);
    } else if constexpr (kWidth == 4) {
      return g * rowBytes + swizzle(g, q * 4);
    } else if constexpr (kWidth == 2) {
      return g * rowBytes + swizzle(g, q * 2);
    } else {
      return g * rowBytes + q * kWidth / 4 * 4;
    }
  }

  /// The lane's codes of step `step`, octet 0 or 1, row g or g + 8; `place`: the stage's address + lanePlace().
  static __device__ __forceinline__ Raw read(uint32_t place, int step, int octet, int slot) {
    const auto offset = static_cast<uint32_t>(step * 8 + octet * 4) * kWidth;
    // Swizzled places differ in bits of the address, not in a sum.
    const uint32_t from = (swizzled ? place ^ offset : place + offset) + static_cast<uint32_t>(slot) * 8 * rowBytes;
    if constexpr (kWidth == 8) {
      Raw raw;
      asm volatile("ld.shared.v2.b32 {%0, %1}, [%2];" : "=r"(raw.low), "=r"(raw.high) : "r"(from));
      return raw;
    } else if constexpr (kWidth == 4) {
      return {readShared(from), 0U};
    } else if constexpr (kWidth == 2) {
      uint16_t half;
      asm volatile("ld.shared.u16 %0, [%1];" : "=h"(half) : "r"(from));
      return {half, 0U};
    } else {
      // Words past the octet's last one may be another row's; none of their bits is used.
      const uint32_t shift = threadIdx.x % 4 * kWidth % 4 * 8;
      const uint32_t a = readShared(from);
      const uint32_t b = readShared(from + 4);
      if constexpr (kWidth < 5) return {__funnelshift_r(a, b, shift), 0U};
      if constexpr (kWidth < 7) return {__funnelshift_r(a, b, shift), b >> shift};
      return {__funnelshift_r(a, b, shift), __funnelshift_r(b, readShared(from + 8), shift)};
    }
  }

 private:
  /// Of a byte of a row, by pieces of 16: eight rows (of 8 bits: four) read at once lie in different banks.
  static __device__ __forceinline__ uint32_t swizzle(uint32_t row, uint32_t byte) {
    if constexpr (kWidth == 8) return byte ^ (row & 3) << 5;
    if constexpr (kWidth == 4) return byte ^ (rowBytes == 128 ? row & 7 : row >> 1 & 3) << 4;
    if constexpr (kWidth == 2) return byte ^ (rowBytes == 64 ? row >> 1 & 3 : row >> 2 & 1) << 4;
    return byte;
  }
};

}  // namespace lrqat::cuda
