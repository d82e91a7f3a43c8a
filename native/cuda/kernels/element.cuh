// Element types of activations on the device: float (tests, exact mode) and bf16 (training). Arithmetic is float32
// always; these are the loads and stores around it.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "core/error.h"
#include "core/types.h"

namespace lrqat::cuda {

using bf16 = __nv_bfloat16;

__device__ __forceinline__ float toFloat(float value) {
  return value;
}
__device__ __forceinline__ float toFloat(bf16 value) {
  return __bfloat162float(value);
}
__device__ __forceinline__ float toFloat(__half value) {
  return __half2float(value);
}

template <typename E>
__device__ __forceinline__ E fromFloat(float value);
template <>
__device__ __forceinline__ float fromFloat<float>(float value) {
  return value;
}
/// Round to nearest even.
template <>
__device__ __forceinline__ bf16 fromFloat<bf16>(float value) {
  return __float2bfloat16_rn(value);
}
template <>
__device__ __forceinline__ __half fromFloat<__half>(float value) {
  return __float2half_rn(value);
}

/// Calls f with a value of the element type that `type` names, e.g. dispatch(m.type, [&](auto e) { using E =
/// decltype(e); … }). Activations are float32 or bf16 on CUDA.
template <typename F>
void dispatchActivation(DType type, F&& f) {
  switch (type) {
    case DType::F32:
      return f(float{});
    case DType::BF16:
      return f(bf16{});
    case DType::F16:
      break;
  }
  throw Error(ErrorCode::Internal, "fp16 activations are not supported on CUDA");
}

template <typename E>
E* elements(const Matrix& m) {
  return static_cast<E*>(m.data);
}

/// f with a value of the element type of a checkpoint tensor.
template <typename F>
void dispatchSource(DType type, F&& f) {
  switch (type) {
    case DType::F32:
      return f(float{});
    case DType::BF16:
      return f(bf16{});
    case DType::F16:
      return f(__half{});
  }
}

}  // namespace lrqat::cuda
