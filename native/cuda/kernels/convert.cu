#include "cuda/kernels/convert.h"

#include "cuda/check.h"
#include "cuda/kernels/vector.cuh"

namespace lrqat::cuda {

namespace {

constexpr int threads = 256;

// A block converts threads · unroll vectors; the last block also the elements that fill no vector.
template <typename From, typename To, int N>
__global__ void __launch_bounds__(threads) convertKernel(const From* from, To* to, int64_t count) {
  constexpr int unroll = 2;
  const int64_t vectors = count / N;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * threads * unroll + threadIdx.x;
  Bits<From, N> bits[unroll];
#pragma unroll
  for (int u = 0; u < unroll; ++u) {
    const int64_t vector = first + u * threads;
    if (vector < vectors) bits[u].load(from + vector * N);
  }
#pragma unroll
  for (int u = 0; u < unroll; ++u) {
    const int64_t vector = first + u * threads;
    if (vector >= vectors) continue;
    float v[N];
    bits[u].unpack(v);
    storeFloats(to + vector * N, v);
  }
  const int64_t last = vectors * N + threadIdx.x;
  if (blockIdx.x + 1 == gridDim.x && last < count) to[last] = fromFloat<To>(toFloat(from[last]));
}

}  // namespace

void convert(Matrix from, Matrix to, cudaStream_t stream) {
  LRQAT_CHECK(from.elements() == to.elements());
  const int64_t count = to.elements();
  if (count == 0) return;
  dispatchSource(from.type, [&](auto fromElement) {
    dispatchSource(to.type, [&](auto toElement) {
      using From = decltype(fromElement);
      using To = decltype(toElement);
      constexpr int width = sizeof(From) == 2 && sizeof(To) == 2 ? 8 : 4;
      const auto launch = [&]<int N>() {
        const int64_t perBlock = int64_t{threads} * 2 * N;
        const auto blocks = static_cast<unsigned>((count + perBlock - 1) / perBlock);
        convertKernel<From, To, N><<<blocks, threads, 0, stream>>>(elements<From>(from), elements<To>(to), count);
      };
      if (isAligned(from.data) && isAligned(to.data)) {
        launch.template operator()<width>();
      } else {
        launch.template operator()<1>();
      }
    });
  });
  LRQAT_CUDA(cudaGetLastError());
}

}  // namespace lrqat::cuda
