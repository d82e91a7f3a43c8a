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
#include "cuda/kernels/row_grids.cuh"

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

/// Whether the grid may have 64 integers or fewer.
template <class Codes>
inline constexpr bool mayBeNarrow = (Codes::packed || Codes::shifted) &&
                                    (Codes::form == RoundForm::Sum || Codes::bits <= 6);

/// Sums on larger grids are rounded by the same formula, moved by nothing.
template <class Codes>
inline constexpr bool surelyNarrow = mayBeNarrow<Codes> && (Codes::form == RoundForm::Sum || Codes::bits > 0);

/// roundOctet, not exact, on grids of up to 64 integers: what is rounded is moved to 128 … 256, where float32 has as
/// many bits behind the point as the kernel on Hopper sees before its conversion to bf16 rounds them away.
template <class Codes>
__device__ __forceinline__ void roundNarrow(const Codes& codes, const typename Codes::Raw& raw,
                                            const float (&product)[kOctet], float gamma, float (&rounded)[kOctet]) {
  const CodeNumbers& numbers = codes.numbers;
  if constexpr (Codes::form == RoundForm::Product) {
    uint32_t bits[kOctet];
#pragma unroll
    for (int i = 0; i < kOctet; ++i) bits[i] = __float_as_uint(fmaf(gamma, product[i], numbers.binade) + kMagic);
    codes.addTo(raw, bits);
    const float origin = numbers.integerOrigin + numbers.binade;
#pragma unroll
    for (int i = 0; i < kOctet; ++i) rounded[i] = __uint_as_float(bits[i]) - origin;
  } else {
    float placed[kOctet];
    codes.place(raw, placed);
    const float origin = numbers.origin - numbers.binade;
    const float magic = kMagic + numbers.binade;
#pragma unroll
    for (int i = 0; i < kOctet; ++i) {
      float phi = placed[i] - origin;
      if constexpr (Codes::shifted) phi += raw.low[i];
      rounded[i] = (fmaf(gamma, product[i], phi) + kMagic) - magic;
    }
    return;
  }
  if constexpr (Codes::shifted) {
#pragma unroll
    for (int i = 0; i < kOctet; ++i) rounded[i] += raw.low[i];
  }
}

/// R: an integer; what lies outside [qmin, qmax] counts as outside whatever its value (NaN too). The exact form rounds
/// C and Φ0 + C as the CPU does. The other fuses them. On grids of up to 64 integers it rounds twice as the kernel on
/// Hopper's own instructions does, first to 2^−16; on larger ones kMagic + u + C is a float whose last bit is
/// worth 1 (a tie of C goes to the even code).
template <bool kExact, class Codes>
__device__ __forceinline__ void roundOctet(const Codes& codes, const typename Codes::Raw& raw,
                                           const float (&product)[kOctet], const Rounding& rounding,
                                           float (&rounded)[kOctet]) {
  if constexpr (!kExact && mayBeNarrow<Codes>) {
    if (surelyNarrow<Codes> || codes.numbers.binade != 0.0F)
      return roundNarrow(codes, raw, product, rounding.gamma, rounded);
  }
  if constexpr (!kExact && Codes::form == RoundForm::Product) {
    float placed[kOctet];
    codes.placeIntegers(raw, placed);
#pragma unroll
    for (int i = 0; i < kOctet; ++i) {
      rounded[i] = fmaf(rounding.gamma, product[i], placed[i]) - codes.numbers.integerOrigin;
    }
    if constexpr (Codes::shifted) {
#pragma unroll
      for (int i = 0; i < kOctet; ++i) rounded[i] += raw.low[i];
    }
    return;
  }
  float phi[kOctet];
  codes.decode(raw, phi);
#pragma unroll
  for (int i = 0; i < kOctet; ++i) {
    if constexpr (!kExact) {
      rounded[i] = roundSmall(fmaf(rounding.gamma, product[i], phi[i]));
    } else if constexpr (Codes::form == RoundForm::Product) {
      rounded[i] = phi[i] + roundSmall(clampTo(rounding.gamma * product[i], -1024.0F, 1024.0F));
    } else {
      const float z = phi[i] + rounding.gamma * product[i];
      rounded[i] = roundSmall(clampTo(z, rounding.qmin - 1.0F, rounding.qmax + 1.0F));
    }
  }
}

inline constexpr int kTileThreads = 256;
/// Blocks of a multiprocessor at least. Latency, not a unit, is what limits these kernels: the training path has as
/// many warps as its registers allow.
template <class Codes, bool kOneChunk>
inline constexpr int kTileBlocks = Codes::packed&& kOneChunk ? 3 : 2;
/// Multiprocessors of a large GPU; on others only the balance suffers.
inline constexpr int kMultiprocessors = 132;

