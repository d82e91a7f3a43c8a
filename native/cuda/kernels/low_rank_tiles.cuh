// One thread block's part of a thin product: tiles of Y and of the factor's halves stream through shared memory in
// stages, ldmatrix and mma.m16n8k16 multiply them, eight warps hold 128 × kN sums.
#pragma once

#include "cuda/kernels/element.cuh"
#include "cuda/kernels/low_rank_products.h"

namespace lrqat::cuda::thin {

inline constexpr int kThinThreads = 256;
inline constexpr int kTile = static_cast<int>(kThinTile);
inline constexpr int kChunk = static_cast<int>(kThinChunk);
inline constexpr int kYBytes = kTile * kChunk * 2;

/// A ThinProduct, or a part of its thin columns, as the kernel takes it.
struct ThinJob {
  const bf16* y;
  const bf16* hi;
  const bf16* lo;
  float* partial;
  int64_t yStride;
  int64_t wStride;
  int64_t splitStride;
  int64_t keptStride;
  int64_t thinStride;
  int32_t rows;
  int32_t cols;
  int32_t tiles;
  int32_t chunks;
  int32_t splits;
  int32_t firstUnit;
  int32_t width;  // 32, 64 or 96 thin columns
  bool overRows;
  bool vector;  // rows of y start at multiples of 16 bytes
};

template <int kN>
constexpr int stages() {
  return kN <= 64 ? 3 : 2;
}
template <int kN>
constexpr int stageBytes() {
  return kYBytes + 2 * kN * kChunk * 2;
}

__device__ __forceinline__ void copyAsync16(uint32_t shared, const void* global, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared), "l"(global), "r"(bytes));
}
__device__ __forceinline__ void commitCopies() {
  asm volatile("cp.async.commit_group;\n");
}
template <int kPending>
__device__ __forceinline__ void waitForCopies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending));
}

template <bool kTransposed>
__device__ __forceinline__ void loadMatrices(uint32_t (&r)[4], uint32_t shared) {
  if constexpr (kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared));
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared));
  }
}

