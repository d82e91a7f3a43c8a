#include "cuda/kernels/activations.h"

#include <algorithm>

#include "cuda/check.h"
#include "cuda/kernels/reduce.cuh"
#include "cuda/kernels/vector.cuh"

namespace lrqat::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kHeld = 2;     // vectors of a group that a thread keeps in registers between its two passes
constexpr int kColumns = 8;  // of one access: the marks of eight columns are a byte
constexpr int kScalarThreads = 128;
constexpr int kPartBlocks = 256;
constexpr int kLearnBlocks = 1024;
constexpr int kLearnHeld = 2;  // vectors of a thread that are on their way at a time

struct Extent {
  float low = INFINITY;
  float high = -INFINITY;

  __device__ __forceinline__ void include(float v) {
    // NaN is passed over here and seen where it is rounded.
    low = fminf(low, v);
    high = fmaxf(high, v);
  }
};

template <int Lanes>
__device__ __forceinline__ Extent acrossLanes(Extent extent) {
#pragma unroll
  for (int offset = Lanes / 2; offset > 0; offset /= 2) {
    extent.low = fminf(extent.low, __shfl_xor_sync(0xffffffffU, extent.low, offset));
    extent.high = fmaxf(extent.high, __shfl_xor_sync(0xffffffffU, extent.high, offset));
  }
  return extent;
}

__device__ __forceinline__ Extent acrossBlock(Extent extent, Extent* shared) {
  extent = acrossLanes<32>(extent);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (lane == 0) shared[threadIdx.x / 32] = extent;
  __syncthreads();
  extent = lane < static_cast<int>(blockDim.x) / 32 ? shared[lane] : Extent{};
  return acrossLanes<32>(extent);
}

/// Where a grid comes from: the values themselves, or memory.
struct GridRule {
  float levels;
  bool fractionalZeroPoint;
  const StaticGrid* shared;

  __device__ __forceinline__ StaticGrid of(Extent extent) const {
    if (!fractionalZeroPoint) {
      extent.low = extent.low < 0 ? extent.low : 0;
      extent.high = extent.high > 0 ? extent.high : 0;
    }
    float delta = (extent.high - extent.low) / levels;
    delta = delta < 1e-8F ? 1e-8F : delta;
    float zero = -extent.low / delta;
    if (!fractionalZeroPoint) {
      zero = rintf(zero);
      zero = zero > levels ? levels : zero;
    }
    return {delta, zero, 0, levels};
  }
};

struct OnGrid {
  float steps;  // x/scale
  float code;
  bool inside;
};

__device__ __forceinline__ OnGrid onGrid(float x, const StaticGrid& grid) {
  OnGrid out;
  out.steps = x / grid.scale;
  const float value = rintf(out.steps) + grid.zero;
  out.inside = value >= grid.low && value <= grid.high;
  out.code = value < grid.low ? grid.low : value;  // NaN stays
  out.code = out.code > grid.high ? grid.high : out.code;
  return out;
}

/// N values on their grid; bit i of the result: the i-th is inside.
template <int N>
__device__ __forceinline__ unsigned quantizeValues(float (&v)[N], const StaticGrid& grid) {
  unsigned marks = 0;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const OnGrid at = onGrid(v[i], grid);
    v[i] = grid.scale * (at.code - grid.zero);
    marks |= at.inside ? 1U << i : 0U;
  }
  return marks;
}