/// A block: kColumns columns of B in shared memory. The groups of kWarpRows rows × 32 columns of these columns, row
/// block after row block, are dealt out evenly to the warps of all blocks of the column, which then work independently.
///
/// Sink: a value type with a State made by each thread. For each row block or part of one `start(state, row, column,
/// group)` with the row of slot 0 and the lane's first column, then for each group `octet(state, slot, rowsLeft,
/// column, codes, raw, rounded)` for the slots (slot i has a row where rowsLeft > 8·i) followed by `group(state,
/// rowsLeft, nextRow, nextColumn, last)`, then `finish(state)`; all by whole warps. `begin()` comes before a barrier of
/// the block, `done(state)` last of all from every warp.
///
/// kOneChunk: rank ≤ kRankChunk, so that the operands of A stay in registers.
template <class Codes, bool kExact, bool kOneChunk, int kColumns, class Sink>
__global__ void __launch_bounds__(kTileThreads, kTileBlocks<Codes, kOneChunk>)
    roundedTiles(Codes codes, Factors factors, Rounding rounding, Sink sink) {
  extern __shared__ uint4 panelMemory[];
  // Groups whose products are made together: with many ranks A is read again for each step.
  constexpr int kGroups = kOneChunk || kExact ? 1 : kColumns / kGroupColumns;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int blockColumn = static_cast<int>(blockIdx.x) * kColumns;
  const int chunks = (factors.rank + kRankChunk - 1) / kRankChunk;
  const int laneColumn = blockColumn + lane % 4 * kOctet;
  const int groups = (min(kColumns, factors.n - blockColumn) + kGroupColumns - 1) / kGroupColumns;

  sink.begin();
  const SplitPanel<kColumns> panel{panelMemory};
  if constexpr (!kExact) {
    if (kOneChunk || chunks > 0) panel.template fill<kTileThreads>(factors, blockColumn);
  }
  __syncthreads();

  const int stepsPerRow = (groups + kGroups - 1) / kGroups;
  const int64_t steps = static_cast<int64_t>((factors.m + kWarpRows - 1) / kWarpRows) * stepsPerRow;
  const int warps = static_cast<int>(gridDim.y) * (kTileThreads / 32);
  const int warp = static_cast<int>(blockIdx.y) * (kTileThreads / 32) + static_cast<int>(threadIdx.x) / 32;
  const auto first = static_cast<int>(steps * warp / warps);
  int left = static_cast<int>(steps * (warp + 1) / warps) - first;
  typename Sink::State state{};
  if (left == 0) {
    sink.done(state);
    return;
  }

  int warpRow = first / stepsPerRow * kWarpRows;
  int group = first % stepsPerRow * kGroups;
  typename Codes::Raw raw[kSlots];
  uint32_t codeRow[kSlots] = {};
  const auto rowOf = [&](int row, int slot) { return codes.row(min(row + slot * 8 + lane / 4, factors.m - 1)); };
  const auto fetch = [&](int slot, const typename Codes::Cursor& cursor) {
    raw[slot] = codes.load(codeRow[slot], cursor);
  };
  {
    const typename Codes::Cursor cursor = codes.column(laneColumn + group * kGroupColumns);
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
      codeRow[slot] = rowOf(warpRow, slot);
      fetch(slot, cursor);
    }
  }
  SplitRows splitRows;
  if constexpr (!kExact && kOneChunk) splitRows.load(factors, warpRow, 0);
  sink.start(state, warpRow + lane / 4, laneColumn + group * kGroupColumns, group);

  while (true) {
    --left;
    ProductTile tiles[kGroups];
#pragma unroll
    for (int i = 0; i < kGroups; ++i) tiles[i].clear();
    if constexpr (kExact) {
      multiplyExact(factors, warpRow, blockColumn + group * kGroupColumns, tiles[0]);
    } else if constexpr (kOneChunk) {
      multiplySplit(splitRows, panel, 0, group * kGroupColumns, tiles[0]);
    } else {
      for (int chunk = 0; chunk < chunks; ++chunk) {
        splitRows.load(factors, warpRow, chunk);
#pragma unroll
        for (int i = 0; i < kGroups; ++i) {
          multiplySplit(splitRows, panel, chunk, (group + i) * kGroupColumns, tiles[i]);
        }
      }
    }

    const int rowsLeft = factors.m - warpRow - lane / 4;
    int nextRow = warpRow;
    bool last = false;
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
      const int column = laneColumn + group * kGroupColumns;
      ++group;
      const bool stepEnds = i + 1 == kGroups || group == groups;
      last = stepEnds && left == 0;
      // After the last group the same one again: what is fetched then is not used. Selections, not branches: these
      // would keep the products from overlapping with what follows.
      const bool wraps = !last && group == groups;
      group = last ? group - 1 : wraps ? 0 : group;
      nextRow = wraps ? warpRow + kWarpRows : warpRow;
#pragma unroll
      for (int slot = 0; slot < kSlots; ++slot) codeRow[slot] = wraps ? rowOf(nextRow, slot) : codeRow[slot];
      const int nextColumn = laneColumn + group * kGroupColumns;
      const typename Codes::Cursor cursor = codes.column(nextColumn);
#pragma unroll
      for (int slot = 0; slot < kSlots; ++slot) {
        float product[kOctet];
        float rounded[kOctet];
#pragma unroll
        for (int j = 0; j < kOctet; ++j) product[j] = tiles[i].value[slot / 2][j / 2][slot % 2 * 2 + j % 2];
        const typename Codes::Raw now = raw[slot];
        roundOctet<kExact>(codes, now, product, rounding, rounded);
        // In flight until the next product is done.
        fetch(slot, cursor);
        sink.octet(state, slot, rowsLeft, column, codes, now, rounded);
      }
      sink.group(state, rowsLeft, nextRow + lane / 4, nextColumn, last || nextRow != warpRow);
      if (stepEnds) break;
    }
    if (!last && nextRow == warpRow) continue;
    sink.finish(state);
    if (last) {
      sink.done(state);
      return;
    }
    warpRow = nextRow;
    if constexpr (!kExact && kOneChunk) splitRows.load(factors, warpRow, 0);
    sink.start(state, warpRow + lane / 4, laneColumn, 0);
  }
}

