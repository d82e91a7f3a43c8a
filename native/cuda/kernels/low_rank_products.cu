#include <algorithm>

#include "cuda/check.h"
#include "cuda/kernels/element.cuh"
#include "cuda/kernels/low_rank_products.h"

namespace lrqat::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kTile = static_cast<int>(kThinTile);
constexpr int kChunk = static_cast<int>(kThinChunk);
constexpr int kYBytes = kTile * kChunk * 2;
constexpr size_t kMostJobs = 16;

/// A ThinProduct, or a part of its thin columns.
struct Job {
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
  bool vector;    // rows of y start at multiples of 16 bytes
};

struct Jobs {
  Job job[kMostJobs];
  int32_t count;
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

/// Byte offset of the 16-byte piece `piece` of row `row` in a tile whose rows have kPieces pieces, placed so that eight
/// rows of one piece column lie in different banks.
template <int kPieces>
__device__ __forceinline__ uint32_t place(int row, int piece) {
  if constexpr (kPieces % 8 == 0) {
    return static_cast<uint32_t>(row * kPieces + (piece ^ (row & 7))) * 16;
  } else {
    static_assert(kPieces % 4 == 0);
    return static_cast<uint32_t>(row * kPieces + (piece ^ ((row >> 1) & 3))) * 16;
  }
}

/// kOverRows: Y tile [64 rows, 128 columns], W tile [64 rows, kN]. Otherwise: Y tile [128 rows, 64 columns], W tile
/// [kN, 64 columns].
template <int kN, bool kOverRows>
__device__ __forceinline__ void loadStage(const Job& job, int tile, int chunk, char* memory, uint32_t shared) {
  constexpr int kYPieces = kOverRows ? kTile / 8 : kChunk / 8;
  constexpr int kWPieces = kOverRows ? kN / 8 : kChunk / 8;
  const int row0 = kOverRows ? chunk * kChunk : tile * kTile;
  const int col0 = kOverRows ? tile * kTile : chunk * kChunk;
#pragma unroll
  for (int i = 0; i < kYBytes / 16 / kThreads; ++i) {
    const int index = i * kThreads + static_cast<int>(threadIdx.x);
    const int r = index / kYPieces;
    const int piece = index % kYPieces;
    const int row = row0 + r;
    const int col = col0 + piece * 8;
    const uint32_t offset = place<kYPieces>(r, piece);
    if (job.vector) {
      const bool valid = row < job.rows && col < job.cols;
      copyAsync16(shared + offset, valid ? job.y + row * job.yStride + col : job.y, valid);
    } else {
      union {
        bf16 value[8];
        uint4 bits;
      } eight;
      eight.bits = make_uint4(0, 0, 0, 0);
      if (row < job.rows) {
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          if (col + e < job.cols) eight.value[e] = job.y[row * job.yStride + col + e];
        }
      }
      *reinterpret_cast<uint4*>(memory + offset) = eight.bits;
    }
  }
#pragma unroll
  for (int i = 0; i < kN * 16 / kThreads; ++i) {
    const int index = i * kThreads + static_cast<int>(threadIdx.x);
    const int plane = index / (kN * 8);
    const int r = index % (kN * 8) / kWPieces;
    const int piece = index % kWPieces;
    const bf16* from = (plane == 0 ? job.hi : job.lo);
    from += kOverRows ? static_cast<int64_t>(chunk * kChunk + r) * job.wStride + piece * 8
                      : r * job.wStride + chunk * kChunk + piece * 8;
    copyAsync16(shared + kYBytes + plane * kN * kChunk * 2 + place<kWPieces>(r, piece), from, true);
  }
}

