#include "cpu/kernels/attention.h"

#include "cpu/kernels/amx/attention_backward.h"
#include "cpu/kernels/amx/attention_forward.h"

namespace lrqat::cpu::LRQAT_ISA {

namespace {

int64_t packedFloats(int64_t length, int64_t headDim) {
  return attention_tiles::packedFloats(length, headDim);
}
int64_t forwardFloats(int64_t headDim) {
  return attention_tiles::forwardFloats(headDim);
}
int64_t backwardFloats(int64_t length, int64_t headDim) {
  return attention_tiles::backwardFloats(length, headDim);
}

void pack(const AttentionInput& input, int64_t kvHead, float* packed) {
  const int64_t d = input.headDim;
  const int64_t stride = input.kvHeads * d;
  auto* keys = reinterpret_cast<uint16_t*>(packed);
  auto* values = reinterpret_cast<uint16_t*>(packed + attention_tiles::operandFloats(input.length, d));
  packOperands(&column<bf16>(input.k, kvHead, d)->bits, stride, input.length, d, {.left = keys});
  packOperands(&column<bf16>(input.v, kvHead, d)->bits, stride, input.length, d, {.leftTransposed = values});
}

void forward(const AttentionInput& input, const AttentionOutput& output, int64_t head, int64_t firstQuery,
             const float* packed, float* work) {
  const TileRegisters registers;
  for (int64_t i = 0; i < attentionBlock && firstQuery + i < input.length; i += blockEdge) {
    forwardBlock(input, output, head, firstQuery + i, packed, work);
  }
}

void backward(const AttentionInput& input, const AttentionGradient& gradient, int64_t firstHead, int64_t headCount,
              float* work) {
  const TileRegisters registers;
  backwardHeads(input, gradient, firstHead, headCount, work);
}

void sumParts(const AttentionInput& input, int64_t kvHead, int64_t parts, const float* partial, void* dK, void* dV) {
  sumPartsOf(input, kvHead, parts, partial, static_cast<bf16*>(dK), static_cast<bf16*>(dV));
}

}  // namespace

extern const AttentionKernels attentionKernels = {packedFloats, forwardFloats, backwardFloats, pack,
                                                  forward,      backward,      sumParts};

}  // namespace lrqat::cpu::LRQAT_ISA
