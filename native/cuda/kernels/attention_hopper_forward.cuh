// Forward on Hopper: one warp asks the copy engine for queries, keys and values, two groups of four warps own 64
// queries each. Blocks of threads stay on their multiprocessor and take one block of queries after another, whose tiles
// arrive while the one before ends. Shah et al., "FlashAttention-3" (2024): the softmax of a step runs while the tensor
// cores multiply.
#pragma once

#include "cuda/kernels/attention_hopper_tile.cuh"

namespace lrqat::cuda::attention {

template <int D_>
struct HopperForwardConfig {
  static constexpr int D = D_;
  static constexpr int groups = 2;
  static constexpr int threads = 128 * (groups + 1);
  static constexpr int queries = 64 * groups;
  static constexpr int keys = 128;
  static constexpr int stages = 2;
  using QueryTile = PanelTile<queries, D>;
  using KeyTile = PanelTile<keys, D>;
  static constexpr int barrierBytes = 1024;
  static constexpr int sharedBytes = barrierBytes + 2 * QueryTile::bytes + 2 * stages * KeyTile::bytes + 1024;
};

struct ForwardMaps {
  CUtensorMap q, k, v;
};

template <typename C>
__global__ __launch_bounds__(C::threads, 1) void forwardHopperKernel(const __grid_constant__ Forward<Bf16> arguments,
                                                                     const __grid_constant__ ForwardMaps maps,
                                                                     const BlockOrder order) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  constexpr int D = C::D;
  constexpr int NT = C::keys / 8;
  extern __shared__ unsigned char unaligned[];
  unsigned char* const shared = unaligned + (1024 - sharedAddress(unaligned) % 1024) % 1024;
  const uint32_t base = sharedAddress(shared);
  const auto queryReady = [&](int buffer) { return base + buffer * 8; };
  const auto queryFree = [&](int buffer) { return base + 16 + buffer * 8; };
  const auto keyReady = [&](int stage) { return base + 32 + stage * 8; };
  const auto valueReady = [&](int stage) { return base + 32 + (C::stages + stage) * 8; };
  const auto keyFree = [&](int stage) { return base + 32 + (2 * C::stages + stage) * 8; };
  const auto valueFree = [&](int stage) { return base + 32 + (3 * C::stages + stage) * 8; };
  constexpr int queryOffset = C::barrierBytes;
  const auto queryTile = [&](int buffer) { return base + queryOffset + buffer * C::QueryTile::bytes; };
  const auto keyTile = [&](int stage) { return queryTile(2) + stage * C::KeyTile::bytes; };
  const auto valueTile = [&](int stage) { return keyTile(C::stages + stage); };
  const Problem& problem = arguments.problem;

