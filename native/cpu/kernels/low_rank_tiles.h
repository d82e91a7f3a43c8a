// Thin products of the low-rank gradient on AMX tiles, one call per piece of work that a thread takes
// (thin_tiles.cpp shares the pieces out). X is [tokens, n], a factor F is [rank, n] or [n, rank].
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace lrqat::cpu {

/// Tokens, columns and ranks are taken in blocks of two tiles.
constexpr int64_t kThinBlock = 32;
/// Tokens whose columns are prepared at a time.
constexpr int64_t kThinTokens = 512;

struct LowRankTileKernels {
  /// Columns first … first + 32 of γ·F for F float32 [rank, n], as a block of …·Fᵀ [rank / 16][n / 32].
  void (*packRows)(const float* f, float gamma, int64_t rank, int64_t n, int64_t first, uint16_t* out);
  /// Rows first … first + 32 of γ·F for F float32 [n, rank], as a block of …·F [rank / 16][n / 32].
  void (*packColumns)(const float* f, float gamma, int64_t rank, int64_t n, int64_t first, uint16_t* out);
  /// (X·Fᵀ)ᵀ of tokens first … first + 32, rounded to bf16, into out = uᵀ·… [rank / 16][tokens / 32]. `factor` has
  /// `rank` (a multiple of 32) rows; `work` projectFloats.
  void (*project)(const uint16_t* x, int64_t n, int64_t tokens, int64_t first, const uint16_t* factor, int64_t rank,
                  float* work, uint16_t* out);
  /// sums [rank, 32] = uᵀ·X for columns first … first + 32 of X and the tokens [fromToken, toToken), both multiples of
  /// 32 but for the end. `work` has sumFloats.
  void (*sum)(const uint16_t* x, int64_t n, int64_t tokens, int64_t first, int64_t fromToken, int64_t toToken,
              const uint16_t* u, int64_t rank, float* work, float* sums);
  /// out [rank, n] += sums in columns first …
  void (*addRows)(const float* sums, int64_t rank, int64_t n, int64_t first, float* out);
  /// out [n, rank] += sumsᵀ in rows first …
  void (*addColumns)(const float* sums, int64_t rank, int64_t n, int64_t first, float* out);
};

namespace low_rank_tiles {

constexpr int64_t padded(int64_t count) {
  return (count + kThinBlock - 1) / kThinBlock * kThinBlock;
}
constexpr int64_t projectFloats(int64_t n) {
  return kThinBlock * padded(n) / 2 + kThinBlock * kThinBlock;
}
constexpr int64_t sumFloats = kThinTokens * kThinBlock / 2;

}  // namespace low_rank_tiles

LRQAT_DECLARE_TILE_KERNELS(LowRankTileKernels, lowRankTileKernels)

}  // namespace lrqat::cpu
