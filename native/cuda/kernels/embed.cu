#include "cuda/kernels/embed.h"

#include "cuda/check.h"
#include "cuda/kernels/vector.cuh"

namespace lrqat::cuda {

namespace {

constexpr int threads = 256;

// grid: (pieces of a row, rows)
template <typename From, typename To, int N>
__global__ void __launch_bounds__(threads) embedKernel(const From* table, const int32_t* ids, To* x, int64_t cols) {
  const int64_t column = (static_cast<int64_t>(blockIdx.y) * threads + threadIdx.x) * N;
  if (column >= cols) return;
  float v[N];
  loadFloats(table + ids[blockIdx.x] * cols + column, v);
  storeFloats(x + blockIdx.x * cols + column, v);
}

}  // namespace

void embed(Matrix table, const int32_t* ids, Matrix x, cudaStream_t stream) {
  LRQAT_CHECK(x.cols == table.cols && x.rows < (int64_t{1} << 31));
  if (x.elements() == 0) return;
  dispatchSource(table.type, [&](auto fromElement) {
    dispatchActivation(x.type, [&](auto toElement) {
      using From = decltype(fromElement);
      using To = decltype(toElement);
      constexpr int width = sizeof(From) == 2 && sizeof(To) == 2 ? 8 : 4;
      const auto launch = [&]<int N>() {
        const int64_t pieces = (x.cols + int64_t{threads} * N - 1) / (int64_t{threads} * N);
        const dim3 grid(static_cast<unsigned>(x.rows), static_cast<unsigned>(pieces));
        embedKernel<From, To, N><<<grid, threads, 0, stream>>>(elements<From>(table), ids, elements<To>(x), x.cols);
      };
      if (allowsWidth(table, width) && allowsWidth(x, width)) {
        launch.template operator()<width>();
      } else {
        launch.template operator()<1>();
      }
    });
  });
  LRQAT_CUDA(cudaGetLastError());
}

}  // namespace lrqat::cuda