  if (threadIdx.x == 0) {
    for (int buffer = 0; buffer < 2; ++buffer) {
      initBarrier(queryReady(buffer), 1);
      initBarrier(queryFree(buffer), C::groups * 4);
    }
    for (int stage = 0; stage < C::stages; ++stage) {
      initBarrier(keyReady(stage), 1);
      initBarrier(valueReady(stage), 1);
      initBarrier(keyFree(stage), C::groups * 4);
      initBarrier(valueFree(stage), C::groups * 4);
    }
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
  const auto blockOf = [&](unsigned index) {
    const BlockOrder::Place own = order.place(index);
    Block block{};
    block.head = own.head;
    block.sequence = own.head / problem.heads;
    block.firstQuery = (order.blocks - 1 - own.rank) * C::queries;
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
      int count = 0;
      for (int turn = 0; order.has(turn); ++turn) {
        const Block block = blockOf(order.index(turn));
        const int head = block.head % problem.heads;
        const int kvHead = head / (problem.heads / problem.kvHeads);
        const int buffer = turn % 2;
        waitBarrier(queryFree(buffer), turn / 2 % 2 ^ 1);
        arriveExpecting(queryReady(buffer), C::QueryTile::bytes);
        copyPanels<C::queries, D>(queryTile(buffer), maps.q, queryReady(buffer), head, block.firstQuery,
                                  block.sequence);
        for (int step = 0; step < block.steps; ++step, ++count) {
          const int stage = count % C::stages;
          const int free = count / C::stages % 2 ^ 1;
          const int key = block.start + step * C::keys;
          waitBarrier(keyFree(stage), free);
          arriveExpecting(keyReady(stage), C::KeyTile::bytes);
          copyPanels<C::keys, D>(keyTile(stage), maps.k, keyReady(stage), kvHead, key, block.sequence);
          waitBarrier(valueFree(stage), free);
          arriveExpecting(valueReady(stage), C::KeyTile::bytes);
          copyPanels<C::keys, D>(valueTile(stage), maps.v, valueReady(stage), kvHead, key, block.sequence);
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
  const auto release = [&](uint32_t barrier) {
    if (lane == 0) arrive(barrier);
  };
  int count = 0;
  for (int turn = 0; order.has(turn); ++turn) {
    const Block block = blockOf(order.index(turn));
    const int buffer = turn % 2;
    const int groupQuery = block.firstQuery + group * 64;
    const int query = block.firstQuery + laneRow;
    const uint32_t groupTile = queryTile(buffer) + group * 64 * 128;
    const int highestFirst = block.firstKey == nullptr ? 0 : block.firstKey[block.lastQuery];
    int visibleFrom[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      visibleFrom[half] = block.firstKey == nullptr ? 0 : block.firstKey[min(query + half * 8, block.lastQuery)];
    }
    RowState state;
    float factor[2];
    float sums[D / 8][4] = {};
    float scores[NT][4];
    uint32_t factors[NT / 2][4];
    const auto softmax = [&](int key) {
      if (key + C::keys - 1 > groupQuery || highestFirst > key) {
        hideKeys<NT>(scores, query, key + lane % 4 * 2, visibleFrom, -INFINITY);
      }
      softmaxStep<NT>(scores, state, scale2, factor);
    };

    waitBarrier(queryReady(buffer), turn / 2 % 2);
    waitBarrier(keyReady(count % C::stages), count / C::stages % 2);
    beginProducts();
    startRows<C::queries, C::keys, D, NT>(scores, groupTile, keyTile(count % C::stages));
    commitProducts();
    waitProducts<0>();
    settle<NT>(scores);
    release(keyFree(count % C::stages));
    softmax(block.start);
    packOperands<NT>(factors, scores);

    for (int step = 1; step < block.steps; ++step) {
      const int previous = count % C::stages;
      const int previousPhase = count / C::stages % 2;
      ++count;
      const int stage = count % C::stages;
      waitBarrier(keyReady(stage), count / C::stages % 2);
      beginProducts();
      startRows<C::queries, C::keys, D, NT>(scores, groupTile, keyTile(stage));
      commitProducts();
      waitBarrier(valueReady(previous), previousPhase);
      startDepth<C::keys, D, NT / 2>(sums, factors, valueTile(previous));
      commitProducts();
      waitProducts<1>();
      settle<NT>(scores);
      release(keyFree(stage));
      softmax(block.start + step * C::keys);
      waitProducts<0>();
      settle<D / 8>(sums);
      release(valueFree(previous));
      scaleRows<D / 8>(sums, factor);
      packOperands<NT>(factors, scores);
    }
    const int last = count % C::stages;
    waitBarrier(valueReady(last), count / C::stages % 2);
    beginProducts();
    startDepth<C::keys, D, NT / 2>(sums, factors, valueTile(last));
    commitProducts();
    waitProducts<0>();
    settle<D / 8>(sums);
    release(valueFree(last));
    ++count;

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
    storeGroupRows<C::queries, D>(sums, factor, shared + queryOffset + buffer * C::QueryTile::bytes + group * 64 * 128,
                                  group, arguments.o + row * width + block.head % problem.heads * problem.headDim,
                                  width, problem.length - groupQuery, problem.headDim);
    publishToCopies();
    __syncwarp();
    release(queryFree(buffer));
  }
#endif
}

}  // namespace lrqat::cuda::attention
