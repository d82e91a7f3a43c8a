// The weight of a linear for the products: integers Q for tensor and channel scales, s∘Q for groups, the plain weight
// where it is not quantized.
#pragma once

#include <cuda_runtime_api.h>

#include "core/types.h"
#include "cuda/kernels/clipped_count.h"
#include "cuda/kernels/early_launch.h"
#include "cuda/kernels/staging.h"
#include "cuda/scratch.h"

namespace lrqat::cuda {

/// Device memory that `rebuildWeight` takes; forms other than Trained read host memory in panels.
constexpr int64_t rebuildScratchBytes(WeightForm form) {
  return form == WeightForm::Trained ? 0 : Scratch::padded(HostStaging::panelBytes);
}

/// out [m, n] F32 or BF16. Trained: `exact` takes A·B as float32 sums in the CPU's order, otherwise on tensor cores;
/// everything that rounds this weight in a run must use one of them. Early: no kernel since the last one that was
/// launched in order writes codes, A, B, scales or zero points of the weight. Other forms read weight.source or
/// weight.merged (host memory) through `staging` and wait for transfers. With `clipped`, writes the mask (all zero for
/// forms other than Trained) and publishes the number of its bits in `report`.
void rebuildWeight(const LinearWeight& weight, const LowRank& lowRank, WeightForm form, Matrix out,
                   const ClippedSet* clipped, const ClippedReport& report, bool exact, Start start,
                   HostStaging& staging, Scratch& scratch, cudaStream_t stream);

}  // namespace lrqat::cuda
