#include "cuda/kernels/attention_backward.cuh"
#include "cuda/kernels/attention_forward.cuh"

namespace lrqat::cuda::attention {

template <>
void forwardTensor<256>(const Forward<Bf16>& arguments, cudaStream_t stream) {
  launchForward<ForwardConfig<256, 1, 4, 32>>(arguments, stream);
}

template <>
void backwardTensor<256>(const Backward<Bf16>& arguments, cudaStream_t stream) {
  launchQueryGradient<QueryGradientConfig<256, 1, 4, 32, 1>>(arguments, stream);
  launchKeyGradient<KeyGradientConfig<256, 1, 4, 16, 1, true, false>>(arguments, stream);
  launchKeyGradient<KeyGradientConfig<256, 1, 4, 32, 1, false, true>>(arguments, stream);
}

}  // namespace lrqat::cuda::attention
