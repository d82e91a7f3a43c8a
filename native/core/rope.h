// Rotary embedding tables.
#pragma once

#include <vector>

#include "core/model.h"

namespace lrqat {

struct RopeTable {
  std::vector<float> cosine;  // [length, headDim/2]
  std::vector<float> sine;
};

/// Angles position·frequency in float64, rounded once. Frequencies theta^(-2i/headDim), rescaled as the checkpoint
/// says: "linear" divides all by factor; "llama3" divides long wavelengths by factor, keeps short ones and blends
/// between (Hugging Face `rope_type: llama3`).
RopeTable ropeTable(const ModelShape& shape, int64_t length);

}  // namespace lrqat
