#include "cuda/kernels/attention_backward.cuh"
#include "cuda/kernels/attention_forward.cuh"

namespace lrqat::cuda::attention {

template <>
void forwardTensor<64>(const Forward<Bf16>& arguments, cudaStream_t stream) {
  launchForward<ForwardConfig<64, 2, 4, 64>>(arguments, stream);
}

template <>
void backwardTensor<64>(const Backward<Bf16>& arguments, cudaStream_t stream) {
  launchQueryGradient<QueryGradientConfig<64, 2, 4, 32, 2>>(arguments, stream);
  launchKeyGradient<KeyGradientConfig<64, 2, 4, 32, 2, true, true>>(arguments, stream);
}

}  // namespace lrqat::cuda::attention
