// Memory that attention with tiles works in. Apart from the kernels, because plans are made on any machine.
#pragma once

#include <cstdint>

namespace lrqat::cpu::attention_tiles {

/// Tiles hold 32 elements of the head dimension. Even with three quarters of zeros they are faster than pairs (measured
/// at 8); below that it was not tried.
inline constexpr int64_t minimumHeadDim = 8;

inline constexpr int64_t block = 32;         // queries, keys and head dimensions are padded to multiples
inline constexpr int64_t forwardKeys = 128;  // keys of one forward step
inline constexpr int64_t square = block * block;

constexpr int64_t padded(int64_t count) {
  return (count + block - 1) / block * block;
}

/// Floats of a bf16 matrix [rows, d] as an operand.
constexpr int64_t operandFloats(int64_t rows, int64_t d) {
  return padded(rows) * padded(d) / 2;
}

/// K·… and Vᵀ·….
constexpr int64_t packedFloats(int64_t length, int64_t headDim) {
  return 2 * operandFloats(length, headDim);
}

/// …·Qᵀ of 32 queries, scores, probabilities, sums.
constexpr int64_t forwardFloats(int64_t headDim) {
  return operandFloats(block, headDim) + forwardKeys * block + forwardKeys * block / 2 + padded(headDim) * block;
}

/// Seven operands; dK, dV, dQᵀ; lse and delta; scores and dP of 32 × 32; P, dS and dS by pairs of 64 × 64.
constexpr int64_t backwardFloats(int64_t length, int64_t headDim) {
  return 7 * operandFloats(length, headDim) + 3 * padded(length) * padded(headDim) + 2 * padded(length) + 2 * square +
         3 * (4 * square / 2);
}

}  // namespace lrqat::cpu::attention_tiles
