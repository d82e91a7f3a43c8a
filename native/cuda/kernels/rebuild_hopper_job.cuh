// What the rebuilds on Hopper, of few ranks and of many, have in common on the host.
#pragma once

#include <cstdint>

#include "cuda/kernels/clipped_count.h"
#include "cuda/kernels/early_launch.h"
#include "cuda/kernels/rebuild_tiles.cuh"

namespace lrqat::cuda {

struct HopperJob {
  const LinearWeight& weight;
  const LowRank& lowRank;
  Matrix out;
  const ClippedSet* clipped;
  ClippedReport report;
  RoundedSource source;
  Start start;
  cudaStream_t stream;
};

/// Whether both can store `out` and address codes and columns; ranks, storages and grids each knows for itself.
inline bool fitsHopper(const LinearWeight& weight, const Matrix& out) {
  return out.type == DType::BF16 && weight.n % kOctet == 0 && weight.n < 1 << 16 &&
         reinterpret_cast<uintptr_t>(out.data) % 16 == 0 && reinterpret_cast<uintptr_t>(weight.phi0) % 16 == 0;
}

/// The group of a column is the high word of its product with this: ceil(2^32 / group size).
inline uint32_t groupReciprocal(const QuantSpec& spec) {
  const auto size = static_cast<uint64_t>(spec.groupSize);
  return static_cast<uint32_t>(((uint64_t{1} << 32) + size - 1) / size);
}

/// body(packed codes of the source's width).
template <RoundForm kForm, typename Body>
void forCodeWidth(const RoundedSource& source, Body body) {
  switch (source.spec.codeBits()) {
    case 2:
      return body(packedCodes<2, kForm>(source));
    case 3:
      return body(packedCodes<3, kForm>(source));
    case 4:
      return body(packedCodes<4, kForm>(source));
    case 5:
      return body(packedCodes<5, kForm>(source));
    case 6:
      return body(packedCodes<6, kForm>(source));
    case 7:
      return body(packedCodes<7, kForm>(source));
    default:
      return body(packedCodes<8, kForm>(source));
  }
}

}  // namespace lrqat::cuda
