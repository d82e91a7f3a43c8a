#include "cuda/kernels/rebuild_hopper_ranks.h"

#include <algorithm>
#include <array>

#include "cuda/check.h"
#include "cuda/kernels/hopper.h"
#include "cuda/kernels/rebuild_hopper_job.cuh"
#include "cuda/kernels/rebuild_hopper_ranks.cuh"

namespace lrqat::cuda {

namespace {

CUtensorMap outputMap(const Matrix& out) {
  const std::array<cuuint64_t, 2> sizes{static_cast<cuuint64_t>(out.cols), static_cast<cuuint64_t>(out.rows)};
  const std::array<cuuint64_t, 1> strides{static_cast<cuuint64_t>(out.cols) * 2};
  const std::array<cuuint32_t, 2> box{ranks::kBoxColumns, 16};
  const std::array<cuuint32_t, 2> steps{1, 1};
  CUtensorMap map;
  const CUresult result =
      tensorMapEncoder()(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, out.data, sizes.data(), strides.data(), box.data(),
                         steps.data(), CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                         CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  LRQAT_CHECK(result == CUDA_SUCCESS);
  return map;
}

template <bool kGroups, bool kMask, int kChunks, class Codes>
void launch(const HopperJob& job, const Codes& codes) {
  const LinearWeight& weight = job.weight;
  const QuantSpec& spec = weight.spec;
  const Factors& factors = job.source.factors;
  LRQAT_CHECK(factors.m > 0 && factors.n > 0 && factors.rank <= kRankChunk * kChunks);
  LRQAT_CHECK(static_cast<int64_t>(factors.m) * factors.n <= int64_t{1} << 30);  // byte offsets of 32 bits
  const int panels = (factors.n + ranks::kPanelColumns - 1) / ranks::kPanelColumns;
  const int rowBlocks = (factors.m + ranks::kRows - 1) / ranks::kRows;
  // Nearly a block for every multiprocessor, but none without a row block.
  const int perPanel = std::clamp(multiprocessors() / panels, 1, rowBlocks);
  const ranks::Rebuild<Codes> arguments{outputMap(job.out),
                                        codes,
                                        factors,
                                        spec.gamma(),
                                        RowGrids::of(weight, job.lowRank.zero, 0),
                                        job.source.grids,
                                        kGroups ? job.lowRank.scale : nullptr,
                                        kGroups ? static_cast<uint32_t>(weight.n / spec.groupSize) : 1U,
                                        kGroups ? groupReciprocal(spec) : 0U,
                                        job.clipped ? job.clipped->mask : nullptr,
                                        {job.clipped ? job.clipped->counters : nullptr, job.report},
                                        perPanel};
  const auto kernel = ranks::rebuild<Codes, kGroups, kMask, kChunks>;
  constexpr int shared = ranks::kSharedBytes<kChunks>;
  LRQAT_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
  launchKernel(job.start, kernel, static_cast<unsigned>(perPanel * panels), ranks::kThreads<kChunks>, shared,
               job.stream, arguments);
}

template <bool kGroups, int kChunks, class Codes>
void launchForm(const HopperJob& job, const Codes& codes) {
  job.clipped ? launch<kGroups, true, kChunks>(job, codes) : launch<kGroups, false, kChunks>(job, codes);
}

template <class Codes>
void launchCodes(const HopperJob& job, const Codes& codes) {
  const QuantSpec& spec = job.weight.spec;
  if (spec.granularity == Granularity::Group) {
    spec.rank <= 2 * kRankChunk ? launchForm<true, 2>(job, codes) : launchForm<true, 4>(job, codes);
  } else {
    spec.rank <= 2 * kRankChunk ? launchForm<false, 2>(job, codes) : launchForm<false, 4>(job, codes);
  }
}

template <RoundForm kForm>
void launchWidth(const HopperJob& job) {
  forCodeWidth<kForm>(job.source, [&](const auto& codes) { launchCodes(job, codes); });
}

bool serves(const LinearWeight& weight, const Matrix& out) {
  const QuantSpec& spec = weight.spec;
  if (spec.rank <= kRankChunk || spec.rank > 4 * kRankChunk) return false;
  if (!fitsHopper(weight, out)) return false;
  if (spec.granularity == Granularity::Group && spec.groupSize % ranks::kLaneColumns != 0) return false;
  return isPacked(spec) || spec.storage == Storage::BF16;
}

}  // namespace

bool rebuildRanksOnHopper(const LinearWeight& weight, const LowRank& lowRank, Matrix out, const ClippedSet* clipped,
                          const ClippedReport& report, Start start, cudaStream_t stream) {
  if (!serves(weight, out) || !usesHopper()) return false;
  const RoundedSource source = trainedRows(weight, lowRank, 0, weight.m);
  if (!(source.factors.aVectorized && source.factors.bVectorized)) return false;
  const HopperJob job{weight, lowRank, out, clipped, report, source, start, stream};
  if (weight.spec.storage == Storage::BF16) {
    launchCodes(job, floatCodes<bf16>(job.source));
  } else if (weight.spec.storage == Storage::Integer) {
    launchWidth<RoundForm::Product>(job);
  } else {
    launchWidth<RoundForm::Sum>(job);
  }
  return true;
}

}  // namespace lrqat::cuda