/// Rows of a linear on the device, from `firstRow` on; everything a launch needs besides the sink.
struct RoundedSource {
  QuantSpec spec;
  const void* codes = nullptr;  // [rows] as stored
  Factors factors{};
  RowGrids grids{};  // that the codes count from
};

inline RoundedSource trainedRows(const LinearWeight& weight, const LowRank& lowRank, int64_t firstRow, int64_t rows) {
  const QuantSpec& spec = weight.spec;
  const float* a = spec.rank > 0 ? lowRank.a + firstRow * spec.rank : nullptr;
  const auto aligned = [](const float* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  return {spec,
          static_cast<const std::byte*>(weight.phi0) + firstRow * packedRowBytes(spec.codeBits(), weight.n),
          {a, lowRank.b, spec.rank, static_cast<int>(rows), static_cast<int>(weight.n),
           spec.rank > 0 && spec.rank % 4 == 0 && aligned(a), spec.rank > 0 && weight.n % 4 == 0 && aligned(lowRank.b)},
          RowGrids::of(weight, weight.zero0, firstRow)};
}

/// Merged integers on the device as if they were a Φ0 in integer storage without a low-rank term.
inline RoundedSource mergedRows(const LinearWeight& weight, const LowRank& lowRank, const void* codes, int64_t firstRow,
                                int64_t rows) {
  QuantSpec spec = weight.spec;
  spec.storage = Storage::Integer;
  spec.rank = 0;
  return {spec,
          codes,
          {nullptr, nullptr, 0, static_cast<int>(rows), static_cast<int>(weight.n), false, false},
          RowGrids::of(weight, lowRank.zero, firstRow)};
}

/// `shift`: bits of the fraction behind the code's last one, the first of them worth half a step.
inline CodeNumbers codeNumbers(const QuantSpec& spec, int shift) {
  const bool fixedPoint = spec.storage == Storage::FixedPoint;
  const int fraction = fixedPoint ? spec.fractionBits : 0;
  const bool centred = fixedPoint && spec.code == FixedPointCode::Centred;
  const int exponent = 23 - shift - fraction;
  const float offset = spec.symmetric ? std::ldexp(1.0F, spec.bits - 1) : 0.0F;
  // C, or Φ0 + C, of −64 … 63 is moved to 128 … 255; by an even number, so that ties go to the same side.
  const float binade = 192.0F;
  return {static_cast<uint32_t>(127 + exponent) << 23 | (centred ? 1U << (shift - 1) : 0U),
          std::ldexp(1.0F, exponent) + offset, kMagic + offset, spec.bits <= 6 ? binade : 0.0F};
}

template <bool kExact, bool kOneChunk, int kColumns, class Codes, class Sink>
void launchColumns(const RoundedSource& source, const Codes& codes, const Sink& sink, cudaStream_t stream) {
  const Factors& factors = source.factors;
  LRQAT_CHECK(factors.m > 0 && factors.n > 0 && factors.rank <= (kOneChunk ? kRankChunk : 256));
  LRQAT_CHECK(static_cast<int64_t>(factors.m) * factors.n <= int64_t{1} << 30);  // byte offsets of 32 bits
  const int64_t shared = kExact ? 0 : SplitPanel<kColumns>::bytes(factors.rank);
  const QuantSpec& spec = source.spec;
  // Asymmetric: what any zero point allows.
  const Rounding rounding{spec.rank > 0 ? spec.gamma() : 0.0F,
                          static_cast<float>(spec.symmetric ? spec.qmin() : -spec.levels()),
                          static_cast<float>(spec.symmetric ? spec.qmax() : spec.levels())};
  const auto kernel = roundedTiles<Codes, kExact, kOneChunk, kColumns, Sink>;
  if (shared > 48 << 10) {
    LRQAT_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)));
  }
  const int columnTiles = (factors.n + kColumns - 1) / kColumns;
  // One round of blocks, but never so many that a warp has less than one block of rows.
  const int mostRows = (factors.m + kWarpRows * (kTileThreads / 32) - 1) / (kWarpRows * (kTileThreads / 32));
  const int rows = std::clamp(kMultiprocessors * kTileBlocks<Codes, kOneChunk> / columnTiles, 1, mostRows);
  const dim3 grid(static_cast<unsigned>(columnTiles), static_cast<unsigned>(rows));
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
  using Codes = PackedCodes<kWidth, kForm>;
  const auto rowBytes = static_cast<uint32_t>(packedRowBytes(source.spec.codeBits(), source.factors.n));
  const auto width = static_cast<uint32_t>(source.spec.codeBits());
  return {static_cast<const uint8_t*>(source.codes), rowBytes, width, codeNumbers(source.spec, Codes::kFractionShift)};
}

