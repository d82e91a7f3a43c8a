// Backward on tensor cores, in two kernels that both compute P again from the log-sum-exp: one owns keys and meets the
// queries that see them, of every head of the group (dK, dV); one owns queries and meets the keys they see (dQ). Seven
// products instead of the five of a single kernel, but every sum has one owner and one order without atomics.
//
// P = e^(scale·Q·Kᵀ − lse), dP = dO·Vᵀ, dS = P∘(dP − delta), dV = Pᵀ·dO, dK = scale·dSᵀ·Q, dQ = scale·dS·K.
#pragma once

#include "cuda/check.h"
#include "cuda/kernels/attention_arguments.h"
#include "cuda/kernels/attention_tile.cuh"

namespace lrqat::cuda::attention {

template <int D_, int RowTiles_, int Warps_, int Queries_, int Stages_, bool Keys_, bool Values_>
struct KeyGradientConfig {
  static constexpr int D = D_;
  static constexpr int rowTiles = RowTiles_;  // of 16 keys, a warp
  static constexpr int warps = Warps_;
  static constexpr int threads = warps * 32;
  static constexpr int keys = rowTiles * 16 * warps;
  static constexpr int queries = Queries_;  // of one step
  static constexpr int stages = Stages_;
  static constexpr bool wantKeys = Keys_;      // dK
  static constexpr bool wantValues = Values_;  // dV
  static constexpr int statisticsBytes = queries * 8;
  static constexpr int firstKeyBytes = queries * 4;
  static constexpr int stageBytes = Tile<D>::bytes(2 * queries) + statisticsBytes + firstKeyBytes;
  static constexpr int ownTiles = wantKeys ? 2 : 1;  // dV needs the keys alone
  static constexpr int sharedBytes = Tile<D>::bytes(ownTiles * keys) + stages * stageBytes;
  static_assert(keys % queries == 0 && stageBytes % 16 == 0);
};

template <typename C>
__global__ __launch_bounds__(C::threads) void keyGradientKernel(const Backward<Bf16> arguments,
                                                                const BlockOrder order) {
  constexpr int D = C::D;
  constexpr int MT = C::rowTiles;
  constexpr int NT = C::queries / 8;
  extern __shared__ __align__(128) unsigned char shared[];
  const Problem& problem = arguments.problem;
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int lane = static_cast<int>(threadIdx.x % 32);
  const BlockOrder::Place own = order.place(blockIdx.x);
  const int kvHead = own.head % problem.kvHeads;
  const int sequence = own.head / problem.kvHeads;
  const int group = problem.heads / problem.kvHeads;
  const int64_t firstRow = static_cast<int64_t>(sequence) * problem.length;
  const int firstKeyOfBlock = own.rank * C::keys;
  const int keys = min(C::keys, problem.length - firstKeyOfBlock);
  const int lastKey = firstKeyOfBlock + keys - 1;
  const int64_t width = static_cast<int64_t>(problem.heads) * problem.headDim;
  const int64_t kvWidth = static_cast<int64_t>(problem.kvHeads) * problem.headDim;
  const int64_t place = (firstRow + firstKeyOfBlock) * kvWidth + static_cast<int64_t>(kvHead) * problem.headDim;
  const int32_t* firstKey = problem.firstKey == nullptr ? nullptr : problem.firstKey + firstRow;

  unsigned char* const keyTile = shared;
  unsigned char* const lastTile = keyTile + Tile<D>::bytes((C::ownTiles - 1) * C::keys);  // values, if they are needed
  unsigned char* const stages = lastTile + Tile<D>::bytes(C::keys);
  const uint32_t stageAddress = sharedAddress(stages);

  // Query steps from the diagonal on; the last query that sees this block ends them.
  int steps = (problem.length - firstKeyOfBlock + C::queries - 1) / C::queries;
  if (firstKey != nullptr) {
    int seen = 0;
    for (int first = 0; first < steps; first += C::threads) {
      const int step = first + static_cast<int>(threadIdx.x);
      seen += __syncthreads_count(step < steps && firstKey[firstKeyOfBlock + step * C::queries] <= lastKey);
    }
    steps = max(seen, 1);  // a key's own query sees it
  }
  const int total = steps * group;

  const auto copyStep = [&](int item) {
    const int head = kvHead * group + item / steps;
    const int query = firstKeyOfBlock + item % steps * C::queries;
    const int rows = problem.length - query;
    const uint32_t target = stageAddress + item % C::stages * C::stageBytes;
    const int64_t from = (firstRow + query) * width + static_cast<int64_t>(head) * problem.headDim;
    copyTile<C::queries, D, C::threads>(target, arguments.q + from, width, rows, problem.headDim);
    copyTile<C::queries, D, C::threads>(target + Tile<D>::bytes(C::queries), arguments.dO + from, width, rows,
                                        problem.headDim);
    const uint32_t statistics = target + Tile<D>::bytes(2 * C::queries);
    const RowStatistics* source =
        arguments.rows + (static_cast<int64_t>(sequence) * problem.heads + head) * paddedLength(problem.length) + query;
    const int thread = static_cast<int>(threadIdx.x);
    if (thread < C::queries) {
      copyPair(statistics + thread * 8, source + thread);
      if (firstKey != nullptr) {
        copyWord(statistics + C::statisticsBytes + thread * 4, firstKey + query + (thread < rows ? thread : 0),
                 thread < rows);
      }
    }
    commitCopies();
  };

  copyTile<C::keys, D, C::threads>(sharedAddress(keyTile), arguments.k + place, kvWidth, keys, problem.headDim);
  if constexpr (C::wantKeys) {
    copyTile<C::keys, D, C::threads>(sharedAddress(lastTile), arguments.v + place, kvWidth, keys, problem.headDim);
  }
  copyStep(0);

  const float scale2 = problem.scale * log2e;
  const int warpRow = warp * MT * 16;
  const uint32_t keyOperand = rowsOperand<D>(sharedAddress(keyTile), warpRow);
  const uint32_t valueOperand = rowsOperand<D>(sharedAddress(lastTile), warpRow);
  float dK[C::wantKeys ? MT : 1][D / 8][4] = {};
  float dV[C::wantValues ? MT : 1][D / 8][4] = {};

  for (int item = 0; item < total; ++item) {
    waitCopies<0>();
    __syncthreads();  // this step's tiles are there; the previous step's are no longer read
    if (C::stages > 1 && item + 1 < total) copyStep(item + 1);
    const int query = firstKeyOfBlock + item % steps * C::queries;
    const int offset = item % C::stages * C::stageBytes;
    const uint32_t queryTile = stageAddress + offset;
    const uint32_t dOTile = queryTile + Tile<D>::bytes(C::queries);
    const auto* statistics = reinterpret_cast<const float4*>(stages + offset + Tile<D>::bytes(2 * C::queries));
    const auto* visibleFrom =
        reinterpret_cast<const int32_t*>(stages + offset + Tile<D>::bytes(2 * C::queries) + C::statisticsBytes);
    // A warp whose keys all lie after these queries has nothing to do.
    if (firstKeyOfBlock + warpRow < query + C::queries) {
      float scores[MT][NT][4] = {};
      multiplyRows<D, MT, NT>(scores, keyOperand, columnsOperand<D>(queryTile));
#pragma unroll
      for (int n = 0; n < NT; ++n) {
        const float4 pair = statistics[n * 4 + lane % 4];  // lse, delta of two queries
        const float shift[2] = {pair.x * log2e, pair.z * log2e};
#pragma unroll
        for (int m = 0; m < MT; ++m) {
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            scores[m][n][c] = exp2Approximate(fmaf(scores[m][n][c], scale2, -shift[c % 2]));
          }
        }
      }
      bool masked = firstKeyOfBlock + warpRow + MT * 16 - 1 > query;
      if (firstKey != nullptr) {
        masked = masked || firstKey[min(query + C::queries, problem.length) - 1] > firstKeyOfBlock + warpRow;
      }
      if (masked) {
#pragma unroll
        for (int m = 0; m < MT; ++m) {
          hideQueries<NT>(scores[m], firstKeyOfBlock + warpRow + m * 16 + lane / 4, query,
                          [&](int column) { return firstKey == nullptr ? 0 : visibleFrom[column]; });
        }
      }
      uint32_t factors[MT][NT / 2][4];
      if constexpr (C::wantValues) {
#pragma unroll
        for (int m = 0; m < MT; ++m) packOperands<NT>(factors[m], scores[m]);
        multiplyDepth<D, MT, NT / 2>(dV, factors, depthOperand<D>(dOTile));
      }
      if constexpr (C::wantKeys) {
        float dP[MT][NT][4] = {};
        multiplyRows<D, MT, NT>(dP, valueOperand, columnsOperand<D>(dOTile));
#pragma unroll
        for (int n = 0; n < NT; ++n) {
          const float4 pair = statistics[n * 4 + lane % 4];
#pragma unroll
          for (int m = 0; m < MT; ++m) {
#pragma unroll
            for (int c = 0; c < 4; ++c) {
              scores[m][n][c] *= dP[m][n][c] - (c % 2 == 0 ? pair.y : pair.w);
            }
          }
        }
#pragma unroll
        for (int m = 0; m < MT; ++m) packOperands<NT>(factors[m], scores[m]);
        multiplyDepth<D, MT, NT / 2>(dK, factors, depthOperand<D>(queryTile));
      }
    }
    if (C::stages == 1 && item + 1 < total) {
      __syncthreads();
      copyStep(item + 1);
    }
  }

