// Softmax attention with tiles, 32 queries of a head at a time. Everything is computed transposed, keys or head
// dimensions by queries: Sᵀ = K·Qᵀ, Oᵀ = Vᵀ·Pᵀ. A query is then a lane, so that maxima and sums over its keys need no
// work across lanes, and pairs of rows of Pᵀ are what a tile of the second product holds. Keys are taken 128 at a time.
#pragma once

#include "cpu/kernels/amx/operands.h"
#include "cpu/kernels/attention.h"
#include "cpu/kernels/attention_rows.h"
#include "cpu/kernels/attention_tiles.h"

namespace lrqat::cpu::LRQAT_ISA {
namespace {

constexpr float noScore = -1e30F;  // below every score, and finite: noScore - noScore is 0

/// Running softmax of 32 queries, in units of log2: the largest scaled score so far and Σ 2^(score − largest).
struct SoftmaxState {
  Vec largest[2];
  Vec sum[2];
};

/// Queries of one block against keys of one step.
struct Visibility {
  int64_t query;
  VecInt queries[2];
  VecInt from[2];
  VecInt hiddenFrom[2];
  VecInt hiddenTo[2];
  HiddenKeys hidden;   // of all queries together
  int64_t allSeeFrom;  // first key that every query sees, if it is not later than the query nor hidden
  bool masked(int64_t key) const {
    return key + blockEdge - 1 > query || allSeeFrom > key || hidden.overlap(key, blockEdge);
  }
  /// Which of queries 16·half … see a key.
  __mmask16 of(int64_t key, int half) const {
    const __mmask16 seen = sees(queries[half], from[half], key);
    if (hidden.from == hidden.to) return seen;
    const __m512i k = _mm512_set1_epi32(static_cast<int32_t>(key));
    const __mmask16 before = _mm512_mask_cmpgt_epi32_mask(seen, __builtin_bit_cast(__m512i, hiddenFrom[half]), k);
    return before | _mm512_mask_cmple_epi32_mask(seen, __builtin_bit_cast(__m512i, hiddenTo[half]), k);
  }
};

/// Sᵀ of 32 queries, block of 32 keys by block: a whole one at a time, or in pieces between other work.
struct Scores {
  const uint16_t* keys;     // K·… of the whole sequence
  const uint16_t* queries;  // …·Qᵀ
  int64_t depthTiles;
  float* memory;  // [blocks of a step][32 keys][32 queries]

