// Gradients of attention with tiles, blocks of 64 keys × 64 queries: Sᵀ = K·Qᵀ and dPᵀ = V·dOᵀ in squares of 32, from
// them Pᵀ and dSᵀ rounded to bf16, then dV += Pᵀ·dO, dK += dSᵀ·Q, dQᵀ += Kᵀ·dSᵀ. Sums run over blocks in order.
#pragma once

#include "cpu/kernels/amx/operands.h"
#include "cpu/kernels/attention.h"
#include "cpu/kernels/attention_rows.h"
#include "cpu/kernels/attention_tiles.h"

namespace lrqat::cpu::LRQAT_ISA {
namespace {

constexpr int64_t squareEdge = 64;
constexpr int64_t squareBlocks = squareEdge / blockEdge;

struct TileBuffers {
  TileBuffers(float* work, int64_t length, int64_t headDim) {
    Parts parts(work);
    const auto operand = [&] {
      return reinterpret_cast<uint16_t*>(parts.take(attention_tiles::operandFloats(length, headDim)));
    };
    const auto square = [&] { return reinterpret_cast<uint16_t*>(parts.take(squareEdge * squareEdge / 2)); };
    const int64_t sums = attention_tiles::padded(length) * attention_tiles::padded(headDim);
    for (uint16_t** form : {&keys, &values, &keysTransposed, &queries, &gradients, &queryRows, &gradientRows}) {
      *form = operand();
    }
    dK = parts.take(sums);
    dV = parts.take(sums);
    dQ = parts.take(sums);
    lse = parts.take(attention_tiles::padded(length));
    delta = parts.take(attention_tiles::padded(length));
    scores = parts.take(attention_tiles::square);
    dP = parts.take(attention_tiles::square);
    p = square();
    dS = square();
    dSPairs = square();
  }
  uint16_t *keys, *values, *keysTransposed;  // K·…, V·…, Kᵀ·…
  uint16_t *queries, *gradients;             // …·Qᵀ, …·dOᵀ
  uint16_t *queryRows, *gradientRows;        // …·Q, …·dO
  float *dK, *dV;                            // [keys / 16][d / 16] tiles of sums
  float* dQ;                                 // [d / 16][queries / 16] tiles of sums
  float *lse, *delta;                        // [queries], padded; lse in units of log2
  float *scores, *dP;                        // [32 keys][32 queries]
  uint16_t *p, *dS;                          // [4 tiles of keys][2 tiles of queries]: Pᵀ·…, dSᵀ·…
  uint16_t* dSPairs;  // [4 tiles of queries][2 tiles of keys]: …·dSᵀ, columns as storePairs has them
};

inline void prepareQueries(const AttentionInput& input, const AttentionGradient& gradient, int64_t head,
                           const TileBuffers& w) {
  const int64_t d = input.headDim;
  const int64_t stride = input.heads * d;
  const auto* q = column<bf16>(input.q, head, d);
  const auto* dO = column<bf16>(gradient.dO, head, d);
  const auto* o = column<bf16>(gradient.o, head, d);
  packOperands(&q->bits, stride, input.length, d, {.rightTransposed = w.queries, .right = w.queryRows});
  packOperands(&dO->bits, stride, input.length, d, {.rightTransposed = w.gradients, .right = w.gradientRows});
  for (int64_t i = 0; i < input.length; ++i) {
    Vec total = {};
    forEachVector(d, [&](int64_t c, auto part) {
      total = multiplyAdd(load(o + i * stride + c, part), load(dO + i * stride + c, part), total);
    });
    w.delta[i] = sum(total);
    w.lse[i] = gradient.lse[head * input.length + i] * log2e;
  }
  // Queries that fill the last tile have probability 0.
  for (int64_t i = input.length; i < attention_tiles::padded(input.length); ++i) {
    w.delta[i] = 0;
    w.lse[i] = 1e30F;
  }
}

/// P and dS of 32 keys × 32 queries from their scores and dP, in the three forms that the products read.
template <bool masked>
inline void probabilityGradients(const TileBuffers& w, int64_t keyBlock, int64_t queryBlock, int64_t firstKey,
                                 int64_t firstQuery, float scale, const VecInt (&from)[2]) {
  const Vec scales = broadcast(scale);
  const VecInt query[2] = {laneNumbers() + static_cast<int32_t>(firstQuery),
                           laneNumbers() + static_cast<int32_t>(firstQuery + tileEdge)};
  const Vec shift[2] = {-load(w.lse + firstQuery), -load(w.lse + firstQuery + tileEdge)};
  const Vec delta[2] = {load(w.delta + firstQuery), load(w.delta + firstQuery + tileEdge)};
  for (int64_t r = 0; r < blockEdge; r += 2) {
    __m512i rounded[2];
#pragma GCC unroll 2
    for (int odd = 0; odd < 2; ++odd) {
      const int64_t row = r + odd;
      Vec p[2];
      Vec ds[2];
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        const int64_t place = row * blockEdge + h * tileEdge;
        p[h] = powerOfTwo(multiplyAdd(load(w.scores + place), scales, shift[h]));
        if constexpr (masked) p[h] = _mm512_maskz_mov_ps(sees(query[h], from[h], firstKey + row), p[h]);
        ds[h] = p[h] * (load(w.dP + place) - delta[h]);
      }
      rounded[odd] = roundPair(ds[0], ds[1]);
      const int64_t tile = (2 * keyBlock + row / tileEdge) * squareBlocks + queryBlock;
      const int64_t place = tile * operandTile + row % tileEdge * tileDepth;
      _mm512_store_si512(w.p + place, roundPair(p[0], p[1]));
      _mm512_store_si512(w.dS + place, rounded[odd]);
    }
    uint16_t* pairs = w.dSPairs + (2 * queryBlock * squareBlocks + keyBlock) * operandTile + r / 2 * tileDepth;
    storePairs(rounded[0], rounded[1], pairs, pairs + squareBlocks * operandTile);
  }
}

inline void clearProbabilities(const TileBuffers& w, int64_t keyBlock, int64_t queryBlock) {
  constexpr size_t bytes = operandTile * sizeof(uint16_t);
  for (int64_t half = 0; half < 2; ++half) {
    const int64_t place = ((2 * keyBlock + half) * squareBlocks + queryBlock) * operandTile;
    std::memset(w.p + place, 0, bytes);
    std::memset(w.dS + place, 0, bytes);
    std::memset(w.dSPairs + ((2 * queryBlock + half) * squareBlocks + keyBlock) * operandTile, 0, bytes);
  }
}

/// out[key][d] = scale·sums, which are tiles.
template <typename T>
inline void writeKeyRows(const float* sums, int64_t length, int64_t d, float scale, T* out, int64_t stride) {
  const int64_t depthTiles = attention_tiles::padded(d) / tileEdge;
  for (int64_t row = 0; row < length; ++row) {
    const float* tiles = sums + row / tileEdge * depthTiles * resultTile + row % tileEdge * tileEdge;
    forEachVector(d, [&](int64_t c, auto part) {
      store(out + row * stride + c, load(tiles + c / tileEdge * resultTile) * scale, part);
    });
  }
}

/// out[query][d] = scale·sums, which are tiles [d][queries] with columns as storePairs has them.
inline void writeQueryRows(const float* sums, int64_t length, int64_t d, float scale, uint16_t* out, int64_t stride) {
  const int64_t queryTiles = attention_tiles::padded(length) / tileEdge;
  for (int64_t t = 0; t < queryTiles; ++t) {
    const int64_t firstQuery = t / 2 * blockEdge;
    for (int64_t c = 0; c < d; c += tileEdge) {
      const float* tile = sums + (c / tileEdge * queryTiles + t) * resultTile;
      Vec v[tileEdge];
      for (int64_t k = 0; k < tileEdge; ++k) v[k] = load(tile + k * tileEdge) * scale;
      transpose(v);
      for (int64_t n = 0; n < tileEdge; ++n) {
        const int64_t query = firstQuery + pairedColumn(static_cast<int>(t % 2), n);
        if (query < length) storeRounded(out + query * stride + c, v[n], d - c);
      }
    }
  }
}

/// One block of keys against one block of queries; `first`: of the sums of these keys.
inline void backwardSquare(const AttentionInput& input, const TileBuffers& w, int64_t key, int64_t query, bool first) {
  const int64_t d = input.headDim;
  const int64_t length = attention_tiles::padded(input.length);
  const int64_t depthTiles = attention_tiles::padded(d) / tileDepth;
  const int64_t lengthTiles = length / tileDepth;
  const int64_t keyBlocks = (length - key < squareEdge ? length - key : squareEdge) / blockEdge;
  const int64_t queryBlocks = (length - query < squareEdge ? length - query : squareEdge) / blockEdge;
  const float scale = log2e / __builtin_sqrtf(static_cast<float>(d));
  constexpr int64_t operandBlock = 2 * operandTile;  // of 32 rows or columns, for each tile of depth

  for (int64_t q = 0; q < queryBlocks; ++q) {
    const int64_t firstQuery = query + q * blockEdge;
    const int64_t lastQuery = firstQuery + blockEdge - 1 < input.length ? firstQuery + blockEdge - 1 : input.length - 1;
    VecInt from[2];
    firstKeysOf(input.firstKey, firstQuery, input.length, from);
    for (int64_t k = 0; k < keyBlocks; ++k) {
      const int64_t firstKey = key + k * blockEdge;
      if (firstKey > lastQuery || (input.firstKey && input.firstKey[firstQuery] >= firstKey + blockEdge)) {
        clearProbabilities(w, k, q);
        continue;
      }
      const int64_t keyPlace = firstKey / blockEdge * depthTiles * operandBlock;
      const int64_t queryPlace = firstQuery / blockEdge * depthTiles * operandBlock;
      const Result scores{w.scores, tileEdge * blockEdge, tileEdge, blockEdge};
      const Result dP{w.dP, tileEdge * blockEdge, tileEdge, blockEdge};
      multiplyTiles({w.keys + keyPlace, depthTiles}, {w.queries + queryPlace, depthTiles}, depthTiles, scores, false);
      multiplyTiles({w.values + keyPlace, depthTiles}, {w.gradients + queryPlace, depthTiles}, depthTiles, dP, false);
      if (firstKey == firstQuery || (input.firstKey && input.firstKey[lastQuery] > firstKey)) {
        probabilityGradients<true>(w, k, q, firstKey, firstQuery, scale, from);
      } else {
        probabilityGradients<false>(w, k, q, firstKey, firstQuery, scale, from);
      }
    }
  }

  const int64_t queryDepth = query / tileDepth;
  for (int64_t k = 0; k < keyBlocks; ++k) {
    const int64_t place = 2 * k * squareBlocks * operandTile;
    for (int64_t c = 0; c < depthTiles; ++c) {
      const int64_t sums = ((key / tileEdge + 2 * k) * 2 * depthTiles + 2 * c) * resultTile;
      const int64_t rows = (2 * c * lengthTiles + queryDepth) * operandTile;
      const int64_t tileRow = 2 * depthTiles * resultTile;
      multiplyTiles({w.p + place, squareBlocks}, {w.gradientRows + rows, lengthTiles}, queryBlocks,
                    {w.dV + sums, tileRow, resultTile, tileEdge}, !first);
      multiplyTiles({w.dS + place, squareBlocks}, {w.queryRows + rows, lengthTiles}, queryBlocks,
                    {w.dK + sums, tileRow, resultTile, tileEdge}, !first);
    }
  }
  // Whether the block of keys before this one has been here.
  const bool add = key > 0 && !(input.firstKey && input.firstKey[query] >= key);
  for (int64_t c = 0; c < depthTiles; ++c) {
    for (int64_t q = 0; q < queryBlocks; ++q) {
      const int64_t sums = (2 * c * 2 * lengthTiles + query / tileEdge + 2 * q) * resultTile;
      multiplyTiles({w.keysTransposed + (2 * c * lengthTiles + key / tileDepth) * operandTile, lengthTiles},
                    {w.dSPairs + 2 * q * squareBlocks * operandTile, squareBlocks}, keyBlocks,
                    {w.dQ + sums, 2 * lengthTiles * resultTile, resultTile, tileEdge}, add);
    }
  }
}

inline void backwardHeads(const AttentionInput& input, const AttentionGradient& gradient, int64_t firstHead,
                          int64_t headCount, float* work) {
  const int64_t d = input.headDim;
  const int64_t length = input.length;
  const int64_t kvHead = firstHead / (input.heads / input.kvHeads);
  const int64_t kvStride = input.kvHeads * d;
  const float scale = 1.0F / __builtin_sqrtf(static_cast<float>(d));
  const TileBuffers w(work, length, d);
  packOperands(&column<bf16>(input.k, kvHead, d)->bits, kvStride, length, d,
               {.left = w.keys, .leftTransposed = w.keysTransposed});
  packOperands(&column<bf16>(input.v, kvHead, d)->bits, kvStride, length, d, {.left = w.values});

  for (int64_t head = firstHead; head < firstHead + headCount; ++head) {
    prepareQueries(input, gradient, head, w);
    for (int64_t key = 0; key < length; key += squareEdge) {
      for (int64_t query = key; query < length; query += squareEdge) {
        // First keys never decrease: once the block's first query is past these keys, all later ones are.
        if (input.firstKey && input.firstKey[query] >= key + squareEdge) break;
        backwardSquare(input, w, key, query, head == firstHead && query == key);
      }
    }
    writeQueryRows(w.dQ, length, d, scale, static_cast<uint16_t*>(gradient.dQ) + head * d, input.heads * d);
  }
  if (gradient.partial) {
    writeKeyRows(w.dK, length, d, scale, gradient.partial, d);
    writeKeyRows(w.dV, length, d, 1, gradient.partial + length * d, d);
  } else {
    writeKeyRows(w.dK, length, d, scale, static_cast<bf16*>(gradient.dK) + kvHead * d, kvStride);
    writeKeyRows(w.dV, length, d, 1, static_cast<bf16*>(gradient.dV) + kvHead * d, kvStride);
  }
}

}  // namespace
}  // namespace lrqat::cpu::LRQAT_ISA
