#include "cuda/kernels/rebuild.h"

#include <bit>

#include "cuda/check.h"
#include "cuda/kernels/rebuild_hopper.h"
#include "cuda/kernels/rebuild_hopper_ranks.h"
#include "cuda/kernels/rebuild_sink.cuh"
#include "cuda/kernels/rebuild_tiles.cuh"
#include "cuda/kernels/source_rows.cuh"
#include "cuda/kernels/trained_weights.h"

namespace lrqat::cuda {

namespace {

constexpr int kThreads = 256;

/// One thread an element: out = clip(round(W/s0)), times s0 for groups.
template <typename From, typename E>
__global__ void roundToNearest(SourceRows<From> source, ColumnScales scales, RowGrids grids, bool multiply, E* out,
                               int64_t count) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= count) return;
  const int64_t row = at / source.n;
  const float scale = scales.at(row, at % source.n);
  const float low = grids.low(static_cast<uint32_t>(row), static_cast<uint32_t>(at % source.n));
  const float q = roundSmall(clampTo(__fdiv_rn(source.at(at), scale), low, low + grids.levels));
  out[at] = fromFloat<E>(multiply ? q * scale : q);
}

template <typename From, typename E>
__global__ void convertRows(SourceRows<From> source, E* out, int64_t count) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at < count) out[at] = fromFloat<E>(source.at(at));
}

unsigned blocksFor(int64_t count) {
  return static_cast<unsigned>((count + kThreads - 1) / kThreads);
}

template <typename E, bool kMask, WeightLayout kLayout>
WeightSink<E, kMask, kLayout> weightSink(const LinearWeight& weight, const LowRank& lowRank, Matrix out,
                                         const ClippedSet* clipped, const ClippedReport& report, int64_t firstRow) {
  const QuantSpec& spec = weight.spec;
  const int64_t n = weight.n;
  const bool group = spec.granularity == Granularity::Group;
  const auto size = group ? static_cast<uint32_t>(spec.groupSize) : 1U;
  const int64_t groups = group ? n / spec.groupSize : 1;
  return {elements<E>(out) + firstRow * n,
          group ? lowRank.scale + firstRow * groups : nullptr,
          size,
          static_cast<uint32_t>(std::bit_width(size)) - 1U,
          static_cast<uint32_t>(groups),
          static_cast<uint32_t>((weight.m - firstRow) * groups - 1),
          clipped ? clipped->mask : nullptr,
          {clipped ? clipped->counters : nullptr, report},
          static_cast<float>(spec.qmin()),
          static_cast<float>(spec.qmax()),
          static_cast<uint32_t>(n),
          RowGrids::of(weight, lowRank.zero, firstRow)};
}

WeightLayout layoutOf(const LinearWeight& weight, const Matrix& out) {
  if (weight.n % kOctet != 0 || reinterpret_cast<uintptr_t>(out.data) % 16 != 0) return WeightLayout::Any;
  if (!weight.spec.symmetric) return WeightLayout::Octets;
  if (weight.spec.granularity != Granularity::Group) return WeightLayout::Integers;
  const auto size = static_cast<uint64_t>(weight.spec.groupSize);
  return size >= kOctet && std::has_single_bit(size) ? WeightLayout::Groups : WeightLayout::Any;
}

template <typename E, bool kMask>
void rebuildTrained(const LinearWeight& weight, const LowRank& lowRank, Matrix out, const ClippedSet* clipped,
                    const ClippedReport& report, bool exact, Start start, cudaStream_t stream) {
  if (!exact && (rebuildOnHopper(weight, lowRank, out, clipped, report, start, stream) ||
                 rebuildRanksOnHopper(weight, lowRank, out, clipped, report, start, stream))) {
    return;
  }
  const RoundedSource source = trainedRows(weight, lowRank, 0, weight.m);
  const auto sink = [&]<WeightLayout kLayout>() {
    return weightSink<E, kMask, kLayout>(weight, lowRank, out, clipped, report, 0);
  };
  if (exact) return launchRounded<true>(source, sink.template operator()<WeightLayout::Any>(), stream);
  // The training path; the others are there for every shape and for tests.
  if constexpr (sizeof(E) == 2) {
    switch (layoutOf(weight, out)) {
      case WeightLayout::Integers:
        return launchRoundedFast(source, sink.template operator()<WeightLayout::Integers>(), stream);
      case WeightLayout::Groups:
        return launchRoundedFast(source, sink.template operator()<WeightLayout::Groups>(), stream);
      case WeightLayout::Octets:
        return launchShiftedFast(source, sink.template operator()<WeightLayout::Octets>(), stream);
      case WeightLayout::Any:
        break;
    }
  }
  launchRounded<false>(source, sink.template operator()<WeightLayout::Any>(), stream);
}

