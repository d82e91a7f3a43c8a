#include "cuda/kernels/merge.h"

#include "cuda/kernels/quantize.h"
#include "cuda/kernels/rebuild_tiles.cuh"

namespace lrqat::cuda {

namespace {

/// Eight codes of `bits` bits are `bits` bytes.
struct MergeSink {
  uint8_t* out;  // [rows, rowBytes]
  int64_t rowBytes;
  int bits;
  RowGrids grids;
  int n;

  struct State {
    uint32_t row;
  };

  __device__ __forceinline__ void start(State& state, int row, int, int) const {
    state.row = static_cast<uint32_t>(row);
  }

  template <class Codes>
  __device__ __forceinline__ void octet(State& state, int slot, int rowsLeft, int column, const Codes&,
                                        const typename Codes::Raw&, const float (&rounded)[kOctet]) const {
    if (rowsLeft <= slot * 8 || column >= n) return;
    float low[kOctet];
    grids.lows(state.row + static_cast<uint32_t>(slot) * 8, static_cast<uint32_t>(column), static_cast<uint32_t>(n),
               low);
    // Behind the last column the code of 0; around a zero point, code 0.
    const float behind = grids.zero ? 0.0F : -grids.qmin;
    uint64_t packed = 0;
#pragma unroll
    for (int i = 0; i < kOctet; ++i) {
      const float code = column + i < n ? clampTo(rounded[i], low[i], low[i] + grids.levels) - low[i] : behind;
      packed |= static_cast<uint64_t>(static_cast<uint32_t>(code)) << (i * bits);
    }
    uint8_t* to =
        out + static_cast<int64_t>(state.row + slot * 8) * rowBytes + static_cast<int64_t>(column / kOctet) * bits;
    for (int i = 0; i < bits; ++i) to[i] = static_cast<uint8_t>(packed >> (8 * i));
  }
  __device__ __forceinline__ void group(State&, int, int, int, bool) const {}
  __device__ __forceinline__ void finish(const State&) const {}
  __device__ __forceinline__ void begin() const {}
  __device__ __forceinline__ void done(const State&) const {}
};

/// Octets of zeros behind the last column, up to the end of the group of 32.
__global__ void padRows(uint8_t* out, int64_t rowBytes, int bits, bool symmetric, int64_t rows, int firstOctet) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= rows) return;
  uint64_t zeros = 0;
  for (int i = 0; symmetric && i < kOctet; ++i) zeros |= uint64_t{1} << (i * bits + bits - 1);
  for (int64_t at = static_cast<int64_t>(firstOctet) * bits; at < rowBytes; ++at) {
    out[row * rowBytes + at] = static_cast<uint8_t>(zeros >> (8 * (at % bits)));
  }
}

}  // namespace

void mergeWeight(const LinearWeight& weight, const LowRank& lowRank, void* hostCodes, bool exact, Scratch& scratch,
                 cudaStream_t stream) {
  const QuantSpec& spec = weight.spec;
  const int64_t rowBytes = packedRowBytes(spec.bits, weight.n);
  const int64_t rows = panelRows(rowBytes);
  auto* panel = scratch.take<uint8_t>(HostStaging::panelBytes);
  const auto mergeRows = [&](int64_t first, int64_t count) {
    if (spec.trainsWeights()) return encodeTrainedRows(weight, lowRank, first, count, panel, stream);
    const RoundedSource source = trainedRows(weight, lowRank, first, count);
    const MergeSink sink{panel, rowBytes, spec.bits, RowGrids::of(weight, lowRank.zero, first),
                         static_cast<int>(weight.n)};
    if (exact) {
      launchRounded<true>(source, sink, stream);
    } else {
      launchRounded<false>(source, sink, stream);
    }
    const auto octets = static_cast<int>((weight.n + kOctet - 1) / kOctet);
    if (octets % 4 != 0) {
      padRows<<<static_cast<unsigned>((count + 255) / 256), 256, 0, stream>>>(panel, rowBytes, spec.bits,
                                                                              spec.symmetric, count, octets);
      LRQAT_CUDA(cudaGetLastError());
    }
  };
  for (int64_t first = 0; first < weight.m; first += rows) {
    const int64_t count = std::min(rows, weight.m - first);
    mergeRows(first, count);
    LRQAT_CUDA(cudaMemcpyAsync(static_cast<std::byte*>(hostCodes) + first * rowBytes, panel,
                               static_cast<size_t>(count * rowBytes), cudaMemcpyDeviceToHost, stream));
  }
  LRQAT_CUDA(cudaStreamSynchronize(stream));
}

}  // namespace lrqat::cuda
