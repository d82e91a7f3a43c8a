#include "cuda/kernels/group_gradient.h"

#include <algorithm>

#include "core/grid.h"
#include "cuda/check.h"
#include "cuda/kernels/element.cuh"
#include "cuda/kernels/group_integers.h"
#include "cuda/kernels/row_grids.cuh"

namespace lrqat::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kOctet = 8;

/// Group scales of the panel's rows and where their gradient goes.
struct GroupScales {
  const float* scale;  // [rows, n / groupSize]
  const float* theta;
  float* gradient;
  int groupSize;
  int groups;  // a row
  bool floored;
  bool logDomain;

  __device__ __forceinline__ void add(int64_t group, float sum) const {
    if (floored && !(theta[group] >= kScaleFloor)) return;
    gradient[group] += logDomain ? sum * scale[group] : sum;
  }
};

struct Arguments {
  float* gradient;  // [rows, n]
  bf16* hi;         // [rows, halvesStride] or null
  bf16* lo;
  const uint32_t* mask;  // [rows, words]; null: no G'
  const int8_t* integers;
  RowGrids grids;   // that the integers count from, around zero points
  float* products;  // where sums over groups need a second pass
  GroupScales scales;
  int64_t halvesStride;
  uint32_t octets;  // of all rows
  uint32_t octetsPerRow;
  int n;
};

__device__ __forceinline__ void loadOctet(const float* from, int count, bool wide, float (&g)[kOctet]) {
  if (wide) {
    const float4 first = reinterpret_cast<const float4*>(from)[0];
    const float4 second = reinterpret_cast<const float4*>(from)[1];
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
  for (int i = 0; i < kOctet; ++i) g[i] = i < count ? from[i] : 0.0F;
}

__device__ __forceinline__ void storeOctet(const float (&g)[kOctet], int count, bool wide, float* to) {
  if (wide) {
    reinterpret_cast<float4*>(to)[0] = make_float4(g[0], g[1], g[2], g[3]);
    reinterpret_cast<float4*>(to)[1] = make_float4(g[4], g[5], g[6], g[7]);
    return;
  }
#pragma unroll
  for (int i = 0; i < kOctet; ++i) {
    if (i < count) to[i] = g[i];
  }
}

/// A thread eight columns of a row. kGroup: scales by group; kScale: their gradient is wanted.
template <bool kGroup, bool kScale>
__global__ __launch_bounds__(kThreads) void maskKernel(const __grid_constant__ Arguments f) {
  const uint32_t index = blockIdx.x * kThreads + threadIdx.x;
  const bool exists = index < f.octets;
  const uint32_t row = exists ? index / f.octetsPerRow : 0;
  const int octet = exists ? static_cast<int>(index - row * f.octetsPerRow) : 0;
  const int column = octet * kOctet;
  const int count = exists ? min(kOctet, f.n - column) : 0;
  const bool wide = f.n % kOctet == 0 && exists;
  float* at = f.gradient + static_cast<int64_t>(row) * f.n + column;
  float g[kOctet];
  loadOctet(at, count, wide, g);

  if constexpr (kScale) {
    union {
      int8_t value[kOctet];
      uint2 bits;
    } q;
    q.bits = make_uint2(0, 0);
    if (exists) {
      q.bits =
          *reinterpret_cast<const uint2*>(f.integers + (static_cast<int64_t>(row) * f.octetsPerRow + octet) * kOctet);
    }
    float value[kOctet];
    if (f.grids.zero) {
      f.grids.lows(row, static_cast<uint32_t>(column), static_cast<uint32_t>(f.n), value);
#pragma unroll
      for (int i = 0; i < kOctet; ++i) value[i] += static_cast<float>(static_cast<uint8_t>(q.value[i]));
    } else {
#pragma unroll
      for (int i = 0; i < kOctet; ++i) value[i] = static_cast<float>(q.value[i]);
    }
    if (f.products) {
      float product[kOctet];
#pragma unroll
      for (int i = 0; i < kOctet; ++i) product[i] = g[i] * value[i];
      storeOctet(product, count, wide, f.products + static_cast<int64_t>(row) * f.n + column);
    } else {
      // Groups are 1 … 32 neighbouring lanes.
      float sum = 0;
#pragma unroll
      for (int i = 0; i < kOctet; ++i) sum = __fmaf_rn(g[i], value[i], sum);
      const uint32_t lanes = static_cast<uint32_t>(f.scales.groupSize) / kOctet;
      for (uint32_t offset = 1; offset < lanes; offset *= 2) sum += __shfl_xor_sync(0xffffffffU, sum, offset);
      if (exists && (index & (lanes - 1)) == 0) f.scales.add(index / lanes, sum);
    }
  }
  if (!f.mask || !exists) return;
  const uint32_t clipped = f.mask[static_cast<int64_t>(row) * ((f.n + 31) / 32) + column / 32] >> (column % 32) & 0xffU;
  if constexpr (kGroup) {
    const float* scales = f.scales.scale + static_cast<int64_t>(row) * f.scales.groups;
    if (f.scales.groupSize % kOctet == 0) {
      const float scale = scales[column / f.scales.groupSize];
#pragma unroll
      for (int i = 0; i < kOctet; ++i) g[i] *= scale;
    } else {
#pragma unroll
      for (int i = 0; i < kOctet; ++i) g[i] *= i < count ? scales[(column + i) / f.scales.groupSize] : 0.0F;
    }
  }
#pragma unroll
  for (int i = 0; i < kOctet; ++i) g[i] = clipped >> i & 1U ? 0.0F : g[i];
  if (!f.hi) {
    storeOctet(g, count, wide, at);
    return;
  }
  union {
    bf16 value[kOctet];
    uint4 bits;
  } hi, lo;
#pragma unroll
  for (int i = 0; i < kOctet; ++i) {
    hi.value[i] = __float2bfloat16_rn(g[i]);
    lo.value[i] = __float2bfloat16_rn(g[i] - __bfloat162float(hi.value[i]));
  }
  const int64_t to = static_cast<int64_t>(row) * f.halvesStride + column;
  *reinterpret_cast<uint4*>(f.hi + to) = hi.bits;
  *reinterpret_cast<uint4*>(f.lo + to) = lo.bits;
}

/// A thread a group, column by column.
__global__ void addGroupSums(const float* __restrict__ products, int64_t groups,
                             const __grid_constant__ GroupScales scales) {
  const int64_t group = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (group >= groups) return;
  float sum = 0;
  for (int i = 0; i < scales.groupSize; ++i) sum += products[group * scales.groupSize + i];
  scales.add(group, sum);
}

}  // namespace

