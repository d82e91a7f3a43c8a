#include "cuda/kernels/attention_backward.cuh"
#include "cuda/kernels/attention_forward.cuh"

namespace lrqat::cuda::attention {

template <>
void forwardTensor<128>(const Forward<Bf16>& arguments, cudaStream_t stream) {
  launchForward<ForwardConfig<128, 2, 4, 32>>(arguments, stream);
}

template <>
void backwardTensor<128>(const Backward<Bf16>& arguments, cudaStream_t stream) {
  launchQueryGradient<QueryGradientConfig<128, 1, 4, 64, 1>>(arguments, stream);
  launchKeyGradient<KeyGradientConfig<128, 1, 4, 32, 2, true, true>>(arguments, stream);
}

}  // namespace lrqat::cuda::attention
