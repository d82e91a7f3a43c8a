#include "cuda/kernels/trained_weights.h"

#include <cmath>

#include "core/grid.h"
#include "cuda/check.h"
#include "cuda/kernels/reduce.cuh"
#include "cuda/kernels/row_grids.cuh"
#include "cuda/kernels/source_rows.cuh"
#include "cuda/kernels/vector.cuh"

namespace lrqat::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kWidth = 4;

/// Scales and grids of rows.
struct Rounding {
  ColumnScales scales;
  RowGrids grids;

  static Rounding of(const LinearWeight& weight, const float* scale, const float* zero, int64_t firstRow) {
    return {ColumnScales::of(weight.spec, scale, weight.n, firstRow), RowGrids::of(weight, zero, firstRow)};
  }
  __device__ __forceinline__ float scaleAt(uint32_t row, uint32_t column) const {
    return __ldg(scales.scale + row * scales.rowStride + column / static_cast<uint32_t>(scales.groupSize));
  }
  __device__ __forceinline__ float lowAt(uint32_t row, uint32_t column) const { return grids.low(row, column); }
};

struct Entry {
  float x;        // W/s
  float rounded;  // R
  float low, high;

  __device__ __forceinline__ Entry(float weight, float scale, float lowest, float levels)
      : x(weight / scale), rounded(rintf(x)), low(lowest), high(lowest + levels) {}
  __device__ __forceinline__ bool inside() const { return rounded >= low && rounded <= high; }
  /// V
  __device__ __forceinline__ float value() const { return fminf(fmaxf(rounded, low), high); }
};

// grid: (rows, pieces of a row)
template <typename E, int N>
__global__ void __launch_bounds__(kThreads)
    roundWeight(const float* weight, Rounding rounding, bool multiply, E* out, int64_t n) {
  const uint32_t column = (blockIdx.y * kThreads + threadIdx.x) * N;
  if (column >= n) return;
  const uint32_t row = blockIdx.x;
  float v[N];
  loadFloats(weight + row * n + column, v);
  float scale = 0;
  float low = 0;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    // Most groups are longer than what a thread reads.
    if (i == 0 || rounding.scales.groupSize % N != 0) {
      scale = rounding.scaleAt(row, column + i);
      low = rounding.lowAt(row, column + i);
    }
    const float q = Entry(v[i], scale, low, rounding.grids.levels).value();
    v[i] = multiply ? q * scale : q;
  }
  storeFloats(out + row * n + column, v);
}

/// What the sums over a scale's weights become.
struct ScaleGradients {
  const float* scale;      // [scaleCount]
  const float* theta;      // [scaleCount]
  const float* zeroTheta;  // [scaleCount]
  float* ds;               // null: not wanted
  float* dz;               // null: not wanted
  double factor;
  float levels;
  bool log;

  __device__ __forceinline__ void store(int64_t index, double scaleSum, double outsideSum) const {
    const double s = scale[index];
    if (ds) {
      const bool stopped = !log && theta[index] < kScaleFloor;
      ds[index] = stopped ? 0.0F : static_cast<float>(factor * scaleSum * (log ? s : 1.0));
    }
    if (dz) {
      dz[index] = zeroPointMoves(zeroTheta[index], levels) ? static_cast<float>(-factor * s * outsideSum) : 0.0F;
    }
  }
};

