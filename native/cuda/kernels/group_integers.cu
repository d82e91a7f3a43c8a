#include "cuda/kernels/group_integers.h"

#include "cuda/check.h"
#include "cuda/kernels/rebuild_tiles.cuh"

namespace lrqat::cuda {

namespace {

struct IntegerSink {
  int8_t* out;
  int64_t stride;
  RowGrids grids;
  int n;

  struct State {
    int64_t row = 0;  // of slot 0
  };

  __device__ __forceinline__ void start(State& state, int row, int, int) const { state.row = row; }
  template <class Codes>
  __device__ __forceinline__ void octet(State& state, int slot, int rowsLeft, int column, const Codes&,
                                        const typename Codes::Raw&, const float (&rounded)[kOctet]) const {
    if (rowsLeft <= slot * 8 || column >= n) return;
    uint32_t half[2] = {};
    float low[kOctet];
    grids.lows(static_cast<uint32_t>(state.row) + static_cast<uint32_t>(slot) * 8, static_cast<uint32_t>(column),
               static_cast<uint32_t>(n), low);
    const bool fromLow = grids.zero != nullptr;
#pragma unroll
    for (int i = 0; i < kOctet; ++i) {
      const float inside = clampTo(rounded[i], low[i], low[i] + grids.levels);
      const int q = static_cast<int>(fromLow ? inside - low[i] : inside);
      half[i / 4] |= (static_cast<uint32_t>(q) & 0xffU) << (i % 4 * 8);
    }
    *reinterpret_cast<uint2*>(out + (state.row + slot * 8) * stride + column) = make_uint2(half[0], half[1]);
  }
  __device__ __forceinline__ void group(State&, int, int, int, bool) const {}
  __device__ __forceinline__ void finish(const State&) const {}
  __device__ __forceinline__ void begin() const {}
  __device__ __forceinline__ void done(const State&) const {}
};

}  // namespace

void rebuildIntegers(const LinearWeight& weight, const LowRank& lowRank, int64_t firstRow, int64_t rows, bool exact,
                     int8_t* out, cudaStream_t stream) {
  LRQAT_CHECK(firstRow >= 0 && rows > 0 && firstRow + rows <= weight.m && weight.spec.bits <= 8);
  const IntegerSink sink{out, integerStride(weight.n), RowGrids::of(weight, lowRank.zero, firstRow),
                         static_cast<int>(weight.n)};
  const RoundedSource source = trainedRows(weight, lowRank, firstRow, rows);
  if (exact) {
    launchRounded<true>(source, sink, stream);
  } else {
    launchRounded<false>(source, sink, stream);
  }
}

}  // namespace lrqat::cuda
