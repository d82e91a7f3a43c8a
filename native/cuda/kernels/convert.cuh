// Every element type a checkpoint may have, for the operations that only move values.
#pragma once

#include "cuda/kernels/vector.cuh"

namespace lrqat::cuda {

/// Calls f with a value of the element type that `type` names.
template <typename F>
void dispatchElement(DType type, F&& f) {
  switch (type) {
    case DType::F32:
      return f(float{});
    case DType::BF16:
      return f(bf16{});
    case DType::F16:
      return f(__half{});
  }
}

}  // namespace lrqat::cuda
