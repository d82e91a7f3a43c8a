// Backward on Hopper, the two kernels of attention_backward.cuh: one warp asks the copy engine for what passes by, two
// groups of four warps own 64 keys (dK, dV) or 64 queries (dQ) each. The products of a step start before those of the
// step before it have ended, so that the tensor cores always have some.
#pragma once

#include <type_traits>

#include "cuda/kernels/attention_hopper_tile.cuh"

namespace lrqat::cuda::attention {

struct BackwardMaps {
  CUtensorMap q, k, v, o, dO;  // boxes as the kernel's tiles
};

template <int D_>
struct HopperKeyGradientConfig {
  static constexpr int D = D_;
  static constexpr int groups = 2;
  static constexpr int threads = 128 * (groups + 1);
  static constexpr int keys = 64 * groups;
  static constexpr int queries = 64;  // of one step
  static constexpr int stages = 2;
  static constexpr int buffers = 2;  // of keys and values
  using KeyTile = PanelTile<keys, D>;
  using QueryTile = PanelTile<queries, D>;
  static constexpr int statisticsBytes = queries * 8;
  static constexpr int sharedBytes =
      2 * buffers * KeyTile::bytes + stages * (2 * QueryTile::bytes + statisticsBytes) + 1024;
};

template <typename C>
__global__ __launch_bounds__(C::threads,
                             1) void keyGradientHopperKernel(const __grid_constant__ Backward<Bf16> arguments,
                                                             const __grid_constant__ BackwardMaps maps,
                                                             const BlockOrder order) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  constexpr int D = C::D;
  constexpr int NT = C::queries / 8;
  extern __shared__ unsigned char unaligned[];
  __shared__ uint64_t barriers[2 * (C::buffers + C::stages)];
  unsigned char* const shared = unaligned + (1024 - sharedAddress(unaligned) % 1024) % 1024;
  const uint32_t base = sharedAddress(shared);
  const Ring<C::buffers> keyRing{sharedAddress(barriers)};
  const Ring<C::stages> queryRing{keyRing.end()};
  const auto keyOffset = [&](int use) { return use % C::buffers * 2 * C::KeyTile::bytes; };
  const auto queryTile = [&](int use) {
    return base + 2 * C::buffers * C::KeyTile::bytes + use % C::stages * 2 * C::QueryTile::bytes;
  };
  const auto dOTile = [&](int use) { return queryTile(use) + C::QueryTile::bytes; };
  const auto statisticsOffset = [&](int use) {
    return 2 * (C::buffers * C::KeyTile::bytes + C::stages * C::QueryTile::bytes) +
           use % C::stages * C::statisticsBytes;
  };
  const Problem& problem = arguments.problem;
  const int group = problem.heads / problem.kvHeads;

  if (threadIdx.x == 0) {
    keyRing.init(C::groups * 4);
    queryRing.init(C::groups * 4);
    publishBarriers();
  }
  __syncthreads();

  struct Block {
    int kvHead;
    int sequence;
    int key;    // first
    int steps;  // of queries, from the diagonal on
    const int32_t* firstKey;
  };
  const auto blockOf = [&](unsigned index) {
    const BlockOrder::Place own = order.place(index);
    Block block{};
    block.kvHead = own.head % problem.kvHeads;
    block.sequence = own.head / problem.kvHeads;
    block.key = own.rank * C::keys;
    block.steps = (problem.length - block.key + C::queries - 1) / C::queries;
    if (problem.firstKey != nullptr) {
      // The last query that sees a key of the block ends the steps: by bisection, firstKey does not decrease.
      block.firstKey = problem.firstKey + static_cast<int64_t>(block.sequence) * problem.length;
      const int lastKey = min(block.key + C::keys, problem.length) - 1;
      int seen = 1;  // a key's own query sees it
      int beyond = block.steps;
      while (seen < beyond) {
        const int middle = (seen + beyond) / 2;
        if (block.firstKey[block.key + middle * C::queries] <= lastKey) {
          seen = middle + 1;
        } else {
          beyond = middle;
        }
      }
      block.steps = seen;
    }
    return block;
  };

