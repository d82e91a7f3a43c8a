// Matrix products of the CPU backend: of bf16 on AMX tiles where the processor has them, else by oneDNN where its glue
// library can be opened, else a built-in blocked product. All work in memory that the plan set aside.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "core/backend.h"
#include "cpu/onednn_library.h"

namespace lrqat::cpu {

class Gemm {
 public:
  /// `oneDnnPath` empty: the built-in products alone. `preferLibrary`: oneDNN wherever it can, as a measure of ours.
  Gemm(const std::string& oneDnnPath, int threads, bool preferLibrary = false);
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  /// Memory that a product works in: packed operands, or oneDNN's own scratch (about 1 MiB a thread). The same for all
  /// shapes; the planner mirrors it.
  static int64_t scratchBytes(int threads);
  /// At least scratchBytes(threads), aligned to 64 bytes; before the first product.
  void setScratch(std::span<std::byte> memory) { scratch_ = memory; }

  /// c [M, N] = a·b (+ c when accumulate), float32 or bf16, accumulated in float32; see Backend::gemm.
  void multiply(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate);
  /// c [M, N] float32 = Σ a·b, see Backend::gemmSum.
  void multiplySum(std::span<const GemmProduct> products, Matrix c);
  /// "oneDNN 2.6.3" or "built-in".
  const char* library() const { return oneDnn_ ? oneDnn_->version() : "built-in"; }

 private:
  bool multiplyByTiles(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate);
  bool multiplySumByTiles(std::span<const GemmProduct> products, Matrix c);
  bool multiplyByOneDnn(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate);
  void multiplyBuiltIn(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate);

  int threads_;
  bool preferLibrary_;
  std::unique_ptr<OneDnnLibrary> oneDnn_;
  std::span<std::byte> scratch_;
};

}  // namespace lrqat::cpu