template <typename E>
FloatCodes<E> floatCodes(const RoundedSource& source) {
  const auto n = static_cast<uint32_t>(source.factors.n);
  const bool vectorized = n % kOctet == 0 && reinterpret_cast<uintptr_t>(source.codes) % 16 == 0;
  return {static_cast<const E*>(source.codes), n,
          static_cast<uint32_t>(source.factors.m) * n - (vectorized ? kOctet : 1), vectorized};
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

template <RoundForm kForm>
ShiftedCodes<PackedCodes<0, kForm>> shiftedCodes(const RoundedSource& source) {
  const auto inner = packedCodes<0, kForm>(source);
  return {inner, source.grids, static_cast<uint32_t>(source.factors.n), inner.numbers};
}

/// Packed codes around zero points; one kernel for all code widths.
template <bool kExact, bool kOneChunk, class Sink>
void launchShifted(const RoundedSource& source, const Sink& sink, cudaStream_t stream) {
  if (source.spec.storage == Storage::Integer) {
    launchTiles<kExact, kOneChunk>(source, shiftedCodes<RoundForm::Product>(source), sink, stream);
  } else {
    launchTiles<kExact, kOneChunk>(source, shiftedCodes<RoundForm::Sum>(source), sink, stream);
  }
}

/// Any rank; one kernel for all code widths.
template <bool kExact, class Sink>
void launchRounded(const RoundedSource& source, const Sink& sink, cudaStream_t stream) {
  if (!isPacked(source.spec)) return launchFloats<kExact, false>(source, sink, stream);
  if (source.grids.zero) return launchShifted<kExact, false>(source, sink, stream);
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

/// The training path of asymmetric weights.
template <class Sink>
void launchShiftedFast(const RoundedSource& source, const Sink& sink, cudaStream_t stream) {
  if (source.factors.rank > kRankChunk) return launchRounded<false>(source, sink, stream);
  if (!isPacked(source.spec)) return launchFloats<false, true>(source, sink, stream);
  launchShifted<false, true>(source, sink, stream);
}

/// The training path: a kernel of its own for every code width where the rank allows.
template <class Sink>
void launchRoundedFast(const RoundedSource& source, const Sink& sink, cudaStream_t stream) {
  if (source.factors.rank > kRankChunk) return launchRounded<false>(source, sink, stream);
  if (!isPacked(source.spec)) return launchFloats<false, true>(source, sink, stream);
  LRQAT_CHECK(!source.grids.zero);
  if (source.spec.storage == Storage::Integer) return launchWidths<RoundForm::Product>(source, sink, stream);
  return launchWidths<RoundForm::Sum>(source, sink, stream);
}

}  // namespace lrqat::cuda
