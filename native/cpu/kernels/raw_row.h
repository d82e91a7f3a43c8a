// How kernels see the raw output of a linear (RawOutput of core/backend.h): scale and bias of all columns, and P of the
// rows at hand.
#pragma once

#include <cstdint>

namespace lrqat::cpu {

struct RawColumns {
  const float* scale;  // null: 1
  const float* bias;   // null: 0
};

}  // namespace lrqat::cpu
