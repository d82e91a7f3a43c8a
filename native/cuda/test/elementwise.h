// What the tests of the element-wise kernels share: tensors whose contents the host knows in double, in device memory
// between guards, poisoned with NaN where an operation must write; and a raw output with or without scale and bias.
#pragma once

#include <cuda_runtime_api.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "core/backend.h"
#include "core/half.h"
#include "cuda/check.h"
#include "cuda/scratch.h"
#include "test/check.h"
#include "test/random.h"

namespace lrqat::test {

/// True after a line that says so, where no GPU can be used.
inline bool skippedWithoutGpu() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return false;
  std::printf("skipped: no CUDA device (%s)\n", cudaGetErrorString(status));
  return true;
}

/// Device memory between two guards of a known pattern; `offset` bytes away from the alignment of the allocator.
class DeviceMemory {
 public:
  static constexpr size_t guard = 512;
  explicit DeviceMemory(size_t bytes, size_t offset = 0) : bytes_(bytes), offset_(offset) {
    LRQAT_CUDA(cudaMalloc(reinterpret_cast<void**>(&base_), bytes + offset + 2 * guard));
    LRQAT_CUDA(cudaMemset(base_, 0xa5, bytes + offset + 2 * guard));
    LRQAT_CUDA(cudaMemset(data(), 0xff, bytes));
  }
  ~DeviceMemory() { cudaFree(base_); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  std::byte* data() const { return base_ + guard + offset_; }
  size_t size() const { return bytes_; }
  void poison() { LRQAT_CUDA(cudaMemset(data(), 0xff, bytes_)); }
  void write(const void* host) { LRQAT_CUDA(cudaMemcpy(data(), host, bytes_, cudaMemcpyHostToDevice)); }
  std::vector<std::byte> read() const {
    std::vector<std::byte> all(bytes_ + offset_ + 2 * guard);
    LRQAT_CUDA(cudaMemcpy(all.data(), base_, all.size(), cudaMemcpyDeviceToHost));
    const size_t start = guard + offset_;
    for (size_t i = 0; i < all.size(); ++i) {
      if ((i < start || i >= start + bytes_) && all[i] != std::byte{0xa5}) {
        fail("memory outside of the tensor was written");
        break;
      }
    }
    return {all.begin() + static_cast<std::ptrdiff_t>(start),
            all.begin() + static_cast<std::ptrdiff_t>(start + bytes_)};
  }

 private:
  std::byte* base_ = nullptr;
  size_t bytes_;
  size_t offset_;
};

inline double decoded(DType type, const std::byte* element) {
  if (type == DType::F32) {
    float value;
    std::memcpy(&value, element, 4);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, element, 2);
  return type == DType::BF16 ? floatFromBf16(bits) : floatFromF16(bits);
}

inline void encode(DType type, double value, std::byte* element) {
  const auto single = static_cast<float>(value);
  if (type == DType::F32) {
    std::memcpy(element, &single, 4);
  } else {
    const uint16_t bits = type == DType::BF16 ? bf16FromFloat(single) : f16FromFloat(single);
    std::memcpy(element, &bits, 2);
  }
}

class Tensor {
 public:
  /// Poisoned with NaN.
  Tensor(DType type, int64_t rows, int64_t cols, size_t offset = 0)
      : type_(type), rows_(rows), cols_(cols), memory_(static_cast<size_t>(rows * cols * byteSize(type)), offset) {}
  /// Uniform in [-scale, scale).
  Tensor(Random& random, DType type, int64_t rows, int64_t cols, double scale = 1, size_t offset = 0)
      : Tensor(type, rows, cols, offset) {
    std::vector<double> numbers(static_cast<size_t>(rows * cols));
    for (double& number : numbers) number = random.uniform() * scale;
    set(numbers);
  }

  Matrix matrix() const { return {memory_.data(), type_, rows_, cols_}; }
  float* floats() const { return reinterpret_cast<float*>(memory_.data()); }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  DType type() const { return type_; }
  void poison() { memory_.poison(); }
  void set(const std::vector<double>& numbers) {
    std::vector<std::byte> bytes(memory_.size());
    for (size_t i = 0; i < numbers.size(); ++i) encode(type_, numbers[i], &bytes[i * size()]);
    memory_.write(bytes.data());
  }
  std::vector<std::byte> bytes() const { return memory_.read(); }
  /// The numbers as they are stored, row-major.
  std::vector<double> values() const {
    const std::vector<std::byte> all = bytes();
    std::vector<double> numbers(all.size() / size());
    for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = decoded(type_, &all[i * size()]);
    return numbers;
  }

