#include <algorithm>

#include "cuda/check.h"
#include "cuda/kernels/element.cuh"
#include "cuda/kernels/split_factors.h"

namespace lrqat::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kTile = 32;

template <typename Job>
struct Jobs {
  Job job[kMostSplitJobs];
};

__device__ __forceinline__ void storeHalves(float value, SplitMatrix out, int64_t at) {
  const bf16 hi = __float2bfloat16_rn(value);
  reinterpret_cast<bf16*>(out.hi)[at] = hi;
  reinterpret_cast<bf16*>(out.lo)[at] = __float2bfloat16_rn(value - __bfloat162float(hi));
}

/// One tile of 32 × 32 elements of `out` at a time, through shared memory, so that both sides are read and written
/// along their rows.
__global__ void splitFactorsKernel(const __grid_constant__ Jobs<SplitJob> jobs) {
  __shared__ float tile[kTile][kTile + 1];
  const SplitJob& job = jobs.job[blockIdx.y];
  const int64_t tileCols = (job.outCols + kTile - 1) / kTile;
  const int64_t tiles = (job.outRows + kTile - 1) / kTile * tileCols;
  const int lane = static_cast<int>(threadIdx.x) % kTile;
  const int first = static_cast<int>(threadIdx.x) / kTile;
  constexpr int kStep = kThreads / kTile;
  for (int64_t t = blockIdx.x; t < tiles; t += gridDim.x) {
    const int64_t row0 = t / tileCols * kTile;
    const int64_t col0 = t % tileCols * kTile;
    for (int i = first; i < kTile; i += kStep) {
      const int64_t row = job.transpose ? col0 + i : row0 + i;
      const int64_t col = job.transpose ? row0 + lane : col0 + lane;
      const float value = row < job.rows && col < job.cols ? job.values[row * job.cols + col] : 0.0F;
      if (job.transpose) {
        tile[lane][i] = value;
      } else {
        tile[i][lane] = value;
      }
    }
    __syncthreads();
    for (int i = first; i < kTile; i += kStep) {
      if (row0 + i < job.outRows && col0 + lane < job.outCols) {
        storeHalves(tile[i][lane], job.out, (row0 + i) * job.out.stride + col0 + lane);
      }
    }
    __syncthreads();
  }
}

/// Σ of kWidth neighbouring elements, in the order of the splits.
template <int kWidth>
__device__ __forceinline__ void sumOf(const PartialSums& sums, int64_t at, float (&total)[kWidth]) {
  const float* from = sums.partial + at;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) total[i] = 0;
  for (int64_t s = 0; s < sums.splits; ++s) {
    if constexpr (kWidth == 4) {
      const float4 four = *reinterpret_cast<const float4*>(from);
      total[0] += four.x;
      total[1] += four.y;
      total[2] += four.z;
      total[3] += four.w;
    } else {
      total[0] += *from;
    }
    from += sums.splitStride;
  }
}

/// cols is a multiple of 4: a thread takes four columns.
__global__ void splitSumsKernel(const __grid_constant__ Jobs<SplitSumJob> jobs) {
  const SplitSumJob& job = jobs.job[blockIdx.y];
  const auto across = static_cast<uint32_t>(job.sums.cols / 4);
  const auto count = static_cast<uint32_t>(job.sums.rows) * across;
  for (uint32_t e = blockIdx.x * kThreads + threadIdx.x; e < count; e += gridDim.x * kThreads) {
    const uint32_t row = e / across;
    const uint32_t col = (e - row * across) * 4;
    float total[4];
    sumOf(job.sums, row * job.sums.stride + col, total);
    union {
      bf16 value[4];
      uint2 bits;
    } hi, lo;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      hi.value[i] = __float2bfloat16_rn(total[i]);
      lo.value[i] = __float2bfloat16_rn(total[i] - __bfloat162float(hi.value[i]));
    }
    const int64_t to = row * job.out.stride + col;
    *reinterpret_cast<uint2*>(job.out.hi + to) = hi.bits;
    *reinterpret_cast<uint2*>(job.out.lo + to) = lo.bits;
  }
}

