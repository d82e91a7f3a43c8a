// Rows of a checkpoint tensor as float32, whatever its type and alignment in the mapped file.
#pragma once

#include <cstring>

#include "core/types.h"
#include "cpu/kernels/weights.h"

namespace lrqat::cpu {

/// Row `row`, columns [first, first + count) of `source` → out.
inline void readSource(const HostTensor& source, int64_t row, int64_t first, int64_t count, float* out) {
  const auto* bytes = static_cast<const std::byte*>(source.data) + (row * source.cols + first) * byteSize(source.type);
  if (source.type == DType::F32) {
    std::memcpy(out, bytes, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  const WeightKernels& kernels = LRQAT_SELECT_KERNELS(weightKernels);
  const auto widen = source.type == DType::BF16 ? kernels.widenBf16 : kernels.widenHalf;
  if (reinterpret_cast<uintptr_t>(bytes) % alignof(uint16_t) == 0) {
    widen(reinterpret_cast<const uint16_t*>(bytes), count, out);
    return;
  }
  // safetensors promises no alignment.
  uint16_t aligned[kChunkColumns];
  for (int64_t done = 0; done < count; done += kChunkColumns) {
    const int64_t part = count - done < kChunkColumns ? count - done : kChunkColumns;
    std::memcpy(aligned, bytes + done * 2, static_cast<size_t>(part) * 2);
    widen(aligned, part, out + done);
  }
}

}  // namespace lrqat::cpu
