// The search over scales and zero points (cpu/range.h): for each scale from the widest down, from the zero point around
// which the grid before lay down the valley of the loss. Losses are those of the CPU to the bit, and so is what is
// found.
#include "core/grid.h"
#include "cuda/check.h"
#include "cuda/kernels/range.h"
#include "cuda/kernels/range_loss.cuh"
#include "cuda/kernels/row_grids.cuh"
#include "cuda/kernels/source_rows.cuh"

namespace lrqat::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kSegmentsAtOnce = kThreads / kLossLanes;

struct PairGrid {
  float qmax;  // of the symmetric grid of as many bits
  float levels;
  bool minMax;
};

struct Pair {
  float scale = 0;
  float zero = 0;
};

/// asymmetricMinMax of core/grid.cpp for lowest = −below.
__device__ __forceinline__ Pair minMaxPair(float below, float above, float levels) {
  const float step = __fdiv_rn(fmaxf(above, 1e-8F) + below, levels);
  return {fmaxf(step, kScaleFloor), __fdiv_rn(below, step)};
}

/// centredZero of cpu/kernels/range.h.
__device__ __forceinline__ float centredZero(float middle, float scale, float levels) {
  const float zero = rintf(levels * 0.5F - __fdiv_rn(middle, scale));
  return fminf(fmaxf(zero, 0.0F), levels);
}

/// loss(candidate, low, high) is the same for all threads that walk together.
template <typename Loss>
__device__ __forceinline__ Pair walk(float below, float above, const PairGrid& grid, Loss loss) {
  const float range = fmaxf(below, above);
  float middle = (above - below) * 0.5F;
  Pair best;
  double least = 0;
  for (int c = kCandidates; c >= 1; --c) {
    const Candidate candidate = candidateOf(range, c, grid.qmax);
    const auto at = [&](float zero) { return loss(candidate, -zero, grid.levels - zero); };
    float zero = centredZero(middle, candidate.scale, grid.levels);
    double smallest = at(zero);
    // At most one of the two directions improves.
    const float start = zero;
    for (float step = 1.0F; step >= -1.0F && zero == start; step -= 2.0F) {
      while (zero + step >= 0.0F && zero + step <= grid.levels) {
        const double value = at(zero + step);
        if (value >= smallest) break;
        smallest = value;
        zero += step;
      }
    }
    middle = (grid.levels * 0.5F - zero) * candidate.scale;
    if (c == kCandidates || smallest <= least) {
      least = smallest;
      best = {candidate.scale, zero};
    }
  }
  return best;
}

__device__ __forceinline__ bool isFinite(float x) {
  return fabsf(x) <= 3.402823466e38F;
}

/// Segments of at most 256 values: sixteen lanes each, which may walk further than their neighbours.
template <typename E, LossPower kPower, int kLength>
__global__ void __launch_bounds__(kThreads)
    searchShort(const E* values, int64_t segments, int size, int64_t perRow, int64_t firstRow, PairGrid grid,
                float* scale, float* zero, RangeReport* report) {
  const int lane = static_cast<int>(threadIdx.x) % kLossLanes;
  const uint32_t mine = 0xffffU << (threadIdx.x % 32 / kLossLanes * kLossLanes);
  const int64_t segment = static_cast<int64_t>(blockIdx.x) * kSegmentsAtOnce + threadIdx.x / kLossLanes;
  if (segment >= segments) return;
  float x[kLength];
  float below = 0;
  float above = 0;
  bool finite = true;
#pragma unroll
  for (int i = 0; i < kLength; ++i) {
    const int at = i * kLossLanes + lane;
    x[i] = at < size ? toFloat(values[segment * size + at]) : 0.0F;
    finite = finite && isFinite(x[i]);
    below = fmaxf(below, -x[i]);
    above = fmaxf(above, x[i]);
  }
#pragma unroll
  for (int offset = 8; offset > 0; offset /= 2) {
    below = fmaxf(below, __shfl_xor_sync(mine, below, offset));
    above = fmaxf(above, __shfl_xor_sync(mine, above, offset));
  }
  if (__any_sync(mine, !finite)) {
    if (lane == 0) atomicMin(&report->notFiniteRow, static_cast<long long>(firstRow + segment / perRow));
    return;
  }
  const auto loss = [&](const Candidate& candidate, float low, float high) {
    float part = laneLoss<kPower>(x, candidate, low, high);
#pragma unroll
    for (int offset = 8; offset > 0; offset /= 2) part += __shfl_xor_sync(mine, part, offset);
    return static_cast<double>(part);
  };
  const Pair found = grid.minMax ? minMaxPair(below, above, grid.levels) : walk(below, above, grid, loss);
  if (lane != 0) return;
  scale[segment] = found.scale;
  zero[segment] = found.zero;
}

/// max over the block; `shared` for this use alone.
__device__ __forceinline__ float largestOf(float value, float* shared) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(0xffffffffU, value, offset));
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  value = shared[0];
  for (int i = 1; i < kThreads / 32; ++i) value = fmaxf(value, shared[i]);
  return value;
}

