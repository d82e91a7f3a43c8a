#include "cuda/kernels/statistics.h"

#include "cuda/kernels/rebuild_tiles.cuh"
#include "cuda/kernels/reduce.cuh"

namespace lrqat::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kDriftBlocks = 128;

struct Totals {
  unsigned long long clipped, flipped;
  double drift;  // Σ |s − s0| / s0
};

struct CountSink {
  Totals* totals;
  float qmin, qmax;
  int n;
  bool trained;  // there is a low-rank term that can move integers

  struct State {
    unsigned clipped = 0;
    unsigned flipped = 0;
  };

  __device__ __forceinline__ void start(State& state, int, int, int) const { state = {}; }
  template <class Codes>
  __device__ __forceinline__ void octet(State& state, int slot, int rowsLeft, int column, const Codes& codes,
                                        const typename Codes::Raw& raw, const float (&rounded)[kOctet]) const {
    if (rowsLeft <= slot * 8 || column >= n) return;
    float phi[kOctet];
    codes.decode(raw, phi);
#pragma unroll
    for (int i = 0; i < kOctet; ++i) {
      if (column + i >= n) break;
      const float q = clampTo(rounded[i], qmin, qmax);
      const float start = roundSmall(clampTo(phi[i], qmin, qmax));
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

__global__ void driftTotal(const double* partial, Totals* totals) {
  double sum = 0;
  for (int i = 0; i < kDriftBlocks; ++i) sum += partial[i];
  totals->drift = sum;
}

}  // namespace

int64_t statisticsScratchBytes() {
  return Scratch::padded(sizeof(Totals)) + Scratch::padded(kDriftBlocks * sizeof(double));
}

WeightStatistics weightStatistics(const LinearWeight& weight, const LowRank& lowRank, bool exact, Scratch& scratch,
                                  cudaStream_t stream) {
  const QuantSpec& spec = weight.spec;
  auto* totals = scratch.take<Totals>(1);
  auto* partial = scratch.take<double>(kDriftBlocks);
  LRQAT_CUDA(cudaMemsetAsync(totals, 0, sizeof(Totals), stream));
  const RoundedSource source = trainedRows(weight, lowRank, 0, weight.m);
  const CountSink sink{totals, static_cast<float>(spec.qmin()), static_cast<float>(spec.qmax()),
                       static_cast<int>(weight.n), spec.rank > 0};
  if (exact) {
    launchRounded<true>(source, sink, stream);
  } else {
    launchRounded<false>(source, sink, stream);
  }
  const int64_t scales = spec.scaleCount(weight.m, weight.n);
  driftPartial<<<kDriftBlocks, kThreads, 0, stream>>>(lowRank.scale, weight.scale0, scales, partial);
  LRQAT_CUDA(cudaGetLastError());
  driftTotal<<<1, 1, 0, stream>>>(partial, totals);
  LRQAT_CUDA(cudaGetLastError());
  Totals result{};
  LRQAT_CUDA(cudaMemcpyAsync(&result, totals, sizeof result, cudaMemcpyDeviceToHost, stream));
  LRQAT_CUDA(cudaStreamSynchronize(stream));
  return {static_cast<int64_t>(result.clipped), static_cast<int64_t>(result.flipped),
          result.drift / static_cast<double>(scales)};
}

}  // namespace lrqat::cuda
