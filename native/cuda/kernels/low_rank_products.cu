#include <algorithm>

#include "cuda/check.h"
#include "cuda/kernels/low_rank_products.h"
#include "cuda/kernels/low_rank_tiles.cuh"

namespace lrqat::cuda {

namespace {

using namespace thin;

constexpr size_t kMostJobs = 16;

struct Jobs {
  ThinJob job[kMostJobs];
  int32_t count;
};

template <bool kVector, bool kOverRows>
__device__ __forceinline__ void multiplyWidth(const ThinJob& job, int unit, char* memory) {
  if (job.width == 32) {
    multiplyUnit<32, kOverRows, kVector>(job, unit, memory);
  } else if (job.width == 64) {
    multiplyUnit<64, kOverRows, kVector>(job, unit, memory);
  } else {
    multiplyUnit<96, kOverRows, kVector>(job, unit, memory);
  }
}

template <bool kVector>
__global__ __launch_bounds__(kThinThreads, 2) void thinProductsKernel(const __grid_constant__ Jobs jobs) {
  extern __shared__ __align__(128) char memory[];
  int which = 0;
  while (which + 1 < jobs.count && static_cast<int>(blockIdx.x) >= jobs.job[which + 1].firstUnit) ++which;
  const ThinJob& job = jobs.job[which];
  const int unit = static_cast<int>(blockIdx.x) - job.firstUnit;
  if (job.overRows) {
    multiplyWidth<kVector, true>(job, unit, memory);
  } else {
    multiplyWidth<kVector, false>(job, unit, memory);
  }
}

template <bool kVector>
void launch(const Jobs& jobs, int64_t units, cudaStream_t stream) {
  int bytes = 0;
  for (int i = 0; i < jobs.count; ++i) {
    const int width = jobs.job[i].width;
    bytes = std::max(bytes, width == 32   ? stages<32>() * stageBytes<32>()
                            : width == 64 ? stages<64>() * stageBytes<64>()
                                          : stages<96>() * stageBytes<96>());
  }
  const auto kernel = thinProductsKernel<kVector>;
  LRQAT_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  kernel<<<static_cast<unsigned>(units), kThinThreads, static_cast<size_t>(bytes), stream>>>(jobs);
  LRQAT_CUDA(cudaGetLastError());
}

/// Thin columns [first, first + width) of a product as a job.
ThinJob jobOf(const ThinProduct& product, int64_t first, int64_t width) {
  const int64_t kept = product.tiles() * kThinTile;
  const SplitMatrix w = product.form == ThinForm::OverColumns ? product.w.at(first, 0) : product.w.at(0, first);
  return {
      .y = reinterpret_cast<const bf16*>(product.y),
      .hi = reinterpret_cast<const bf16*>(w.hi),
      .lo = reinterpret_cast<const bf16*>(w.lo),
      .partial = product.partial + first * (product.thinMajor ? kept : 1),
      .yStride = product.yStride,
      .wStride = w.stride,
      .splitStride = product.splitStride(),
      .keptStride = product.thinMajor ? 1 : product.thin,
      .thinStride = product.thinMajor ? kept : 1,
      .rows = static_cast<int32_t>(product.rows),
      .cols = static_cast<int32_t>(product.cols),
      .tiles = static_cast<int32_t>(product.tiles()),
      .chunks = static_cast<int32_t>(product.chunks()),
      .splits = static_cast<int32_t>(product.splits),
      .firstUnit = 0,
      .width = static_cast<int32_t>(width),
      .overRows = product.form == ThinForm::OverRows,
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

void planSplits(std::span<ThinProduct> products) {
  // A chunk costs the copy of its part of Y and the products with W, which are as long for 96 thin columns.
  const auto cost = [](const ThinProduct& p) { return kThinTile + p.thin / thinPieces(p.thin); };
  int64_t work = 0;
  for (const ThinProduct& p : products) work += p.tiles() * p.chunks() * thinPieces(p.thin) * cost(p);
  // Rounding the splits up may ask for more thread blocks than run at once, and those few would run alone.
  for (int64_t span = std::max<int64_t>(4 * kThinTile, (work + kThinUnits - 1) / kThinUnits);; span += span / 16) {
    int64_t units = 0;
    bool whole = true;
    for (ThinProduct& p : products) {
      p.splits = std::max<int64_t>(1, (p.chunks() * cost(p) + span / 2) / span);
      units += p.tiles() * thinPieces(p.thin) * p.splits;
      whole = whole && p.splits == 1;
    }
    if (units <= kThinUnits || whole) return;
  }
}

void thinProducts(std::span<const ThinProduct> products, cudaStream_t stream) {
  Jobs jobs{};
  int64_t units = 0;
  const auto flush = [&] {
    if (jobs.count == 0) return;
    const bool vector = std::all_of(jobs.job, jobs.job + jobs.count, [](const ThinJob& job) { return job.vector; });
    vector ? launch<true>(jobs, units, stream) : launch<false>(jobs, units, stream);
    jobs.count = 0;
    units = 0;
  };
  for (const ThinProduct& product : products) {
    LRQAT_CHECK(product.thin % kThinStep == 0 && product.w.stride % 8 == 0 && product.rows <= INT32_MAX - kThinTile);
    LRQAT_CHECK(product.form == ThinForm::OverRows || product.w.stride >= roundedUp(product.cols, kThinChunk));
    LRQAT_CHECK(product.rows > 0 && product.cols > 0 && product.splits > 0 && product.splits <= product.chunks());
    for (int64_t first = 0; first < product.thin;) {
      const int64_t width = pieceWidth(product.thin - first);
      ThinJob& job = jobs.job[jobs.count++];
      job = jobOf(product, first, width);
      job.firstUnit = static_cast<int32_t>(units);
      units += job.tiles * product.splits;
      first += width;
      if (jobs.count == static_cast<int32_t>(kMostJobs)) flush();
    }
  }
  flush();
}

}  // namespace lrqat::cuda
