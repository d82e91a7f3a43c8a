// Scalar element access by run-time type (straightforward versions; replaced by kernels).
#pragma once

#include "core/half.h"
#include "core/types.h"

namespace lrqat::cpu {

inline float get(const Matrix& m, int64_t row, int64_t col) {
  const int64_t i = row * m.cols + col;
  if (m.type == DType::F32) return static_cast<const float*>(m.data)[i];
  const uint16_t bits = static_cast<const uint16_t*>(m.data)[i];
  return m.type == DType::BF16 ? floatFromBf16(bits) : floatFromF16(bits);
}

inline void put(const Matrix& m, int64_t row, int64_t col, float value) {
  const int64_t i = row * m.cols + col;
  if (m.type == DType::F32) {
    static_cast<float*>(m.data)[i] = value;
  } else {
    static_cast<uint16_t*>(m.data)[i] = m.type == DType::BF16 ? bf16FromFloat(value) : f16FromFloat(value);
  }
}

}  // namespace lrqat::cpu
