#include "cuda/kernels/scales.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "core/grid.h"
#include "cuda/check.h"
#include "cuda/kernels/reduce.cuh"

namespace lrqat::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kTensorThreads = 1024;

/// How a trained number becomes a scale. Integer storage trains the plain scale: neither floor nor log domain.
struct ScaleForm {
  bool log, floored;
  ScaleFormat format;

  static ScaleForm of(const QuantSpec& spec) {
    const bool free = spec.storage == Storage::Integer;
    return {!free && spec.scaleDomain == ScaleDomain::Log, !free && spec.scaleDomain == ScaleDomain::Linear,
            spec.scaleFormat};
  }
  /// scaleOnGrid of the CPU.
  __device__ float onGrid(float scale) const {
    if (format == ScaleFormat::BF16) return __bfloat162float(__float2bfloat16_rn(scale));
    if (format != ScaleFormat::F16) return scale;
    return __half2float(__float2half_rn(fminf(fmaxf(scale, kHalfScaleMin), kHalfScaleMax)));
  }
  /// What a gradient of the scale is for the trained number.
  __device__ float gradient(float theta, float scale, float ofScale) const {
    if (log) return ofScale * scale;
    return !floored || theta >= kScaleFloor ? ofScale : 0.0F;
  }
};

__global__ void materialize(ScaleForm form, const float* theta, float* scale, int64_t count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const float value = theta[i];
  // Rounded from double, so that it is the float32 exponential of the CPU but for rare last bits.
  scale[i] = form.onGrid(form.log       ? static_cast<float>(exp(static_cast<double>(value)))
                         : form.floored ? fmaxf(value, kScaleFloor)
                                        : value);
}

__global__ void expand(const float* scale, int stride, float* rowScale, int64_t m) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < m) rowScale[i] = scale[i * stride];
}

__global__ void addChannelGradients(ScaleForm form, const float* theta, const float* scale,
                                    const float* rowScaleGradient, float* scaleGradient, int64_t m) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < m) scaleGradient[i] += form.gradient(theta[i], scale[i], rowScaleGradient[i]);
}

/// One block.
__global__ void addTensorGradient(ScaleForm form, const float* theta, const float* scale, const float* rowScaleGradient,
                                  float* scaleGradient, int64_t m) {
  __shared__ double shared[32];
  double sum = 0;
  for (int64_t i = threadIdx.x; i < m; i += kTensorThreads) sum += static_cast<double>(rowScaleGradient[i]);
  sum = blockSum(sum, shared);
  if (threadIdx.x == 0) scaleGradient[0] += form.gradient(theta[0], scale[0], static_cast<float>(sum));
}

unsigned blocksFor(int64_t count) {
  return static_cast<unsigned>((count + kThreads - 1) / kThreads);
}

}  // namespace

void materializeScales(const LinearWeight& weight, const float* theta, float* scale, cudaStream_t stream) {
  const int64_t count = weight.spec.scaleCount(weight.m, weight.n);
  materialize<<<blocksFor(count), kThreads, 0, stream>>>(ScaleForm::of(weight.spec), theta, scale, count);
  LRQAT_CUDA(cudaGetLastError());
}

void expandRowScale(const LinearWeight& weight, const float* scale, float* rowScale, cudaStream_t stream) {
  LRQAT_CHECK(weight.spec.granularity != Granularity::Group);
  const int stride = weight.spec.granularity == Granularity::Tensor ? 0 : 1;
  expand<<<blocksFor(weight.m), kThreads, 0, stream>>>(scale, stride, rowScale, weight.m);
  LRQAT_CUDA(cudaGetLastError());
}

void reduceRowScaleGradient(const LinearWeight& weight, const float* theta, const float* scale,
                            const float* rowScaleGradient, float* scaleGradient, cudaStream_t stream) {
  LRQAT_CHECK(weight.spec.granularity != Granularity::Group);
  const ScaleForm form = ScaleForm::of(weight.spec);
  if (weight.spec.granularity == Granularity::Tensor) {
    addTensorGradient<<<1, kTensorThreads, 0, stream>>>(form, theta, scale, rowScaleGradient, scaleGradient, weight.m);
  } else {
    addChannelGradients<<<blocksFor(weight.m), kThreads, 0, stream>>>(form, theta, scale, rowScaleGradient,
                                                                      scaleGradient, weight.m);
  }
  LRQAT_CUDA(cudaGetLastError());
}

}  // namespace lrqat::cuda