/// One block a segment.
template <typename E, LossPower kPower>
__global__ void __launch_bounds__(kThreads) searchLong(const E* values, int size, int64_t perRow, int64_t firstRow,
                                                       PairGrid grid, float* scale, float* zero, RangeReport* report) {
  extern __shared__ float sums[];  // [2][block of 256]: those of a loss are read while the next ones are written
  __shared__ float shared[2][kThreads / 32];
  const int64_t segment = blockIdx.x;
  const E* row = values + segment * size;
  const int blocks = (size + kLossBlock - 1) / kLossBlock;
  const int lane = static_cast<int>(threadIdx.x) % kLossLanes;
  float below = 0;
  float above = 0;
  bool finite = true;
  for (int i = static_cast<int>(threadIdx.x); i < size; i += kThreads) {
    const float x = toFloat(row[i]);
    finite = finite && isFinite(x);
    below = fmaxf(below, -x);
    above = fmaxf(above, x);
  }
  if (__syncthreads_or(finite ? 0 : 1)) {
    if (threadIdx.x == 0) atomicMin(&report->notFiniteRow, static_cast<long long>(firstRow + segment / perRow));
    return;
  }
  below = largestOf(below, shared[0]);
  above = largestOf(above, shared[1]);
  int turn = 0;
  const auto loss = [&](const Candidate& candidate, float low, float high) {
    float* part = sums + turn * blocks;
    turn ^= 1;
    for (int first = 0; first < blocks; first += kSegmentsAtOnce) {
      const int block = first + static_cast<int>(threadIdx.x) / kLossLanes;
      float x[kLossBlock / kLossLanes];
#pragma unroll
      for (int i = 0; i < kLossBlock / kLossLanes; ++i) {
        const int at = block * kLossBlock + i * kLossLanes + lane;
        x[i] = at < size ? toFloat(row[at]) : 0.0F;
      }
      const float sum = addLanes(laneLoss<kPower>(x, candidate, low, high));
      if (lane == 0 && block < blocks) part[block] = sum;
    }
    __syncthreads();
    double total = 0;
    for (int block = 0; block < blocks; ++block) total += static_cast<double>(part[block]);
    return total;
  };
  const Pair found = grid.minMax ? minMaxPair(below, above, grid.levels) : walk(below, above, grid, loss);
  if (threadIdx.x != 0) return;
  scale[segment] = found.scale;
  zero[segment] = found.zero;
}

template <typename E, LossPower kPower, int kLength>
void launchShort(const E* values, int64_t segments, int size, int64_t perRow, int64_t firstRow, const PairGrid& grid,
                 float* scale, float* zero, RangeReport* report, cudaStream_t stream) {
  searchShort<E, kPower, kLength>
      <<<static_cast<unsigned>((segments + kSegmentsAtOnce - 1) / kSegmentsAtOnce), kThreads, 0, stream>>>(
          values, segments, size, perRow, firstRow, grid, scale, zero, report);
}

}  // namespace

void searchSegmentPairs(const QuantSpec& spec, const WeightRows& rows, float* scale, float* zero, RangeReport* report,
                        cudaStream_t stream) {
  LRQAT_CHECK(spec.granularity != Granularity::Tensor && !spec.symmetric);
  const int64_t size = spec.granularity == Granularity::Group ? spec.groupSize : rows.n;
  const int64_t perRow = rows.n / size;
  const int64_t segments = rows.rows * perRow;
  const PairGrid grid{static_cast<float>(spec.qmax()), static_cast<float>(spec.levels()),
                      spec.range == RangeMethod::MinMax};
  const auto width = static_cast<int>(size);
  dispatchSource(rows.type, [&](auto e) {
    using E = decltype(e);
    const auto* values = static_cast<const E*>(rows.data);
    withPower(spec.range, [&]<LossPower kPower>() {
      if (size <= 64) {
        launchShort<E, kPower, 4>(values, segments, width, perRow, rows.firstRow, grid, scale, zero, report, stream);
      } else if (size <= 128) {
        launchShort<E, kPower, 8>(values, segments, width, perRow, rows.firstRow, grid, scale, zero, report, stream);
      } else if (size <= 256) {
        launchShort<E, kPower, 16>(values, segments, width, perRow, rows.firstRow, grid, scale, zero, report, stream);
      } else {
        const auto shared = static_cast<size_t>((size + kLossBlock - 1) / kLossBlock) * 2 * sizeof(float);
        LRQAT_CHECK(shared <= 32 << 10);
        searchLong<E, kPower><<<static_cast<unsigned>(segments), kThreads, shared, stream>>>(
            values, width, perRow, rows.firstRow, grid, scale, zero, report);
      }
    });
  });
  LRQAT_CUDA(cudaGetLastError());
}

}  // namespace lrqat::cuda
