// SwiGLU over raw outputs: h = silu(g)∘u.
#pragma once

#include <cstdint>

#include "cpu/isa.h"
#include "cpu/kernels/raw_row.h"

namespace lrqat::cpu {

struct SwigluKernels {
  void (*forward)(const void* gateP, const void* upP, bool bf16, const RawColumns& gate, const RawColumns& up,
                  int64_t n, void* h);
  /// For consecutive rows of n; gateSums, upSums [n] += Σ of the gradient before scaling times P, where not null.
  void (*backward)(const void* dH, const void* gateP, const void* upP, bool bf16, const RawColumns& gate,
                   const RawColumns& up, int64_t rows, int64_t n, void* dGate, void* dUp, float* gateSums,
                   float* upSums);
};

LRQAT_DECLARE_KERNELS(SwigluKernels, swigluKernels)
LRQAT_DECLARE_BF16_KERNELS(SwigluKernels, swigluKernels)

}  // namespace lrqat::cpu
