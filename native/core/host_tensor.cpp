#include "core/host_tensor.h"

#include <bit>
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

/// Calls f with what reads an element of the row as float32, a type of its own for each type of elements.
template <typename F>
static void withElements(const HostTensor& tensor, int64_t row, F&& f) {
  const auto* const start = static_cast<const std::byte*>(tensor.data) + row * tensor.cols * byteSize(tensor.type);
  const auto bits = [start](int64_t col) {
    uint16_t value;
    std::memcpy(&value, start + col * 2, 2);
    return value;
  };
  switch (tensor.type) {
    case DType::F32:
      return f([start](int64_t col) {
        float value;
        std::memcpy(&value, start + col * 4, 4);
        return value;
      });
    case DType::BF16:
      return f([bits](int64_t col) { return floatFromBf16(bits(col)); });
    case DType::F16:
      return f([bits](int64_t col) { return floatFromF16(bits(col)); });
  }
}

void copyHostRow(const HostTensor& tensor, int64_t row, DType to, std::byte* out) {
  const int64_t first = row * tensor.cols;
  if (tensor.type == to) {
    const int64_t size = byteSize(to);
    std::memcpy(out, static_cast<const std::byte*>(tensor.data) + first * size,
                static_cast<size_t>(tensor.cols * size));
    return;
  }
  withElements(tensor, row, [&](auto at) {
    for (int64_t col = 0; col < tensor.cols; ++col) {
      const float value = at(col);
      if (to == DType::F32) {
        std::memcpy(out + col * 4, &value, 4);
      } else {
        const uint16_t bits = bf16FromFloat(value);
        std::memcpy(out + col * 2, &bits, 2);
      }
    }
  });
}

std::optional<int64_t> firstNotFinite(const HostTensor& tensor, int64_t row) {
  constexpr uint32_t exponent = 0x7f800000U;
  std::optional<int64_t> found;
  withElements(tensor, row, [&](auto at) {
    const auto finite = [&](int64_t col) { return (std::bit_cast<uint32_t>(at(col)) & exponent) != exponent; };
    // Without a way out in between, so that many are looked at together.
    uint32_t all = 1;
    for (int64_t col = 0; col < tensor.cols; ++col) all &= finite(col) ? 1U : 0U;
    for (int64_t col = 0; all == 0 && !found; ++col) {
      if (!finite(col)) found = col;
    }
  });
  return found;
}

}  // namespace lrqat