  if (threadIdx.x < 128) {
    shrinkRegisters<24>();
    if (threadIdx.x == 0) {
      int use = 0;
      for (int turn = 0; order.has(turn); ++turn) {
        const Block block = blockOf(order.index(turn));
        const uint32_t keyTile = base + keyOffset(turn);
        keyRing.claim(turn, 2 * C::KeyTile::bytes);
        copyPanels<C::keys, D>(keyTile, maps.k, keyRing.ready(turn), block.kvHead, block.key, block.sequence);
        copyPanels<C::keys, D>(keyTile + C::KeyTile::bytes, maps.v, keyRing.ready(turn), block.kvHead, block.key,
                               block.sequence);
        for (int head = block.kvHead * group; head < (block.kvHead + 1) * group; ++head) {
          const RowStatistics* rows = arguments.rows + (static_cast<int64_t>(block.sequence) * problem.heads + head) *
                                                           paddedLength(problem.length);
          for (int step = 0; step < block.steps; ++step, ++use) {
            const int query = block.key + step * C::queries;
            const uint32_t ready = queryRing.ready(use);
            queryRing.claim(use, 2 * C::QueryTile::bytes + C::statisticsBytes);
            copyPanels<C::queries, D>(queryTile(use), maps.q, ready, head, query, block.sequence);
            copyPanels<C::queries, D>(dOTile(use), maps.dO, ready, head, query, block.sequence);
            copyBytes(base + statisticsOffset(use), rows + query, C::statisticsBytes, ready);
          }
        }
      }
    }
    return;
  }

  growRegisters<240>();
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warps = groupOfWarps() - 1;                                                     // which group of four
  const int laneRow = warps * 64 + static_cast<int>(threadIdx.x / 32 % 4) * 16 + lane / 4;  // first of the lane's two
  const float scale2 = problem.scale * log2e;
  int use = 0;
  for (int turn = 0; order.has(turn); ++turn) {
    const Block block = blockOf(order.index(turn));
    const int groupKey = block.key + warps * 64;
    const uint32_t groupKeys = base + keyOffset(turn) + warps * 64 * 128;
    const uint32_t groupValues = groupKeys + C::KeyTile::bytes;
    float dK[D / 8][4] = {};
    float dV[D / 8][4] = {};
    uint32_t dS[NT / 2][4];
    const auto runStep = [&](int step, auto later) {
      const int query = block.key + step * C::queries;
      queryRing.await(use);
      float scores[NT][4];
      float dP[NT][4];
      beginProducts();
      startRows<C::keys, C::queries, D, NT>(scores, groupKeys, queryTile(use));
      commitProducts();
      if constexpr (later) {
        startDepth<C::queries, D, NT / 2>(dK, dS, queryTile(use - 1));
        commitProducts();
      }
      startRows<C::keys, C::queries, D, NT>(dP, groupValues, dOTile(use));
      commitProducts();
      // The scores, and dK of the step before, whose dS would be one operand too many for the registers.
      waitProducts<1>();
      settle<NT>(scores);
      if constexpr (later) queryRing.release(use - 1);
      const auto* statistics = reinterpret_cast<const float4*>(shared + statisticsOffset(use));  // two queries each
#pragma unroll
      for (int n = 0; n < NT; ++n) {
        const float4 pair = statistics[n * 4 + lane % 4];
        const float shift[2] = {pair.x * log2e, pair.z * log2e};
#pragma unroll
        for (int c = 0; c < 4; ++c) scores[n][c] = exp2Approximate(fmaf(scores[n][c], scale2, -shift[c % 2]));
      }
      bool masked = groupKey + 63 > query;
      if (problem.firstKey != nullptr) {
        masked = masked || block.firstKey[min(query + C::queries, problem.length) - 1] > groupKey;
      }
      if (masked) {
        hideQueries<NT>(scores, block.key + laneRow, query, [&](int column) {
          return problem.firstKey == nullptr ? 0 : block.firstKey[min(query + column, problem.length - 1)];
        });
      }
      uint32_t probabilities[NT / 2][4];
      packOperands<NT>(probabilities, scores);
      beginProducts();
      startDepth<C::queries, D, NT / 2>(dV, probabilities, dOTile(use));
      commitProducts();
      waitProducts<1>();
      settle<NT>(dP);
#pragma unroll
      for (int n = 0; n < NT; ++n) {
        const float4 pair = statistics[n * 4 + lane % 4];
#pragma unroll
        for (int c = 0; c < 4; ++c) scores[n][c] *= dP[n][c] - (c % 2 == 0 ? pair.y : pair.w);
      }
      waitProducts<0>();
      settle<D / 8>(dV);
      packOperands<NT>(dS, scores);
    };

    keyRing.await(turn);
    runStep(0, std::false_type{});
    ++use;
    int step = 0;
    for (int item = 1; item < block.steps * group; ++item, ++use) {
      step = step + 1 == block.steps ? 0 : step + 1;
      runStep(step, std::true_type{});
    }
    beginProducts();
    startDepth<C::queries, D, NT / 2>(dK, dS, queryTile(use - 1));
    commitProducts();
    waitProducts<0>();
    settle<D / 8>(dK);
    queryRing.release(use - 1);

    const int64_t kvWidth = static_cast<int64_t>(problem.kvHeads) * problem.headDim;
    const int64_t row = static_cast<int64_t>(block.sequence) * problem.length + groupKey;
    const int64_t place = row * kvWidth + block.kvHead * problem.headDim;
    const float factor[2] = {problem.scale, problem.scale};
    const float one[2] = {1, 1};
    unsigned char* const stage = shared + keyOffset(turn) + warps * 64 * 128;
    storeGroupRows<C::keys, D>(dK, factor, stage, warps, arguments.dK + place, kvWidth, problem.length - groupKey,
                               problem.headDim);
    storeGroupRows<C::keys, D>(dV, one, stage + C::KeyTile::bytes, warps, arguments.dV + place, kvWidth,
                               problem.length - groupKey, problem.headDim);
    publishToCopies();
    __syncwarp();
    keyRing.release(turn);
  }
#endif
}

