// Matrix products of the CPU backend: oneDNN where its glue library can be opened, else a built-in blocked product.
#pragma once

#include <string>

#include "core/types.h"

namespace lrqat::cpu {

class Gemm {
 public:
  Gemm(const std::string& oneDnnPath, int threads);
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  /// c [M, N] = a·b (+ c when accumulate); see Backend::gemm.
  void multiply(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate);

  /// Version of the oneDNN that was opened, e.g. "2.6.3"; empty: the built-in product (LEAD: cpu_info.cpp reports it).
  std::string libraryVersion() const { return {}; }

 private:
  int threads_;
};

}  // namespace lrqat::cpu
