#include "cuda/kernels/loss.h"

#include <algorithm>
#include <cfloat>

#include "cuda/check.h"
#include "cuda/kernels/reduce.cuh"
#include "cuda/kernels/softmax_sums.cuh"
#include "cuda/kernels/vector.cuh"

namespace lrqat::cuda {

namespace {

/// Loss of a row from its maximum, Σ exp(x − maximum) and the logit of its target.
__device__ __forceinline__ double lossOf(float top, double total, float logit) {
  return static_cast<double>(top) + log(total) - static_cast<double>(logit);
}

template <typename G, int N>
__device__ __forceinline__ void storeGradient(G* row, int64_t column, float (&e)[N], float factor, int32_t target,
                                              float gradientScale) {
#pragma unroll
  for (int i = 0; i < N; ++i) {
    e[i] *= factor;
    if (column + i == target) e[i] -= gradientScale;
  }
  storeFloats(row + column, e);
}

constexpr int heldThreads = 1024;
constexpr int heldVectors = 8;
constexpr int64_t heldVocab = int64_t{heldThreads} * heldVectors * 4;

__device__ __forceinline__ void copyAsync16(void* shared, const void* global) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(global) : "memory");
}
__device__ __forceinline__ void waitForCopies() {
  asm volatile("cp.async.commit_group;\n\tcp.async.wait_group 0;" ::: "memory");
}

// Vocabularies up to 32768: one block a multiprocessor walks over the rows, a row in registers while the next one is on
// its way to shared memory. A thread reads only what it has copied itself, so the copies need no barrier.
template <typename G>
__global__ void __launch_bounds__(heldThreads, 1)
    heldCrossEntropyKernel(const float* logits, const int32_t* targets, float gradientScale, G* gradient,
                           double* losses, int64_t rows, int vocab) {
  extern __shared__ float4 next[];  // [heldVectors][heldThreads]
  __shared__ float sharedTop[warpSize32];
  __shared__ double sharedTotal[warpSize32];
  const auto fetch = [&](int64_t row) {
    if (row >= rows) return;
#pragma unroll
    for (int k = 0; k < heldVectors; ++k) {
      const int vector = k * heldThreads + static_cast<int>(threadIdx.x);
      if (vector * 4 < vocab) copyAsync16(&next[vector], logits + row * vocab + vector * 4);
    }
  };
  fetch(blockIdx.x);
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const int32_t target = targets[row];
    const float logit = threadIdx.x == 0 && target >= 0 ? logits[row * vocab + target] : 0;
    waitForCopies();
    float e[heldVectors][4];
    float top = -FLT_MAX;
#pragma unroll
    for (int k = 0; k < heldVectors; ++k) {
      const int vector = k * heldThreads + static_cast<int>(threadIdx.x);
      if (vector * 4 >= vocab) continue;
      const float4 four = next[vector];
      e[k][0] = four.x;
      e[k][1] = four.y;
      e[k][2] = four.z;
      e[k][3] = four.w;
#pragma unroll
      for (int i = 0; i < 4; ++i) top = fmaxf(top, e[k][i]);
    }
    fetch(row + gridDim.x);
    top = blockMaximum(top, sharedTop);
    float sum = 0;
#pragma unroll
    for (int k = 0; k < heldVectors; ++k) {
      const int vector = k * heldThreads + static_cast<int>(threadIdx.x);
      if (vector * 4 >= vocab) continue;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        e[k][i] = expf(e[k][i] - top);
        sum += e[k][i];
      }
    }
    const double total = blockSum(static_cast<double>(sum), sharedTotal);
    if (threadIdx.x == 0) losses[row] = target >= 0 ? lossOf(top, total, logit) : 0;
    if (!gradient) continue;
    const float factor = target >= 0 ? static_cast<float>(static_cast<double>(gradientScale) / total) : 0;
#pragma unroll
    for (int k = 0; k < heldVectors; ++k) {
      const int vector = k * heldThreads + static_cast<int>(threadIdx.x);
      if (vector * 4 < vocab) storeGradient(gradient + row * vocab, vector * 4, e[k], factor, target, gradientScale);
    }
  }
}

constexpr int rowThreads = 512;

// Any vocabulary: one block a row, the second read comes from the cache as far as it holds the row.
template <typename G, int N>
__global__ void __launch_bounds__(rowThreads)
    crossEntropyKernel(const float* logits, const int32_t* targets, float gradientScale, G* gradient, double* losses,
                       int64_t vocab) {
  __shared__ float sharedTop[warpSize32];
  __shared__ double sharedTotal[warpSize32];
  const float* const row = logits + static_cast<int64_t>(blockIdx.x) * vocab;
  const int32_t target = targets[blockIdx.x];
  const float logit = threadIdx.x == 0 && target >= 0 ? row[target] : 0;
  constexpr int64_t step = int64_t{rowThreads} * N;
  constexpr int unroll = softmaxUnroll;
  const int64_t begin = static_cast<int64_t>(threadIdx.x) * N;
  PartialSums part;
  if (target >= 0) part = partialSums<false, rowThreads, N>(row, vocab, 1);
  const float all = blockMaximum(part.top, sharedTop);
  const double total = blockSum(static_cast<double>(part.plain * expf(part.top - all)), sharedTotal);
  if (threadIdx.x == 0) losses[blockIdx.x] = target >= 0 ? lossOf(all, total, logit) : 0;
  if (!gradient) return;
  G* const out = gradient + static_cast<int64_t>(blockIdx.x) * vocab;
  const float factor = target >= 0 ? static_cast<float>(static_cast<double>(gradientScale) / total) : 0;
  for (int64_t column = begin; column < vocab; column += unroll * step) {
    float v[unroll][N] = {};
    if (target >= 0) {
#pragma unroll
      for (int u = 0; u < unroll; ++u) {
        if (column + u * step < vocab) loadFloats(row + column + u * step, v[u]);
      }
    }
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      if (column + u * step >= vocab) continue;
#pragma unroll
      for (int i = 0; i < N; ++i) v[u][i] = target >= 0 ? expf(v[u][i] - all) : 0;
      storeGradient(out, column + u * step, v[u], factor, target, gradientScale);
    }
  }
}

