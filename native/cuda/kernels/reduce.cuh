// Sums of a warp and of a block, in an order that depends on the block size alone; every thread gets the result.
#pragma once

#include <cstdint>

namespace lrqat::cuda {

inline constexpr int warpSize32 = 32;

template <int Lanes = 32, typename T>
__device__ __forceinline__ T warpSum(T value) {
#pragma unroll
  for (int offset = Lanes / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffU, value, offset);
  return value;
}

__device__ __forceinline__ float warpMaximum(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(0xffffffffU, value, offset));
  return value;
}

/// `shared`: 32 places that no thread uses for anything else between two barriers. Block of whole warps, one dimension.
template <typename T>
__device__ __forceinline__ T blockSum(T value, T* shared) {
  value = warpSum(value);
  const int warps = static_cast<int>(blockDim.x) / warpSize32;
  if (warps == 1) return value;
  const int lane = static_cast<int>(threadIdx.x) % warpSize32;
  if (lane == 0) shared[threadIdx.x / warpSize32] = value;
  __syncthreads();
  return warpSum(lane < warps ? shared[lane] : T{});
}

__device__ __forceinline__ float blockMaximum(float value, float* shared) {
  value = warpMaximum(value);
  const int warps = static_cast<int>(blockDim.x) / warpSize32;
  if (warps == 1) return value;
  const int lane = static_cast<int>(threadIdx.x) % warpSize32;
  if (lane == 0) shared[threadIdx.x / warpSize32] = value;
  __syncthreads();
  return warpMaximum(lane < warps ? shared[lane] : -INFINITY);
}

}  // namespace lrqat::cuda
