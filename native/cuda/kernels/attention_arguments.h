// What the kernels of attention take, and the launchers that attention.cu chooses from.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace lrqat::cuda::attention {

struct Problem {
  int batch;
  int length;
  int heads;
  int kvHeads;
  int headDim;
  float scale;              // 1/√headDim
  const int32_t* firstKey;  // [batch, length]; null: 0 everywhere
  // Forward alone, [batch, length] each or null: keys hiddenFrom ≤ key < hiddenTo are not visible either.
  const int32_t* hiddenFrom;
  const int32_t* hiddenTo;
};

/// What the backward needs of a query's softmax, prepared once: P = e^(scale·Q·Kᵀ − lse), dS = P∘(dP − delta).
struct alignas(8) RowStatistics {
  float lse;
  float delta;  // Σ_c dO_c·O_c
};
/// Row statistics of a head: whole steps of queries can be read; those past the length are zero.
constexpr int64_t paddedLength(int64_t length) {
  return (length + 127) / 128 * 128;
}

template <typename E>
struct Forward {
  Problem problem;
  const E* q;  // [T, heads·headDim]
  const E* k;  // [T, kvHeads·headDim]
  const E* v;  // [T, kvHeads·headDim]
  E* o;        // [T, heads·headDim]
  float* lse;  // [batch, heads, length]
};

template <typename E>
struct Backward {
  Problem problem;
  const E* q;
  const E* k;
  const E* v;
  const E* o;
  const float* lse;  // [batch, heads, length]
  const E* dO;
  RowStatistics* rows;  // [batch, heads, paddedLength(length)]
  E* dQ;
  E* dK;
  E* dV;
};

using Bf16 = __nv_bfloat16;

/// Any head size up to 256, float32 arithmetic throughout.
void forwardPlain(const Forward<float>& arguments, cudaStream_t stream);
void forwardPlain(const Forward<Bf16>& arguments, cudaStream_t stream);
void backwardPlain(const Backward<float>& arguments, cudaStream_t stream);
void backwardPlain(const Backward<Bf16>& arguments, cudaStream_t stream);

/// Tensor cores; head sizes that are multiples of 8 up to D, the columns between them zero.
template <int D>
void forwardTensor(const Forward<Bf16>& arguments, cudaStream_t stream);
template <int D>
void backwardTensor(const Backward<Bf16>& arguments, cudaStream_t stream);

}  // namespace lrqat::cuda::attention