__device__ __forceinline__ void multiplyAdd(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Tiles in shared memory consist of 16-byte pieces. Piece p of row r of a tile whose rows have a multiple of 8 pieces
// lies at p ^ (r % 8), otherwise (4 or 12 pieces) at p ^ (r / 2 % 4): eight rows of one column of pieces, which is what
// ldmatrix reads at a time, lie in different banks.

/// Copies tiles chunk by chunk: of Y [128 rows, 64 columns] and W [kN, 64 columns]; kOverRows: of Y [64 rows,
/// 128 columns] and W [64 rows, kN].
template <int kN, bool kOverRows, bool kVector>
class TileStream {
 public:
  __device__ __forceinline__ TileStream(const ThinJob& job, int tile, int chunk) {
    const int thread = static_cast<int>(threadIdx.x);
    const int r = kOverRows ? thread / 16 : thread / 8;
    const int piece = kOverRows ? thread % 16 : thread % 8;
    const int row = (kOverRows ? chunk * kChunk : tile * kTile) + r;
    const int col = (kOverRows ? tile * kTile : chunk * kChunk) + piece * 8;
    y_ = job.y + row * job.yStride + col;
    yStride_ = job.yStride;
    yOffset_ = (r * (kOverRows ? 16 : 8) + (piece ^ (r & 7))) * 16;
    summed_ = kOverRows ? row : col;
    summedEnd_ = kOverRows ? job.rows : job.cols;
    if constexpr (kOverRows) {
      kept_ = max(0, min(8, job.cols - col));
    } else {
      kept_ = max(0, (job.rows - row + kYRows - 1) / kYRows);
    }
    plane_ = job.lo - job.hi;
    wStride_ = job.wStride;
    if constexpr (!kOverRows) {
      w_ = job.hi + r * job.wStride + chunk * kChunk + piece * 8;
      wOffset_ = yOffset_;
    } else {
      constexpr int kAcross = kN == 64 ? 8 : 4;  // threads a row
      const int wRow = thread / kAcross;
      const int wPiece = thread % kAcross;
      w_ = job.hi + static_cast<int64_t>(chunk * kChunk + wRow) * job.wStride + wPiece * 8;
      wOffset_ = (wRow * (kN / 8) + (wPiece ^ (kN == 64 ? wRow & 7 : wRow >> 1 & 3))) * 16;
    }
  }

  /// Starts copying the next chunk into a stage.
  __device__ __forceinline__ void load(char* memory, uint32_t shared) {
#pragma unroll
    for (int i = 0; i < kYBytes / 16 / kThinThreads; ++i) {
      const bf16* from = y_ + i * kYRows * yStride_;
      const int offset = yOffset_ + i * kYBytes / 4;
      if constexpr (kVector) {
        const bool valid =
            kOverRows ? kept_ > 0 && summed_ + i * kYRows < summedEnd_ : i < kept_ && summed_ < summedEnd_;
        copyAsync16(shared + offset, from, valid);
      } else {
        const int count = kOverRows ? (summed_ + i * kYRows < summedEnd_ ? kept_ : 0)
                                    : (i < kept_ ? min(8, summedEnd_ - summed_) : 0);
        union {
          bf16 value[8];
          uint4 bits;
        } eight;
        eight.bits = make_uint4(0, 0, 0, 0);
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          if (e < count) eight.value[e] = from[e];
        }
        *reinterpret_cast<uint4*>(memory + offset) = eight.bits;
      }
    }
#pragma unroll
    for (int i = 0; i < kN / 32; ++i) {
      // Steps of 32 rows, or of 4 pieces of the same row.
      constexpr bool kRowSteps = !kOverRows || kN == 64;
      const bf16* from = w_ + (kRowSteps ? i * 32 * wStride_ : i * 32);
      const uint32_t to = shared + kYBytes + wOffset_ + i * (kRowSteps ? 32 * 128 : 64);
      copyAsync16(to, from, true);
      copyAsync16(to + kN * kChunk * 2, from + plane_, true);
    }
    y_ += kOverRows ? kChunk * yStride_ : kChunk;
    w_ += kOverRows ? kChunk * wStride_ : kChunk;
    summed_ += kChunk;
  }

 private:
  /// Rows between two pieces of one thread.
  static constexpr int kYRows = kOverRows ? 16 : 32;

  const bf16* y_;
  const bf16* w_;
  int64_t yStride_;
  int64_t wStride_;
  int64_t plane_;
  int yOffset_;
  int wOffset_;
  int summed_;
  int summedEnd_;
  int kept_;  // columns of this thread's pieces that exist; with kOverRows false: pieces whose row exists
};