  if (warpRow >= keys) return;
  float factor[MT][2];
  const int64_t target = place + warpRow * kvWidth;
  const int offset = warpRow * Tile<D>::rowBytes;
  if constexpr (C::wantKeys) {
#pragma unroll
    for (int m = 0; m < MT; ++m) factor[m][0] = factor[m][1] = problem.scale;
    storeRows<D, MT>(dK, factor, keyTile + offset, arguments.dK + target, kvWidth, keys - warpRow, problem.headDim);
  }
  if constexpr (C::wantValues) {
#pragma unroll
    for (int m = 0; m < MT; ++m) factor[m][0] = factor[m][1] = 1;
    storeRows<D, MT>(dV, factor, lastTile + offset, arguments.dV + target, kvWidth, keys - warpRow, problem.headDim);
  }
}

template <int D_, int RowTiles_, int Warps_, int Keys_, int Stages_>
struct QueryGradientConfig {
  static constexpr int D = D_;
  static constexpr int rowTiles = RowTiles_;  // of 16 queries, a warp
  static constexpr int warps = Warps_;
  static constexpr int threads = warps * 32;
  static constexpr int queries = rowTiles * 16 * warps;
  static constexpr int keys = Keys_;  // of one step
  static constexpr int stages = Stages_;
  static constexpr int stageBytes = Tile<D>::bytes(2 * keys);
  static constexpr int sharedBytes = Tile<D>::bytes(2 * queries) + stages * stageBytes;
};

