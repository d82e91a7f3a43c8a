#include "cuda/kernels/range.h"

#include "core/grid.h"
#include "cuda/check.h"
#include "cuda/kernels/range_loss.cuh"
#include "cuda/kernels/source_rows.cuh"

namespace lrqat::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kSegmentsAtOnce = kThreads / kLossLanes;

struct Grid {
  float qmin, qmax;
  bool minMax;
};

struct Extent {
  float largest = 0;  // max(−lowest, highest)
  bool finite = true;

  __device__ __forceinline__ void add(float x) {
    largest = fmaxf(largest, fabsf(x));
    finite = finite && fabsf(x) <= 3.402823466e38F;
  }
};

/// Floats that are not negative are ordered like their bits.
__device__ __forceinline__ void raise(float* target, float value) {
  atomicMax(reinterpret_cast<int*>(target), __float_as_int(value));
}

/// Largest magnitude where the range is symmetric: what core/grid.cpp makes of −lowest and highest.
__device__ __forceinline__ float minMaxScale(float largest, float qmax) {
  return fmaxf(__fdiv_rn(fmaxf(largest, 1e-8F), qmax), kScaleFloor);
}

/// Segments of at most 256 values: sixteen lanes each, all values in registers.
template <typename E, LossPower kPower, int kLength>
__global__ void __launch_bounds__(kThreads)
    searchShort(const E* values, int64_t segments, int size, int64_t perRow, int64_t firstRow, Grid grid, float* scale,
                RangeReport* report) {
  const int lane = static_cast<int>(threadIdx.x) % kLossLanes;
  const int64_t segment = static_cast<int64_t>(blockIdx.x) * kSegmentsAtOnce + threadIdx.x / kLossLanes;
  const bool valid = segment < segments;
  float x[kLength];
  Extent extent;
#pragma unroll
  for (int i = 0; i < kLength; ++i) {
    const int at = i * kLossLanes + lane;
    x[i] = valid && at < size ? toFloat(values[segment * size + at]) : 0.0F;
    extent.add(x[i]);
  }
#pragma unroll
  for (int offset = 8; offset > 0; offset /= 2) {
    extent.largest = fmaxf(extent.largest, __shfl_xor_sync(0xffffffffU, extent.largest, offset));
  }
  if (!extent.finite) atomicMin(&report->notFiniteRow, static_cast<long long>(firstRow + segment / perRow));
  float best = minMaxScale(extent.largest, grid.qmax);
  if (!grid.minMax) {
    float least = 0;
    for (int c = 1; c <= kCandidates; ++c) {
      const Candidate candidate = candidateOf(extent.largest, c, grid.qmax);
      const float loss = addLanes(laneLoss<kPower>(x, candidate, grid.qmin, grid.qmax));
      if (c == 1 || loss < least) {
        least = loss;
        best = candidate.scale;
      }
    }
  }
  if (valid && lane == 0) scale[segment] = best;
}

/// max over the block; `shared` as in blockMaximum.
__device__ __forceinline__ float largestOf(float value, float* shared) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(0xffffffffU, value, offset));
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  value = shared[0];
  for (int i = 1; i < kThreads / 32; ++i) value = fmaxf(value, shared[i]);
  return value;
}

/// One block a segment. kTensor: the range is given, the losses are written; otherwise the scale is.
template <typename E, LossPower kPower, bool kTensor>
__global__ void __launch_bounds__(kThreads)
    searchLong(const E* values, int size, int64_t perRow, int64_t firstRow, Grid grid,
               const __grid_constant__ CandidateGrids grids, RangeReport* report, float* scale, double* losses) {
  extern __shared__ float sums[];  // [candidate][block of 256]
  __shared__ float shared[kThreads / 32];
  __shared__ double totals[kCandidates];
  const int64_t segment = blockIdx.x;
  const E* row = values + segment * size;
  const int blocks = (size + kLossBlock - 1) / kLossBlock;
  float range;
  if constexpr (kTensor) {
    range = report->tensorRange;
  } else {
    Extent extent;
    for (int i = static_cast<int>(threadIdx.x); i < size; i += kThreads) extent.add(toFloat(row[i]));
    if (!extent.finite) atomicMin(&report->notFiniteRow, static_cast<long long>(firstRow + segment / perRow));
    range = largestOf(extent.largest, shared);
    if (grid.minMax) {
      if (threadIdx.x == 0) scale[segment] = minMaxScale(range, grid.qmax);
      return;
    }
  }

  const int lane = static_cast<int>(threadIdx.x) % kLossLanes;
  for (int first = 0; first < blocks; first += kSegmentsAtOnce) {
    const int block = first + static_cast<int>(threadIdx.x) / kLossLanes;
    float x[kLossBlock / kLossLanes];
#pragma unroll
    for (int i = 0; i < kLossBlock / kLossLanes; ++i) {
      const int at = block * kLossBlock + i * kLossLanes + lane;
      x[i] = at < size ? toFloat(row[at]) : 0.0F;
    }
    for (int c = 1; c <= kCandidates; ++c) {
      const Candidate candidate = candidateOf(range, c, grid.qmax);
      const bool shifted = kTensor && grids.levels > 0;
      const float low = shifted ? -grids.zero[c - 1] : grid.qmin;
      const float high = shifted ? grids.levels - grids.zero[c - 1] : grid.qmax;
      const float loss = addLanes(laneLoss<kPower>(x, candidate, low, high));
      if (lane == 0 && block < blocks) sums[(c - 1) * blocks + block] = loss;
    }
  }
  __syncthreads();
  if (threadIdx.x < kCandidates) {
    double total = 0;
    for (int block = 0; block < blocks; ++block) {
      total += static_cast<double>(sums[static_cast<int>(threadIdx.x) * blocks + block]);
    }
    if constexpr (kTensor) {
      losses[segment * kCandidates + threadIdx.x] = total;
    } else {
      totals[threadIdx.x] = total;
    }
  }
  if constexpr (!kTensor) {
    __syncthreads();
    if (threadIdx.x == 0) {
      int best = 0;
      for (int c = 1; c < kCandidates; ++c) {
        if (totals[c] < totals[best]) best = c;
      }
      scale[segment] = candidateOf(range, best + 1, grid.qmax).scale;
    }
  }
}

