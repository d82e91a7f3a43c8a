// Launches of the rebuild on Hopper; their kernels are spread over several files, which are translated side by side.
#pragma once

#include <algorithm>

#include "cuda/check.h"
#include "cuda/kernels/hopper.h"
#include "cuda/kernels/rebuild_hopper.cuh"
#include "cuda/kernels/rebuild_hopper_job.cuh"

namespace lrqat::cuda {

/// Of what rebuildOnHopper serves.
void launchHopperIntegers(const HopperJob& job);
void launchHopperSums(const HopperJob& job);

namespace hopper {

template <bool kGroups, bool kZeroPoints, bool kMask, class Codes>
void launch(const HopperJob& job, const Codes& codes) {
  const LinearWeight& weight = job.weight;
  const QuantSpec& spec = weight.spec;
  const Factors& factors = job.source.factors;
  LRQAT_CHECK(factors.m > 0 && factors.n > 0 && factors.rank <= kRankChunk);
  LRQAT_CHECK(static_cast<int64_t>(factors.m) * factors.n <= int64_t{1} << 30);  // byte offsets of 32 bits
  constexpr int columns = HopperShape<kMask>::columns;
  const int panels = (factors.n + columns - 1) / columns;
  const int rowBlocks = (factors.m + kStepRows - 1) / kStepRows;
  // Nearly a block for every multiprocessor, but none without a row block.
  const int perPanel = std::clamp(multiprocessors() / panels, 1, (rowBlocks + kHopperGroups - 1) / kHopperGroups);
  const HopperRebuild<Codes> arguments{elements<__nv_bfloat16>(job.out),
                                       codes,
                                       packedRowBytes(spec.codeBits(), weight.n) % 16 == 0,
                                       factors,
                                       spec.rank > 0 ? spec.gamma() : 0.0F,
                                       RowGrids::of(weight, job.lowRank.zero, 0),
                                       job.source.grids,
                                       kGroups ? job.lowRank.scale : nullptr,
                                       kGroups ? groupReciprocal(spec) : 0U,
                                       job.clipped ? job.clipped->mask : nullptr,
                                       {job.clipped ? job.clipped->counters : nullptr, job.report},
                                       perPanel};
  const auto kernel = rebuildOnHopper<Codes, kGroups, kZeroPoints, kMask>;
  constexpr int shared = HopperLayout<Codes, kMask>::bytes;
  LRQAT_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
  launchKernel(job.start, kernel, static_cast<unsigned>(perPanel * panels), kHopperThreads, shared, job.stream,
               arguments);
}

template <bool kGroups, bool kZeroPoints, class Codes>
void launchForm(const HopperJob& job, const Codes& codes) {
  job.clipped ? launch<kGroups, kZeroPoints, true>(job, codes) : launch<kGroups, kZeroPoints, false>(job, codes);
}

template <bool kZeroPoints, class Codes>
void launchGrids(const HopperJob& job, const Codes& codes) {
  const bool groups = job.weight.spec.granularity == Granularity::Group;
  groups ? launchForm<true, kZeroPoints>(job, codes) : launchForm<false, kZeroPoints>(job, codes);
}

template <class Codes>
void launchCodes(const HopperJob& job, const Codes& codes) {
  job.weight.spec.symmetric ? launchGrids<false>(job, codes) : launchGrids<true>(job, codes);
}

template <RoundForm kForm>
void launchWidth(const HopperJob& job) {
  forCodeWidth<kForm>(job.source, [&](const auto& codes) { launchCodes(job, codes); });
}

}  // namespace hopper

}  // namespace lrqat::cuda
