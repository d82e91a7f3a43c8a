#include "cuda/kernels/attention_backward.cuh"
#include "cuda/kernels/attention_forward.cuh"

namespace lrqat::cuda::attention {

template <>
void forwardTensor<80>(const Forward<Bf16>& arguments, cudaStream_t stream) {
  launchForward<ForwardConfig<80, 2, 4, 64>>(arguments, stream);
}

template <>
void backwardTensor<80>(const Backward<Bf16>& arguments, cudaStream_t stream) {
  launchQueryGradient<QueryGradientConfig<80, 1, 4, 32, 2>>(arguments, stream);
  launchKeyGradient<KeyGradientConfig<80, 1, 4, 32, 2, true, true>>(arguments, stream);
}

}  // namespace lrqat::cuda::attention