 private:
  size_t size() const { return static_cast<size_t>(byteSize(type_)); }
  DType type_;
  int64_t rows_;
  int64_t cols_;
  DeviceMemory memory_;
};

/// Relative size of one rounding to the type.
inline double roundOff(DType type) {
  return type == DType::F32 ? 0x1p-24 : type == DType::BF16 ? 0x1p-8 : 0x1p-11;
}

/// Error allowed for a float32 computation of a few operations on numbers of `size`, rounded once to `type`.
inline double allowed(DType type, double value, double size, double units = 16) {
  return units * 0x1p-24 * size + (type == DType::F32 ? 0 : roundOff(type) * 1.01 * std::abs(value)) + 1e-35;
}

inline const char* typeName(DType type) {
  return type == DType::F32 ? "float32" : type == DType::BF16 ? "bf16" : "float16";
}

/// A raw output whose scale (flag 1) and bias (flag 2) may be absent. Parameters lie 4 bytes off any alignment when
/// flag 4 is set.
struct Raw {
  Raw(Random& random, DType type, int64_t rows, int64_t cols, int flags)
      : tensor(random, type, rows, cols, 6),
        scaleTensor(random, DType::F32, 1, cols, 1, (flags & 4) != 0 ? 4 : 0),
        biasTensor(random, DType::F32, 1, cols, 1, (flags & 4) != 0 ? 4 : 0),
        p(tensor.values()),
        scale(scaleTensor.values()),
        bias(biasTensor.values()),
        columns(static_cast<size_t>(cols)),
        hasScale((flags & 1) != 0),
        hasBias((flags & 2) != 0) {}
  RawOutput output() const {
    return {tensor.matrix(), hasScale ? scaleTensor.floats() : nullptr, hasBias ? biasTensor.floats() : nullptr};
  }
  double scaleAt(size_t j) const { return hasScale ? scale[j] : 1; }
  double at(size_t i, size_t j) const { return p[i * columns + j] * scaleAt(j) + (hasBias ? bias[j] : 0); }

  Tensor tensor;
  Tensor scaleTensor;
  Tensor biasTensor;
  std::vector<double> p;
  std::vector<double> scale;
  std::vector<double> bias;
  size_t columns;
  bool hasScale;
  bool hasBias;
};

/// Scratch memory of exactly what an operation says it takes.
class ScratchMemory {
 public:
  explicit ScratchMemory(int64_t bytes) : memory_(static_cast<size_t>(bytes)) {}
  cuda::Scratch scratch() const { return {memory_.data(), static_cast<int64_t>(memory_.size())}; }
  void checkGuards() const { memory_.read(); }

 private:
  DeviceMemory memory_;
};

/// Expects sums[j] = before[j] + Σ_t term(t, j) within the error of so many float32 additions.
inline void expectColumnSums(const std::vector<double>& sums, const std::vector<double>& before, size_t rows,
                             const std::function<double(size_t, size_t)>& term, const std::string& label) {
  for (size_t j = 0; j < sums.size(); ++j) {
    double total = before[j];
    double size = std::abs(total);
    for (size_t t = 0; t < rows; ++t) {
      const double value = term(t, j);
      total += value;
      size += std::abs(value);
    }
    expectNear(sums[j], total, 0x1p-24 * size * (24 + std::sqrt(static_cast<double>(rows))), label);
  }
}

inline void expectSameBytes(const std::vector<std::byte>& a, const std::vector<std::byte>& b, const std::string& label,
                            std::source_location where = std::source_location::current()) {
  if (a != b) fail(label, where);
}

inline std::string describe(DType type, int64_t rows, int64_t cols, int flags) {
  return std::string(typeName(type)) + " " + std::to_string(rows) + "x" + std::to_string(cols) + ", flags " +
         std::to_string(flags);
}

inline constexpr int64_t elementwiseShapes[][2] = {{1, 1},    {3, 17},  {70, 48},   {129, 33}, {65, 172},
                                                   {40, 192}, {300, 8}, {1100, 20}, {70, 1032}};

/// Every type, shape and combination of absent parameters.
inline void eachElementwiseShape(const std::function<void(DType, int64_t, int64_t, int)>& body) {
  for (const DType type : {DType::F32, DType::BF16}) {
    for (const auto& [rows, cols] : elementwiseShapes) {
      for (int flags = 0; flags < 8; ++flags) {
        context = describe(type, rows, cols, flags);
        body(type, rows, cols, flags);
      }
    }
  }
}

inline void synchronize() {
  LRQAT_CUDA(cudaDeviceSynchronize());
}

}  // namespace lrqat::test
