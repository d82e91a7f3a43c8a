#include "cuda/kernels/statistics.h"

#include <cstddef>

#include "cuda/kernels/rebuild_tiles.cuh"
#include "cuda/kernels/reduce.cuh"
#include "cuda/kernels/trained_weights.h"

namespace lrqat::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kDriftBlocks = 128;

struct Totals {
  unsigned long long clipped, flipped;
  double drift;      // Σ |s − s0| / s0
  double zeroDrift;  // Σ |z − z0|
};

struct CountSink {
  Totals* totals;
  RowGrids grids;   // of now
  RowGrids grids0;  // of the start
  int n;
  bool trained;  // there is a low-rank term, or there are zero points, that can move integers

  struct State {
    uint32_t row = 0;  // of slot 0
    unsigned clipped = 0;
    unsigned flipped = 0;
  };

  __device__ __forceinline__ void start(State& state, int row, int, int) const {
    state = {};
    state.row = static_cast<uint32_t>(row);
  }
  template <class Codes>
  __device__ __forceinline__ void octet(State& state, int slot, int rowsLeft, int column, const Codes& codes,
                                        const typename Codes::Raw& raw, const float (&rounded)[kOctet]) const {
    if (rowsLeft <= slot * 8 || column >= n) return;
    float phi[kOctet];
    codes.decode(raw, phi);
    float low[kOctet];
    float low0[kOctet];
    const uint32_t row = state.row + static_cast<uint32_t>(slot) * 8;
    grids.lows(row, static_cast<uint32_t>(column), static_cast<uint32_t>(n), low);
    grids0.lows(row, static_cast<uint32_t>(column), static_cast<uint32_t>(n), low0);
#pragma unroll
    for (int i = 0; i < kOctet; ++i) {
      if (column + i >= n) break;
      const float q = clampTo(rounded[i], low[i], low[i] + grids.levels);
      const float start = roundSmall(clampTo(phi[i], low0[i], low0[i] + grids.levels));
      state.clipped += q != rounded[i];
      state.flipped += trained && q != start;
    }
  }
  __device__ __forceinline__ void group(State&, int, int, int, bool) const {}
  __device__ __forceinline__ void finish(const State& state) const {
    const unsigned clipped = warpSum(state.clipped);
    const unsigned flipped = warpSum(state.flipped);
    if (threadIdx.x % 32 != 0) return;
    if (clipped != 0) atomicAdd(&totals->clipped, static_cast<unsigned long long>(clipped));
    if (flipped != 0) atomicAdd(&totals->flipped, static_cast<unsigned long long>(flipped));
  }
  __device__ __forceinline__ void begin() const {}
  __device__ __forceinline__ void done(const State&) const {}
};

/// partial[block] = this block's share of Σ |s − s0| / s0.
__global__ void driftPartial(const float* scale, const float* scale0, int64_t count, double* partial) {
  __shared__ double shared[32];
  double sum = 0;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count; i += stride) {
    const double start = scale0[i];
    sum += fabs(static_cast<double>(scale[i]) - start) / start;
  }
  sum = blockSum(sum, shared);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

/// The same for Σ |z − z0|.
__global__ void zeroDriftPartial(const float* zero, const float* zero0, float levels, int64_t count, double* partial) {
  __shared__ double shared[32];
  double sum = 0;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count; i += stride) {
    sum += fabs(static_cast<double>(zero[i] - zeroPointOn(zero0[i], levels)));
  }
  sum = blockSum(sum, shared);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void driftTotal(const double* partial, double* total) {
  double sum = 0;
  for (int i = 0; i < kDriftBlocks; ++i) sum += partial[i];
  *total = sum;
}

}  // namespace

int64_t statisticsScratchBytes(bool trainsWeights) {
  return Scratch::padded(sizeof(Totals)) + Scratch::padded(kDriftBlocks * sizeof(double)) +
         (trainsWeights ? trainedCountScratchBytes() : 0);
}

WeightStatistics weightStatistics(const LinearWeight& weight, const LowRank& lowRank, bool exact, HostStaging& staging,
                                  Scratch& scratch, cudaStream_t stream) {
  const QuantSpec& spec = weight.spec;
  auto* totals = scratch.take<Totals>(1);
  auto* partial = scratch.take<double>(kDriftBlocks);
  LRQAT_CUDA(cudaMemsetAsync(totals, 0, sizeof(Totals), stream));
  if (spec.trainsWeights()) {
    static_assert(offsetof(Totals, clipped) == 0 && offsetof(Totals, flipped) == sizeof(unsigned long long));
    countTrainedWeight(weight, lowRank, &totals->clipped, staging, scratch, stream);
  } else {
    const RoundedSource source = trainedRows(weight, lowRank, 0, weight.m);
    const CountSink sink{totals, RowGrids::of(weight, lowRank.zero, 0), RowGrids::of(weight, weight.zero0, 0),
                         static_cast<int>(weight.n), spec.rank > 0 || !spec.symmetric};
    if (exact) {
      launchRounded<true>(source, sink, stream);
    } else {
      launchRounded<false>(source, sink, stream);
    }
  }
  const int64_t scales = spec.scaleCount(weight.m, weight.n);
  driftPartial<<<kDriftBlocks, kThreads, 0, stream>>>(lowRank.scale, weight.scale0, scales, partial);
  LRQAT_CUDA(cudaGetLastError());
  driftTotal<<<1, 1, 0, stream>>>(partial, &totals->drift);
  LRQAT_CUDA(cudaGetLastError());
  if (!spec.symmetric) {
    zeroDriftPartial<<<kDriftBlocks, kThreads, 0, stream>>>(lowRank.zero, weight.zero0,
                                                            static_cast<float>(spec.levels()), scales, partial);
    LRQAT_CUDA(cudaGetLastError());
    driftTotal<<<1, 1, 0, stream>>>(partial, &totals->zeroDrift);
    LRQAT_CUDA(cudaGetLastError());
  }
  Totals result{};
  LRQAT_CUDA(cudaMemcpyAsync(&result, totals, sizeof result, cudaMemcpyDeviceToHost, stream));
  LRQAT_CUDA(cudaStreamSynchronize(stream));
  return {static_cast<int64_t>(result.clipped), static_cast<int64_t>(result.flipped),
          result.drift / static_cast<double>(scales), result.zeroDrift / static_cast<double>(scales)};
}

}  // namespace lrqat::cuda
