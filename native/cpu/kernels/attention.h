// Kernels of attention, one call per piece of work that a thread takes (attention.cpp shares the pieces out).
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace lrqat::cpu {

/// Forward: queries of a block; keys are taken 128 at a time. Backward: queries and keys of a block.
inline constexpr int64_t attentionBlock = 64;

struct AttentionInput {
  int64_t length;  // tokens of a sequence
  int64_t headDim;
  int64_t heads;  // query heads
  int64_t kvHeads;
  const int32_t* firstKey;    // [length] of this sequence, or null
  const int32_t* hiddenFrom;  // [length] of this sequence, or null, as hiddenTo; forward only
  const int32_t* hiddenTo;
  bool bf16;  // element type of all matrices, else float32
  // First row of the sequence: [length, heads·headDim] or [length, kvHeads·headDim].
  const void* q;
  const void* k;
  const void* v;
};

struct AttentionOutput {
  void* o;     // first row of the sequence
  float* lse;  // [heads, length] of the sequence
};

struct AttentionGradient {
  const void* o;
  const float* lse;
  const void* dO;
  void* dQ;
  // Sums over the query heads of the item: either to dK, dV in the element type, or, for a part of the heads of a
  // group, to float32 [2, length, headDim].
  void* dK;
  void* dV;
  float* partial;
};

struct AttentionKernels {
  /// Floats of packed keys and values of one sequence and key-value head.
  int64_t (*packedFloats)(int64_t length, int64_t headDim);
  int64_t (*forwardFloats)(int64_t headDim);
  int64_t (*backwardFloats)(int64_t length, int64_t headDim);
  void (*pack)(const AttentionInput& input, int64_t kvHead, float* packed);
  /// Queries firstQuery … of one head; `work` has forwardFloats.
  void (*forward)(const AttentionInput& input, const AttentionOutput& output, int64_t head, int64_t firstQuery,
                  const float* packed, float* work);
  /// Heads firstHead … firstHead + headCount of one group; `work` has backwardFloats.
  void (*backward)(const AttentionInput& input, const AttentionGradient& gradient, int64_t firstHead, int64_t headCount,
                   float* work);
  /// dK and dV of a key-value head from the `partial` results of its `parts` items, added in order.
  void (*sumParts)(const AttentionInput& input, int64_t kvHead, int64_t parts, const float* partial, void* dK,
                   void* dV);
};

LRQAT_DECLARE_KERNELS(AttentionKernels, attentionKernels)
LRQAT_DECLARE_BF16_KERNELS(AttentionKernels, attentionKernels)
LRQAT_DECLARE_TILE_KERNELS(AttentionKernels, attentionKernels)

}  // namespace lrqat::cpu