  void addProducts(int64_t key, int64_t from, int64_t to) const {
    const uint16_t* left = keys + key / tileEdge * depthTiles * operandTile;
    for (int64_t k = from; k < to; ++k) {
      const uint16_t* right = queries + k * operandTile;
      addBlockProduct(left + k * operandTile, left + (depthTiles + k) * operandTile, 64, right,
                      right + depthTiles * operandTile);
    }
  }
  float* block(int64_t b) const { return memory + b * blockEdge * blockEdge; }
  void store(int64_t b) const { storeResult(blockAt(block(b), blockEdge)); }
};

/// Scores of `blocks` × 32 keys become probabilities relative to the running maximum, as B operand [2][4] tiles.
/// Meanwhile tiles multiply the scores of the next step, `nextBlocks` × 32 keys, which take the place of those that
/// have been read. Returns whether the sums so far must be multiplied by `factor`.
inline bool softmaxStep(const Scores& scores, int64_t key, int64_t blocks, int64_t nextBlocks,
                        const Visibility& visible, float scale, SoftmaxState& state, uint16_t* probabilities,
                        Vec (&factor)[2]) {
  Vec top[2] = {broadcast(noScore), broadcast(noScore)};
  for (int64_t b = 0; b < blocks; ++b) {
    const float* block = scores.block(b);
    const int64_t firstKey = key + b * blockEdge;
    if (visible.masked(firstKey)) {
      for (int64_t r = 0; r < blockEdge; ++r) {
        for (int h = 0; h < 2; ++h) {
          top[h] = _mm512_mask_max_ps(top[h], visible.of(firstKey + r, h), top[h],
                                      load(block + r * blockEdge + h * tileEdge));
        }
      }
    } else {
      for (int64_t r = 0; r < blockEdge; ++r) {
        for (int h = 0; h < 2; ++h) top[h] = _mm512_max_ps(top[h], load(block + r * blockEdge + h * tileEdge));
      }
    }
  }
  bool changed = false;
  Vec sum[2][2] = {};
  Vec shift[2];
  for (int h = 0; h < 2; ++h) {
    const Vec before = state.largest[h];
    state.largest[h] = _mm512_max_ps(before, top[h] * scale);
    changed |= _mm512_cmp_ps_mask(before, state.largest[h], _CMP_NEQ_UQ) != 0;
    factor[h] = powerOfTwo(before - state.largest[h]);
    shift[h] = -state.largest[h];
  }
  const Vec scales = broadcast(scale);
  const auto rows = [&](const float* block, int64_t firstKey, int64_t b, auto masked) {
    const bool more = b < nextBlocks;
    const int64_t nextKey = firstKey + attention_tiles::forwardKeys;
    if (more) clearResult();
    for (int64_t r = 0; r < blockEdge; r += 2) {
      if (more) {
        scores.addProducts(nextKey, r * scores.depthTiles / blockEdge, (r + 2) * scores.depthTiles / blockEdge);
      }
      Vec p[2][2];
#pragma GCC unroll 2
      for (int odd = 0; odd < 2; ++odd) {
#pragma GCC unroll 2
        for (int h = 0; h < 2; ++h) {
          Vec value = powerOfTwo(multiplyAdd(load(block + (r + odd) * blockEdge + h * tileEdge), scales, shift[h]));
          if constexpr (decltype(masked)::value) {
            value = _mm512_maskz_mov_ps(visible.of(firstKey + r + odd, h), value);
          }
          sum[odd][h] += value;
          p[odd][h] = value;
        }
      }
      uint16_t* tile = probabilities + b * operandTile + r / 2 * tileDepth;
      storePairs(roundPair(p[0][0], p[0][1]), roundPair(p[1][0], p[1][1]), tile,
                 tile + attention_tiles::forwardKeys / tileDepth * operandTile);
    }
    if (more) scores.store(b);
  };
  for (int64_t b = 0; b < blocks; ++b) {
    const float* block = scores.block(b);
    const int64_t firstKey = key + b * blockEdge;
    if (visible.masked(firstKey)) {
      rows(block, firstKey, b, std::true_type{});
    } else {
      rows(block, firstKey, b, std::false_type{});
    }
  }
  for (int h = 0; h < 2; ++h) state.sum[h] = multiplyAdd(state.sum[h], factor[h], sum[0][h] + sum[1][h]);
  return changed;
}

/// o[query][d] = sums[d][query] / Σ, and the log-sum-exp of each query.
inline void writeOutput(const AttentionInput& input, const AttentionOutput& output, int64_t head, int64_t firstQuery,
                        const SoftmaxState& state, const float* sums) {
  const int64_t d = input.headDim;
  const int64_t width = input.heads * d;
  const int64_t queries = input.length - firstQuery < blockEdge ? input.length - firstQuery : blockEdge;
  auto* o = static_cast<uint16_t*>(output.o) + firstQuery * width + head * d;
  const Vec inverse[2] = {1.0F / state.sum[0], 1.0F / state.sum[1]};
  for (int tile = 0; tile < 2; ++tile) {
    const Vec factor = pairedColumns(tile, inverse[0], inverse[1]);
    for (int64_t c = 0; c < d; c += tileEdge) {
      Vec v[tileEdge];
      for (int64_t k = 0; k < tileEdge; ++k) v[k] = load(sums + (c + k) * blockEdge + tile * tileEdge) * factor;
      transpose(v);
      for (int64_t n = 0; n < tileEdge; ++n) {
        const int64_t query = pairedColumn(tile, n);
        if (query < queries) storeRounded(o + query * width + c, v[n], d - c);
      }
    }
  }
  float largest[blockEdge];
  float sum[blockEdge];
  std::memcpy(largest, state.largest, sizeof largest);
  std::memcpy(sum, state.sum, sizeof sum);
  float* lse = output.lse + head * input.length + firstQuery;
  constexpr float ln2 = 0.693147181F;
  for (int64_t i = 0; i < queries; ++i) lse[i] = largest[i] * ln2 + __builtin_logf(sum[i]);
}

inline void forwardBlock(const AttentionInput& input, const AttentionOutput& output, int64_t head, int64_t firstQuery,
                         const float* packed, float* work) {
  const int64_t d = input.headDim;
  const int64_t depth = attention_tiles::padded(d);
  const int64_t depthTiles = depth / tileDepth;
  const int64_t lengthTiles = attention_tiles::padded(input.length) / tileDepth;
  const int64_t width = input.heads * d;
  const int64_t queries = input.length - firstQuery < blockEdge ? input.length - firstQuery : blockEdge;
  const int64_t lastQuery = firstQuery + queries - 1;
  const float scale = log2e / __builtin_sqrtf(static_cast<float>(d));
  const auto* keys = reinterpret_cast<const uint16_t*>(packed);
  const auto* values = reinterpret_cast<const uint16_t*>(packed + attention_tiles::operandFloats(input.length, d));

  Parts parts(work);
  auto* q = reinterpret_cast<uint16_t*>(parts.take(attention_tiles::operandFloats(blockEdge, d)));
  float* scoreMemory = parts.take(attention_tiles::forwardKeys * blockEdge);
  auto* probabilities = reinterpret_cast<uint16_t*>(parts.take(attention_tiles::forwardKeys * blockEdge / 2));
  float* sums = parts.take(depth * blockEdge);
  packOperands(static_cast<const uint16_t*>(input.q) + firstQuery * width + head * d, width, queries, d,
               {.rightTransposed = q});

  Visibility visible{.query = firstQuery,
                     .queries = {laneNumbers() + static_cast<int32_t>(firstQuery),
                                 laneNumbers() + static_cast<int32_t>(firstQuery + tileEdge)},
                     .from = {},
                     .hiddenFrom = {},
                     .hiddenTo = {},
                     .hidden = hiddenKeys(input, firstQuery, lastQuery),
                     .allSeeFrom = input.firstKey ? input.firstKey[lastQuery] : 0};
  firstKeysOf(input.firstKey, firstQuery, input.length, visible.from);
  firstKeysOf(input.hiddenFrom, firstQuery, input.length, visible.hiddenFrom);
  firstKeysOf(input.hiddenTo, firstQuery, input.length, visible.hiddenTo);
  SoftmaxState state{{broadcast(noScore), broadcast(noScore)}, {Vec{}, Vec{}}};
  const int64_t start = input.firstKey ? input.firstKey[firstQuery] / blockEdge * blockEdge : 0;
  const Scores scores{keys, q, depthTiles, scoreMemory};
  // Blocks of 32 keys in the step from `key` on.
  const auto blocksFrom = [&](int64_t key) {
    const int64_t count = lastQuery + 1 - key;
    if (count <= 0) return int64_t{0};
    return (count < attention_tiles::forwardKeys ? attention_tiles::padded(count) : attention_tiles::forwardKeys) /
           blockEdge;
  };
  for (int64_t b = 0; b < blocksFrom(start); ++b) {
    clearResult();
    scores.addProducts(start + b * blockEdge, 0, depthTiles);
    scores.store(b);
  }
  for (int64_t key = start; key <= lastQuery; key += attention_tiles::forwardKeys) {
    const int64_t blocks = blocksFrom(key);
    Vec factor[2];
    const bool changed = softmaxStep(scores, key, blocks, blocksFrom(key + attention_tiles::forwardKeys), visible,
                                     scale, state, probabilities, factor);
    if (key != start && changed) {
      const Vec first = pairedColumns(0, factor[0], factor[1]);
      const Vec second = pairedColumns(1, factor[0], factor[1]);
      for (int64_t c = 0; c < depth; ++c) {
        float* row = sums + c * blockEdge;
        store(row, load(row) * first);
        store(row + tileEdge, load(row + tileEdge) * second);
      }
    }
    for (int64_t c = 0; c < depthTiles; ++c) {
      multiplyTiles({values + (2 * c * lengthTiles + key / tileDepth) * operandTile, lengthTiles},
                    {probabilities, attention_tiles::forwardKeys / tileDepth}, blocks,
                    {sums + c * blockEdge * blockEdge, tileEdge * blockEdge, tileEdge, blockEdge}, key != start);
    }
  }
  writeOutput(input, output, head, firstQuery, state, sums);
}

}  // namespace
}  // namespace lrqat::cpu::LRQAT_ISA
