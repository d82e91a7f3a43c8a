#include "cuda/kernels/attention_hopper.h"

#include <array>
#include <type_traits>

#include "cuda/check.h"
#include "cuda/kernels/attention_hopper_forward.cuh"
#include "cuda/kernels/attention_hopper_keys.cuh"
#include "cuda/kernels/attention_hopper_queries.cuh"
#include "cuda/kernels/hopper.h"

namespace lrqat::cuda::attention {

namespace {

/// A tensor [batch, length, heads, headDim] in boxes of `rows` positions and 64 columns of one head.
CUtensorMap panelMap(const Bf16* data, const Problem& problem, int heads, int rows) {
  const auto headBytes = static_cast<cuuint64_t>(problem.headDim) * sizeof(Bf16);
  const auto rowBytes = headBytes * static_cast<cuuint64_t>(heads);
  const std::array<cuuint64_t, 4> sizes{static_cast<cuuint64_t>(problem.headDim), static_cast<cuuint64_t>(heads),
                                        static_cast<cuuint64_t>(problem.length),
                                        static_cast<cuuint64_t>(problem.batch)};
  const std::array<cuuint64_t, 3> strides{headBytes, rowBytes, rowBytes * static_cast<cuuint64_t>(problem.length)};
  const std::array<cuuint32_t, 4> box{64, 1, static_cast<cuuint32_t>(rows), 1};
  const std::array<cuuint32_t, 4> steps{1, 1, 1, 1};
  CUtensorMap map;
  const CUresult result = tensorMapEncoder()(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4, const_cast<Bf16*>(data),
                                             sizes.data(), strides.data(), box.data(), steps.data(),
                                             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  LRQAT_CHECK(result == CUDA_SUCCESS);
  return map;
}

template <typename C>
void launchForward(const Forward<Bf16>& arguments, cudaStream_t stream) {
  const Problem& problem = arguments.problem;
  const ForwardMaps maps{panelMap(arguments.q, problem, problem.heads, C::queries),
                         panelMap(arguments.k, problem, problem.kvHeads, C::keys),
                         panelMap(arguments.v, problem, problem.kvHeads, C::keys)};
  const auto kernel = problem.hiddenFrom == nullptr ? forwardHopperKernel<C, false> : forwardHopperKernel<C, true>;
  LRQAT_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, C::sharedBytes));
  const Schedule schedule = scheduleOf(problem, problem.heads, C::queries, multiprocessors());
  kernel<<<multiprocessors(), C::threads, C::sharedBytes, stream>>>(arguments, maps, schedule);
  LRQAT_CUDA(cudaGetLastError());
}

BackwardMaps backwardMaps(const Backward<Bf16>& arguments, int queries, int keys) {
  const Problem& problem = arguments.problem;
  return {panelMap(arguments.q, problem, problem.heads, queries), panelMap(arguments.k, problem, problem.kvHeads, keys),
          panelMap(arguments.v, problem, problem.kvHeads, keys), panelMap(arguments.o, problem, problem.heads, queries),
          panelMap(arguments.dO, problem, problem.heads, queries)};
}

template <typename C>
void launchKeyGradient(const Backward<Bf16>& arguments, cudaStream_t stream) {
  const Problem& problem = arguments.problem;
  LRQAT_CUDA(
      cudaFuncSetAttribute(keyGradientHopperKernel<C>, cudaFuncAttributeMaxDynamicSharedMemorySize, C::sharedBytes));
  const Schedule schedule = scheduleOf(problem, problem.kvHeads, C::keys, multiprocessors());
  const BackwardMaps maps = backwardMaps(arguments, C::queries, C::keys);
  keyGradientHopperKernel<C><<<multiprocessors(), C::threads, C::sharedBytes, stream>>>(arguments, maps, schedule);
  LRQAT_CUDA(cudaGetLastError());
}

template <typename C>
void launchQueryGradient(const Backward<Bf16>& arguments, cudaStream_t stream) {
  const Problem& problem = arguments.problem;
  LRQAT_CUDA(
      cudaFuncSetAttribute(queryGradientHopperKernel<C>, cudaFuncAttributeMaxDynamicSharedMemorySize, C::sharedBytes));
  const Schedule schedule = scheduleOf(problem, problem.heads, C::queries, multiprocessors());
  const BackwardMaps maps = backwardMaps(arguments, C::queries, C::keys);
  queryGradientHopperKernel<C><<<multiprocessors(), C::threads, C::sharedBytes, stream>>>(arguments, maps, schedule);
  LRQAT_CUDA(cudaGetLastError());
}

/// Calls f with the smallest head size that kernels were built for.
template <typename F>
void dispatchPanels(int headDim, F&& f) {
  if (headDim <= 64) return f(std::integral_constant<int, 64>{});
  if (headDim <= 128) return f(std::integral_constant<int, 128>{});
  return f(std::integral_constant<int, 256>{});
}

}  // namespace

bool forwardHopper(const Forward<Bf16>& arguments, cudaStream_t stream) {
  if (!usesHopper() || arguments.problem.headDim % 8 != 0) return false;
  dispatchPanels(arguments.problem.headDim,
                 [&](auto d) { launchForward<HopperForwardConfig<decltype(d)::value>>(arguments, stream); });
  return true;
}

bool backwardHopper(const Backward<Bf16>& arguments, cudaStream_t stream) {
  if (!usesHopper() || arguments.problem.headDim % 8 != 0) return false;
  const auto launch = [&](auto d) {
    constexpr int D = decltype(d)::value;
    launchQueryGradient<HopperQueryGradientConfig<D>>(arguments, stream);
    launchKeyGradient<HopperKeyGradientConfig<D>>(arguments, stream);
  };
  dispatchPanels(arguments.problem.headDim, launch);
  return true;
}

}  // namespace lrqat::cuda::attention
