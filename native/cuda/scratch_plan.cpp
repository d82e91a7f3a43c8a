#include "cuda/scratch_plan.h"

#include <algorithm>
#include <initializer_list>

#include "core/backend.h"
#include "cuda/gemm.h"
#include "cuda/kernels/activations.h"
#include "cuda/kernels/attention.h"
#include "cuda/kernels/distillation.h"
#include "cuda/kernels/heads.h"
#include "cuda/kernels/loss.h"
#include "cuda/kernels/merge.h"
#include "cuda/kernels/optimizer.h"
#include "cuda/kernels/parameter_gradients.h"
#include "cuda/kernels/quantize.h"
#include "cuda/kernels/rebuild.h"
#include "cuda/kernels/residual.h"
#include "cuda/kernels/residual_norm.h"
#include "cuda/kernels/statistics.h"
#include "cuda/kernels/swiglu.h"
#include "cuda/kernels/trained_weights.h"
#include "cuda/low_rank.h"
#include "cuda/scratch.h"

namespace lrqat::cuda {

int64_t scratchBytes(const EngineShape& shape) {
  const ModelShape& model = shape.model;
  const int64_t tokens = shape.tokens();
  int64_t bytes = std::max({rebuildScratchBytes(WeightForm::Float), mergeScratchBytes(), statisticsScratchBytes(false),
                            crossEntropyScratchBytes(logitRows(shape))});
  int64_t trained = 0;
  for (int64_t layer = 0; layer < model.layers; ++layer) {
    for (const Linear linear : allLinears) {
      if (const auto& spec = shape.spec(layer, linear)) {
        const int64_t m = outputs(model, linear);
        bytes = std::max(bytes, quantizeScratchBytes(spec->granularity, m));
        if (spec->trainsWeights()) {
          bytes = std::max({bytes, statisticsScratchBytes(true), weightGradientScratchBytes(spec->granularity, m)});
        }
        trained += (spec->rank > 0 ? 2 : 0) + (spec->learnScales ? 1 : 0) + (spec->trainsZeroPoints() ? 1 : 0) +
                   (spec->trainsWeights() ? 1 : 0);
      }
    }
  }
  if (shape.activations.staticRanges) bytes = std::max(bytes, activationRangeScratchBytes());
  if (shape.activations.learnsRanges()) {
    bytes = std::max(bytes, learnGridScratchBytes());
    trained += shape.activations.symmetric ? 1 : 2;
  }
  if (!shape.training) return Gemm::workspaceBytes + bytes;
  trained += static_cast<int64_t>(floatParameters(shape).size());

  if (shape.distillation.classes > 0) bytes = std::max(bytes, distillationScratchBytes(logitRows(shape)));
  const AttentionShape attention{.batch = shape.microBatch,
                                 .length = shape.sequenceLength,
                                 .heads = model.heads,
                                 .kvHeads = model.kvHeads,
                                 .headDim = model.headDim};
  bytes = std::max({bytes, attentionBackwardScratchBytes(attention),
                    addResidualBackwardScratchBytes(tokens, model.hiddenSize),
                    addResidualNormBackwardScratchBytes(tokens, model.hiddenSize),
                    swigluBackwardScratchBytes(tokens, model.intermediateSize),
                    projectHeadsBackwardScratchBytes(tokens, model.queryWidth()),
                    rmsNormWeightGradientScratchBytes(tokens, model.hiddenSize),
                    headNormWeightGradientScratchBytes(tokens, model.headDim), squaredNormScratchBytes(),
                    Scratch::padded(trained * static_cast<int64_t>(sizeof(DeviceAdamWTensor)))});
  const auto shared = [&](std::initializer_list<Linear> group) {
    for (int64_t layer = 0; layer < model.layers; ++layer) {
      int64_t rankSum = 0;
      int64_t widest = 0;
      for (const Linear linear : group) {
        if (const auto& spec = shape.spec(layer, linear)) {
          rankSum += (spec->rank + 31) / 32 * 32;
          widest = std::max(widest, outputs(model, linear));
        }
      }
      if (widest == 0) continue;
      bytes = std::max(bytes, LowRankGradient::scratchBytes(tokens, inputs(model, *group.begin()), widest, rankSum));
    }
  };
  shared({Linear::Q, Linear::K, Linear::V});
  shared({Linear::O});
  shared({Linear::Gate, Linear::Up});
  shared({Linear::Down});
  return Gemm::workspaceBytes + bytes;
}

}  // namespace lrqat::cuda