constexpr int sumThreads = 1024;

__global__ void __launch_bounds__(sumThreads) addLossesKernel(const double* losses, int64_t rows, double* lossSum) {
  __shared__ double shared[warpSize32];
  double sum = 0;
  for (int64_t row = threadIdx.x; row < rows; row += sumThreads) sum += losses[row];
  sum = blockSum(sum, shared);
  if (threadIdx.x == 0) *lossSum += sum;
}

__global__ void narrowLossesKernel(const double* losses, int64_t rows, float* narrow) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row < rows) narrow[row] = static_cast<float>(losses[row]);
}

int deviceAttribute(cudaDeviceAttr attribute) {
  int device = 0;
  int value = 0;
  LRQAT_CUDA(cudaGetDevice(&device));
  LRQAT_CUDA(cudaDeviceGetAttribute(&value, attribute, device));
  return value;
}

template <typename G>
void launchCrossEntropy(const Matrix& logits, const int32_t* targets, float gradientScale, G* gradient, double* losses,
                        cudaStream_t stream) {
  const auto* values = static_cast<const float*>(logits.data);
  const bool wide = allowsWidth(logits, 4) && isAligned(gradient);
  constexpr int held = static_cast<int>(heldVocab) * 4;
  // Small vocabularies leave most of a block of the first kernel idle.
  if (wide && logits.cols <= heldVocab && logits.cols > heldVocab / 4 &&
      deviceAttribute(cudaDevAttrMaxSharedMemoryPerBlockOptin) >= held + 1024) {
    LRQAT_CUDA(cudaFuncSetAttribute(heldCrossEntropyKernel<G>, cudaFuncAttributeMaxDynamicSharedMemorySize, held));
    const int64_t blocks = std::min<int64_t>(logits.rows, deviceAttribute(cudaDevAttrMultiProcessorCount));
    heldCrossEntropyKernel<G><<<static_cast<unsigned>(blocks), heldThreads, held, stream>>>(
        values, targets, gradientScale, gradient, losses, logits.rows, static_cast<int>(logits.cols));
  } else if (wide) {
    crossEntropyKernel<G, 4><<<static_cast<unsigned>(logits.rows), rowThreads, 0, stream>>>(
        values, targets, gradientScale, gradient, losses, logits.cols);
  } else {
    crossEntropyKernel<G, 1><<<static_cast<unsigned>(logits.rows), rowThreads, 0, stream>>>(
        values, targets, gradientScale, gradient, losses, logits.cols);
  }
  LRQAT_CUDA(cudaGetLastError());
}

}  // namespace

int64_t crossEntropyScratchBytes(int64_t rows) {
  return Scratch::padded(rows * 8);
}

void crossEntropy(Matrix logits, const int32_t* targets, float gradientScale, Matrix gradient, double* lossSum,
                  Scratch& scratch, cudaStream_t stream) {
  LRQAT_CHECK(logits.type == DType::F32 && logits.cols > 0 && logits.rows < (int64_t{1} << 31));
  LRQAT_CHECK(!gradient.data || (gradient.rows == logits.rows && gradient.cols == logits.cols));
  LRQAT_CHECK(gradient.type != DType::BF16 || gradient.data != logits.data || !gradient.data);
  if (logits.rows == 0) return;
  auto* losses = scratch.take<double>(logits.rows);
  dispatchActivation(gradient.data ? gradient.type : DType::F32, [&](auto element) {
    launchCrossEntropy(logits, targets, gradientScale, elements<decltype(element)>(gradient), losses, stream);
  });
  addLossesKernel<<<1, sumThreads, 0, stream>>>(losses, logits.rows, lossSum);
  LRQAT_CUDA(cudaGetLastError());
}

void rowLosses(Matrix logits, const int32_t* targets, float* losses, Scratch& scratch, cudaStream_t stream) {
  LRQAT_CHECK(logits.type == DType::F32 && logits.cols > 0 && logits.rows < (int64_t{1} << 31));
  if (logits.rows == 0) return;
  auto* wide = scratch.take<double>(logits.rows);
  launchCrossEntropy<float>(logits, targets, 0, nullptr, wide, stream);
  constexpr int threads = 256;
  const auto blocks = static_cast<unsigned>((logits.rows + threads - 1) / threads);
  narrowLossesKernel<<<blocks, threads, 0, stream>>>(wide, logits.rows, losses);
  LRQAT_CUDA(cudaGetLastError());
}

}  // namespace lrqat::cuda
