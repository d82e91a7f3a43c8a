#include "cuda/check.h"
#include "cuda/kernels/counts.h"

namespace lrqat::cuda {

namespace {

constexpr int threads = 1024;

__global__ void sumKernel(const int32_t* counts, int64_t n, int64_t* total) {
  long long sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += threads) sum += counts[i];
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_down_sync(0xffffffffU, sum, offset);
  __shared__ long long warps[threads / 32];
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  sum = 0;
  for (const long long warp : warps) sum += warp;
  *total = sum;
}

}  // namespace

void sumCounts(const int32_t* counts, int64_t n, int64_t* total, cudaStream_t stream) {
  sumKernel<<<1, threads, 0, stream>>>(counts, n, total);
  LRQAT_CUDA(cudaGetLastError());
}

}  // namespace lrqat::cuda