// Widths that are multiples of 8. `Lanes` threads (a part of a warp, or the block) to a group of `width` columns;
// groups follow each other in memory.
template <typename E, int Lanes, bool Shared>
__global__ void __launch_bounds__(kThreads)
    quantizeGroups(const E* x, GridRule rule, E* y, uint8_t* inside, int64_t groups, int64_t width,
                   int64_t groupsPerRow, int64_t markBytes) {
  constexpr int N = kColumns;
  __shared__ Extent shared[32];
  const int lane = static_cast<int>(threadIdx.x) % Lanes;
  const int64_t group = static_cast<int64_t>(blockIdx.x) * (kThreads / Lanes) + threadIdx.x / Lanes;
  const bool active = group < groups;
  const int64_t start = group * width;
  Bits<E, N> held[kHeld];
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
    const int64_t column = static_cast<int64_t>(k * Lanes + lane) * N;
    if (active && column < width) held[k].load(x + start + column);
  }
  StaticGrid grid;
  if constexpr (Shared) {
    grid = *rule.shared;
  } else {
    Extent extent;
    float v[N];
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      if (!active || static_cast<int64_t>(k * Lanes + lane) * N >= width) continue;
      held[k].unpack(v);
#pragma unroll
      for (int i = 0; i < N; ++i) extent.include(v[i]);
    }
    if (active) {
      for (int64_t column = static_cast<int64_t>(kHeld * Lanes + lane) * N; column < width;
           column += static_cast<int64_t>(Lanes) * N) {
        loadFloats(x + start + column, v);
#pragma unroll
        for (int i = 0; i < N; ++i) extent.include(v[i]);
      }
    }
    if constexpr (Lanes <= 32) {
      extent = acrossLanes<Lanes>(extent);
    } else {
      extent = acrossBlock(extent, shared);
    }
    grid = rule.of(extent);
  }
  if (!active) return;
  const int64_t row = group / groupsPerRow;
  uint8_t* marksOfRow = inside ? inside + row * markBytes : nullptr;
  const int64_t firstColumn = (group - row * groupsPerRow) * width;
  const auto write = [&](int64_t column, float(&v)[N]) {
    const unsigned marks = quantizeValues(v, grid);
    storeFloats(y + start + column, v);
    if (marksOfRow) marksOfRow[(firstColumn + column) / 8] = static_cast<uint8_t>(marks);
  };
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
    const int64_t column = static_cast<int64_t>(k * Lanes + lane) * N;
    if (column >= width) continue;
    float v[N];
    held[k].unpack(v);
    write(column, v);
  }
  for (int64_t column = static_cast<int64_t>(kHeld * Lanes + lane) * N; column < width;
       column += static_cast<int64_t>(Lanes) * N) {
    float v[N];
    loadFloats(x + start + column, v);
    write(column, v);
  }
}

// Any width. One block a row, one warp a group; marks of the row come together in shared memory [markWords].
template <typename E>
__global__ void __launch_bounds__(kScalarThreads)
    quantizeRows(const E* x, GridRule rule, E* y, uint32_t* inside, int64_t cols, int64_t width) {
  extern __shared__ uint32_t marks[];
  const int64_t words = (cols + 31) / 32;
  if (inside) {
    for (int64_t word = threadIdx.x; word < words; word += kScalarThreads) marks[word] = 0;
    __syncthreads();
  }
  const int64_t row = static_cast<int64_t>(blockIdx.x) * cols;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int64_t start = static_cast<int64_t>(threadIdx.x) / 32 * width; start < cols;
       start += int64_t{kScalarThreads} / 32 * width) {
    StaticGrid grid;
    if (rule.shared) {
      grid = *rule.shared;
    } else {
      Extent extent;
      for (int64_t i = lane; i < width; i += 32) extent.include(toFloat(x[row + start + i]));
      grid = rule.of(acrossLanes<32>(extent));
    }
    for (int64_t i = lane; i < width; i += 32) {
      float v[1] = {toFloat(x[row + start + i])};
      const unsigned isInside = quantizeValues(v, grid);
      y[row + start + i] = fromFloat<E>(v[0]);
      if (inside && isInside != 0) atomicOr(&marks[(start + i) / 32], 1U << ((start + i) % 32));
    }
  }
  if (!inside) return;
  __syncthreads();
  for (int64_t word = threadIdx.x; word < words; word += kScalarThreads) {
    inside[static_cast<int64_t>(blockIdx.x) * words + word] = marks[word];
  }
}

// One block a row.
template <typename E, int N>
__global__ void __launch_bounds__(kThreads) maskRows(E* gradient, const uint32_t* inside, int64_t cols) {
  const int64_t words = (cols + 31) / 32;
  E* row = gradient + static_cast<int64_t>(blockIdx.x) * cols;
  const uint32_t* marks = inside + static_cast<int64_t>(blockIdx.x) * words;
  for (int64_t column = static_cast<int64_t>(threadIdx.x) * N; column < cols; column += int64_t{kThreads} * N) {
    // A vector never reaches over two words.
    const uint32_t bits = marks[column / 32] >> (column % 32);
    float v[N];
    loadFloats(row + column, v);
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] = (bits >> i & 1U) != 0 ? v[i] : 0.0F;
    storeFloats(row + column, v);
  }
}