/// One block a row.
template <typename E>
__global__ void __launch_bounds__(kThreads) growRange(const E* values, int n, int64_t firstRow, RangeReport* report) {
  __shared__ float shared[2][kThreads / 32];
  const E* row = values + static_cast<int64_t>(blockIdx.x) * n;
  Extent extent;
  float below = 0;
  float above = 0;
  for (int i = static_cast<int>(threadIdx.x); i < n; i += kThreads) {
    const float x = toFloat(row[i]);
    extent.add(x);
    below = fmaxf(below, -x);
    above = fmaxf(above, x);
  }
  if (!extent.finite) atomicMin(&report->notFiniteRow, static_cast<long long>(firstRow + blockIdx.x));
  below = largestOf(below, shared[0]);
  above = largestOf(above, shared[1]);
  if (threadIdx.x != 0) return;
  raise(&report->tensorRange, fmaxf(below, above));
  raise(&report->below, below);
  raise(&report->above, above);
}

/// One block for 64 rows of the tensor, one thread a candidate.
__global__ void addBlockLosses(const double* rowLosses, int64_t firstRow, int64_t rows, double* blockLosses) {
  const int64_t block = firstRow / kTensorBlockRows + blockIdx.x;
  const int c = static_cast<int>(threadIdx.x);
  if (c >= kCandidates) return;
  double total = blockLosses[block * kCandidates + c];
  for (int64_t i = 0; i < kTensorBlockRows; ++i) {
    const int64_t row = block * kTensorBlockRows + i - firstRow;
    if (row >= 0 && row < rows) total += rowLosses[row * kCandidates + c];
  }
  blockLosses[block * kCandidates + c] = total;
}

/// One block.
__global__ void addTotals(const double* blockLosses, int64_t blocks, double* totals) {
  const int c = static_cast<int>(threadIdx.x);
  if (c >= kCandidates) return;
  double total = 0;
  for (int64_t block = 0; block < blocks; ++block) total += blockLosses[block * kCandidates + c];
  totals[c] = total;
}

/// One block.
__global__ void choose(const double* blockLosses, int64_t blocks, Grid grid, const RangeReport* report, float* scale) {
  __shared__ double totals[kCandidates];
  const int c = static_cast<int>(threadIdx.x);
  if (c < kCandidates && !grid.minMax) {
    double total = 0;
    for (int64_t block = 0; block < blocks; ++block) total += blockLosses[block * kCandidates + c];
    totals[c] = total;
  }
  __syncthreads();
  if (c != 0) return;
  if (grid.minMax) {
    scale[0] = minMaxScale(report->tensorRange, grid.qmax);
    return;
  }
  int best = 0;
  for (int i = 1; i < kCandidates; ++i) {
    if (totals[i] < totals[best]) best = i;
  }
  scale[0] = candidateOf(report->tensorRange, best + 1, grid.qmax).scale;
}

Grid gridOf(const QuantSpec& spec) {
  return {static_cast<float>(spec.qmin()), static_cast<float>(spec.qmax()), spec.range == RangeMethod::MinMax};
}

template <typename E, LossPower kPower, int kLength>
void launchShort(const E* values, int64_t segments, int size, int64_t perRow, int64_t firstRow, const Grid& grid,
                 float* scale, RangeReport* report, cudaStream_t stream) {
  searchShort<E, kPower, kLength>
      <<<static_cast<unsigned>((segments + kSegmentsAtOnce - 1) / kSegmentsAtOnce), kThreads, 0, stream>>>(
          values, segments, size, perRow, firstRow, grid, scale, report);
}

