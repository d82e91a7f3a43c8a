// R = round(Φ0 + γ·A·B) of a quantized linear, eight columns of a row at a time, handed to a sink: the one source of
// the weight for the products, the mask, the merged integers and the statistics, so that they agree to the bit.
#pragma once

#include <algorithm>
#include <cmath>

#include "core/grid.h"
#include "core/types.h"
#include "cuda/check.h"
#include "cuda/kernels/rebuild_codes.cuh"
#include "cuda/kernels/rebuild_product.cuh"

namespace lrqat::cuda {

/// Sum with 1.5·2^23 leaves no bit for the fraction: half to even for |x| < 2^22.
__device__ __forceinline__ float roundSmall(float x) {
  constexpr float magic = 12582912.0F;
  return (x + magic) - magic;
}

__device__ __forceinline__ float clampTo(float x, float low, float high) {
  return fminf(fmaxf(x, low), high);
}

struct Rounding {
  float gamma;
  float qmin, qmax;
};

/// R: an integer; what lies outside [qmin, qmax] counts as outside whatever its value (NaN too). The exact form rounds
/// C and Φ0 + C as the CPU does, the other fuses them.
template <bool kExact, RoundForm kForm>
__device__ __forceinline__ void roundOctet(const float (&phi)[kOctet], const float (&product)[kOctet],
                                           const Rounding& rounding, float (&rounded)[kOctet]) {
  if constexpr (kForm == RoundForm::Product) {
#pragma unroll
    for (int i = 0; i < kOctet; ++i) {
      if constexpr (kExact) {
        rounded[i] = phi[i] + roundSmall(clampTo(rounding.gamma * product[i], -1024.0F, 1024.0F));
      } else {
        constexpr float magic = 12582912.0F;
        rounded[i] = phi[i] + (fmaf(rounding.gamma, product[i], magic) - magic);
      }
    }
  } else {
#pragma unroll
    for (int i = 0; i < kOctet; ++i) {
      if constexpr (kExact) {
        const float z = phi[i] + rounding.gamma * product[i];
        rounded[i] = roundSmall(clampTo(z, rounding.qmin - 1.0F, rounding.qmax + 1.0F));
      } else {
        rounded[i] = roundSmall(fmaf(rounding.gamma, product[i], phi[i]));
      }
    }
  }
}

inline constexpr int kTileThreads = 256;
inline constexpr int kTileRows = 128;

/// A block: kTileRows × tileColumns (64, 128 or 256); warps 4 by 2. Sink: a value type with a State made by each
/// thread, `octet(state, slot, row, column, valid, phi, rounded)` (called by whole warps; slot 0 … 3 tells the rows of
/// a lane apart, eight rows from one to the next) and `finish(state, rowOfSlot0)`. kOneChunk: rank ≤ kRankChunk, so
/// that the operands of A stay in registers.
template <class Codes, bool kExact, bool kOneChunk, class Sink>
__global__ void __launch_bounds__(kTileThreads, 2)
    roundedTiles(Codes codes, Factors factors, Rounding rounding, Sink sink, int tileColumns) {
  extern __shared__ uint4 panelMemory[];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int warpRow = static_cast<int>(blockIdx.y) * kTileRows + warp % 4 * kWarpRows;
  const int blockColumn = static_cast<int>(blockIdx.x) * tileColumns;
  const int firstPosition = warp / 4 * (tileColumns / 2);
  const int chunks = (factors.rank + kRankChunk - 1) / kRankChunk;
  const int firstRow = warpRow + lane / 4;
  const int firstColumn = blockColumn + firstPosition + lane % 4 * kOctet;
  // Whole warps; those with nothing to do still help to fill the panel.
  const int columnsLeft = factors.n - blockColumn - firstPosition;
  const int groups = min(tileColumns / 2, columnsLeft + kGroupColumns - 1) / kGroupColumns;

  const typename Codes::Cursor cursor = codes.start(firstRow, firstColumn);
  typename Codes::Raw raw[4];
  const auto fetch = [&](int slot, int group) {
    const int column = firstColumn + group * kGroupColumns;
    if (firstRow + slot * 8 < factors.m && column < factors.n) raw[slot] = codes.load(cursor, slot * 8, group, column);
  };
#pragma unroll
  for (int slot = 0; slot < 4; ++slot) fetch(slot, 0);

  const SplitPanel panel{panelMemory, tileColumns};
  SplitRows splitRows;
  if constexpr (!kExact) {
    if (chunks > 0) {
      panel.fill(factors, blockColumn, kTileThreads);
      if constexpr (kOneChunk) splitRows.load(factors, warpRow, 0);
      __syncthreads();
    }
  }

  typename Sink::State state;
  for (int group = 0; group < groups; ++group) {
    const int position = firstPosition + group * kGroupColumns;
    ProductTile tile;
    tile.clear();
    if constexpr (kExact) {
      multiplyExact(factors, warpRow, blockColumn + position, tile);
    } else if constexpr (kOneChunk) {
      if (chunks > 0) multiplySplit(splitRows, panel, 0, position, tile);
    } else {
      for (int chunk = 0; chunk < chunks; ++chunk) {
        splitRows.load(factors, warpRow, chunk);
        multiplySplit(splitRows, panel, chunk, position, tile);
      }
    }
    const int column = firstColumn + group * kGroupColumns;
#pragma unroll
    for (int slot = 0; slot < 4; ++slot) {
      float phi[kOctet];
      float product[kOctet];
      float rounded[kOctet];
      codes.decode(raw[slot], phi);
      // In flight until the next product is done.
      if (group + 1 < groups) fetch(slot, group + 1);
#pragma unroll
      for (int i = 0; i < kOctet; ++i) product[i] = tile.value[slot / 2][i / 2][slot % 2 * 2 + i % 2];
      roundOctet<kExact, Codes::form>(phi, product, rounding, rounded);
      const int row = firstRow + slot * 8;
      sink.octet(state, slot, row, column, row < factors.m && column < factors.n, phi, rounded);
    }
  }
  sink.finish(state, firstRow);
}

/// Rows of a linear on the device, from `firstRow` on; everything a launch needs besides the sink.
struct RoundedSource {
  QuantSpec spec;
  const void* codes = nullptr;  // [rows] as stored
  Factors factors{};
};

inline RoundedSource trainedRows(const LinearWeight& weight, const LowRank& lowRank, int64_t firstRow, int64_t rows) {
  const QuantSpec& spec = weight.spec;
  const float* a = spec.rank > 0 ? lowRank.a + firstRow * spec.rank : nullptr;
  return {spec,
          static_cast<const std::byte*>(weight.phi0) + firstRow * packedRowBytes(spec.codeBits(), weight.n),
          {a, lowRank.b, spec.rank, static_cast<int>(rows), static_cast<int>(weight.n),
           spec.rank % 4 == 0 && reinterpret_cast<uintptr_t>(a) % 16 == 0}};
}

/// Merged integers on the device as if they were a Φ0 in integer storage without a low-rank term.
inline RoundedSource mergedRows(const LinearWeight& weight, const void* codes, int64_t rows) {
  QuantSpec spec = weight.spec;
  spec.storage = Storage::Integer;
  spec.rank = 0;
  return {spec, codes, {nullptr, nullptr, 0, static_cast<int>(rows), static_cast<int>(weight.n), false}};
}

inline CodeNumbers codeNumbers(const QuantSpec& spec) {
  const bool fixedPoint = spec.storage == Storage::FixedPoint;
  const int fraction = fixedPoint ? spec.fractionBits : 0;
  const bool centred = fixedPoint && spec.code == FixedPointCode::Centred;
  // The fraction's last bit is worth half a step, 2^−(fraction + 1).
  return {static_cast<uint32_t>(127 + 22 - fraction) << 23 | (centred ? 1U : 0U),
          std::ldexp(1.0F, 22 - fraction) + std::ldexp(1.0F, spec.bits - 1)};
}

/// Columns of a block for which the split panel of B stays within 64 KiB.
constexpr int tileColumnsFor(int rank) {
  return rank <= 64 ? 256 : rank <= 128 ? 128 : 64;
}

template <bool kExact, bool kOneChunk, class Codes, class Sink>
void launchTiles(const RoundedSource& source, const Codes& codes, const Sink& sink, cudaStream_t stream) {
  const Factors& factors = source.factors;
  LRQAT_CHECK(factors.m > 0 && factors.n > 0 && factors.rank <= (kOneChunk ? kRankChunk : 256));
  const int tileColumns = tileColumnsFor(factors.rank);
  const int64_t shared = kExact ? 0 : SplitPanel::bytes(factors.rank, tileColumns);
  const Rounding rounding{source.spec.rank > 0 ? source.spec.gamma() : 0.0F, static_cast<float>(source.spec.qmin()),
                          static_cast<float>(source.spec.qmax())};
  const auto kernel = roundedTiles<Codes, kExact, kOneChunk, Sink>;
  if (shared > 48 << 10) {
    LRQAT_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)));
  }
  const dim3 grid(static_cast<unsigned>((factors.n + tileColumns - 1) / tileColumns),
                  static_cast<unsigned>((factors.m + kTileRows - 1) / kTileRows));
  kernel<<<grid, kTileThreads, static_cast<size_t>(shared), stream>>>(codes, factors, rounding, sink, tileColumns);
  LRQAT_CUDA(cudaGetLastError());
}