template <typename C>
__global__ __launch_bounds__(C::threads) void queryGradientKernel(const Backward<Bf16> arguments,
                                                                  const BlockOrder order) {
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
  const uint32_t dOAddress = queryAddress + Tile<D>::bytes(C::queries);
  const uint32_t stageAddress = dOAddress + Tile<D>::bytes(C::queries);

  const int start = firstKey == nullptr ? 0 : firstKey[firstQuery] / C::keys * C::keys;
  const int highestFirst = firstKey == nullptr ? 0 : firstKey[lastQuery];
  const auto copyStep = [&](int key, int stage) {
    const uint32_t target = stageAddress + stage * C::stageBytes;
    const int rows = problem.length - key;
    copyTile<C::keys, D, C::threads>(target, k + key * kvWidth, kvWidth, rows, problem.headDim);
    copyTile<C::keys, D, C::threads>(target + Tile<D>::bytes(C::keys), v + key * kvWidth, kvWidth, rows,
                                     problem.headDim);
    commitCopies();
  };
  copyTile<C::queries, D, C::threads>(queryAddress, arguments.q + place, width, queries, problem.headDim);
  copyTile<C::queries, D, C::threads>(dOAddress, arguments.dO + place, width, queries, problem.headDim);
  copyStep(start, 0);

  const int warpRow = warp * MT * 16;
  const int warpLast = firstQuery + warpRow + MT * 16 - 1;
  int visibleFrom[MT][2];
  RowStatistics statistics[MT][2];
  const RowStatistics* rows = arguments.rows + own.head * paddedLength(problem.length);
#pragma unroll
  for (int m = 0; m < MT; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int query = min(firstQuery + warpRow + m * 16 + half * 8 + lane / 4, lastQuery);
      visibleFrom[m][half] = firstKey == nullptr ? 0 : firstKey[query];
      statistics[m][half] = rows[query];
      statistics[m][half].lse *= log2e;
    }
  }
  float sums[MT][D / 8][4] = {};
  const float scale2 = problem.scale * log2e;
  const uint32_t queryOperand = rowsOperand<D>(queryAddress, warpRow);
  const uint32_t dOOperand = rowsOperand<D>(dOAddress, warpRow);

  int stage = 0;
  for (int key = start; key <= lastQuery; key += C::keys) {
    const int next = key + C::keys;
    waitCopies<0>();
    __syncthreads();  // this step's tiles are there; the previous step's are no longer read
    if (C::stages > 1 && next <= lastQuery) copyStep(next, stage ^ 1);
    const uint32_t keyTile = stageAddress + stage * C::stageBytes;
    const uint32_t valueTile = keyTile + Tile<D>::bytes(C::keys);
    if (key <= warpLast) {
      float scores[MT][NT][4] = {};
      multiplyRows<D, MT, NT>(scores, queryOperand, columnsOperand<D>(keyTile));
      float dP[MT][NT][4] = {};
      multiplyRows<D, MT, NT>(dP, dOOperand, columnsOperand<D>(valueTile));
      const bool masked = next - 1 > firstQuery + warpRow || highestFirst > key;
      uint32_t factors[MT][NT / 2][4];
#pragma unroll
      for (int m = 0; m < MT; ++m) {
#pragma unroll
        for (int n = 0; n < NT; ++n) {
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            scores[m][n][c] = exp2Approximate(fmaf(scores[m][n][c], scale2, -statistics[m][c / 2].lse));
          }
        }
        if (masked) {
          hideKeys<NT>(scores[m], firstQuery + warpRow + m * 16 + lane / 4, key + lane % 4 * 2, visibleFrom[m], 0);
        }
#pragma unroll
        for (int n = 0; n < NT; ++n) {
#pragma unroll
          for (int c = 0; c < 4; ++c) scores[m][n][c] *= dP[m][n][c] - statistics[m][c / 2].delta;
        }
        packOperands<NT>(factors[m], scores[m]);
      }
      multiplyDepth<D, MT, NT / 2>(sums, factors, depthOperand<D>(keyTile));
    }
    if (C::stages > 1) {
      stage ^= 1;
    } else if (next <= lastQuery) {
      __syncthreads();
      copyStep(next, 0);
    }
  }

  if (warpRow >= queries) return;
  float factor[MT][2];