template <int kWidth>
__device__ __forceinline__ void addSum(const AddSumJob& job) {
  const auto across = static_cast<uint32_t>(job.sums.cols / kWidth);
  const auto count = static_cast<uint32_t>(job.sums.rows) * across;
  for (uint32_t e = blockIdx.x * kThreads + threadIdx.x; e < count; e += gridDim.x * kThreads) {
    const uint32_t row = e / across;
    const uint32_t col = (e - row * across) * kWidth;
    float total[kWidth];
    sumOf(job.sums, row * job.sums.stride + col, total);
    float* out = job.out + row * job.outStride + col;
    if constexpr (kWidth == 4) {
      if (reinterpret_cast<uintptr_t>(out) % 16 == 0) {
        float4 four = *reinterpret_cast<const float4*>(out);
        four.x = __fmaf_rn(job.factor, total[0], four.x);
        four.y = __fmaf_rn(job.factor, total[1], four.y);
        four.z = __fmaf_rn(job.factor, total[2], four.z);
        four.w = __fmaf_rn(job.factor, total[3], four.w);
        *reinterpret_cast<float4*>(out) = four;
        continue;
      }
    }
#pragma unroll
    for (int i = 0; i < kWidth; ++i) out[i] = __fmaf_rn(job.factor, total[i], out[i]);
  }
}

__global__ void addSumsKernel(const __grid_constant__ Jobs<AddSumJob> jobs) {
  const AddSumJob& job = jobs.job[blockIdx.y];
  if (job.sums.cols % 4 == 0) {
    addSum<4>(job);
  } else {
    addSum<1>(job);
  }
}

/// Launches `kernel` on up to kMostSplitJobs jobs at a time, enough blocks for the largest.
template <typename Job, typename Count>
void launch(void (*kernel)(Jobs<Job>), std::span<const Job> jobs, Count&& blocksOf, cudaStream_t stream) {
  for (size_t first = 0; first < jobs.size(); first += kMostSplitJobs) {
    const size_t count = std::min(kMostSplitJobs, jobs.size() - first);
    Jobs<Job> part;
    int64_t blocks = 1;
    for (size_t i = 0; i < count; ++i) {
      part.job[i] = jobs[first + i];
      blocks = std::max(blocks, blocksOf(part.job[i]));
    }
    const dim3 grid(static_cast<unsigned>(std::min<int64_t>(blocks, 4096)), static_cast<unsigned>(count));
    kernel<<<grid, kThreads, 0, stream>>>(part);
    LRQAT_CUDA(cudaGetLastError());
  }
}

int64_t blocksFor(const PartialSums& sums) {
  LRQAT_CHECK(sums.splits >= 1 && sums.stride >= sums.cols && sums.rows * sums.cols < INT32_MAX);
  LRQAT_CHECK(sums.stride % 4 == 0 && sums.splitStride % 4 == 0 && reinterpret_cast<uintptr_t>(sums.partial) % 16 == 0);
  return (sums.rows * sums.cols / (sums.cols % 4 == 0 ? 4 : 1) + kThreads - 1) / kThreads;
}

}  // namespace

void splitFactors(std::span<const SplitJob> jobs, cudaStream_t stream) {
  const auto blocksOf = [](const SplitJob& job) {
    LRQAT_CHECK(job.out.stride >= job.outCols);
    LRQAT_CHECK(job.transpose ? job.outRows >= job.cols && job.outCols >= job.rows
                              : job.outRows >= job.rows && job.outCols >= job.cols);
    return (job.outRows + kTile - 1) / kTile * ((job.outCols + kTile - 1) / kTile);
  };
  launch<SplitJob>(splitFactorsKernel, jobs, blocksOf, stream);
}

void splitSums(std::span<const SplitSumJob> jobs, cudaStream_t stream) {
  const auto blocksOf = [](const SplitSumJob& job) {
    LRQAT_CHECK(job.sums.cols % 4 == 0 && job.out.stride % 4 == 0);
    return blocksFor(job.sums);
  };
  launch<SplitSumJob>(splitSumsKernel, jobs, blocksOf, stream);
}

void addSums(std::span<const AddSumJob> jobs, cudaStream_t stream) {
  launch<AddSumJob>(
      addSumsKernel, jobs, [](const AddSumJob& job) { return blocksFor(job.sums); }, stream);
}

}  // namespace lrqat::cuda