template <int kWidth, RoundForm kForm>
PackedCodes<kWidth, kForm> packedCodes(const RoundedSource& source) {
  return {static_cast<const uint8_t*>(source.codes),
          static_cast<int>(packedRowBytes(source.spec.codeBits(), source.factors.n)), source.spec.codeBits(),
          codeNumbers(source.spec)};
}

template <typename E>
FloatCodes<E> floatCodes(const RoundedSource& source) {
  return {static_cast<const E*>(source.codes), source.factors.n,
          source.factors.n % kOctet == 0 && reinterpret_cast<uintptr_t>(source.codes) % 16 == 0};
}

template <bool kExact, bool kOneChunk, class Sink>
void launchFloats(const RoundedSource& source, const Sink& sink, cudaStream_t stream) {
  switch (source.spec.storage) {
    case Storage::F32:
      return launchTiles<kExact, kOneChunk>(source, floatCodes<float>(source), sink, stream);
    case Storage::BF16:
      return launchTiles<kExact, kOneChunk>(source, floatCodes<bf16>(source), sink, stream);
    default:
      return launchTiles<kExact, kOneChunk>(source, floatCodes<__half>(source), sink, stream);
  }
}

inline bool isPacked(const QuantSpec& spec) {
  return spec.storage == Storage::FixedPoint || spec.storage == Storage::Integer;
}

