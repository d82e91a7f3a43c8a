// What the parts of the engine share about its batches.
#pragma once

#include <cstdint>
#include <span>

namespace lrqat {

/// Positions that are predicted.
int64_t predicted(std::span<const int32_t> targets);

}  // namespace lrqat