/// One split of one tile.
template <int kN, bool kOverRows>
__device__ __forceinline__ void multiplyUnit(const Job& job, int unit, char* memory) {
  constexpr int kStages = stages<kN>();
  constexpr int kStageBytes = stageBytes<kN>();
  constexpr int kYPieces = kOverRows ? kTile / 8 : kChunk / 8;
  constexpr int kWPieces = kOverRows ? kN / 8 : kChunk / 8;
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

  float sums[2][kPairs * 2][4] = {};
#pragma unroll
  for (int s = 0; s < kStages - 1; ++s) {
    if (s < count) {
      loadStage<kN, kOverRows>(job, tile, firstChunk + s, memory + s * kStageBytes, shared + s * kStageBytes);
    }
    commitCopies();
  }
  int stage = 0;
  int nextStage = kStages - 1;
  for (int i = 0; i < count; ++i) {
    waitForCopies<kStages - 2>();
    __syncthreads();
    if (i + kStages - 1 < count) {
      loadStage<kN, kOverRows>(job, tile, firstChunk + i + kStages - 1, memory + nextStage * kStageBytes,
                               shared + nextStage * kStageBytes);
    }
    commitCopies();
    const uint32_t y = shared + stage * kStageBytes;
    const uint32_t w = y + kYBytes;
#pragma unroll
    for (int k = 0; k < kChunk; k += 16) {
      uint32_t a[2][4];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int kept = warpKept + h * 16;
        if constexpr (kOverRows) {
          const int matrix = lane >> 3;
          loadMatrices<true>(a[h], y + place<kYPieces>(k + (matrix >> 1) * 8 + (lane & 7), kept / 8 + (matrix & 1)));
        } else {
          loadMatrices<false>(a[h], y + place<kYPieces>(kept + (lane & 15), k / 8 + (lane >> 4)));
        }
      }
#pragma unroll
      for (int pair = 0; pair < kPairs; ++pair) {
        const int thin = warpThin + pair * 16;
#pragma unroll
        for (int plane = 0; plane < 2; ++plane) {
          const uint32_t base = w + plane * kN * kChunk * 2;
          uint32_t b[4];
          if constexpr (kOverRows) {
            const int matrix = lane >> 3;
            loadMatrices<true>(b, base + place<kWPieces>(k + (matrix & 1) * 8 + (lane & 7), thin / 8 + (matrix >> 1)));
          } else {
            loadMatrices<false>(
                b, base + place<kWPieces>(thin + (lane & 7) + ((lane >> 4) << 3), k / 8 + ((lane >> 3) & 1)));
          }
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            multiplyAdd(sums[h][pair * 2], a[h], b[0], b[1]);
            multiplyAdd(sums[h][pair * 2 + 1], a[h], b[2], b[3]);
          }
        }
      }
    }
    stage = stage + 1 == kStages ? 0 : stage + 1;
    nextStage = nextStage + 1 == kStages ? 0 : nextStage + 1;
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

template <bool kOverRows>
__global__ __launch_bounds__(kThreads, 2) void thinProductsKernel(const __grid_constant__ Jobs jobs) {
  extern __shared__ __align__(128) char memory[];
  int which = 0;
  while (which + 1 < jobs.count && static_cast<int>(blockIdx.x) >= jobs.job[which + 1].firstUnit) ++which;
  const Job& job = jobs.job[which];
  const int unit = static_cast<int>(blockIdx.x) - job.firstUnit;
  if (job.width == 32) {
    multiplyUnit<32, kOverRows>(job, unit, memory);
  } else if (job.width == 64) {
    multiplyUnit<64, kOverRows>(job, unit, memory);
  } else {
    multiplyUnit<96, kOverRows>(job, unit, memory);
  }
}