/// Any rank; one kernel for all code widths.
template <bool kExact, class Sink>
void launchRounded(const RoundedSource& source, const Sink& sink, cudaStream_t stream) {
  if (!isPacked(source.spec)) return launchFloats<kExact, false>(source, sink, stream);
  if (source.spec.storage == Storage::Integer) {
    launchTiles<kExact, false>(source, packedCodes<0, RoundForm::Product>(source), sink, stream);
  } else {
    launchTiles<kExact, false>(source, packedCodes<0, RoundForm::Sum>(source), sink, stream);
  }
}

template <RoundForm kForm, class Sink>
void launchWidths(const RoundedSource& source, const Sink& sink, cudaStream_t stream) {
  switch (source.spec.codeBits()) {
    case 2:
      return launchTiles<false, true>(source, packedCodes<2, kForm>(source), sink, stream);
    case 3:
      return launchTiles<false, true>(source, packedCodes<3, kForm>(source), sink, stream);
    case 4:
      return launchTiles<false, true>(source, packedCodes<4, kForm>(source), sink, stream);
    case 5:
      return launchTiles<false, true>(source, packedCodes<5, kForm>(source), sink, stream);
    case 6:
      return launchTiles<false, true>(source, packedCodes<6, kForm>(source), sink, stream);
    case 7:
      return launchTiles<false, true>(source, packedCodes<7, kForm>(source), sink, stream);
    default:
      return launchTiles<false, true>(source, packedCodes<8, kForm>(source), sink, stream);
  }
}

/// The training path: a kernel of its own for every code width where the rank allows.
template <class Sink>
void launchRoundedFast(const RoundedSource& source, const Sink& sink, cudaStream_t stream) {
  if (source.factors.rank > kRankChunk) return launchRounded<false>(source, sink, stream);
  if (!isPacked(source.spec)) return launchFloats<false, true>(source, sink, stream);
  if (source.spec.storage == Storage::Integer) return launchWidths<RoundForm::Product>(source, sink, stream);
  return launchWidths<RoundForm::Sum>(source, sink, stream);
}

}  // namespace lrqat::cuda
