#include "cuda/kernels/optimizer.h"

#include <algorithm>
#include <cmath>

#include "cuda/check.h"
#include "cuda/kernels/reduce.cuh"
#include "cuda/kernels/vector.cuh"

namespace lrqat::cuda {

namespace {

constexpr int threads = 256;

/// Scalars of a step that all tensors share; those that depend on the learning rate are made for each.
struct StepScalars {
  float gradientFactor;
  float gradientWeight1;  // 1 − beta1
  float beta2;
  float gradientWeight2;  // 1 − beta2
  float rootCorrection2;  // √(1 − beta2^t)
  float epsilon;
  double correction1;  // 1 − beta1^t
  double weightDecay;
};

StepScalars scalarsOf(const AdamW& settings) {
  const double correction1 = 1 - std::pow(settings.beta1, static_cast<double>(settings.step));
  const double correction2 = 1 - std::pow(settings.beta2, static_cast<double>(settings.step));
  return {.gradientFactor = settings.gradientFactor,
          .gradientWeight1 = static_cast<float>(1 - settings.beta1),
          .beta2 = static_cast<float>(settings.beta2),
          .gradientWeight2 = static_cast<float>(1 - settings.beta2),
          .rootCorrection2 = static_cast<float>(std::sqrt(correction2)),
          .epsilon = static_cast<float>(settings.epsilon),
          .correction1 = correction1,
          .weightDecay = settings.weightDecay};
}

/// Last tensor whose first chunk is not after `chunk` (tensors without elements have no chunk).
__device__ __forceinline__ int tensorOf(const DeviceAdamWTensor* tensors, int count, int64_t chunk) {
  int low = 0;
  int high = count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (tensors[middle].firstChunk <= chunk) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

struct Update {
  float decay;     // 1 − learning rate · weight decay
  float stepSize;  // learning rate / (1 − beta1^t)
};

__device__ __forceinline__ void update(const StepScalars& step, const Update& update, float gradient, float& value,
                                       float& moment1, float& moment2) {
  const float g = gradient * step.gradientFactor;
  moment1 = moment1 + step.gradientWeight1 * (g - moment1);
  moment2 = moment2 * step.beta2 + step.gradientWeight2 * g * g;
  const float denominator = sqrtf(moment2) / step.rootCorrection2 + step.epsilon;
  value = value * update.decay - update.stepSize * (moment1 / denominator);
}

/// Of memory that nobody needs again in this step: the cache is kept free of it.
__device__ __forceinline__ void loadOnce(const float* p, float (&v)[4]) {
  const float4 four = __ldcs(reinterpret_cast<const float4*>(p));
  v[0] = four.x;
  v[1] = four.y;
  v[2] = four.z;
  v[3] = four.w;
}

__device__ __forceinline__ void storeOnce(float* p, const float (&v)[4]) {
  __stcs(reinterpret_cast<float4*>(p), make_float4(v[0], v[1], v[2], v[3]));
}

// One block a chunk.
__global__ void __launch_bounds__(threads) adamwKernel(const DeviceAdamWTensor* tensors, int count, StepScalars step) {
  __shared__ DeviceAdamWTensor tensor;
  __shared__ Update scalars;
  if (threadIdx.x == 0) {
    tensor = tensors[tensorOf(tensors, count, blockIdx.x)];
    scalars.decay = static_cast<float>(1 - tensor.learningRate * step.weightDecay);
    scalars.stepSize = static_cast<float>(tensor.learningRate / step.correction1);
  }
  __syncthreads();
  const int64_t first = (blockIdx.x - tensor.firstChunk) * adamwChunk;
  const int64_t end = min(tensor.count, first + adamwChunk);
  const auto places = reinterpret_cast<uintptr_t>(tensor.value) | reinterpret_cast<uintptr_t>(tensor.gradient) |
                      reinterpret_cast<uintptr_t>(tensor.moment1) | reinterpret_cast<uintptr_t>(tensor.moment2);
  int64_t done = first;
  if (places % 16 == 0) {
    const int64_t vectorEnd = end - (end - first) % 4;
#pragma unroll 2
    for (int64_t i = first + threadIdx.x * 4; i < vectorEnd; i += threads * 4) {
      float g[4];
      float m[4];
      float v[4];
      float w[4];
      loadOnce(tensor.gradient + i, g);
      loadOnce(tensor.moment1 + i, m);
      loadOnce(tensor.moment2 + i, v);
      loadOnce(tensor.value + i, w);
#pragma unroll
      for (int j = 0; j < 4; ++j) update(step, scalars, g[j], w[j], m[j], v[j]);
      storeOnce(tensor.moment1 + i, m);
      storeOnce(tensor.moment2 + i, v);
      storeOnce(tensor.value + i, w);
    }
    done = vectorEnd;
  }
  for (int64_t i = done + threadIdx.x; i < end; i += threads) {
    update(step, scalars, tensor.gradient[i], tensor.value[i], tensor.moment1[i], tensor.moment2[i]);
  }
}

constexpr int64_t normBlocks = 1024;

__device__ __forceinline__ void addSquares(const float* values, int64_t first, int64_t end, double (&sums)[4]) {
  int64_t done = first;
  if (reinterpret_cast<uintptr_t>(values + first) % 16 == 0) {
    const int64_t vectorEnd = end - (end - first) % 4;
#pragma unroll 4
    for (int64_t i = first + threadIdx.x * 4; i < vectorEnd; i += threads * 4) {
      float v[4];
      loadFloats(values + i, v);
#pragma unroll
      for (int j = 0; j < 4; ++j) sums[j] = fma(static_cast<double>(v[j]), static_cast<double>(v[j]), sums[j]);
    }
    done = vectorEnd;
  }
  for (int64_t i = done + threadIdx.x; i < end; i += threads) {
    sums[0] = fma(static_cast<double>(values[i]), static_cast<double>(values[i]), sums[0]);
  }
}

__device__ __forceinline__ void storeBlockSum(const double (&sums)[4], double* partial) {
  __shared__ double shared[warpSize32];
  const double sum = blockSum((sums[0] + sums[1]) + (sums[2] + sums[3]), shared);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// grid: normBlocks; block b takes the chunks b, b + normBlocks, …
__global__ void __launch_bounds__(threads) squaredNormKernel(const float* values, int64_t count, double* partial) {
  double sums[4] = {};
  for (int64_t first = blockIdx.x * adamwChunk; first < count; first += normBlocks * adamwChunk) {
    addSquares(values, first, min(count, first + adamwChunk), sums);
  }
  storeBlockSum(sums, partial);
}

__global__ void __launch_bounds__(threads)
    squaredNormKernel(const DeviceAdamWTensor* tensors, int count, int64_t chunks, double* partial) {
  double sums[4] = {};
  for (int64_t chunk = blockIdx.x; chunk < chunks; chunk += normBlocks) {
    const DeviceAdamWTensor& tensor = tensors[tensorOf(tensors, count, chunk)];
    const int64_t first = (chunk - tensor.firstChunk) * adamwChunk;
    addSquares(tensor.gradient, first, min(tensor.count, first + adamwChunk), sums);
  }
  storeBlockSum(sums, partial);
}

__global__ void __launch_bounds__(normBlocks) sumPartialKernel(const double* partial, double* out) {
  __shared__ double shared[warpSize32];
  const double sum = blockSum(partial[threadIdx.x], shared);
  if (threadIdx.x == 0) *out = sum;
}

}  // namespace

int64_t numberAdamWChunks(std::span<DeviceAdamWTensor> tensors) {
  int64_t chunks = 0;
  for (DeviceAdamWTensor& tensor : tensors) {
    tensor.firstChunk = chunks;
    chunks += (tensor.count + adamwChunk - 1) / adamwChunk;
  }
  return chunks;
}

void adamw(const DeviceAdamWTensor* tensors, int count, int64_t chunks, const AdamW& settings, cudaStream_t stream) {
  LRQAT_CHECK(count >= 0 && chunks < (int64_t{1} << 31) && settings.step >= 1);
  if (chunks == 0) return;
  adamwKernel<<<static_cast<unsigned>(chunks), threads, 0, stream>>>(tensors, count, scalarsOf(settings));
  LRQAT_CUDA(cudaGetLastError());
}

int64_t squaredNormScratchBytes() {
  return Scratch::padded(normBlocks * 8);
}

void squaredNorm(const float* values, int64_t count, double* out, Scratch& scratch, cudaStream_t stream) {
  auto* partial = scratch.take<double>(normBlocks);
  squaredNormKernel<<<normBlocks, threads, 0, stream>>>(values, count, partial);
  LRQAT_CUDA(cudaGetLastError());
  sumPartialKernel<<<1, normBlocks, 0, stream>>>(partial, out);
  LRQAT_CUDA(cudaGetLastError());
}

void squaredNorm(const DeviceAdamWTensor* tensors, int count, int64_t chunks, double* out, Scratch& scratch,
                 cudaStream_t stream) {
  auto* partial = scratch.take<double>(normBlocks);
  squaredNormKernel<<<normBlocks, threads, 0, stream>>>(tensors, count, chunks, partial);
  LRQAT_CUDA(cudaGetLastError());
  sumPartialKernel<<<1, normBlocks, 0, stream>>>(partial, out);
  LRQAT_CUDA(cudaGetLastError());
}

}  // namespace lrqat::cuda
