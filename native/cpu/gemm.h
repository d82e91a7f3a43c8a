// Matrix products of the CPU backend: oneDNN where its glue library can be opened, else a built-in blocked product.
#pragma once

#include <memory>
#include <string>

#include "core/types.h"
#include "cpu/onednn_library.h"

namespace lrqat::cpu {

class Gemm {
 public:
  /// `oneDnnPath` empty: the built-in products alone.
  Gemm(const std::string& oneDnnPath, int threads);
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  /// c [M, N] = a·b (+ c when accumulate), float32 or bf16, accumulated in float32; see Backend::gemm.
  void multiply(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate);
  /// "oneDNN 2.6.3" or "built-in".
  const char* library() const { return oneDnn_ ? oneDnn_->version() : "built-in"; }

 private:
  bool multiplyByOneDnn(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate);
  void multiplyBuiltIn(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate);

  /// At least `count` floats, 64-byte aligned, kept between products.
  struct Buffer {
    float* reserve(int64_t count);
    struct Free {
      void operator()(float* memory) const;
    };
    std::unique_ptr<float, Free> memory;
    int64_t capacity = 0;
  };

  int threads_;
  std::unique_ptr<OneDnnLibrary> oneDnn_;
  Buffer packedA_;
  Buffer packedB_;
};

}  // namespace lrqat::cpu
