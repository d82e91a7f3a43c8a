// Forward on Hopper: one warp asks the copy engine for queries, keys and values, two groups of four warps own 64
// queries each. Blocks of threads stay on their multiprocessor and take one block of queries after another, whose tiles
// arrive while the one before ends. Shah et al., "FlashAttention-3" (2024): the softmax of a step runs while the tensor
// cores multiply.
#pragma once

#include "cuda/kernels/attention_hopper_products.cuh"

namespace lrqat::cuda::attention {

template <int D_>
struct HopperForwardConfig {
  static constexpr int D = D_;
  static constexpr int groups = 2;  // that multiply
  static constexpr int threads = 128 * (groups + 1);
  static constexpr int queries = 64 * groups;
  static constexpr int keys = D == 256 ? 64 : 128;  // of one step
  static constexpr int stages = 2;
  static constexpr int buffers = D == 256 ? 1 : 2;  // of queries
  static constexpr int queryBytes = tileBytes<queries, D>;
  static constexpr int keyBytes = tileBytes<keys, D>;
  static constexpr int sharedBytes = buffers * queryBytes + 2 * stages * keyBytes + 1024;
};

struct ForwardMaps {
  CUtensorMap q, k, v;
};

/// Hides: some queries do not see some of the keys in between.
template <typename C, bool Hides>
__global__ __launch_bounds__(C::threads, 1) void forwardHopperKernel(const __grid_constant__ Forward<Bf16> arguments,
                                                                     const __grid_constant__ ForwardMaps maps,
                                                                     const __grid_constant__ Schedule schedule) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  constexpr int D = C::D;
  constexpr int NT = C::keys / 8;
  extern __shared__ unsigned char unaligned[];
  __shared__ uint64_t barriers[2 * C::buffers + 4 * C::stages];
  unsigned char* const shared = unaligned + (1024 - sharedAddress(unaligned) % 1024) % 1024;
  const uint32_t base = sharedAddress(shared);
  const Ring<C::buffers> queryRing{sharedAddress(barriers)};
  const Ring<C::stages> keyRing{queryRing.end()};
  const Ring<C::stages> valueRing{keyRing.end()};
  const auto queryOffset = [&](int use) { return use % C::buffers * C::queryBytes; };
  const auto keyTile = [&](int use) { return base + C::buffers * C::queryBytes + use % C::stages * 2 * C::keyBytes; };
  const auto valueTile = [&](int use) { return keyTile(use) + C::keyBytes; };
  const Problem& problem = arguments.problem;

  if (threadIdx.x == 0) {
    queryRing.init(C::groups * 4);
    keyRing.init(C::groups * 4);
    valueRing.init(C::groups * 4);
    publishBarriers();
  }
  __syncthreads();

