// dQ on Hopper: as in attention_backward.cuh a block owns queries and meets the keys they see. It also leaves the row
// statistics for the kernel of attention_hopper_keys.cuh, which must run later.
#pragma once

#include <type_traits>

#include "cuda/kernels/attention_hopper_products.cuh"

namespace lrqat::cuda::attention {

template <int D_>
struct HopperQueryGradientConfig : HopperShare<D_> {
  using HopperShare<D_>::D;
  static constexpr int queries = HopperShare<D_>::rows;
  static constexpr int keys = 64;  // of one step
  static constexpr int stages = D > 128 ? 2 : 3;
  // 128 columns of Q and dO fit the registers; with 256 the tensor cores read them from shared memory.
  static constexpr bool inRegisters = D <= 128;
  static constexpr int queryBytes = tileBytes<queries, D>;
  static constexpr int keyBytes = tileBytes<keys, D>;
  // Queries, dO and o of a block, dQ on its way out (in the place of o where room is scarce), steps of keys and values.
  static constexpr int ownTiles = inRegisters ? 4 : 3;
  static constexpr int sharedBytes = ownTiles * queryBytes + 2 * stages * keyBytes + 1024;
};

template <typename C>
__global__ __launch_bounds__(C::threads,
                             1) void queryGradientHopperKernel(const __grid_constant__ Backward<Bf16> arguments,
                                                               const __grid_constant__ BackwardMaps maps,
                                                               const __grid_constant__ Schedule schedule) {
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
  const uint32_t dOTile = queryTile + C::queryBytes;
  const uint32_t oTile = dOTile + C::queryBytes;
  constexpr int outOffset = (C::ownTiles - 1) * C::queryBytes;
  const auto keyTile = [&](int use) { return base + outOffset + C::queryBytes + use % C::stages * 2 * C::keyBytes; };
  const auto valueTile = [&](int use) { return keyTile(use) + C::keyBytes; };
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
  const auto blockOf = [&](const Walk& walk) {
    Block block{};
    block.head = walk.head();
    block.sequence = walk.head() / problem.heads;
    block.firstQuery = (schedule.blocks - 1 - walk.rank()) * C::queries;
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
      int turn = 0;
      for (Walk walk(schedule); !walk.done(); walk.advance(), ++turn) {
        const Block block = blockOf(walk);
        const int head = block.head % problem.heads;
        const int kvHead = head / (problem.heads / problem.kvHeads);
        const uint32_t queryReady = queryRing.ready(turn);
        queryRing.claim(turn, 3 * C::queryBytes);
        copyPanels<C::queries, D>(queryTile, maps.q, queryReady, head, block.firstQuery, block.sequence);
        copyPanels<C::queries, D>(dOTile, maps.dO, queryReady, head, block.firstQuery, block.sequence);
        copyPanels<C::queries, D>(oTile, maps.o, queryReady, head, block.firstQuery, block.sequence);
        for (int step = 0; step < block.steps; ++step, ++use) {
          const int key = block.start + step * C::keys;
          const uint32_t ready = keyRing.ready(use);
          keyRing.claim(use, 2 * C::keyBytes);
          copyPanels<C::keys, D>(keyTile(use), maps.k, ready, kvHead, key, block.sequence);
          copyPanels<C::keys, D>(valueTile(use), maps.v, ready, kvHead, key, block.sequence);
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
  const int firstPanel = C::firstColumn(warps) / 64 * panelBytes<C::keys>;          // of the passing tiles
  const float scale2 = problem.scale * log2e;
  int use = 0;
  int turn = 0;
  for (Walk walk(schedule); !walk.done(); walk.advance(), ++turn) {
    const Block block = blockOf(walk);
    const int groupQuery = block.firstQuery + C::firstRow(warps);
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
    float sums[C::columns / 8][4] = {};
    uint32_t q[D / 16][4];
    uint32_t dO[D / 16][4];
    uint32_t dS[NT / 2][4];

    queryRing.await(turn);
    const int groupOffset = C::firstRow(warps) * 128;
    loadRows<C::queries, D>(dO, dOTile + groupOffset);
    loadRows<C::queries, D>(q, oTile + groupOffset);
    rowProducts<D / 16>(q, dO, statistics[0].delta, statistics[1].delta);
    if constexpr (C::inRegisters) {
      loadRows<C::queries, D>(q, queryTile + groupOffset);
      publishToCopies();
      queryRing.release(turn);
    }
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
      if constexpr (C::inRegisters) {
        startRows<C::keys, D, NT>(scores, q, keyTile(use));
      } else {
        startRows<C::queries, C::keys, D, NT>(scores, queryTile + groupOffset, keyTile(use));
      }
      commitProducts();
      if constexpr (later) {
        startDepth<C::keys>(sums, dS, keyTile(use - 1) + firstPanel);
        commitProducts();
      }
      if constexpr (C::inRegisters) {
        startRows<C::keys, D, NT>(dP, dO, valueTile(use));
      } else {
        startRows<C::queries, C::keys, D, NT>(dP, dOTile + groupOffset, valueTile(use));
      }
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

    // The last keys may come after this group's queries.
    const int steps = block.steps - (block.start + (block.steps - 1) * C::keys > groupQuery + 63 ? 1 : 0);
    runStep(0, std::false_type{});
    ++use;
    for (int step = 1; step < steps; ++step, ++use) runStep(step, std::true_type{});
    beginProducts();
    startDepth<C::keys>(sums, dS, keyTile(use - 1) + firstPanel);
    commitProducts();
    waitProducts<0>();
    settle<C::columns / 8>(sums);
    keyRing.release(use - 1);
    if (steps < block.steps) {
      keyRing.await(use);
      keyRing.release(use);
      ++use;
    }

    const int64_t width = static_cast<int64_t>(problem.heads) * problem.headDim;
    const int64_t row = static_cast<int64_t>(block.sequence) * problem.length + groupQuery;
    const float factor[2] = {problem.scale, problem.scale};
    const int column = C::firstColumn(warps);
    if constexpr (C::halves) synchronizeGroups();
    storeGroupRows<C::queries>(sums, factor, shared + outOffset + C::offset(warps), warps,
                               arguments.dQ + row * width + block.head % problem.heads * problem.headDim + column,
                               width, problem.length - groupQuery, problem.headDim - column);
    if constexpr (!C::inRegisters) {
      publishToCopies();
      queryRing.release(turn);
    }
  }
#endif
}

}  // namespace lrqat::cuda::attention