/// One split of one tile.
template <int kN, bool kOverRows, bool kVector>
__device__ __forceinline__ void multiplyUnit(const ThinJob& job, int unit, char* memory) {
  constexpr int kStages = stages<kN>();
  constexpr int kStageBytes = stageBytes<kN>();
  constexpr int kPlane = kN * kChunk * 2;
  constexpr int kWarpThin = kN / 2;       // thin columns of a warp
  constexpr int kPairs = kWarpThin / 16;  // …in pairs of 8
  const int tile = unit % job.tiles;
  const int split = unit / job.tiles;
  const auto start = [&](int s) { return static_cast<int>(static_cast<int64_t>(s) * job.chunks / job.splits); };
  const int firstChunk = start(split);
  const int count = start(split + 1) - firstChunk;

  const auto shared = static_cast<uint32_t>(__cvta_generic_to_shared(memory));
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int warpKept = warp / 2 * 32;  // 32 of the 128 kept indices
  const int warpThin = warp % 2 * kWarpThin;
  const int row8 = lane & 7;
  const int matrix = lane >> 3;

  // Where this lane's rows of the matrices of one step begin; the steps and halves differ in address bits that the
  // swizzle leaves alone or flips.
  uint32_t aOffset;
  uint32_t bOffset[kPairs];
  if constexpr (kOverRows) {
    constexpr int kPieces = kN / 8;
    aOffset = ((matrix >> 1) * 8 + row8) * 256 + ((warpKept / 8 + (matrix & 1)) ^ row8) * 16;
    const int row = (matrix & 1) * 8 + row8;
#pragma unroll
    for (int pair = 0; pair < kPairs; ++pair) {
      const int piece = (warpThin + pair * 16) / 8 + (matrix >> 1);
      bOffset[pair] = kYBytes + (row * kPieces + (piece ^ (kN == 64 ? row8 : row8 >> 1))) * 16;
    }
  } else {
    aOffset = (warpKept + (lane & 15)) * 128 + ((lane >> 4) ^ row8) * 16;
#pragma unroll
    for (int pair = 0; pair < kPairs; ++pair) {
      const int row = warpThin + pair * 16 + row8 + (lane >> 4) * 8;
      bOffset[pair] = kYBytes + row * 128 + ((matrix & 1) ^ row8) * 16;
    }
  }

  float sums[2][kPairs * 2][4] = {};
  TileStream<kN, kOverRows, kVector> stream(job, tile, firstChunk);
#pragma unroll
  for (int s = 0; s < kStages - 1; ++s) {
    if (s < count) stream.load(memory + s * kStageBytes, shared + s * kStageBytes);
    commitCopies();
  }
  int stage = 0;
  int nextStage = (kStages - 1) * kStageBytes;
#pragma unroll 1
  for (int i = 0; i < count; ++i) {
    waitForCopies<kStages - 2>();
    __syncthreads();
    if (i + kStages - 1 < count) stream.load(memory + nextStage, shared + nextStage);
    commitCopies();
    const uint32_t base = shared + stage;
#pragma unroll
    for (int step = 0; step < kChunk / 16; ++step) {
      uint32_t a[2][4];
      uint32_t b[kPairs][2][4];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        if constexpr (kOverRows) {
          loadMatrices<true>(a[h], base + (aOffset ^ (h * 32)) + step * 16 * 256);
        } else {
          loadMatrices<false>(a[h], base + (aOffset ^ (step * 32)) + h * 16 * 128);
        }
      }
#pragma unroll
      for (int pair = 0; pair < kPairs; ++pair) {
#pragma unroll
        for (int plane = 0; plane < 2; ++plane) {
          if constexpr (kOverRows) {
            loadMatrices<true>(b[pair][plane], base + bOffset[pair] + plane * kPlane + step * 16 * kN * 2);
          } else {
            loadMatrices<false>(b[pair][plane], base + (bOffset[pair] ^ (step * 32)) + plane * kPlane);
          }
        }
      }
#pragma unroll
      for (int plane = 0; plane < 2; ++plane) {
#pragma unroll
        for (int pair = 0; pair < kPairs; ++pair) {
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            multiplyAdd(sums[h][pair * 2], a[h], b[pair][plane][0], b[pair][plane][1]);
            multiplyAdd(sums[h][pair * 2 + 1], a[h], b[pair][plane][2], b[pair][plane][3]);
          }
        }
      }
    }
    stage = stage + kStageBytes == kStages * kStageBytes ? 0 : stage + kStageBytes;
    nextStage = nextStage + kStageBytes == kStages * kStageBytes ? 0 : nextStage + kStageBytes;
  }

  float* out = job.partial + split * job.splitStride;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
#pragma unroll
    for (int n8 = 0; n8 < kPairs * 2; ++n8) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int kept = tile * kTile + warpKept + h * 16 + lane / 4 + e / 2 * 8;
        const int thin = warpThin + n8 * 8 + lane % 4 * 2 + e % 2;
        out[kept * job.keptStride + thin * job.thinStride] = sums[h][n8][e];
      }
    }
  }
}

}  // namespace lrqat::cuda::thin