/// A warp a segment of `size` neighbouring columns that share a scale: D becomes dW. With rowSums [2][segments] the
/// sums are left there.
template <int N>
__global__ void __launch_bounds__(kThreads)
    segmentGradients(const float* weight, float* gradient, Rounding rounding, bool divide, int64_t n, int64_t size,
                     int64_t segments, ScaleGradients scales, double* rowSums) {
  const int64_t segment = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (segment >= segments) return;
  const int64_t perRow = n / size;
  const int64_t row = segment / perRow;
  const int64_t first = segment % perRow * size;
  const float scale = rounding.scaleAt(static_cast<uint32_t>(row), static_cast<uint32_t>(first));
  const float low = rounding.lowAt(static_cast<uint32_t>(row), static_cast<uint32_t>(first));
  weight += row * n + first;
  gradient += row * n + first;
  float scaleSum = 0;
  float outsideSum = 0;
  constexpr int unroll = 4;  // so that a few reads are on their way at a time
  constexpr int64_t stride = 32 * N;
  for (int64_t start = threadIdx.x % 32 * N; start < size; start += unroll * stride) {
    float w[unroll][N];
    float g[unroll][N];
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      if (start + u * stride >= size) break;
      loadFloats(weight + start + u * stride, w[u]);
      loadFloats(gradient + start + u * stride, g[u]);
    }
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      if (start + u * stride >= size) break;
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const Entry entry(w[u][i], scale, low, rounding.grids.levels);
        // Scales outside of the product: D is s·G.
        if (divide) g[u][i] = __fdiv_rn(g[u][i], scale);
        const bool inside = entry.inside();
        const float excess = inside ? entry.rounded - entry.x : entry.value();
        scaleSum = __fmaf_rn(g[u][i], excess, scaleSum);
        if (inside) continue;
        outsideSum += g[u][i];
        g[u][i] = 0;
      }
      storeFloats(gradient + start + u * stride, g[u]);
    }
  }
  const double scaleTotal = warpSum(static_cast<double>(scaleSum));
  const double outsideTotal = warpSum(static_cast<double>(outsideSum));
  if (threadIdx.x % 32 != 0) return;
  if (rowSums) {
    rowSums[segment] = scaleTotal;
    rowSums[segments + segment] = outsideTotal;
  } else {
    scales.store(segment, scaleTotal, outsideTotal);
  }
}

/// One block: all rows share one scale.
__global__ void __launch_bounds__(kThreads)
    tensorGradients(const double* rowSums, int64_t rows, ScaleGradients scales) {
  __shared__ double shared[2][32];
  double scaleSum = 0;
  double outsideSum = 0;
  for (int64_t row = threadIdx.x; row < rows; row += kThreads) {
    scaleSum += rowSums[row];
    outsideSum += rowSums[rows + row];
  }
  scaleSum = blockSum(scaleSum, shared[0]);
  outsideSum = blockSum(outsideSum, shared[1]);
  if (threadIdx.x == 0) scales.store(0, scaleSum, outsideSum);
}

// grid: (rows, pieces of a row)
template <typename E>
__global__ void __launch_bounds__(kThreads) countRows(const float* weight, Rounding rounding, SourceRows<E> source,
                                                      Rounding start, int64_t n, unsigned long long* counts) {
  const uint32_t column = blockIdx.y * kThreads + threadIdx.x;
  const uint32_t row = blockIdx.x;
  unsigned clipped = 0;
  unsigned flipped = 0;
  if (column < n) {
    const Entry now(weight[row * n + column], rounding.scaleAt(row, column), rounding.lowAt(row, column),
                    rounding.grids.levels);
    const Entry then(source.at(row * n + column), start.scaleAt(row, column), start.lowAt(row, column),
                     start.grids.levels);
    clipped = now.inside() ? 0 : 1;
    flipped = now.value() != then.value() ? 1 : 0;
  }
  clipped = warpSum(clipped);
  flipped = warpSum(flipped);
  if (threadIdx.x % 32 != 0) return;
  if (clipped != 0) atomicAdd(&counts[0], static_cast<unsigned long long>(clipped));
  if (flipped != 0) atomicAdd(&counts[1], static_cast<unsigned long long>(flipped));
}

dim3 gridOf(int64_t rows, int64_t n, int width) {
  const int64_t pieces = (n + int64_t{kThreads} * width - 1) / (int64_t{kThreads} * width);
  LRQAT_CHECK(rows > 0 && rows <= INT32_MAX && n <= INT32_MAX && pieces <= 65535);
  return {static_cast<unsigned>(rows), static_cast<unsigned>(pieces)};
}

}  // namespace

