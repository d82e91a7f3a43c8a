// Forward on tensor cores: a block of threads owns a block of queries of one head, keys and values pass by.
// Dao, "FlashAttention-2" (2023): the softmax is rescaled as its maximum grows, scores stay in registers.
#pragma once

#include "cuda/check.h"
#include "cuda/kernels/attention_arguments.h"
#include "cuda/kernels/attention_tile.cuh"

namespace lrqat::cuda::attention {

template <int D_, int RowTiles_, int Warps_, int Keys_>
struct ForwardConfig {
  static constexpr int D = D_;
  static constexpr int rowTiles = RowTiles_;  // of 16 queries, a warp
  static constexpr int warps = Warps_;
  static constexpr int threads = warps * 32;
  static constexpr int queries = rowTiles * 16 * warps;
  static constexpr int keys = Keys_;
  static constexpr int sharedBytes = Tile<D>::bytes(queries + 2 * keys);
};

/// Hides: some queries do not see some of the keys in between.
template <typename C, bool Hides>
__global__ __launch_bounds__(C::threads) void forwardKernel(const Forward<Bf16> arguments, const BlockOrder order) {
  constexpr int D = C::D;
  constexpr int MT = C::rowTiles;
  constexpr int NT = C::keys / 8;
  extern __shared__ __align__(128) unsigned char shared[];
  const Problem& problem = arguments.problem;
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int lane = static_cast<int>(threadIdx.x % 32);
  const BlockOrder::Place own = order.place(blockIdx.x);
  const int head = own.head % problem.heads;
  const int64_t firstRow = static_cast<int64_t>(own.head / problem.heads) * problem.length;
  const int firstQuery = (order.blocks - 1 - own.rank) * C::queries;
  const int queries = min(C::queries, problem.length - firstQuery);
  const int lastQuery = firstQuery + queries - 1;
  const int64_t width = static_cast<int64_t>(problem.heads) * problem.headDim;
  const int64_t kvWidth = static_cast<int64_t>(problem.kvHeads) * problem.headDim;
  const int kvColumn = head / (problem.heads / problem.kvHeads) * problem.headDim;
  const int64_t place = (firstRow + firstQuery) * width + static_cast<int64_t>(head) * problem.headDim;
  const Bf16* k = arguments.k + firstRow * kvWidth + kvColumn;
  const Bf16* v = arguments.v + firstRow * kvWidth + kvColumn;
  const int32_t* firstKey = problem.firstKey == nullptr ? nullptr : problem.firstKey + firstRow;

  unsigned char* const queryTile = shared;
  const uint32_t queryAddress = sharedAddress(queryTile);
  const uint32_t keyAddress = queryAddress + Tile<D>::bytes(C::queries);
  const uint32_t valueAddress = keyAddress + Tile<D>::bytes(C::keys);

  const int warpRow = warp * MT * 16;
  const int warpLast = firstQuery + warpRow + MT * 16 - 1;
  const int highestFirst = firstKey == nullptr ? 0 : firstKey[lastQuery];
  // Of this lane's rows: m·16 + half·8 + lane/4 of the warp's.
  int visibleFrom[MT][2];
  HiddenKeys hidden[Hides ? MT : 1];
#pragma unroll
  for (int m = 0; m < MT; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int query = firstQuery + warpRow + m * 16 + half * 8 + lane / 4;
      visibleFrom[m][half] = firstKey == nullptr ? 0 : firstKey[min(query, lastQuery)];
    }
    if constexpr (Hides) {
      const int query = firstQuery + warpRow + m * 16 + lane / 4;
      hidden[m] = HiddenKeys::of(problem, firstRow + min(query, lastQuery), firstRow + min(query + 8, lastQuery));
    }
  }
  RowState state[MT];
  float sums[MT][D / 8][4] = {};

  const float scale2 = problem.scale * log2e;
  const int start = firstKey == nullptr ? 0 : firstKey[firstQuery] / C::keys * C::keys;
  copyTile<C::queries, D, C::threads>(queryAddress, arguments.q + place, width, queries, problem.headDim);
  copyTile<C::keys, D, C::threads>(keyAddress, k + start * kvWidth, kvWidth, problem.length - start, problem.headDim);
  commitCopies();
  const uint32_t a = rowsOperand<D>(queryAddress, warpRow);
  const uint32_t b = columnsOperand<D>(keyAddress);
  const uint32_t depth = depthOperand<D>(valueAddress);

  for (int key = start; key <= lastQuery; key += C::keys) {
    waitCopies<0>();
    __syncthreads();  // these keys are there; the values of the previous step are no longer read
    copyTile<C::keys, D, C::threads>(valueAddress, v + key * kvWidth, kvWidth, problem.length - key, problem.headDim);
    commitCopies();
    const bool busy = key <= warpLast;
    float scores[MT][NT][4] = {};
    if (busy) multiplyRows<D, MT, NT>(scores, a, b);
    waitCopies<0>();
    __syncthreads();  // these values are there; the keys are no longer read
    const int next = key + C::keys;
    if (next <= lastQuery) {
      copyTile<C::keys, D, C::threads>(keyAddress, k + next * kvWidth, kvWidth, problem.length - next, problem.headDim);
      commitCopies();
    }
    if (!busy) continue;

    const bool masked = next - 1 > firstQuery + warpRow || highestFirst > key;
    uint32_t factors[MT][NT / 2][4];
#pragma unroll
    for (int m = 0; m < MT; ++m) {
      if (masked) {
        hideKeys<NT>(scores[m], firstQuery + warpRow + m * 16 + lane / 4, key + lane % 4 * 2, visibleFrom[m],
                     -INFINITY);
      }
      if constexpr (Hides) hideBranches<NT>(scores[m], key + lane % 4 * 2, hidden[m]);
      float factor[2];
      softmaxStep<NT>(scores[m], state[m], scale2, factor);
      scaleRows<D / 8>(sums[m], factor);
      packOperands<NT>(factors[m], scores[m]);
    }
    multiplyDepth<D, MT, NT / 2>(sums, factors, depth);
  }

  float inverse[MT][2];
  float* lse = arguments.lse + static_cast<int64_t>(own.head) * problem.length;
#pragma unroll
  for (int m = 0; m < MT; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float total = rowSum(state[m].sum[half]);
      inverse[m][half] = 1.0F / total;
      const int query = firstQuery + warpRow + m * 16 + half * 8 + lane / 4;
      if (query < problem.length && lane % 4 == 0) {
        lse[query] = fmaf(state[m].maximum[half], problem.scale, logf(total));
      }
    }
  }
  if (warpRow >= queries) return;
  storeRows<D, MT>(sums, inverse, queryTile + warpRow * Tile<D>::rowBytes, arguments.o + place + warpRow * width, width,
                   queries - warpRow, problem.headDim);
}

template <typename C>
void launchForward(const Forward<Bf16>& arguments, cudaStream_t stream) {
  const Problem& problem = arguments.problem;
  const auto kernel = problem.hiddenFrom == nullptr ? forwardKernel<C, false> : forwardKernel<C, true>;
  LRQAT_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, C::sharedBytes));
  const BlockOrder order = orderOf(problem, problem.heads, C::queries, keyValueBytes(problem));
  kernel<<<order.gridSize(), C::threads, C::sharedBytes, stream>>>(arguments, order);
  LRQAT_CUDA(cudaGetLastError());
}

}  // namespace lrqat::cuda::attention
