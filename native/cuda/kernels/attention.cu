#include "cuda/kernels/attention.h"

#include <cmath>
#include <limits>
#include <type_traits>

#include "cuda/check.h"
#include "cuda/kernels/attention_arguments.h"
#include "cuda/kernels/attention_hopper.h"
#include "cuda/kernels/element.cuh"

namespace lrqat::cuda {

namespace {

using attention::Backward;
using attention::Forward;
using attention::Problem;
using attention::RowStatistics;

constexpr int warps = 8;

/// statistics[b, h, i] = {lse[b, h, i], Σ_c dO·O of row (b, i) and head h}, zero from the length on; a warp a row, the
/// heads of a token side by side because their memory is.
template <typename E>
__global__ __launch_bounds__(warps * 32) void rowStatisticsKernel(Problem problem, const E* o, const E* dO,
                                                                  const float* lse, RowStatistics* statistics) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t padded = attention::paddedLength(problem.length);
  const int64_t item = static_cast<int64_t>(blockIdx.x) * warps + threadIdx.x / 32;  // (sequence·padded + i)·heads + h
  if (item >= problem.batch * padded * problem.heads) return;
  const int64_t head = item % problem.heads;
  const int64_t sequence = item / problem.heads / padded;
  const int64_t position = item / problem.heads % padded;
  RowStatistics result{0, 0};
  if (position < problem.length) {
    const int64_t first = ((sequence * problem.length + position) * problem.heads + head) * problem.headDim;
    float sum = 0;
    if (sizeof(E) == 2 && problem.headDim % 8 == 0) {
      for (int c = lane * 8; c < problem.headDim; c += 256) {
        const uint4 left = *reinterpret_cast<const uint4*>(o + first + c);
        const uint4 right = *reinterpret_cast<const uint4*>(dO + first + c);
        const auto* a = reinterpret_cast<const E*>(&left);
        const auto* b = reinterpret_cast<const E*>(&right);
#pragma unroll
        for (int i = 0; i < 8; ++i) sum = fmaf(toFloat(a[i]), toFloat(b[i]), sum);
      }
    } else {
      for (int c = lane; c < problem.headDim; c += 32) sum = fmaf(toFloat(o[first + c]), toFloat(dO[first + c]), sum);
    }
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, offset);
    result = {lse[(sequence * problem.heads + head) * problem.length + position], sum};
  }
  if (lane == 0) statistics[(sequence * problem.heads + head) * padded + position] = result;
}

Problem problemOf(const AttentionShape& shape, DType type, const Matrix& q, const Matrix& k) {
  LRQAT_CHECK(shape.batch > 0 && shape.batch <= 65535 && shape.length > 0);
  LRQAT_CHECK(shape.kvHeads > 0 && shape.heads % shape.kvHeads == 0 && shape.heads <= 65535);
  LRQAT_CHECK(shape.headDim > 0 && shape.headDim <= 256);
  LRQAT_CHECK(shape.length <= std::numeric_limits<int32_t>::max() - 1024);
  LRQAT_CHECK(q.rows == shape.batch * shape.length && q.cols == shape.heads * shape.headDim);
  LRQAT_CHECK(k.rows == q.rows && k.cols == shape.kvHeads * shape.headDim);
  LRQAT_CHECK(q.type == type && k.type == type);
  LRQAT_CHECK((shape.hiddenFrom == nullptr) == (shape.hiddenTo == nullptr));
  return {.batch = static_cast<int>(shape.batch),
          .length = static_cast<int>(shape.length),
          .heads = static_cast<int>(shape.heads),
          .kvHeads = static_cast<int>(shape.kvHeads),
          .headDim = static_cast<int>(shape.headDim),
          .scale = 1.0F / std::sqrt(static_cast<float>(shape.headDim)),
          .firstKey = shape.firstKey,
          .hiddenFrom = shape.hiddenFrom,
          .hiddenTo = shape.hiddenTo};
}