template <typename Kernel>
int64_t sharedForLong(Kernel kernel, int64_t size) {
  const int64_t bytes = (size + kLossBlock - 1) / kLossBlock * kCandidates * 4;
  if (bytes > 96 << 10) throw Error(ErrorCode::Unsupported, "range search over " + std::to_string(size) + " columns");
  if (bytes > 40 << 10) {
    LRQAT_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
  }
  return bytes;
}

}  // namespace

void searchSegments(const QuantSpec& spec, const WeightRows& rows, float* scale, RangeReport* report,
                    cudaStream_t stream) {
  LRQAT_CHECK(spec.granularity != Granularity::Tensor);
  const int64_t size = spec.granularity == Granularity::Group ? spec.groupSize : rows.n;
  const int64_t perRow = rows.n / size;
  const int64_t segments = rows.rows * perRow;
  const Grid grid = gridOf(spec);
  const auto width = static_cast<int>(size);
  dispatchSource(rows.type, [&](auto e) {
    using E = decltype(e);
    const auto* values = static_cast<const E*>(rows.data);
    withPower(spec.range, [&]<LossPower kPower>() {
      if (size <= 32) {
        launchShort<E, kPower, 2>(values, segments, width, perRow, rows.firstRow, grid, scale, report, stream);
      } else if (size <= 64) {
        launchShort<E, kPower, 4>(values, segments, width, perRow, rows.firstRow, grid, scale, report, stream);
      } else if (size <= 128) {
        launchShort<E, kPower, 8>(values, segments, width, perRow, rows.firstRow, grid, scale, report, stream);
      } else if (size <= 256) {
        launchShort<E, kPower, 16>(values, segments, width, perRow, rows.firstRow, grid, scale, report, stream);
      } else {
        const auto kernel = searchLong<E, kPower, false>;
        kernel<<<static_cast<unsigned>(segments), kThreads, static_cast<size_t>(sharedForLong(kernel, size)), stream>>>(
            values, width, perRow, rows.firstRow, grid, {}, report, scale, nullptr);
      }
    });
  });
  LRQAT_CUDA(cudaGetLastError());
}

void growTensorRange(const WeightRows& rows, RangeReport* report, cudaStream_t stream) {
  dispatchSource(rows.type, [&](auto e) {
    using E = decltype(e);
    growRange<<<static_cast<unsigned>(rows.rows), kThreads, 0, stream>>>(
        static_cast<const E*>(rows.data), static_cast<int>(rows.n), rows.firstRow, report);
  });
  LRQAT_CUDA(cudaGetLastError());
}

void addTensorLosses(const QuantSpec& spec, const WeightRows& rows, const CandidateGrids& grids,
                     const RangeReport* report, double* rowLosses, double* blockLosses, cudaStream_t stream) {
  dispatchSource(rows.type, [&](auto e) {
    using E = decltype(e);
    withPower(spec.range, [&]<LossPower kPower>() {
      const auto kernel = searchLong<E, kPower, true>;
      kernel<<<static_cast<unsigned>(rows.rows), kThreads, static_cast<size_t>(sharedForLong(kernel, rows.n)),
               stream>>>(static_cast<const E*>(rows.data), static_cast<int>(rows.n), 1, rows.firstRow, gridOf(spec),
                         grids, const_cast<RangeReport*>(report), nullptr, rowLosses);
    });
  });
  LRQAT_CUDA(cudaGetLastError());
  const int64_t firstBlock = rows.firstRow / kTensorBlockRows;
  const int64_t lastBlock = (rows.firstRow + rows.rows - 1) / kTensorBlockRows;
  addBlockLosses<<<static_cast<unsigned>(lastBlock - firstBlock + 1), 128, 0, stream>>>(rowLosses, rows.firstRow,
                                                                                        rows.rows, blockLosses);
  LRQAT_CUDA(cudaGetLastError());
}

void tensorTotals(int64_t m, const double* blockLosses, double* deviceTotals, double* totals, cudaStream_t stream) {
  addTotals<<<1, 128, 0, stream>>>(blockLosses, (m + kTensorBlockRows - 1) / kTensorBlockRows, deviceTotals);
  LRQAT_CUDA(cudaGetLastError());
  LRQAT_CUDA(cudaMemcpyAsync(totals, deviceTotals, kCandidates * sizeof(double), cudaMemcpyDeviceToHost, stream));
  LRQAT_CUDA(cudaStreamSynchronize(stream));
}

void chooseTensorScale(const QuantSpec& spec, int64_t m, const RangeReport* report, const double* blockLosses,
                       float* scale, cudaStream_t stream) {
  choose<<<1, 128, 0, stream>>>(blockLosses, (m + kTensorBlockRows - 1) / kTensorBlockRows, gridOf(spec), report,
                                scale);
  LRQAT_CUDA(cudaGetLastError());
}

}  // namespace lrqat::cuda
