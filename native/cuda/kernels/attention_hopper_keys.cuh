// dK and dV on Hopper: as in attention_backward.cuh a block owns keys and meets the queries that see them, of every
// head of the group. Products of a step start before those of the step before it have ended, and the next block's tiles
// arrive while one ends, so that the tensor cores always have some.
#pragma once

#include <type_traits>

#include "cuda/kernels/attention_hopper_products.cuh"

namespace lrqat::cuda::attention {

template <int D_>
struct HopperKeyGradientConfig : HopperShare<D_> {
  using HopperShare<D_>::D;
  static constexpr int keys = HopperShare<D_>::rows;
  static constexpr int queries = 64;  // of one step
  static constexpr int stages = 2;
  static constexpr int buffers = D > 128 ? 1 : 2;  // of keys and values
  static constexpr int keyBytes = tileBytes<keys, D>;
  static constexpr int queryBytes = tileBytes<queries, D>;
  static constexpr int statisticsBytes = queries * 8;
  static constexpr int sharedBytes = 2 * buffers * keyBytes + stages * (2 * queryBytes + statisticsBytes) + 1024;
};

template <typename C>
__global__ __launch_bounds__(C::threads,
                             1) void keyGradientHopperKernel(const __grid_constant__ Backward<Bf16> arguments,
                                                             const __grid_constant__ BackwardMaps maps,
                                                             const __grid_constant__ Schedule schedule) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  constexpr int D = C::D;
  constexpr int NT = C::queries / 8;
  extern __shared__ unsigned char unaligned[];
  __shared__ uint64_t barriers[2 * (C::buffers + C::stages)];
  unsigned char* const shared = unaligned + (1024 - sharedAddress(unaligned) % 1024) % 1024;
  const uint32_t base = sharedAddress(shared);
  const Ring<C::buffers> keyRing{sharedAddress(barriers)};
  const Ring<C::stages> queryRing{keyRing.end()};
  const auto keyOffset = [&](int use) { return use % C::buffers * 2 * C::keyBytes; };
  const auto queryTile = [&](int use) {
    return base + 2 * C::buffers * C::keyBytes + use % C::stages * 2 * C::queryBytes;
  };
  const auto dOTile = [&](int use) { return queryTile(use) + C::queryBytes; };
  const auto statisticsOffset = [&](int use) {
    return 2 * (C::buffers * C::keyBytes + C::stages * C::queryBytes) + use % C::stages * C::statisticsBytes;
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
  };
  const auto blockOf = [&](const Walk& walk) {
    Block block{};
    block.kvHead = walk.head() % problem.kvHeads;
    block.sequence = walk.head() / problem.kvHeads;
    block.key = walk.rank() * C::keys;
    block.steps = (problem.length - block.key + C::queries - 1) / C::queries;
    if (problem.firstKey != nullptr) {
      // The last query that sees a key of the block ends the steps: by bisection, firstKey does not decrease.
      const int32_t* firstKey = problem.firstKey + block.sequence * problem.length;
      const int lastKey = min(block.key + C::keys, problem.length) - 1;
      int seen = 1;  // a key's own query sees it
      int beyond = block.steps;
      while (seen < beyond) {
        const int middle = (seen + beyond) / 2;
        if (firstKey[block.key + middle * C::queries] <= lastKey) {
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
      int turn = 0;
      for (Walk walk(schedule); !walk.done(); walk.advance(), ++turn) {
        const Block block = blockOf(walk);
        const uint32_t keyTile = base + keyOffset(turn);
        keyRing.claim(turn, 2 * C::keyBytes);
        copyPanels<C::keys, D>(keyTile, maps.k, keyRing.ready(turn), block.kvHead, block.key, block.sequence);
        copyPanels<C::keys, D>(keyTile + C::keyBytes, maps.v, keyRing.ready(turn), block.kvHead, block.key,
                               block.sequence);
        for (int head = block.kvHead * group; head < (block.kvHead + 1) * group; ++head) {
          const RowStatistics* rows = arguments.rows + (static_cast<int64_t>(block.sequence) * problem.heads + head) *
                                                           paddedLength(problem.length);
          for (int step = 0; step < block.steps; ++step, ++use) {
            const int query = block.key + step * C::queries;
            const uint32_t ready = queryRing.ready(use);
            queryRing.claim(use, 2 * C::queryBytes + C::statisticsBytes);
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
  const int warps = groupOfWarps() - 1;  // which group of four
  const int laneRow =
      C::firstRow(warps) + static_cast<int>(threadIdx.x / 32 % 4) * 16 + lane / 4;  // first of the lane's two
  const int firstPanel = C::firstColumn(warps) / 64 * panelBytes<C::queries>;       // of the passing tiles
  const float scale2 = problem.scale * log2e;
  int use = 0;
  int turn = 0;
  for (Walk walk(schedule); !walk.done(); walk.advance(), ++turn) {
    const Block block = blockOf(walk);
    const int groupKey = block.key + C::firstRow(warps);
    const uint32_t groupKeys = base + keyOffset(turn) + C::firstRow(warps) * 128;
    const uint32_t groupValues = groupKeys + C::keyBytes;
    float dK[C::columns / 8][4] = {};
    float dV[C::columns / 8][4] = {};
    uint32_t dS[NT / 2][4];
    const auto firstKey = [&](int position) { return problem.firstKey[block.sequence * problem.length + position]; };
    const auto runStep = [&](int step, auto later) {
      const int query = block.key + step * C::queries;
      queryRing.await(use);
      float scores[NT][4];
      float dP[NT][4];
      beginProducts();
      startRows<C::keys, C::queries, D, NT>(scores, groupKeys, queryTile(use));
      commitProducts();
      if constexpr (later) {
        startDepth<C::queries>(dK, dS, queryTile(use - 1) + firstPanel);
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
        masked = masked || firstKey(min(query + C::queries, problem.length) - 1) > groupKey;
      }
      if (masked) {
        hideQueries<NT>(scores, block.key + laneRow, query, [&](int column) {
          return problem.firstKey == nullptr ? 0 : firstKey(min(query + column, problem.length - 1));
        });
      }
      uint32_t probabilities[NT / 2][4];
      packOperands<NT>(probabilities, scores);
      beginProducts();
      startDepth<C::queries>(dV, probabilities, dOTile(use) + firstPanel);
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
      settle<C::columns / 8>(dV);
      packOperands<NT>(dS, scores);
    };

    keyRing.await(turn);
    const int items = block.steps * group;
    if (C::firstRow(warps) > 0 && items > 1) {  // the first queries come before this group's keys
      queryRing.await(use);
#pragma unroll
      for (int k = 0; k < NT / 2; ++k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) dS[k][i] = 0;
      }
    } else {
      runStep(0, std::false_type{});
    }
    ++use;
    int step = 0;
    for (int item = 1; item < items; ++item, ++use) {
      step = step + 1 == block.steps ? 0 : step + 1;
      runStep(step, std::true_type{});
    }
    beginProducts();
    startDepth<C::queries>(dK, dS, queryTile(use - 1) + firstPanel);
    commitProducts();
    waitProducts<0>();
    settle<C::columns / 8>(dK);
    queryRing.release(use - 1);

    const int64_t kvWidth = static_cast<int64_t>(problem.kvHeads) * problem.headDim;
    const int64_t row = static_cast<int64_t>(block.sequence) * problem.length + groupKey;
    const int column = C::firstColumn(warps);
    const int64_t place = row * kvWidth + block.kvHead * problem.headDim + column;
    const float factor[2] = {problem.scale, problem.scale};
    const float one[2] = {1, 1};
    unsigned char* const stage = shared + keyOffset(turn) + C::offset(warps);
    if constexpr (C::halves) synchronizeGroups();
    storeGroupRows<C::keys>(dK, factor, stage, warps, arguments.dK + place, kvWidth, problem.length - groupKey,
                            problem.headDim - column);
    storeGroupRows<C::keys>(dV, one, stage + C::keyBytes, warps, arguments.dV + place, kvWidth,
                            problem.length - groupKey, problem.headDim - column);
    publishToCopies();
    keyRing.release(turn);
  }
#endif
}

}  // namespace lrqat::cuda::attention
