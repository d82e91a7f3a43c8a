#include "cuda/kernels/reduce.h"

#include "cuda/check.h"

namespace lrqat::cuda {

namespace {

constexpr int columnThreads = 32;
constexpr int tileThreads = 32;

// grid: (columns / 32, sets); block: (32 columns, 32 tiles)
__global__ void __launch_bounds__(columnThreads* tileThreads)
    addColumnSumsKernel(int64_t tiles, int64_t cols, ColumnSums first, ColumnSums second) {
  __shared__ float shared[tileThreads][columnThreads];
  const ColumnSums set = blockIdx.y == 0 ? first : second;
  if (!set.target) return;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * columnThreads + threadIdx.x;
  const bool inside = column < cols;
  float sum = 0;
  if (inside) {
#pragma unroll 8
    for (int64_t tile = threadIdx.y; tile < tiles; tile += tileThreads) sum += set.partial[tile * cols + column];
  }
  shared[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || !inside) return;
  sum = 0;
#pragma unroll
  for (int i = 0; i < tileThreads; ++i) sum += shared[i][threadIdx.x];
  set.target[column] += sum;
}

}  // namespace

void addColumnSums(int64_t tiles, int64_t cols, const ColumnSums& first, const ColumnSums& second,
                   cudaStream_t stream) {
  if (tiles == 0 || cols == 0 || (!first.target && !second.target)) return;
  const dim3 grid(static_cast<unsigned>((cols + columnThreads - 1) / columnThreads), second.target ? 2 : 1);
  addColumnSumsKernel<<<grid, dim3(columnThreads, tileThreads), 0, stream>>>(tiles, cols, first, second);
  LRQAT_CUDA(cudaGetLastError());
}

}  // namespace lrqat::cuda