template <bool kOverRows>
void launch(const Jobs& jobs, int64_t units, cudaStream_t stream) {
  int bytes = 0;
  for (int i = 0; i < jobs.count; ++i) {
    const int width = jobs.job[i].width;
    bytes = std::max(bytes, width == 32   ? stages<32>() * stageBytes<32>()
                            : width == 64 ? stages<64>() * stageBytes<64>()
                                          : stages<96>() * stageBytes<96>());
  }
  LRQAT_CUDA(cudaFuncSetAttribute(thinProductsKernel<kOverRows>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  thinProductsKernel<kOverRows><<<static_cast<unsigned>(units), kThreads, static_cast<size_t>(bytes), stream>>>(jobs);
  LRQAT_CUDA(cudaGetLastError());
}

/// Thin columns [first, first + width) of a product as a job.
Job jobOf(ThinForm form, const ThinProduct& product, int64_t first, int64_t width) {
  const SplitMatrix w = form == ThinForm::OverColumns ? product.w.at(first, 0) : product.w.at(0, first);
  return {
      .y = reinterpret_cast<const bf16*>(product.y),
      .hi = reinterpret_cast<const bf16*>(w.hi),
      .lo = reinterpret_cast<const bf16*>(w.lo),
      .partial = product.partial + first * product.thinStride,
      .yStride = product.yStride,
      .wStride = w.stride,
      .splitStride = product.splitStride,
      .keptStride = product.keptStride,
      .thinStride = product.thinStride,
      .rows = static_cast<int32_t>(product.rows),
      .cols = static_cast<int32_t>(product.cols),
      .tiles = static_cast<int32_t>(thinTiles(product.kept(form))),
      .chunks = static_cast<int32_t>(thinChunks(product.summed(form))),
      .splits = static_cast<int32_t>(product.splits),
      .firstUnit = 0,
      .width = static_cast<int32_t>(width),
      .vector = product.cols % 8 == 0 && product.yStride % 8 == 0 && reinterpret_cast<uintptr_t>(product.y) % 16 == 0};
}

/// Width of the next piece of a thin side of which `rest` columns are left.
int64_t pieceWidth(int64_t rest) {
  if (rest == 128) return 64;
  return std::min<int64_t>(rest, 96);
}

int64_t thinPieces(int64_t thin) {
  int64_t pieces = 0;
  for (int64_t first = 0; first < thin; first += pieceWidth(thin - first)) ++pieces;
  return pieces;
}

}  // namespace

void planSplits(ThinForm form, std::span<ThinProduct> products) {
  int64_t work = 0;  // chunks of all tiles
  for (const ThinProduct& p : products) {
    work += thinTiles(p.kept(form)) * thinChunks(p.summed(form)) * thinPieces(p.thin);
  }
  const int64_t span = std::max<int64_t>(4, (work + kThinUnits - 1) / kThinUnits);
  for (ThinProduct& p : products) {
    p.splits = std::max<int64_t>(1, (thinChunks(p.summed(form)) + span / 2) / span);
  }
}

void thinProducts(ThinForm form, std::span<const ThinProduct> products, cudaStream_t stream) {
  Jobs jobs{};
  int64_t units = 0;
  const auto flush = [&] {
    if (jobs.count == 0) return;
    if (form == ThinForm::OverRows) {
      launch<true>(jobs, units, stream);
    } else {
      launch<false>(jobs, units, stream);
    }
    jobs.count = 0;
    units = 0;
  };
  for (const ThinProduct& product : products) {
    LRQAT_CHECK(product.thin % kThinStep == 0 && product.w.stride % 8 == 0 && product.rows <= INT32_MAX - kThinTile);
    LRQAT_CHECK(form == ThinForm::OverRows || product.w.stride >= roundedUp(product.cols, kThinChunk));
    LRQAT_CHECK(product.rows > 0 && product.cols > 0 && product.splits > 0);
    for (int64_t first = 0; first < product.thin;) {
      const int64_t width = pieceWidth(product.thin - first);
      Job& job = jobs.job[jobs.count++];
      job = jobOf(form, product, first, width);
      job.firstUnit = static_cast<int32_t>(units);
      units += job.tiles * product.splits;
      first += width;
      if (jobs.count == static_cast<int32_t>(kMostJobs)) flush();
    }
  }
  flush();
}

}  // namespace lrqat::cuda
