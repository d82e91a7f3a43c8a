// What the tests of the dense operations share: matrices of either element type with reproducible contents, read back
// in double, and a backend for each library and thread count.
#pragma once

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/half.h"
#include "core/types.h"
#include "cpu/cpu_backend.h"
#include "test/check.h"
#include "test/random.h"

namespace lrqat::test {

/// Owns its memory exactly, so that the address sanitizer sees every step outside.
class Tensor {
 public:
  Tensor(DType type, int64_t rows, int64_t cols)
      : type_(type), rows_(rows), cols_(cols), bytes_(static_cast<size_t>(rows * cols * byteSize(type))) {}
  static Tensor random(Random& random, DType type, int64_t rows, int64_t cols, double scale = 1) {
    Tensor t(type, rows, cols);
    for (int64_t i = 0; i < rows * cols; ++i) t.set(i, random.uniform() * scale);
    return t;
  }

  Matrix matrix() { return {bytes_.data(), type_, rows_, cols_}; }
  float* floats() { return reinterpret_cast<float*>(bytes_.data()); }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  DType type() const { return type_; }
  double at(int64_t i) const {
    if (type_ == DType::F32) {
      float value;
      std::memcpy(&value, &bytes_[static_cast<size_t>(i * 4)], 4);
      return value;
    }
    uint16_t bits;
    std::memcpy(&bits, &bytes_[static_cast<size_t>(i * 2)], 2);
    return type_ == DType::BF16 ? floatFromBf16(bits) : floatFromF16(bits);
  }
  double at(int64_t row, int64_t col) const { return at(row * cols_ + col); }
  void set(int64_t i, double value) {
    const auto single = static_cast<float>(value);
    if (type_ == DType::F32) {
      std::memcpy(&bytes_[static_cast<size_t>(i * 4)], &single, 4);
    } else {
      const uint16_t bits = type_ == DType::BF16 ? bf16FromFloat(single) : f16FromFloat(single);
      std::memcpy(&bytes_[static_cast<size_t>(i * 2)], &bits, 2);
    }
  }
  /// All values, row by row: reading them one by one with at() is what a triple loop would spend its time on.
  std::vector<double> doubles() const {
    std::vector<double> values(static_cast<size_t>(rows_ * cols_));
    for (size_t i = 0; i < values.size(); ++i) values[i] = at(static_cast<int64_t>(i));
    return values;
  }
  bool operator==(const Tensor& other) const { return bytes_ == other.bytes_; }

 private:
  DType type_;
  int64_t rows_;
  int64_t cols_;
  std::vector<std::byte> bytes_;
};

/// Relative size of one rounding to the type.
inline double roundOff(DType type) {
  return type == DType::F32 ? 0x1p-24 : type == DType::BF16 ? 0x1p-8 : 0x1p-11;
}

/// A backend with scratch memory for any operation of these tests that does not say otherwise; matrix products are for
/// those who ask for them (their memory would be most of the cost of a small test).
inline std::unique_ptr<cpu::CpuBackend> makeBackend(int threads, DType computeType, const std::string& oneDnnPath = {},
                                                    int64_t scratchBytes = int64_t{1} << 20, bool products = false) {
  // Who names the library wants its products, not ours.
  auto backend = std::make_unique<cpu::CpuBackend>(cpu::CpuOptions{
      .threads = threads, .computeType = computeType, .oneDnnPath = oneDnnPath, .preferLibrary = !oneDnnPath.empty()});
  backend->allocateScratch(scratchBytes, products);
  return backend;
}

/// Path of the glue when this build has one, else empty.
inline std::string oneDnnPath() {
  const char* path = std::getenv("LRQAT_TEST_ONEDNN");
  return path ? path : "";
}

inline const char* typeName(DType type) {
  return type == DType::F32 ? "float32" : type == DType::BF16 ? "bf16" : "float16";
}

}  // namespace lrqat::test
