// Memory that finding a start takes beside the engine that it is found on; src/experiment/start-memory.ts mirrors it.
#pragma once

#include <cstdint>

#include "core/memory_plan.h"

namespace lrqat {

/// Of the quantized linears of a model.
struct StartSizes {
  int64_t widest = 0;         // inputs
  int64_t widestGroup = 0;    // of scales; 0: no linear has groups
  int64_t largest = 0;        // weights of one linear
  int64_t largestCodes = 0;   // bytes of its Φ0
  int64_t decomposition = 0;  // bytes that the singular values of one linear are found in
};
StartSizes startSizes(const EngineShape& shape);

struct StartParts {
  bool gptq = false;
  bool lowRank = false;
};

/// Bytes for calibration sequences of `tokens` tokens in all.
int64_t startWorkBytes(const EngineShape& shape, StartParts parts, int64_t tokens);

}  // namespace lrqat
