#include "cpu/cpu_backend.h"

#include <algorithm>
#include <cstdlib>

#include "core/error.h"
#include "core/memory_plan.h"
#include "cpu/gemm.h"

namespace lrqat::cpu {

CpuBackend::CpuBackend(const CpuOptions& options)
    : options_(options), threads_(options.threads), computeType_(options.computeType) {
  if (options.threads < 1) throw Error(ErrorCode::InvalidArgument, "threads must be at least 1");
  if (options.computeType == DType::F16)
    throw Error(ErrorCode::InvalidArgument, "compute type must be float32 or bf16");
  gemm_ = std::make_unique<Gemm>(options.oneDnnPath, options.threads, options.preferLibrary);
}

CpuBackend::~CpuBackend() {
  for (void* memory : allocations_) std::free(memory);
}

int64_t CpuBackend::scratchBytes(const EngineShape& shape) const {
  const ModelShape& model = shape.model;
  const int64_t tokens = shape.tokens();
  const AttentionShape attention{.batch = shape.microBatch,
                                 .length = shape.sequenceLength,
                                 .heads = model.heads,
                                 .kvHeads = model.kvHeads,
                                 .headDim = model.headDim};
  const int64_t widest = std::max({model.hiddenSize, model.intermediateSize, model.queryWidth(), model.kvWidth()});
  int64_t bytes = std::max(attentionScratchBytes(attention, shape.computeType, shape.threads),
                           elementwiseScratchBytes(tokens, widest, shape.threads));
  for (int64_t layer = 0; layer < model.layers; ++layer) {
    for (const Linear linear : allLinears) {
      if (const auto& spec = shape.spec(layer, linear)) {
        bytes = std::max(bytes, rebuildScratchBytes(outputs(model, linear), inputs(model, linear), spec->rank));
      }
    }
  }
  if (!shape.training) return Gemm::scratchBytes(shape.threads) + bytes;
  const auto lowRank = [&](std::initializer_list<Linear> group) {
    for (int64_t layer = 0; layer < model.layers; ++layer) {
      int64_t totalRank = 0;
      int64_t widestOutput = 0;
      for (const Linear linear : group) {
        if (const auto& spec = shape.spec(layer, linear)) {
          totalRank += spec->rank;
          widestOutput = std::max(widestOutput, outputs(model, linear));
        }
      }
      if (widestOutput == 0) continue;
      bytes = std::max(bytes, lowRankScratchBytes(tokens, inputs(model, *group.begin()), widestOutput, totalRank,
                                                  shape.computeType, shape.threads));
    }
  };
  lowRank({Linear::Q, Linear::K, Linear::V});
  lowRank({Linear::O});
  lowRank({Linear::Gate, Linear::Up});
  lowRank({Linear::Down});
  const int64_t whole = Gemm::scratchBytes(shape.threads) + bytes;
  return shape.lanes > 1 ? std::max(whole, shape.lanesAtOnce() * laneScratchBytes(shape)) : whole;
}

}  // namespace lrqat::cpu
