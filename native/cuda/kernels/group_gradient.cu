#include "cuda/kernels/group_gradient.h"

#include "core/grid.h"
#include "cuda/check.h"
#include "cuda/kernels/rebuild_tiles.cuh"

namespace lrqat::cuda {

namespace {

/// Takes the rounded weight of a panel and works on the gradient that lies at the same place.
struct GradientSink {
  float* gradient;
  bf16* hi;
  bf16* lo;
  int64_t halvesStride;
  float* products;
  int productColumns;
  const float* groupScale;  // [rows, n / groupSize]; null: 1
  int groupSize;
  float qmin, qmax;
  int n;
  bool vectorized;  // n % 8 == 0

  struct State {};

  __device__ __forceinline__ void octet(State&, int, int64_t row, int column, bool valid, const float (&)[kOctet],
                                        const float (&rounded)[kOctet]) const {
    if (!valid) return;
    float* at = gradient + row * n + column;
    float g[kOctet];
    load(at, column, g);
    float q[kOctet];
#pragma unroll
    for (int i = 0; i < kOctet; ++i) q[i] = clampTo(rounded[i], qmin, qmax);
    if (products) storeProducts(row, column, g, q);
    if (groupScale) multiplyScales(row, column, g);
#pragma unroll
    for (int i = 0; i < kOctet; ++i) g[i] = q[i] == rounded[i] ? g[i] : 0.0F;
    if (hi) {
      storeHalves(row, column, g);
    } else {
#pragma unroll
      for (int i = 0; i < kOctet; ++i) {
        if (column + i < n) at[i] = g[i];
      }
    }
  }
  __device__ __forceinline__ void finish(const State&, int) const {}

 private:
  __device__ __forceinline__ void load(const float* at, int column, float (&g)[kOctet]) const {
    if (vectorized) {
      const float4 first = reinterpret_cast<const float4*>(at)[0];
      const float4 second = reinterpret_cast<const float4*>(at)[1];
      g[0] = first.x;
      g[1] = first.y;
      g[2] = first.z;
      g[3] = first.w;
      g[4] = second.x;
      g[5] = second.y;
      g[6] = second.z;
      g[7] = second.w;
      return;
    }
#pragma unroll
    for (int i = 0; i < kOctet; ++i) g[i] = column + i < n ? at[i] : 0.0F;
  }

  __device__ __forceinline__ void storeProducts(int64_t row, int column, const float (&g)[kOctet],
                                                const float (&q)[kOctet]) const {
    if (productColumns == kOctet) {
      float sum = g[0] * q[0];
#pragma unroll
      for (int i = 1; i < kOctet; ++i) sum = fmaf(g[i], q[i], sum);
      products[row * ((n + kOctet - 1) / kOctet) + column / kOctet] = sum;
      return;
    }
#pragma unroll
    for (int i = 0; i < kOctet; ++i) {
      if (column + i < n) products[row * n + column + i] = g[i] * q[i];
    }
  }

  __device__ __forceinline__ void multiplyScales(int64_t row, int column, float (&g)[kOctet]) const {
    const float* scales = groupScale + row * (n / groupSize);
    if (groupSize % kOctet == 0) {
      const float scale = __ldg(scales + column / groupSize);
#pragma unroll
      for (int i = 0; i < kOctet; ++i) g[i] *= scale;
      return;
    }
#pragma unroll
    for (int i = 0; i < kOctet; ++i) {
      if (column + i < n) g[i] *= __ldg(scales + (column + i) / groupSize);
    }
  }

  __device__ __forceinline__ void storeHalves(int64_t row, int column, const float (&g)[kOctet]) const {
    uint32_t high[4];
    uint32_t low[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const SplitPair pair = split(g[2 * i], g[2 * i + 1]);
      high[i] = pair.high;
      low[i] = pair.low;
    }
    const int64_t to = row * halvesStride + column;
    *reinterpret_cast<uint4*>(hi + to) = make_uint4(high[0], high[1], high[2], high[3]);
    *reinterpret_cast<uint4*>(lo + to) = make_uint4(low[0], low[1], low[2], low[3]);
  }
};

constexpr int kSumThreads = 256;

/// A warp a group: `perGroup` neighbouring sums.
__global__ void addGroupSums(const float* __restrict__ products, int64_t groups, int perGroup,
                             const float* __restrict__ theta, const float* __restrict__ scale, bool floored,
                             bool logDomain, float* __restrict__ gradient) {
  const int64_t group = (static_cast<int64_t>(blockIdx.x) * kSumThreads + threadIdx.x) / 32;
  if (group >= groups) return;
  float sum = 0;
  for (int i = static_cast<int>(threadIdx.x) % 32; i < perGroup; i += 32) sum += products[group * perGroup + i];
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, offset);
  if (threadIdx.x % 32 != 0 || (floored && !(theta[group] >= kScaleFloor))) return;
  gradient[group] += logDomain ? sum * scale[group] : sum;
}

}  // namespace

void maskGradient(const LinearWeight& weight, const LowRank& lowRank, const GradientPanel& panel, bool exact,
                  cudaStream_t stream) {
  const QuantSpec& spec = weight.spec;
  const bool group = spec.granularity == Granularity::Group;
  LRQAT_CHECK(panel.firstRow >= 0 && panel.rows > 0 && panel.firstRow + panel.rows <= weight.m);
  LRQAT_CHECK(!panel.halves.hi || panel.halves.stride % 8 == 0);
  LRQAT_CHECK(!panel.products || panel.products != panel.gradient || (panel.productColumns == 1 && panel.halves.hi));
  const GradientSink sink{panel.gradient,
                          reinterpret_cast<bf16*>(panel.halves.hi),
                          reinterpret_cast<bf16*>(panel.halves.lo),
                          panel.halves.stride,
                          panel.products,
                          panel.productColumns,
                          group ? lowRank.scale + panel.firstRow * (weight.n / spec.groupSize) : nullptr,
                          group ? static_cast<int>(spec.groupSize) : 1,
                          static_cast<float>(spec.qmin()),
                          static_cast<float>(spec.qmax()),
                          static_cast<int>(weight.n),
                          weight.n % kOctet == 0 && reinterpret_cast<uintptr_t>(panel.gradient) % 16 == 0};
  const RoundedSource source = trainedRows(weight, lowRank, panel.firstRow, panel.rows);
  if (exact) {
    launchRounded<true>(source, sink, stream);
  } else {
    launchRounded<false>(source, sink, stream);
  }
}

void addGroupScaleGradient(const LinearWeight& weight, const float* theta, const float* scale,
                           const GradientPanel& panel, float* gradient, cudaStream_t stream) {
  const QuantSpec& spec = weight.spec;
  LRQAT_CHECK(spec.granularity == Granularity::Group && spec.groupSize % panel.productColumns == 0);
  const bool trainsPlain = spec.storage == Storage::Integer;
  const int64_t perRow = weight.n / spec.groupSize;
  const int64_t groups = panel.rows * perRow;
  const int64_t first = panel.firstRow * perRow;
  const auto blocks = static_cast<unsigned>((groups * 32 + kSumThreads - 1) / kSumThreads);
  addGroupSums<<<blocks, kSumThreads, 0, stream>>>(
      panel.products, groups, static_cast<int>(spec.groupSize / panel.productColumns), theta + first, scale + first,
      spec.scaleDomain == ScaleDomain::Linear && !trainsPlain, spec.scaleDomain == ScaleDomain::Log && !trainsPlain,
      gradient + first);
  LRQAT_CUDA(cudaGetLastError());
}

}  // namespace lrqat::cuda
