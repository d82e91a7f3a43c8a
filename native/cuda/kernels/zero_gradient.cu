#include "cuda/kernels/zero_gradient.h"

#include "cuda/check.h"
#include "cuda/kernels/reduce.cuh"
#include "cuda/kernels/row_grids.cuh"

namespace lrqat::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kTensorThreads = 1024;

/// Zero points of a panel's rows, or of all.
struct ZeroPoints {
  const float* theta;
  const float* scale;  // of groups, whose G has none in it yet; null: 1
  float* gradient;
  float levels;

  __device__ __forceinline__ void subtract(int64_t index, double sum) const {
    if (!zeroPointMoves(theta[index], levels)) return;
    gradient[index] -= scale ? scale[index] * static_cast<float>(sum) : static_cast<float>(sum);
  }
};

/// A warp a segment of `size` columns of a row: its masked entries of G [rows, n].
__global__ __launch_bounds__(kThreads) void outsideSums(const float* gradient, const uint32_t* mask, int n, int size,
                                                        int64_t segments, ZeroPoints zeros, double* rowSums) {
  const int64_t segment = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (segment >= segments) return;
  const int perRow = n / size;
  const int64_t row = segment / perRow;
  const int first = static_cast<int>(segment % perRow) * size;
  const uint32_t* bits = mask + row * ((n + 31) / 32);
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x) % 32; i < size; i += 32) {
    const int column = first + i;
    if (bits[column / 32] >> (column % 32) & 1U) sum += static_cast<double>(gradient[row * n + column]);
  }
  sum = warpSum(sum);
  if (threadIdx.x % 32 != 0) return;
  if (rowSums) {
    rowSums[segment] = sum;
  } else {
    zeros.subtract(segment, sum);
  }
}

/// One block: all values go into one zero point.
template <typename T>
__device__ __forceinline__ void subtractAll(const T* values, int64_t count, const ZeroPoints& zeros) {
  __shared__ double shared[32];
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kTensorThreads) sum += static_cast<double>(values[i]);
  sum = blockSum(sum, shared);
  if (threadIdx.x == 0) zeros.subtract(0, sum);
}

__global__ void subtractRowSums(const double* rowSums, int64_t rows, ZeroPoints zeros) {
  subtractAll(rowSums, rows, zeros);
}

__global__ void subtractListed(const __grid_constant__ ClippedEntries entries, const float* d, ZeroPoints zeros) {
  subtractAll(d, entries.listed(), zeros);
}

/// A warp a row: its listed entries, panel after panel.
__global__ __launch_bounds__(kThreads) void subtractListedRows(const __grid_constant__ ClippedEntries entries,
                                                               const float* d, ZeroPoints zeros) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (row >= entries.m || entries.listed() == 0) return;
  double sum = 0;
  for (int panel = 0; panel < entries.panels(); ++panel) {
    const int32_t* start = entries.rowStart + static_cast<int64_t>(panel) * entries.rowBlocks() * kBlockRows + row;
    for (int32_t at = start[0] + static_cast<int32_t>(threadIdx.x) % 32; at < start[1]; at += 32) {
      sum += static_cast<double>(d[at]);
    }
  }
  sum = warpSum(sum);
  if (threadIdx.x % 32 == 0) zeros.subtract(row, sum);
}

unsigned warpBlocks(int64_t count) {
  return static_cast<unsigned>((count + kWarps - 1) / kWarps);
}

}  // namespace

void denseZeroGradient(const LowRankTask& task, const GradientPanel& panel, double* rowSums, cudaStream_t stream) {
  const LinearWeight& w = *task.weight;
  const QuantSpec& spec = w.spec;
  LRQAT_CHECK(task.gradient.zero && task.zeroTheta && task.clipped.mask && !spec.symmetric);
  const bool tensor = spec.granularity == Granularity::Tensor;
  const bool group = spec.granularity == Granularity::Group;
  const int64_t perRow = group ? w.n / spec.groupSize : 1;
  const int64_t first = tensor ? 0 : panel.firstRow * perRow;
  const ZeroPoints zeros{task.zeroTheta + first, group ? task.lowRank.scale + first : nullptr,
                         task.gradient.zero + first, static_cast<float>(spec.levels())};
  const int64_t segments = panel.rows * perRow;
  outsideSums<<<warpBlocks(segments), kThreads, 0, stream>>>(
      panel.gradient, task.clipped.mask + panel.firstRow * ((w.n + 31) / 32), static_cast<int>(w.n),
      static_cast<int>(group ? spec.groupSize : w.n), segments, zeros, tensor ? rowSums : nullptr);
  LRQAT_CUDA(cudaGetLastError());
  if (!tensor) return;
  subtractRowSums<<<1, kTensorThreads, 0, stream>>>(rowSums, panel.rows, zeros);
  LRQAT_CUDA(cudaGetLastError());
}

void sparseZeroGradient(const LowRankTask& task, const ClippedBatch& batch, int index, const ClippedSums& sums,
                        cudaStream_t stream) {
  const LinearWeight& w = *task.weight;
  LRQAT_CHECK(task.gradient.zero && task.zeroTheta && w.spec.granularity != Granularity::Group);
  const ClippedEntries& entries = batch.weight[index];
  LRQAT_CHECK(index < batch.weights && entries.m == w.m && entries.n == w.n);
  const ZeroPoints zeros{task.zeroTheta, nullptr, task.gradient.zero, static_cast<float>(w.spec.levels())};
  const float* d = sums.d + entries.first;
  if (w.spec.granularity == Granularity::Tensor) {
    subtractListed<<<1, kTensorThreads, 0, stream>>>(entries, d, zeros);
  } else {
    subtractListedRows<<<warpBlocks(w.m), kThreads, 0, stream>>>(entries, d, zeros);
  }
  LRQAT_CUDA(cudaGetLastError());
}

}  // namespace lrqat::cuda