  // Both roles walk through the same blocks of queries and steps of keys, each with a count of its own.
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
    block.firstKey = problem.firstKey == nullptr
                         ? nullptr
                         : problem.firstKey + static_cast<int64_t>(block.sequence) * problem.length;
    block.start = block.firstKey == nullptr ? 0 : block.firstKey[block.firstQuery] / C::keys * C::keys;
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
        queryRing.claim(turn, C::queryBytes);
        copyPanels<C::queries, D>(base + queryOffset(turn), maps.q, queryRing.ready(turn), head, block.firstQuery,
                                  block.sequence);
        for (int step = 0; step < block.steps; ++step, ++use) {
          const int key = block.start + step * C::keys;
          keyRing.claim(use, C::keyBytes);
          copyPanels<C::keys, D>(keyTile(use), maps.k, keyRing.ready(use), kvHead, key, block.sequence);
          valueRing.claim(use, C::keyBytes);
          copyPanels<C::keys, D>(valueTile(use), maps.v, valueRing.ready(use), kvHead, key, block.sequence);
        }
      }
    }
    return;
  }

  growRegisters<240>();
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int group = groupOfWarps() - 1;
  const int laneRow = group * 64 + static_cast<int>(threadIdx.x / 32 % 4) * 16 + lane / 4;  // first of the lane's two
  const float scale2 = problem.scale * log2e;
  float scores[NT][4];
  const auto startScores = [&](int turn, int use) {
    queryRing.await(turn);
    keyRing.await(use);
    beginProducts();
    startRows<C::queries, C::keys, D, NT>(scores, base + queryOffset(turn) + group * 64 * 128, keyTile(use));
    commitProducts();
  };
  const auto finishScores = [&](int use) {
    waitProducts<0>();
    settle<NT>(scores);
    keyRing.release(use);
  };
  int use = 0;
  int turn = 0;
  if (!Walk(schedule).done()) {
    startScores(turn, use);
    finishScores(use);
  }
  for (Walk walk(schedule); !walk.done(); walk.advance(), ++turn) {  // the scores of its first step are there
    const Block block = blockOf(walk);
    const int groupQuery = block.firstQuery + group * 64;
    const int query = block.firstQuery + laneRow;
    const int highestFirst = block.firstKey == nullptr ? 0 : block.firstKey[block.lastQuery];
    int visibleFrom[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      visibleFrom[half] = block.firstKey == nullptr ? 0 : block.firstKey[min(query + half * 8, block.lastQuery)];
    }
    HiddenKeys hidden;
    if constexpr (Hides) {
      const int64_t row = static_cast<int64_t>(block.sequence) * problem.length;
      hidden = HiddenKeys::of(problem, row + min(query, block.lastQuery), row + min(query + 8, block.lastQuery));
    }
    RowState state;
    float factor[2];
    float sums[D / 8][4] = {};
    uint32_t factors[NT / 2][4];
    const auto softmax = [&](int key) {
      if (key + C::keys - 1 > groupQuery || highestFirst > key) {
        hideKeys<NT>(scores, query, key + lane % 4 * 2, visibleFrom, -INFINITY);
      }
      if constexpr (Hides) hideBranches<NT>(scores, key + lane % 4 * 2, hidden);
      softmaxStep<NT>(scores, state, scale2, factor);
    };

    softmax(block.start);
    packOperands<NT>(factors, scores);

    for (int step = 1; step < block.steps; ++step) {
      ++use;
      keyRing.await(use);
      beginProducts();
      startRows<C::queries, C::keys, D, NT>(scores, base + queryOffset(turn) + group * 64 * 128, keyTile(use));
      commitProducts();
      valueRing.await(use - 1);
      startDepth<C::keys>(sums, factors, valueTile(use - 1));
      commitProducts();
      waitProducts<1>();
      settle<NT>(scores);
      keyRing.release(use);
      softmax(block.start + step * C::keys);
      waitProducts<0>();
      settle<D / 8>(sums);
      valueRing.release(use - 1);
      scaleRows<D / 8>(sums, factor);
      packOperands<NT>(factors, scores);
    }
    valueRing.await(use);
    beginProducts();
    startDepth<C::keys>(sums, factors, valueTile(use));
    commitProducts();
    const auto finishBlock = [&] {
      settle<D / 8>(sums);
      valueRing.release(use);
      float* lse = arguments.lse + static_cast<int64_t>(block.head) * problem.length;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float total = rowSum(state.sum[half]);
        factor[half] = 1.0F / total;
        if (query + half * 8 < problem.length && lane % 4 == 0) {
          lse[query + half * 8] = fmaf(state.maximum[half], problem.scale, logf(total));
        }
      }
      const int64_t width = static_cast<int64_t>(problem.heads) * problem.headDim;
      const int64_t row = static_cast<int64_t>(block.sequence) * problem.length + groupQuery;
      storeGroupRows<C::queries>(sums, factor, shared + queryOffset(turn) + group * 64 * 128, group,
                                 arguments.o + row * width + block.head % problem.heads * problem.headDim, width,
                                 problem.length - groupQuery, problem.headDim);
      publishToCopies();
      queryRing.release(turn);
    };
    Walk next = walk;
    next.advance();
    if (next.done()) {
      waitProducts<0>();
      finishBlock();
    } else if constexpr (C::buffers > 1) {
      // The next block's first scores come while this one's output goes.
      startScores(turn + 1, use + 1);
      waitProducts<1>();
      finishBlock();
      ++use;
      finishScores(use);
    } else {
      waitProducts<0>();
      finishBlock();
      ++use;
      startScores(turn + 1, use);
      finishScores(use);
    }
  }
#endif
}

}  // namespace lrqat::cuda::attention