template <typename E>
__global__ void __launch_bounds__(kThreads) rangePart(const E* x, int64_t count, ActivationRange* parts) {
  __shared__ Extent shared[32];
  Extent extent;
  bool isFinite = true;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count; i += stride) {
    const float v = toFloat(x[i]);
    isFinite = isFinite && isfinite(v);
    extent.include(v);
  }
  extent = acrossBlock(extent, shared);
  const bool all = __syncthreads_and(isFinite) != 0;
  if (threadIdx.x != 0) return;
  parts[blockIdx.x] = all ? ActivationRange{extent.low, extent.high} : ActivationRange{NAN, NAN};
}

/// Sums of learnGrid: Σ dY·((C − zero) − M·x/scale) and Σ dY·(1 − M).
struct GridSums {
  double scale;
  double outside;
};

/// count: a multiple of N.
template <typename E, typename G, int N>
__global__ void __launch_bounds__(kThreads)
    learnPart(const E* x, const StaticGrid* shared, G* gradient, int64_t count, GridSums* parts) {
  __shared__ double places[2][32];
  const StaticGrid grid = *shared;
  GridSums sums{};
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads * N;
  for (int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N; first < count;
       first += stride * kLearnHeld) {
    Bits<E, N> values[kLearnHeld];
    Bits<G, N> gradients[kLearnHeld];
#pragma unroll
    for (int k = 0; k < kLearnHeld; ++k) {
      const int64_t at = first + k * stride;
      if (at >= count) continue;
      values[k].load(x + at);
      gradients[k].load(gradient + at);
    }
#pragma unroll
    for (int k = 0; k < kLearnHeld; ++k) {
      const int64_t at = first + k * stride;
      if (at >= count) continue;
      float v[N];
      float dY[N];
      values[k].unpack(v);
      gradients[k].unpack(dY);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const OnGrid on = onGrid(v[i], grid);
        sums.scale += static_cast<double>(dY[i] * ((on.code - grid.zero) - (on.inside ? on.steps : 0.0F)));
        if (!on.inside) sums.outside += static_cast<double>(dY[i]);
        dY[i] = on.inside ? dY[i] : 0.0F;
      }
      storeFloats(gradient + at, dY);
    }
  }
  sums.scale = blockSum(sums.scale, places[0]);
  sums.outside = blockSum(sums.outside, places[1]);
  if (threadIdx.x == 0) parts[blockIdx.x] = sums;
}

// One block.
__global__ void __launch_bounds__(kThreads)
    addGridSums(const GridSums* parts, int count, const StaticGrid* shared, float* scaleGradient, float* zeroGradient) {
  __shared__ double places[2][32];
  GridSums sums{};
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
    sums.scale += parts[i].scale;
    sums.outside += parts[i].outside;
  }
  sums.scale = blockSum(sums.scale, places[0]);
  sums.outside = blockSum(sums.outside, places[1]);
  if (threadIdx.x != 0) return;
  *scaleGradient += static_cast<float>(sums.scale);
  if (zeroGradient) *zeroGradient -= static_cast<float>(static_cast<double>(shared->scale) * sums.outside);
}

int partBlocks(int64_t count) {
  const int64_t blocks = (count + kThreads - 1) / kThreads;
  return static_cast<int>(blocks < kPartBlocks ? blocks : kPartBlocks);
}

}  // namespace

