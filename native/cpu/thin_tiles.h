// ThinProducts (low_rank.h) on AMX tiles: two passes over X and dYs in one parallel region. The first gives U = X·γBᵀ
// and V = dYs·γA, token by token; the second dA += dYsᵀ·U and dB += Vᵀ·X, column by column over all tokens in order.
#pragma once

#include <span>

#include "core/backend.h"
#include "cpu/cpu_backend.h"

namespace lrqat::cpu {

class ThinTiles {
 public:
  /// `m` outputs of the widest task; for at most three tasks, as many as share an input.
  static int64_t scratchBytes(int64_t tokens, int64_t n, int64_t m, int64_t totalRank, int threads);
  /// False: tiles cannot be used here, and nothing has been done.
  static bool add(CpuBackend& backend, Matrix x, std::span<const LowRankTask* const> tasks);
};

}  // namespace lrqat::cpu
