#include "cuda/kernels/rebuild_hopper.h"

#include "cuda/kernels/rebuild_hopper_launch.cuh"

namespace lrqat::cuda {

namespace {

bool serves(const LinearWeight& weight, const Matrix& out) {
  const QuantSpec& spec = weight.spec;
  if (spec.rank > kRankChunk || !fitsHopper(weight, out)) return false;
  if (spec.granularity == Granularity::Group && spec.groupSize % kOctet != 0) return false;
  // Grids too large for what is done with sums here.
  if (spec.storage == Storage::FixedPoint && spec.bits > 6) return false;
  // On symmetric grids the kernels of rebuild_tiles.cuh are as fast where codes are not packed.
  return isPacked(spec) || (spec.storage == Storage::BF16 && !spec.symmetric);
}

}  // namespace

bool rebuildOnHopper(const LinearWeight& weight, const LowRank& lowRank, Matrix out, const ClippedSet* clipped,
                     const ClippedReport& report, Start start, cudaStream_t stream) {
  if (!serves(weight, out) || !usesHopper()) return false;
  const RoundedSource source = trainedRows(weight, lowRank, 0, weight.m);
  if (weight.spec.rank > 0 && !(source.factors.aVectorized && source.factors.bVectorized)) return false;
  const HopperJob job{weight, lowRank, out, clipped, report, source, start, stream};
  if (weight.spec.storage == Storage::BF16) {
    hopper::launchGrids<true>(job, floatCodes<bf16>(job.source));
  } else if (weight.spec.storage == Storage::Integer) {
    launchHopperIntegers(job);
  } else {
    launchHopperSums(job);
  }
  return true;
}

}  // namespace lrqat::cuda
