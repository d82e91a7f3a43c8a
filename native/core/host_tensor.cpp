#include "core/host_tensor.h"

#include <cstring>

#include "core/half.h"

namespace lrqat {

float hostValue(const HostTensor& tensor, int64_t index) {
  switch (tensor.type) {
    case DType::F32: {
      float value;
      std::memcpy(&value, static_cast<const std::byte*>(tensor.data) + index * 4, 4);
      return value;
    }
    case DType::BF16:
    case DType::F16: {
      uint16_t bits;
      std::memcpy(&bits, static_cast<const std::byte*>(tensor.data) + index * 2, 2);
      return tensor.type == DType::BF16 ? floatFromBf16(bits) : floatFromF16(bits);
    }
  }
  return 0;
}

void copyHostRow(const HostTensor& tensor, int64_t row, DType to, std::byte* out) {
  const int64_t first = row * tensor.cols;
  if (tensor.type == to) {
    const int64_t size = byteSize(to);
    std::memcpy(out, static_cast<const std::byte*>(tensor.data) + first * size,
                static_cast<size_t>(tensor.cols * size));
    return;
  }
  for (int64_t col = 0; col < tensor.cols; ++col) {
    const float value = hostValue(tensor, first + col);
    if (to == DType::F32) {
      std::memcpy(out + col * 4, &value, 4);
    } else {
      const uint16_t bits = bf16FromFloat(value);
      std::memcpy(out + col * 2, &bits, 2);
    }
  }
}

}  // namespace lrqat
