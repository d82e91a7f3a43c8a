// Engines on CUDA and on the CPU for the same small random decoders, and the cases they are compared in.
#pragma once

#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/cuda_library.h"
#include "core/engine.h"
#include "cpu/cpu_backend.h"
#include "cuda/test/library_path.h"
#include "test/small_model.h"

namespace lrqat::test {

/// Opened by main; without it there is nothing to test.
inline std::optional<CudaLibrary> library;

inline ModelShape wideModel() {
  ModelShape m;
  m.hiddenSize = 256;
  m.intermediateSize = 384;
  m.layers = 2;
  m.heads = 4;
  m.kvHeads = 2;
  m.headDim = 64;
  m.vocabSize = 515;
  return m;
}

/// Widths that no vector access and no tile likes.
inline ModelShape oddModel() {
  ModelShape m;
  m.hiddenSize = 44;
  m.intermediateSize = 86;
  m.layers = 2;
  m.heads = 4;
  m.kvHeads = 2;
  m.headDim = 22;
  m.vocabSize = 37;
  m.qkvBias = m.outputBias = m.mlpBias = m.qkNorm = true;
  return m;
}

inline QuantSpec specOf(int bits, Storage storage, int64_t group, ScaleDomain domain = ScaleDomain::Linear) {
  QuantSpec spec;
  spec.bits = bits;
  spec.fractionBits = 8 - bits;
  spec.storage = storage;
  spec.granularity = group == 0 ? Granularity::Tensor : group < 0 ? Granularity::Channel : Granularity::Group;
  spec.groupSize = group > 0 ? group : 0;
  spec.range = RangeMethod::Lp3;
  spec.scaleDomain = domain;
  spec.rank = 8;
  spec.alpha = 8;
  return spec;
}

struct EngineCase {
  std::string label;
  ModelShape model;
  QuantSpec spec;
  int64_t length = 70;
  bool checkpoint = false;
  bool recompute = true;
  bool documents = false;
  bool onHost = false;
  FloatGroups floats = {};
  ActivationSpec activations = {};
};

inline ActivationSpec activationsOf(int bits, int kvBits) {
  ActivationSpec spec;
  spec.bits.fill(bits);
  spec.bits[static_cast<size_t>(ActivationSite::Keys)] = kvBits;
  spec.bits[static_cast<size_t>(ActivationSite::Values)] = kvBits;
  return spec;
}

inline ActivationSpec staticRanges(int bits, bool symmetric, bool learn) {
  ActivationSpec spec = activationsOf(bits, bits);
  spec.staticRanges = true;
  spec.symmetric = symmetric;
  spec.learnRanges = learn;
  spec.gradientScaling = symmetric;
  return spec;
}

inline EngineConfig configure(const EngineCase& c, const RandomCheckpoint& checkpoint, Device device, DType type) {
  EngineConfig config;
  config.shape.model = c.model;
  config.shape.linears.assign(static_cast<size_t>(c.model.layers * linearsPerLayer), c.spec);
  config.shape.linears[3] = std::nullopt;  // one linear stays in float
  config.shape.floatGroups = c.floats;
  config.shape.activations = c.activations;
  config.shape.threads = 2;
  config.shape.microBatch = 2;
  config.shape.sequenceLength = c.length;
  config.shape.checkpointBlocks = c.checkpoint;
  config.shape.device = device;
  config.shape.computeType = type;
  if (device == Device::Cuda) {
    config.shape.residualType = type;
    config.shape.recomputeElementwise = c.recompute;
    config.shape.embeddingsOnHost = c.onHost;
    config.shape.optimizerOnHost = c.onHost;
  }
  config.tensors = checkpoint.tensors;
  config.seed = 3;
  return config;
}

inline std::unique_ptr<Backend> backendOf(const EngineConfig& config, bool graphs = true) {
  const DType type = config.shape.computeType;
  if (config.shape.device == Device::Cpu) {
    return std::make_unique<cpu::CpuBackend>(cpu::CpuOptions{.threads = 2, .computeType = type, .oneDnnPath = {}});
  }
  return library->createBackend(
      {.library = {}, .cublasLt = cublasLtPath(), .index = 0, .computeType = type, .graphs = graphs});
}

inline Engine open(const EngineConfig& config) {
  return {config, backendOf(config)};
}

/// Static ranges of an engine that has been loaded, where its activations have any.
inline void calibrate(Engine& engine, const RandomTokens& tokens) {
  if (engine.shape().activations.staticRanges) engine.calibrateActivations(tokens.batch());
}

inline const OptimizerSettings optimizer{.lowRankLearningRate = 2e-3F,
                                         .scaleLearningRate = 1e-4F,
                                         .zeroPointLearningRate = 1e-2F,
                                         .weightLearningRate = 1e-4F,
                                         .normLearningRate = 1e-4F,
                                         .headLearningRate = 1e-4F,
                                         .embeddingLearningRate = 1e-4F,
                                         .activationLearningRate = 1e-4F,
                                         .gradientClip = 1.0};

struct Tolerance {
  double loss, gradient, flipped;
};

/// float32: sums in another order. A weight within such a difference of a tie may round the other way, which moves its
/// gradient and everything after it by as much as one integer of 2^15 can. bf16: every activation is rounded to 2^-9.
constexpr Tolerance float32{2e-5, 2e-3, 1e-3};
constexpr Tolerance bfloat16{2e-2, 6e-2, 6e-2};

}  // namespace lrqat::test
