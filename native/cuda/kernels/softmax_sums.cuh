// What one thread finds of a softmax in a single pass over its share of a row.
#pragma once

#include <cfloat>
#include <cstdint>

#include "cuda/kernels/vector.cuh"

namespace lrqat::cuda {

/// Vectors a thread has under way at a time.
constexpr int softmaxUnroll = 4;

struct PartialSums {
  float top = -FLT_MAX;  // largest of the share
  float plain = 0;       // Σ exp(z − top)
  float tempered = 0;    // Σ exp((z − top)·inverse)
};

/// Of a row [vocab] in global memory that `Threads` threads share, N numbers a vector.
template <bool Tempered, int Threads, int N>
__device__ __forceinline__ PartialSums partialSums(const float* row, int64_t vocab, float inverse) {
  constexpr int64_t step = int64_t{Threads} * N;
  PartialSums part;
  for (int64_t column = static_cast<int64_t>(threadIdx.x) * N; column < vocab; column += softmaxUnroll * step) {
    float v[softmaxUnroll][N];
    float here = -FLT_MAX;
#pragma unroll
    for (int u = 0; u < softmaxUnroll; ++u) {
      if (column + u * step < vocab) loadFloats(row + column + u * step, v[u]);
    }
#pragma unroll
    for (int u = 0; u < softmaxUnroll; ++u) {
      if (column + u * step >= vocab) continue;
#pragma unroll
      for (int i = 0; i < N; ++i) here = fmaxf(here, v[u][i]);
    }
    if (here > part.top) {
      part.plain *= expf(part.top - here);
      if constexpr (Tempered) part.tempered *= expf((part.top - here) * inverse);
      part.top = here;
    }
#pragma unroll
    for (int u = 0; u < softmaxUnroll; ++u) {
      if (column + u * step >= vocab) continue;
#pragma unroll
      for (int i = 0; i < N; ++i) {
        part.plain += expf(v[u][i] - part.top);
        if constexpr (Tempered) part.tempered += expf((v[u][i] - part.top) * inverse);
      }
    }
  }
  return part;
}

}  // namespace lrqat::cuda