void maskGradient(const LowRankTask& task, const GradientPanel& panel, cudaStream_t stream) {
  const LinearWeight& w = *task.weight;
  const QuantSpec& spec = w.spec;
  const bool group = spec.granularity == Granularity::Group;
  const bool wantsScale = group && task.gradient.scale;
  const bool wantsFactors = spec.rank > 0 && task.gradient.a;
  LRQAT_CHECK(panel.firstRow >= 0 && panel.rows > 0 && panel.firstRow + panel.rows <= w.m);
  LRQAT_CHECK(!panel.halves.hi || (panel.halves.stride % 8 == 0 && panel.halves.stride >= w.n));
  LRQAT_CHECK(reinterpret_cast<uintptr_t>(panel.gradient) % 16 == 0 && (!wantsFactors || task.clipped.mask));
  const int64_t words = (w.n + 31) / 32;
  Arguments arguments{};
  arguments.gradient = panel.gradient;
  arguments.hi = reinterpret_cast<bf16*>(panel.halves.hi);
  arguments.lo = reinterpret_cast<bf16*>(panel.halves.lo);
  arguments.mask = wantsFactors ? task.clipped.mask + panel.firstRow * words : nullptr;
  arguments.integers = panel.integers;
  arguments.grids = RowGrids::of(w, task.lowRank.zero, panel.firstRow);
  arguments.halvesStride = panel.halves.stride;
  arguments.octetsPerRow = static_cast<uint32_t>(integerStride(w.n) / kOctet);
  LRQAT_CHECK(panel.rows * integerStride(w.n) < INT32_MAX);
  arguments.octets = static_cast<uint32_t>(panel.rows) * arguments.octetsPerRow;
  arguments.n = static_cast<int>(w.n);
  if (group) {
    const bool trainsPlain = spec.storage == Storage::Integer;
    const int64_t perRow = w.n / spec.groupSize;
    const int64_t first = panel.firstRow * perRow;
    arguments.scales = {task.lowRank.scale + first,
                        wantsScale ? task.theta + first : nullptr,
                        wantsScale ? task.gradient.scale + first : nullptr,
                        static_cast<int>(spec.groupSize),
                        static_cast<int>(perRow),
                        spec.scaleDomain == ScaleDomain::Linear && !trainsPlain,
                        spec.scaleDomain == ScaleDomain::Log && !trainsPlain};
  }
  if (wantsScale) {
    LRQAT_CHECK(panel.integers);
    if (needsProducts(spec.groupSize)) {
      LRQAT_CHECK(panel.products && (panel.products != panel.gradient || panel.halves.hi || !wantsFactors));
      arguments.products = panel.products;
    }
  }
  const auto blocks = static_cast<unsigned>((arguments.octets + kThreads - 1) / kThreads);
  if (wantsScale) {
    maskKernel<true, true><<<blocks, kThreads, 0, stream>>>(arguments);
  } else if (group) {
    maskKernel<true, false><<<blocks, kThreads, 0, stream>>>(arguments);
  } else {
    maskKernel<false, false><<<blocks, kThreads, 0, stream>>>(arguments);
  }
  LRQAT_CUDA(cudaGetLastError());
  if (arguments.products) {
    const int64_t groups = panel.rows * (w.n / spec.groupSize);
    addGroupSums<<<static_cast<unsigned>((groups + kThreads - 1) / kThreads), kThreads, 0, stream>>>(
        arguments.products, groups, arguments.scales);
    LRQAT_CUDA(cudaGetLastError());
  }
}

}  // namespace lrqat::cuda
