// How a block holds a row of the residual stream: K vectors of N elements a thread, in registers.
#pragma once

#include <string>

#include "core/error.h"

namespace lrqat::cuda {

template <int N>
constexpr int maximumRowThreads = N == 1 ? 1024 : 512;

/// Calls launch.operator()<K>(threads): one vector a thread for narrow rows, then two as far as `PairThreads` suffice,
/// then more.
template <int N, int PairThreads = 512, typename Launch>
void chooseRowShape(int64_t cols, Launch&& launch) {
  const int64_t vectors = (cols + N - 1) / N;
  const auto threads = [&](int64_t k) { return static_cast<unsigned>((vectors + 32 * k - 1) / (32 * k) * 32); };
  if (vectors <= 256) return launch.template operator()<1>(threads(1));
  if (threads(2) <= PairThreads) return launch.template operator()<2>(threads(2));
  if (threads(4) <= maximumRowThreads<N>) return launch.template operator()<4>(threads(4));
  if (threads(8) <= maximumRowThreads<N>) return launch.template operator()<8>(threads(8));
  throw Error(ErrorCode::Unsupported, "hidden size " + std::to_string(cols) + " is too wide for the norm kernels",
              "at most 32768, and at most 8192 where it is no multiple of 8");
}

}  // namespace lrqat::cuda
