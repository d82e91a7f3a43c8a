// Conversion between element types.
#pragma once

#include <cstdint>

#include "core/types.h"
#include "cpu/isa.h"

namespace lrqat::cpu {

struct ConvertKernels {
  /// to[i] = from[i], rounded to nearest even where the target is narrower.
  void (*convert)(const void* from, DType fromType, void* to, DType toType, int64_t count);
};

LRQAT_DECLARE_KERNELS(ConvertKernels, convertKernels)

}  // namespace lrqat::cpu
