// Dense products through cuBLASLt, opened at run time. The choice of algorithm is made once for each shape and kept.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <string>

#include "core/types.h"

namespace lrqat::cuda {

/// A row-major operand in device memory; `stride` elements from row to row.
struct GemmOperand {
  const void* data = nullptr;
  DType type = DType::F32;
  int64_t rows = 0;  // as stored
  int64_t cols = 0;
  int64_t stride = 0;
  bool transpose = false;

  static GemmOperand of(const Matrix& m, bool transposed) {
    return {m.data, m.type, m.rows, m.cols, m.cols, transposed};
  }
};

struct GemmOutput {
  void* data = nullptr;
  DType type = DType::F32;
  int64_t stride = 0;
};

class Gemm {
 public:
  /// Opens the library (a path, or a name for the loader) and makes a handle. `workspace`: device memory of
  /// `workspaceBytes` that products may use; it must outlive this object. Throws Unsupported with the names tried.
  Gemm(const std::string& library, void* workspace, int64_t workspaceBytes);
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  /// c [M, N] = alpha · op(a) · op(b) + beta · c, op(a) [M, K], op(b) [K, N]. Operands have one type, F32 or BF16;
  /// accumulation is float32 (F32 operands: no TF32), c is F32 or BF16. beta is 0 or 1.
  void multiply(const GemmOperand& a, const GemmOperand& b, const GemmOutput& c, float alpha, float beta,
                cudaStream_t stream);

  /// Of the library, such as 13.1.1.
  std::string version() const;

  /// The algorithms chosen so far as lines of text, after one that names the library's version.
  std::string algorithms() const;
  /// Takes those of an earlier object for the products they were chosen for, instead of asking the library. False, and
  /// nothing is taken: another version chose them. Throws InvalidArgument when the text is none of `algorithms`.
  bool takeAlgorithms(const std::string& text);

  static constexpr int64_t workspaceBytes = int64_t{32} << 20;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace lrqat::cuda