void rebuildMerged(const LinearWeight& weight, const LowRank& lowRank, Matrix out, HostStaging& staging,
                   Scratch& scratch, cudaStream_t stream) {
  auto* panel = scratch.take<std::byte>(HostStaging::panelBytes);
  const auto launch = [&](int64_t first, int64_t rows) {
    dispatchActivation(out.type, [&](auto e) {
      launchRounded<false>(mergedRows(weight, lowRank, panel, first, rows),
                           weightSink<decltype(e), false, WeightLayout::Any>(weight, lowRank, out, nullptr, {}, first),
                           stream);
    });
  };
  forPanels(staging, weight.merged, weight.m, packedRowBytes(weight.spec.bits, weight.n), panel, stream, launch);
}

/// Float and RoundToNearest.
void rebuildFromSource(const LinearWeight& weight, WeightForm form, Matrix out, HostStaging& staging, Scratch& scratch,
                       cudaStream_t stream) {
  const int64_t n = weight.n;
  auto* panel = scratch.take<std::byte>(HostStaging::panelBytes);
  const auto launch = [&](int64_t first, int64_t rows) {
    dispatchSource(weight.source.type, [&](auto from) {
      using From = decltype(from);
      dispatchActivation(out.type, [&](auto e) {
        using E = decltype(e);
        const SourceRows<From> source{reinterpret_cast<const From*>(panel), n};
        E* target = elements<E>(out) + first * n;
        const int64_t count = rows * n;
        if (form == WeightForm::Float) {
          convertRows<<<blocksFor(count), kThreads, 0, stream>>>(source, target, count);
        } else {
          const QuantSpec& spec = weight.spec;
          roundToNearest<<<blocksFor(count), kThreads, 0, stream>>>(
              source, ColumnScales::of(spec, weight.scale0, n, first), RowGrids::of(weight, weight.zero0, first),
              spec.granularity == Granularity::Group, target, count);
        }
        LRQAT_CUDA(cudaGetLastError());
      });
    });
  };
  forPanels(staging, weight.source.data, weight.m, n * byteSize(weight.source.type), panel, stream, launch);
}

}  // namespace

void rebuildWeight(const LinearWeight& weight, const LowRank& lowRank, WeightForm form, Matrix out,
                   const ClippedSet* clipped, const ClippedReport& report, bool exact, Start start,
                   HostStaging& staging, Scratch& scratch, cudaStream_t stream) {
  LRQAT_CHECK(out.rows == weight.m && out.cols == weight.n && out.type != DType::F16);
  LRQAT_CHECK(form != WeightForm::Merged || weight.merged);
  if (clipped) {
    LRQAT_CHECK(clipped->mask && clipped->counters && report.published);
    LRQAT_CHECK(weight.m * weight.n <= UINT32_MAX);
    if (form != WeightForm::Trained) {
      const int64_t words = weight.m * ((weight.n + 31) / 32);
      LRQAT_CUDA(cudaMemsetAsync(clipped->mask, 0, static_cast<size_t>(words) * 4, stream));
      publishNoneClipped(report, stream);
    }
  }
  switch (form) {
    case WeightForm::Trained:
      if (weight.spec.trainsWeights()) {
        LRQAT_CHECK(!clipped);
        return rebuildTrainedWeight(weight, lowRank, out, stream);
      }
      return dispatchActivation(out.type, [&](auto e) {
        using E = decltype(e);
        return clipped ? rebuildTrained<E, true>(weight, lowRank, out, clipped, report, exact, start, stream)
                       : rebuildTrained<E, false>(weight, lowRank, out, clipped, report, exact, start, stream);
      });
    case WeightForm::Merged:
      return rebuildMerged(weight, lowRank, out, staging, scratch, stream);
    case WeightForm::RoundToNearest:
    case WeightForm::Float:
      return rebuildFromSource(weight, form, out, staging, scratch, stream);
  }
}

}  // namespace lrqat::cuda
