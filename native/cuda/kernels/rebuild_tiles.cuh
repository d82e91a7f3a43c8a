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
  return (x + kMagic) - kMagic;
}

__device__ __forceinline__ float clampTo(float x, float low, float high) {
  return fminf(fmaxf(x, low), high);
}

struct Rounding {
  float gamma;
  float qmin, qmax;
};

/// R: an integer; what lies outside [qmin, qmax] counts as outside whatever its value (NaN too). The exact form rounds
/// C and Φ0 + C as the CPU does, the other fuses them. Integer codes come less kMagic (`Codes::origin`): exact, and one
/// addition less.
template <bool kExact, RoundForm kForm>
__device__ __forceinline__ void roundOctet(const float (&phi)[kOctet], const float (&product)[kOctet],
                                           const Rounding& rounding, float (&rounded)[kOctet]) {
  if constexpr (kForm == RoundForm::Product) {
#pragma unroll
    for (int i = 0; i < kOctet; ++i) {
      if constexpr (kExact) {
        rounded[i] = phi[i] + (clampTo(rounding.gamma * product[i], -1024.0F, 1024.0F) + kMagic);
      } else {
        rounded[i] = phi[i] + fmaf(rounding.gamma, product[i], kMagic);
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
/// Blocks that a GPU of 132 multiprocessors runs at once; on others only the balance suffers.
inline constexpr int kBlocksAtOnce = 264;

/// A block: kColumns columns of B in shared memory; its warps take blocks of 32 rows in turn, independent of each
/// other. Sink: a value type with a State made by each thread for each block of rows and told by `start` where it
/// begins; then for each group of 32 columns `octet(state, slot, group, column, valid, phi, rounded)` for the four
/// slots (rows of a lane, eight from one to the next) and `group(state, group, last, rowsLeft)`, all called by whole
/// warps; then `finish`. kOneChunk: rank ≤ kRankChunk, so that the operands of A stay in registers.
template <class Codes, bool kExact, bool kOneChunk, int kColumns, class Sink>
__global__ void __launch_bounds__(kTileThreads, 2)
    roundedTiles(Codes codes, Factors factors, Rounding rounding, Sink sink) {
  extern __shared__ uint4 panelMemory[];
  // Groups whose products are made together: with many ranks A is read for each of them.
  constexpr int kGroups = kOneChunk || kExact ? 1 : kColumns / kGroupColumns;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int blockColumn = static_cast<int>(blockIdx.x) * kColumns;
  const int chunks = (factors.rank + kRankChunk - 1) / kRankChunk;
  const int firstColumn = blockColumn + lane % 4 * kOctet;
  const int groups = min(kColumns, factors.n - blockColumn + kGroupColumns - 1) / kGroupColumns;

  const SplitPanel<kColumns> panel{panelMemory};
  if (!kExact && chunks > 0) {
    panel.template fill<kTileThreads>(factors, blockColumn);
    __syncthreads();
  }

  const int warpsAtOnce = static_cast<int>(gridDim.y) * (kTileThreads / 32);
  int warpRow = (static_cast<int>(blockIdx.y) * (kTileThreads / 32) + static_cast<int>(threadIdx.x) / 32) * kWarpRows;
  for (; warpRow < factors.m; warpRow += warpsAtOnce * kWarpRows) {
    const int firstRow = warpRow + lane / 4;
    const int rowsLeft = factors.m - firstRow;  // slot i has a row where this is above 8·i
    typename Codes::Cursor cursor = codes.start(firstRow, firstColumn);
    typename Codes::Raw raw[4];
    const auto fetch = [&](int slot, int column) {
      if (rowsLeft > slot * 8 && column < factors.n) raw[slot] = codes.load(cursor, slot * 8, column);
    };
#pragma unroll
    for (int slot = 0; slot < 4; ++slot) fetch(slot, firstColumn);
    SplitRows splitRows;
    if (!kExact && kOneChunk && chunks > 0) splitRows.load(factors, warpRow, 0);

    typename Sink::State state;
    sink.start(state, firstRow, firstColumn);
    for (int first = 0; first < groups; first += kGroups) {
      ProductTile tiles[kGroups];
#pragma unroll
      for (int i = 0; i < kGroups; ++i) tiles[i].clear();
      if constexpr (kExact) {
#pragma unroll
        for (int i = 0; i < kGroups; ++i) {
          multiplyExact(factors, warpRow, blockColumn + (first + i) * kGroupColumns, tiles[i]);
        }
      } else if constexpr (kOneChunk) {
        if (chunks > 0) multiplySplit(splitRows, panel, 0, first * kGroupColumns, tiles[0]);
      } else {
        for (int chunk = 0; chunk < chunks; ++chunk) {
          splitRows.load(factors, warpRow, chunk);
#pragma unroll
          for (int i = 0; i < kGroups; ++i) {
            multiplySplit(splitRows, panel, chunk, (first + i) * kGroupColumns, tiles[i]);
          }
        }
      }
#pragma unroll
      for (int i = 0; i < kGroups; ++i) {
        const int group = first + i;
        if (group >= groups) break;
        const int column = firstColumn + group * kGroupColumns;
        codes.advance(cursor);
#pragma unroll
        for (int slot = 0; slot < 4; ++slot) {
          float phi[kOctet];
          float product[kOctet];
          float rounded[kOctet];
          codes.decode(raw[slot], phi);
          // In flight until the next product is done.
          if (group + 1 < groups) fetch(slot, column + kGroupColumns);
#pragma unroll
          for (int j = 0; j < kOctet; ++j) product[j] = tiles[i].value[slot / 2][j / 2][slot % 2 * 2 + j % 2];
          roundOctet<kExact, Codes::form>(phi, product, rounding, rounded);
          sink.template octet<Codes>(state, slot, group, column, rowsLeft > slot * 8 && column < factors.n, phi,
                                     rounded);
        }
        sink.group(state, group, group + 1 == groups, rowsLeft);
      }
    }
    sink.finish(state);
  }
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
  const auto aligned = [](const float* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  return {spec,
          static_cast<const std::byte*>(weight.phi0) + firstRow * packedRowBytes(spec.codeBits(), weight.n),
          {a, lowRank.b, spec.rank, static_cast<int>(rows), static_cast<int>(weight.n),
           spec.rank % 4 == 0 && aligned(a), weight.n % 4 == 0 && aligned(lowRank.b)}};
}

/// Merged integers on the device as if they were a Φ0 in integer storage without a low-rank term.
inline RoundedSource mergedRows(const LinearWeight& weight, const void* codes, int64_t rows) {
  QuantSpec spec = weight.spec;
  spec.storage = Storage::Integer;
  spec.rank = 0;
  return {spec, codes, {nullptr, nullptr, 0, static_cast<int>(rows), static_cast<int>(weight.n), false, false}};
}

inline CodeNumbers codeNumbers(const QuantSpec& spec) {
  const bool fixedPoint = spec.storage == Storage::FixedPoint;
  const int fraction = fixedPoint ? spec.fractionBits : 0;
  const bool centred = fixedPoint && spec.code == FixedPointCode::Centred;
  // The fraction's last bit is worth half a step, 2^−(fraction + 1).
  const float origin = std::ldexp(1.0F, 22 - fraction) + std::ldexp(1.0F, spec.bits - 1);
  return {static_cast<uint32_t>(127 + 22 - fraction) << 23 | (centred ? 1U : 0U),
          fixedPoint ? origin : origin + kMagic};
}

template <bool kExact, bool kOneChunk, int kColumns, class Codes, class Sink>
void launchColumns(const RoundedSource& source, const Codes& codes, const Sink& sink, cudaStream_t stream) {
  const Factors& factors = source.factors;
  LRQAT_CHECK(factors.m > 0 && factors.n > 0 && factors.rank <= (kOneChunk ? kRankChunk : 256));
  LRQAT_CHECK(static_cast<int64_t>(factors.m) * factors.n <= int64_t{1} << 30);  // byte offsets of 32 bits
  const int64_t shared = kExact ? 0 : SplitPanel<kColumns>::bytes(factors.rank);
  const Rounding rounding{source.spec.rank > 0 ? source.spec.gamma() : 0.0F, static_cast<float>(source.spec.qmin()),
                          static_cast<float>(source.spec.qmax())};
  const auto kernel = roundedTiles<Codes, kExact, kOneChunk, kColumns, Sink>;
  if (shared > 48 << 10) {
    LRQAT_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)));
  }
  constexpr int warps = kTileThreads / 32;
  const int columnTiles = (factors.n + kColumns - 1) / kColumns;
  const int rowBlocks = (factors.m + kWarpRows * warps - 1) / (kWarpRows * warps);
  // Where there are several rounds of blocks, one round of longer ones.
  const int most = std::max(1, kBlocksAtOnce / columnTiles);
  const int rounds = (rowBlocks + most - 1) / most;
  const dim3 grid(static_cast<unsigned>(columnTiles), static_cast<unsigned>((rowBlocks + rounds - 1) / rounds));
  kernel<<<grid, kTileThreads, static_cast<size_t>(shared), stream>>>(codes, factors, rounding, sink);
  LRQAT_CUDA(cudaGetLastError());
}

/// Columns of a block: the split panel of B stays within 64 KiB.
template <bool kExact, bool kOneChunk, class Codes, class Sink>
void launchTiles(const RoundedSource& source, const Codes& codes, const Sink& sink, cudaStream_t stream) {
  launchColumns<kExact, kOneChunk, kOneChunk ? 256 : 64>(source, codes, sink, stream);
}

template <int kWidth, RoundForm kForm>
PackedCodes<kWidth, kForm> packedCodes(const RoundedSource& source) {
  return {static_cast<const uint8_t*>(source.codes),
          static_cast<uint32_t>(packedRowBytes(source.spec.codeBits(), source.factors.n)),
          static_cast<uint32_t>(source.spec.codeBits()), codeNumbers(source.spec)};
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