void rebuildTrainedWeight(const LinearWeight& weight, const LowRank& lowRank, Matrix out, cudaStream_t stream) {
  LRQAT_CHECK(weight.spec.trainsWeights() && lowRank.weight && out.rows == weight.m && out.cols == weight.n);
  const Rounding rounding = Rounding::of(weight, lowRank.scale, lowRank.zero, 0);
  const bool multiply = weight.spec.granularity == Granularity::Group;
  dispatchActivation(out.type, [&](auto e) {
    using E = decltype(e);
    const auto launch = [&]<int N>() {
      roundWeight<E, N><<<gridOf(weight.m, weight.n, N), kThreads, 0, stream>>>(lowRank.weight, rounding, multiply,
                                                                                elements<E>(out), weight.n);
    };
    if (allowsWidth(out, kWidth) && isAligned(lowRank.weight)) {
      launch.template operator()<kWidth>();
    } else {
      launch.template operator()<1>();
    }
  });
  LRQAT_CUDA(cudaGetLastError());
}

void finishWeightGradient(const WeightGradientTask& task, Scratch& scratch, cudaStream_t stream) {
  const LinearWeight& w = *task.weight;
  const QuantSpec& spec = w.spec;
  LRQAT_CHECK(spec.trainsWeights() && task.lowRank.weight && task.gradient.weight);
  LRQAT_CHECK((!task.gradient.scale || task.theta) && (!task.gradient.zero || task.zeroTheta));
  const bool group = spec.granularity == Granularity::Group;
  const bool tensor = spec.granularity == Granularity::Tensor;
  const int64_t size = group ? spec.groupSize : w.n;
  const int64_t segments = w.m * (w.n / size);
  const double perScale = static_cast<double>(w.m * w.n) / static_cast<double>(spec.scaleCount(w.m, w.n));
  const double steps = spec.symmetric ? spec.qmax() : spec.levels();
  const ScaleGradients scales{.scale = task.lowRank.scale,
                              .theta = task.theta,
                              .zeroTheta = task.zeroTheta,
                              .ds = task.gradient.scale,
                              .dz = task.gradient.zero,
                              .factor = spec.gradientScaling ? 1 / std::sqrt(steps * perScale) : 1.0,
                              .levels = static_cast<float>(spec.levels()),
                              .log = spec.scaleDomain == ScaleDomain::Log};
  double* rowSums = tensor ? scratch.take<double>(2 * w.m) : nullptr;
  const Rounding rounding = Rounding::of(w, task.lowRank.scale, task.lowRank.zero, 0);
  const auto blocks = static_cast<unsigned>((segments + kWarps - 1) / kWarps);
  const auto launch = [&]<int N>() {
    segmentGradients<N><<<blocks, kThreads, 0, stream>>>(task.lowRank.weight, task.gradient.weight, rounding, !group,
                                                         w.n, size, segments, scales, rowSums);
  };
  if (size % kWidth == 0 && isAligned(task.lowRank.weight) && isAligned(task.gradient.weight)) {
    launch.template operator()<kWidth>();
  } else {
    launch.template operator()<1>();
  }
  LRQAT_CUDA(cudaGetLastError());
  if (!tensor) return;
  tensorGradients<<<1, kThreads, 0, stream>>>(rowSums, w.m, scales);
  LRQAT_CUDA(cudaGetLastError());
}

void countTrainedWeight(const LinearWeight& weight, const LowRank& lowRank, unsigned long long* counts,
                        HostStaging& staging, Scratch& scratch, cudaStream_t stream) {
  LRQAT_CHECK(weight.spec.trainsWeights() && lowRank.weight);
  const int64_t n = weight.n;
  auto* panel = scratch.take<std::byte>(HostStaging::panelBytes);
  forPanels(staging, weight.source.data, weight.m, n * byteSize(weight.source.type), panel, stream,
            [&](int64_t first, int64_t rows) {
              dispatchSource(weight.source.type, [&](auto e) {
                using E = decltype(e);
                countRows<<<gridOf(rows, n, 1), kThreads, 0, stream>>>(
                    lowRank.weight + first * n, Rounding::of(weight, lowRank.scale, lowRank.zero, first),
                    SourceRows<E>{reinterpret_cast<const E*>(panel), n},
                    Rounding::of(weight, weight.scale0, weight.zero0, first), n, counts);
              });
              LRQAT_CUDA(cudaGetLastError());
            });
}

}  // namespace lrqat::cuda
