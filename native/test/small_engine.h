// Engines on the CPU for small random decoders, and what is done with them.
#pragma once

#include <cstdlib>
#include <memory>

#include "core/engine.h"
#include "cpu/cpu_backend.h"
#include "test/small_model.h"

namespace lrqat::test {

constexpr int64_t kLength = 12;

inline EngineConfig configure(const RandomCheckpoint& checkpoint, const ModelShape& model, const QuantSpec& spec) {
  EngineConfig config;
  config.shape.model = model;
  config.shape.linears.assign(static_cast<size_t>(model.layers * linearsPerLayer), spec);
  config.shape.threads = 2;
  config.shape.microBatch = 2;
  config.shape.sequenceLength = kLength;
  config.tensors = checkpoint.tensors;
  config.seed = 3;
  return config;
}

/// oneDNN compiles each product it has not met, which takes longer than the small models here: `library` only where
/// asked.
inline Engine open(const EngineConfig& config, bool library = false) {
  cpu::CpuOptions options;
  options.threads = config.shape.threads;
  options.computeType = config.shape.computeType;
  if (const char* path = std::getenv("LRQAT_TEST_ONEDNN"); path && library) options.oneDnnPath = path;
  return {config, std::make_unique<cpu::CpuBackend>(options)};
}

inline RandomTokens tokensOf(int64_t sequences, const ModelShape& model) {
  return RandomTokens(sequences, kLength, model.vocabSize);
}

inline const OptimizerSettings optimizer{.lowRankLearningRate = 1e-2, .scaleLearningRate = 1e-4, .gradientClip = 1.0};

inline void trainEvaluateMerge(const EngineConfig& config) {
  Engine engine = open(config);
  engine.load({}, {});
  const RandomTokens four = tokensOf(4, config.shape.model);
  const RandomTokens three = tokensOf(3, config.shape.model);
  const double before = engine.evaluate(four.batch(), WeightForm::Trained).lossSum;
  // Integer storage moves only once |C| passes one half: larger steps, and more of them.
  const bool integers = config.shape.linears[0]->storage == Storage::Integer;
  OptimizerSettings settings = optimizer;
  if (integers) settings.lowRankLearningRate *= 4;
  for (int step = 0; step < (integers ? 12 : 6); ++step)
    expect(!engine.trainStep(four.batch(), settings).skipped, "a step was skipped");
  expect(engine.evaluate(four.batch(), WeightForm::Trained).lossSum < before, "training did not lower the loss");
  for (const WeightForm form : {WeightForm::Float, WeightForm::RoundToNearest, WeightForm::Trained}) {
    const double loss = engine.evaluate(three.batch(), form).lossSum;
    expect(std::isfinite(loss) && loss > 0, "an evaluation is not finite");
  }
  expectEqual(engine.layerStatistics().size(), static_cast<size_t>(config.shape.model.layers * linearsPerLayer),
              "statistics of all linears");
  for (size_t i = 0; i < static_cast<size_t>(config.shape.model.layers * linearsPerLayer); ++i) {
    expectEqual(engine.merge(i).size(), engine.merge(i).size(), "merged bytes");
    expect(!engine.phi0(i).empty(), "no Φ0");
  }
}

}  // namespace lrqat::test