void quantizeActivations(Matrix x, const ActivationGrid& grid, Matrix y, uint32_t* inside, cudaStream_t stream) {
  LRQAT_CHECK(y.type == x.type && y.rows == x.rows && y.cols == x.cols);
  LRQAT_CHECK(grid.shared || (grid.bits >= 2 && grid.bits <= 8 && grid.width > 0 && x.cols % grid.width == 0));
  if (x.elements() == 0) return;
  const GridRule rule{static_cast<float>((1 << grid.bits) - 1), grid.fractionalZeroPoint, grid.shared};
  const int64_t width = grid.shared ? x.cols : grid.width;
  dispatchActivation(x.type, [&](auto element) {
    using E = decltype(element);
    if (width % kColumns != 0 || !isAligned(x.data) || !isAligned(y.data)) {
      const int64_t markBytes = inside ? markWords(x.cols) * 4 : 0;
      quantizeRows<E><<<static_cast<unsigned>(x.rows), kScalarThreads, static_cast<size_t>(markBytes), stream>>>(
          elements<E>(x), rule, elements<E>(y), inside, x.cols, width);
      return;
    }
    const int64_t groupsPerRow = x.cols / width;
    const int64_t groups = x.rows * groupsPerRow;
    const auto launch = [&]<int Lanes, bool Shared>() {
      constexpr int64_t perBlock = kThreads / Lanes;
      quantizeGroups<E, Lanes, Shared>
          <<<static_cast<unsigned>((groups + perBlock - 1) / perBlock), kThreads, 0, stream>>>(
              elements<E>(x), rule, elements<E>(y), reinterpret_cast<uint8_t*>(inside), groups, width, groupsPerRow,
              markWords(x.cols) * 4);
    };
    if (grid.shared) {
      launch.template operator()<kThreads, true>();
    } else if (width <= 8 * kColumns) {
      launch.template operator()<8, false>();
    } else if (width <= 16 * kColumns) {
      launch.template operator()<16, false>();
    } else if (width <= 32 * kColumns * kHeld) {
      launch.template operator()<32, false>();
    } else {
      launch.template operator()<kThreads, false>();
    }
  });
  LRQAT_CUDA(cudaGetLastError());
}

void maskActivationGradient(Matrix gradient, const uint32_t* inside, cudaStream_t stream) {
  LRQAT_CHECK(inside);
  if (gradient.elements() == 0) return;
  dispatchActivation(gradient.type, [&](auto element) {
    using E = decltype(element);
    constexpr int width = 16 / sizeof(E);
    const auto launch = [&]<int N>() {
      maskRows<E, N>
          <<<static_cast<unsigned>(gradient.rows), kThreads, 0, stream>>>(elements<E>(gradient), inside, gradient.cols);
    };
    if (allowsWidth(gradient, width)) {
      launch.template operator()<width>();
    } else {
      launch.template operator()<1>();
    }
  });
  LRQAT_CUDA(cudaGetLastError());
}

int64_t activationRangeScratchBytes() {
  return Scratch::padded(kPartBlocks * static_cast<int64_t>(sizeof(ActivationRange)));
}

ActivationRangeParts activationRangeParts(Matrix x, Scratch& scratch, cudaStream_t stream) {
  LRQAT_CHECK(x.elements() > 0);
  ActivationRangeParts out{scratch.take<ActivationRange>(kPartBlocks), partBlocks(x.elements())};
  dispatchActivation(x.type, [&](auto element) {
    using E = decltype(element);
    rangePart<E><<<static_cast<unsigned>(out.count), kThreads, 0, stream>>>(elements<E>(x), x.elements(), out.parts);
  });
  LRQAT_CUDA(cudaGetLastError());
  return out;
}

int64_t learnGridScratchBytes() {
  return Scratch::padded(kLearnBlocks * static_cast<int64_t>(sizeof(GridSums)));
}

void learnGrid(Matrix x, const ActivationGrid& grid, Matrix gradient, float* scaleGradient, float* zeroGradient,
               Scratch& scratch, cudaStream_t stream) {
  LRQAT_CHECK(grid.shared && scaleGradient && x.rows == gradient.rows && x.cols == gradient.cols);
  const int64_t count = x.elements();
  if (count == 0) return;
  auto* parts = scratch.take<GridSums>(kLearnBlocks);
  const bool wide = count % kColumns == 0 && isAligned(x.data) && isAligned(gradient.data);
  const int64_t perBlock = int64_t{kThreads} * (wide ? kColumns : 1);
  const auto blocks = static_cast<unsigned>(std::min<int64_t>(kLearnBlocks, (count + perBlock - 1) / perBlock));
  dispatchActivation(x.type, [&](auto xElement) {
    dispatchActivation(gradient.type, [&](auto gradientElement) {
      using E = decltype(xElement);
      using G = decltype(gradientElement);
      const auto launch = [&]<int N>() {
        learnPart<E, G, N>
            <<<blocks, kThreads, 0, stream>>>(elements<E>(x), grid.shared, elements<G>(gradient), count, parts);
      };
      wide ? launch.template operator()<kColumns>() : launch.template operator()<1>();
    });
  });
  addGridSums<<<1, kThreads, 0, stream>>>(parts, static_cast<int>(blocks), grid.shared, scaleGradient, zeroGradient);
  LRQAT_CUDA(cudaGetLastError());
}

}  // namespace lrqat::cuda