template <int D_>
struct HopperQueryGradientConfig {
  static constexpr int D = D_;
  static constexpr int groups = 2;
  static constexpr int threads = 128 * (groups + 1);
  static constexpr int queries = 64 * groups;
  static constexpr int keys = 64;  // of one step
  static constexpr int stages = 3;
  using QueryTile = PanelTile<queries, D>;
  using KeyTile = PanelTile<keys, D>;
  // Queries, dO and o of a block, dQ on its way out, steps of keys and values.
  static constexpr int sharedBytes = 4 * QueryTile::bytes + 2 * stages * KeyTile::bytes + 1024;
};

/// Also leaves the row statistics for the kernel above, which must run later.
template <typename C>
__global__ __launch_bounds__(C::threads,
                             1) void queryGradientHopperKernel(const __grid_constant__ Backward<Bf16> arguments,
                                                               const __grid_constant__ BackwardMaps maps,
                                                               const BlockOrder order) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  constexpr int D = C::D;
  constexpr int NT = C::keys / 8;
  extern __shared__ unsigned char unaligned[];
  __shared__ uint64_t barriers[2 * (1 + C::stages)];
  unsigned char* const shared = unaligned + (1024 - sharedAddress(unaligned) % 1024) % 1024;
  const uint32_t base = sharedAddress(shared);
  const Ring<1> queryRing{sharedAddress(barriers)};
  const Ring<C::stages> keyRing{queryRing.end()};
  const uint32_t queryTile = base;
  const uint32_t dOTile = queryTile + C::QueryTile::bytes;
  const uint32_t oTile = dOTile + C::QueryTile::bytes;
  constexpr int outOffset = 3 * C::QueryTile::bytes;
  const auto keyTile = [&](int use) {
    return base + outOffset + C::QueryTile::bytes + use % C::stages * 2 * C::KeyTile::bytes;
  };
  const auto valueTile = [&](int use) { return keyTile(use) + C::KeyTile::bytes; };
  const Problem& problem = arguments.problem;

  if (threadIdx.x == 0) {
    queryRing.init(C::groups * 4);
    keyRing.init(C::groups * 4);
    publishBarriers();
  }
  __syncthreads();

  struct Block {
    int head;  // sequence·heads + head
    int sequence;
    int firstQuery;
    int lastQuery;
    int start;  // first key
    int steps;
    const int32_t* firstKey;
  };
  const auto blockOf = [&](unsigned index) {
    const BlockOrder::Place own = order.place(index);
    Block block{};
    block.head = own.head;
    block.sequence = own.head / problem.heads;
    block.firstQuery = (order.blocks - 1 - own.rank) * C::queries;
    block.lastQuery = min(block.firstQuery + C::queries, problem.length) - 1;
    if (problem.firstKey != nullptr) {
      block.firstKey = problem.firstKey + static_cast<int64_t>(block.sequence) * problem.length;
      block.start = block.firstKey[block.firstQuery] / C::keys * C::keys;
    }
    block.steps = (block.lastQuery - block.start) / C::keys + 1;
    return block;
  };

  if (threadIdx.x < 128) {
    shrinkRegisters<24>();
    if (threadIdx.x == 0) {
      int use = 0;
      for (int turn = 0; order.has(turn); ++turn) {
        const Block block = blockOf(order.index(turn));
        const int head = block.head % problem.heads;
        const int kvHead = head / (problem.heads / problem.kvHeads);
        const uint32_t queryReady = queryRing.ready(turn);
        queryRing.claim(turn, 3 * C::QueryTile::bytes);
        copyPanels<C::queries, D>(queryTile, maps.q, queryReady, head, block.firstQuery, block.sequence);
        copyPanels<C::queries, D>(dOTile, maps.dO, queryReady, head, block.firstQuery, block.sequence);
        copyPanels<C::queries, D>(oTile, maps.o, queryReady, head, block.firstQuery, block.sequence);
        for (int step = 0; step < block.steps; ++step, ++use) {
          const int key = block.start + step * C::keys;
          const uint32_t ready = keyRing.ready(use);
          keyRing.claim(use, 2 * C::KeyTile::bytes);
          copyPanels<C::keys, D>(keyTile(use), maps.k, ready, kvHead, key, block.sequence);
          copyPanels<C::keys, D>(valueTile(use), maps.v, ready, kvHead, key, block.sequence);
        }
      }
    }
    return;
  }

  growRegisters<240>();
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warps = groupOfWarps() - 1;                                                     // which group of four
  const int laneRow = warps * 64 + static_cast<int>(threadIdx.x / 32 % 4) * 16 + lane / 4;  // first of the lane's two
  const float scale2 = problem.scale * log2e;
  int use = 0;
  for (int turn = 0; order.has(turn); ++turn) {
    const Block block = blockOf(order.index(turn));
    const int groupQuery = block.firstQuery + warps * 64;
    const int query = block.firstQuery + laneRow;
    const int highestFirst = problem.firstKey == nullptr ? 0 : block.firstKey[block.lastQuery];
    int visibleFrom[2];
    RowStatistics statistics[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = query + half * 8;
      visibleFrom[half] = problem.firstKey == nullptr ? 0 : block.firstKey[min(row, block.lastQuery)];
      statistics[half].lse =
          row < problem.length ? arguments.lse[static_cast<int64_t>(block.head) * problem.length + row] : 0.0F;
    }
    float sums[D / 8][4] = {};
    uint32_t q[D / 16][4];
    uint32_t dO[D / 16][4];
    uint32_t dS[NT / 2][4];

    queryRing.await(turn);
    loadRows<C::queries, D>(dO, dOTile + warps * 64 * 128);
    loadRows<C::queries, D>(q, oTile + warps * 64 * 128);
    rowProducts<D / 16>(q, dO, statistics[0].delta, statistics[1].delta);
    loadRows<C::queries, D>(q, queryTile + warps * 64 * 128);
    publishToCopies();
    __syncwarp();
    queryRing.release(turn);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (lane % 4 == 0) {
        arguments.rows[block.head * paddedLength(problem.length) + query + half * 8] = statistics[half];
      }
      statistics[half].lse *= log2e;
    }

    const auto runStep = [&](int step, auto later) {
      const int key = block.start + step * C::keys;
      keyRing.await(use);
      float scores[NT][4];
      float dP[NT][4];
      beginProducts();
      startRows<C::keys, D, NT>(scores, q, keyTile(use));
      commitProducts();
      if constexpr (later) {
        startDepth<C::keys, D, NT / 2>(sums, dS, keyTile(use - 1));
        commitProducts();
      }
      startRows<C::keys, D, NT>(dP, dO, valueTile(use));
      commitProducts();
      waitProducts<later ? 2 : 1>();
      settle<NT>(scores);
#pragma unroll
      for (int n = 0; n < NT; ++n) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          scores[n][c] = exp2Approximate(fmaf(scores[n][c], scale2, -statistics[c / 2].lse));
        }
      }
      if (key + C::keys - 1 > groupQuery || highestFirst > key) {
        hideKeys<NT>(scores, query, key + lane % 4 * 2, visibleFrom, 0);
      }
      waitProducts<0>();
      settle<NT>(dP);
      if constexpr (later) keyRing.release(use - 1);
#pragma unroll
      for (int n = 0; n < NT; ++n) {
#pragma unroll
        for (int c = 0; c < 4; ++c) scores[n][c] *= dP[n][c] - statistics[c / 2].delta;
      }
      packOperands<NT>(dS, scores);
    };

    runStep(0, std::false_type{});
    ++use;
    for (int step = 1; step < block.steps; ++step, ++use) runStep(step, std::true_type{});
    beginProducts();
    startDepth<C::keys, D, NT / 2>(sums, dS, keyTile(use - 1));
    commitProducts();
    waitProducts<0>();
    settle<D / 8>(sums);
    keyRing.release(use - 1);

    const int64_t width = static_cast<int64_t>(problem.heads) * problem.headDim;
    const int64_t row = static_cast<int64_t>(block.sequence) * problem.length + groupQuery;
    const float factor[2] = {problem.scale, problem.scale};
    storeGroupRows<C::queries, D>(sums, factor, shared + outOffset + warps * 64 * 128, warps,
                                  arguments.dQ + row * width + block.head % problem.heads * problem.headDim, width,
                                  problem.length - groupQuery, problem.headDim);
  }
#endif
}

}  // namespace lrqat::cuda::attention