void checkAlike(const Matrix& a, const Matrix& b) {
  LRQAT_CHECK(a.type == b.type && a.rows == b.rows && a.cols == b.cols);
}

/// Calls f with the smallest head size that kernels were built for.
template <typename F>
void dispatchHeadSize(int headDim, F&& f) {
  if (headDim <= 64) return f(std::integral_constant<int, 64>{});
  if (headDim <= 80) return f(std::integral_constant<int, 80>{});
  if (headDim <= 96) return f(std::integral_constant<int, 96>{});
  if (headDim <= 128) return f(std::integral_constant<int, 128>{});
  return f(std::integral_constant<int, 256>{});
}

}  // namespace

void attentionForward(const AttentionShape& shape, Matrix q, Matrix k, Matrix v, Matrix o, float* lse,
                      AttentionPath path, cudaStream_t stream) {
  checkAlike(q, o);
  checkAlike(k, v);
  const Problem problem = problemOf(shape, q.type, q, k);
  dispatchActivation(q.type, [&](auto e) {
    using E = decltype(e);
    const Forward<E> arguments{problem, elements<E>(q), elements<E>(k), elements<E>(v), elements<E>(o), lse};
    if constexpr (sizeof(E) == 2) {
      if (path != AttentionPath::Plain && problem.headDim % 8 == 0) {
        if (path == AttentionPath::Automatic && attention::forwardHopper(arguments, stream)) return;
        return dispatchHeadSize(problem.headDim,
                                [&](auto d) { attention::forwardTensor<decltype(d)::value>(arguments, stream); });
      }
    }
    attention::forwardPlain(arguments, stream);
  });
}

int64_t attentionBackwardScratchBytes(const AttentionShape& shape) {
  return Scratch::padded(shape.batch * shape.heads * attention::paddedLength(shape.length) *
                         static_cast<int64_t>(sizeof(RowStatistics)));
}

void attentionBackward(const AttentionShape& shape, Matrix q, Matrix k, Matrix v, Matrix o, const float* lse, Matrix dO,
                       Matrix dQ, Matrix dK, Matrix dV, Scratch& scratch, AttentionPath path, cudaStream_t stream) {
  checkAlike(q, o);
  checkAlike(q, dO);
  checkAlike(q, dQ);
  checkAlike(k, v);
  checkAlike(k, dK);
  checkAlike(k, dV);
  LRQAT_CHECK(!shape.hiddenFrom);
  const Problem problem = problemOf(shape, q.type, q, k);
  const int64_t rows = shape.batch * shape.heads * attention::paddedLength(shape.length);
  auto* statistics = scratch.take<RowStatistics>(rows);
  dispatchActivation(q.type, [&](auto e) {
    using E = decltype(e);
    const Backward<E> arguments{problem,         elements<E>(q), elements<E>(k),  elements<E>(v),  elements<E>(o), lse,
                                elements<E>(dO), statistics,     elements<E>(dQ), elements<E>(dK), elements<E>(dV)};
    if constexpr (sizeof(E) == 2) {
      if (path == AttentionPath::Automatic && attention::backwardHopper(arguments, stream)) return;
    }
    const auto blocks = static_cast<unsigned>((rows + warps - 1) / warps);
    rowStatisticsKernel<E>
        <<<blocks, warps * 32, 0, stream>>>(problem, elements<E>(o), elements<E>(dO), lse, statistics);
    LRQAT_CUDA(cudaGetLastError());
    if constexpr (sizeof(E) == 2) {
      if (path != AttentionPath::Plain && problem.headDim % 8 == 0) {
        return dispatchHeadSize(problem.headDim,
                                [&](auto d) { attention::backwardTensor<decltype(d)::value>(arguments, stream); });
      }
    }
    attention::backwardPlain(arguments, stream);
  });
}

}  // namespace lrqat::cuda