#pragma unroll
  for (int m = 0; m < MT; ++m) factor[m][0] = factor[m][1] = problem.scale;
  storeRows<D, MT>(sums, factor, queryTile + warpRow * Tile<D>::rowBytes, arguments.dQ + place + warpRow * width, width,
                   queries - warpRow, problem.headDim);
}

template <typename C>
void launchKeyGradient(const Backward<Bf16>& arguments, cudaStream_t stream) {
  LRQAT_CUDA(cudaFuncSetAttribute(keyGradientKernel<C>, cudaFuncAttributeMaxDynamicSharedMemorySize, C::sharedBytes));
  const Problem& problem = arguments.problem;
  // A block's work falls with its keys' positions; queries and dO of the whole group pass by.
  const BlockOrder order = orderOf(problem, problem.kvHeads, C::keys, groupBytes(problem));
  keyGradientKernel<C><<<order.gridSize(), C::threads, C::sharedBytes, stream>>>(arguments, order);
  LRQAT_CUDA(cudaGetLastError());
}

template <typename C>
void launchQueryGradient(const Backward<Bf16>& arguments, cudaStream_t stream) {
  LRQAT_CUDA(cudaFuncSetAttribute(queryGradientKernel<C>, cudaFuncAttributeMaxDynamicSharedMemorySize, C::sharedBytes));
  const Problem& problem = arguments.problem;
  const BlockOrder order = orderOf(problem, problem.heads, C::queries, keyValueBytes(problem));
  queryGradientKernel<C><<<order.gridSize(), C::threads, C::sharedBytes, stream>>>(arguments, order);
  LRQAT_CUDA(cudaGetLastError());
}

}  // namespace lrqat::cuda::attention
