// A training step: gradients of a batch, then the optimizer.
#include <algorithm>
#include <cmath>

#include "core/engine.h"
#include "core/engine_batch.h"
#include "core/error.h"

namespace lrqat {

void Engine::finishScaleGradients() {
  std::vector<ScaleGradientTask> tasks;
  for (const LinearLayer& l : linears_) {
    // Group scales get theirs from the low-rank gradient, and integer storage trains the scale itself.
    const QuantSpec& spec = l.weight.spec;
    if (!l.quantized || !l.buffers.gradient.theta || spec.granularity == Granularity::Group) continue;
    if (spec.storage == Storage::Integer || spec.trainsWeights()) continue;
    tasks.push_back({&l.weight, l.buffers.value.theta, l.buffers.scale, l.buffers.gradient.theta});
  }
  if (!tasks.empty()) backend_->finishScaleGradients(tasks);
}

void Engine::finishWeightGradients() {
  std::vector<WeightGradientTask> tasks;
  for (const LinearLayer& l : linears_) {
    const ParameterBuffers& gradient = l.buffers.gradient;
    if (!l.quantized || !gradient.weight) continue;
    tasks.push_back({.weight = &l.weight,
                     .lowRank = l.lowRank(),
                     .theta = l.buffers.value.theta,
                     .zeroTheta = l.buffers.value.zero,
                     .gradient = {nullptr, nullptr, gradient.theta, gradient.zero, gradient.weight}});
  }
  if (!tasks.empty()) backend_->finishWeightGradients(tasks);
}

void Engine::zeroGradients() {
  if (!gradientMemory_) return;
  std::vector<std::pair<std::byte*, int64_t>> written;  // without regard to what is there
  const auto add = [&](float* gradient, int64_t count) {
    if (gradient) written.emplace_back(reinterpret_cast<std::byte*>(gradient), count * 4);
  };
  for (const LinearLayer& l : linears_) {
    const ParameterBuffers& gradient = l.buffers.gradient;
    if (!l.quantized || !gradient.weight) continue;
    const int64_t scales = l.weight.spec.scaleCount(l.weight.m, l.weight.n);
    add(gradient.weight, l.weight.m * l.weight.n);
    add(gradient.theta, scales);
    add(gradient.zero, scales);
  }
  const FloatTensor head = config_.shape.model.tiedEmbeddings ? FloatTensor::Table : FloatTensor::Head;
  for (const FloatParameter& p : floats_) {
    if (p.tensor == head) add(p.gradient, p.count());
  }
  std::sort(written.begin(), written.end());
  auto* at = static_cast<std::byte*>(gradientMemory_);
  written.emplace_back(at + parts_.gradients, 0);
  for (const auto& [start, bytes] : written) {
    // Less than an allocation's alignment is padding, which stays zero.
    if (start - at >= Layout::alignment) backend_->zero(at, start - at);
    at = start + bytes;
  }
}

static double learningRate(const ParameterInfo& parameter, const OptimizerSettings& settings) {
  if (parameter.group) {
    switch (*parameter.group) {
      case FloatGroup::Norms:
        return settings.normLearningRate;
      case FloatGroup::Head:
        return settings.headLearningRate;
      case FloatGroup::Embeddings:
        return settings.embeddingLearningRate;
    }
  }
  switch (parameter.kind) {
    case ParameterKind::A:
    case ParameterKind::B:
      return settings.lowRankLearningRate;
    case ParameterKind::Scale:
      return settings.scaleLearningRate;
    case ParameterKind::ZeroPoint:
      return settings.zeroPointLearningRate;
    case ParameterKind::Weight:
      return settings.weightLearningRate;
  }
  return 0;
}

Decoder::Losses Engine::accumulateGradients(const TokenBatch& batch, float gradientScale) {
  const EngineShape& shape = config_.shape;
  const auto part = [&](int64_t micro, int64_t first, int64_t count) {
    MicroBatch sequences = microBatch(batch, micro + first, count);
    sequences.first = micro == 0;
    return sequences;
  };
  const auto accumulate = [&] {
    zeroGradients();
    decoder_->clearLosses();
    for (int64_t micro = 0; micro < batch.sequences; micro += shape.microBatch) {
      if (!decoder_->trainMicroBatch(part(micro, 0, shape.microBatch), gradientScale)) return false;
    }
    return true;
  };
  if (!lanes_) {
    // Nothing but gradients and loss has changed when a recorded micro-batch turns out not to fit any more.
    while (!accumulate()) {
    }
    return decoder_->losses();
  }
  lanes_->begin();
  const int64_t each = shape.microBatch / shape.lanes;
  for (int64_t micro = 0; micro < batch.sequences; micro += shape.microBatch) {
    std::vector<MicroBatch> parts;
    for (int64_t lane = 0; lane < shape.lanes; ++lane) parts.push_back(part(micro, lane * each, each));
    lanes_->trainMicroBatch(parts, gradientScale);
  }
  lanes_->addGradients();
  return lanes_->losses();
}

StepResult Engine::trainStep(const TokenBatch& batch, const OptimizerSettings& settings) {
  requireLoaded();
  const EngineShape& shape = config_.shape;
  if (!shape.training) throw Error(ErrorCode::InvalidArgument, "the engine was created for evaluation only");
  checkBatch(batch);
  checkTeacher(batch);
  if (!batch.hiddenFrom.empty()) throw Error(ErrorCode::InvalidArgument, "hidden keys are for evaluation alone");
  if (batch.sequences % shape.microBatch != 0) {
    throw Error(ErrorCode::InvalidArgument, std::to_string(batch.sequences) +
                                                " sequences are no multiple of the micro-batch of " +
                                                std::to_string(shape.microBatch));
  }
  StepResult result;
  result.tokens = predicted(batch.targets);
  if (result.tokens == 0) throw Error(ErrorCode::InvalidArgument, "the batch predicts no token");

  prepare(WeightForm::Trained);
  prepareGrids(WeightForm::Trained);
  const float gradientScale = 1.0F / static_cast<float>(result.tokens);
  const Decoder::Losses losses = accumulateGradients(batch, gradientScale);
  finishScaleGradients();
  finishWeightGradients();
  if (ranges_) ranges_->finishGradients(batch.sequences * batch.length);
  result.crossEntropy = losses.crossEntropy / static_cast<double>(result.tokens);
  result.divergence = losses.divergence / static_cast<double>(result.tokens);
  result.loss = result.crossEntropy;
  if (const Distillation& distillation = shape.distillation; distillation.classes > 0) {
    const auto weight = static_cast<double>(distillation.weight);
    const auto temperature = static_cast<double>(distillation.temperature);
    result.loss = (1 - weight) * result.crossEntropy + weight * temperature * temperature * result.divergence;
  }
  // All gradients at once (of lanes the first one's hold the sum); the padding between them is zero.
  if (gradientMemory_) {
    result.gradientNorm = std::sqrt(
        backend_->squaredNorm(static_cast<const float*>(gradientMemory_), parts_.gradients / shape.lanes / 4));
  }
  if (!std::isfinite(result.loss) || !std::isfinite(result.gradientNorm)) {
    result.skipped = true;
    return result;
  }
  if (cancel_.load()) throw Error(ErrorCode::Cancelled, "cancelled");  // the last moment at which nothing has changed

  AdamW adam{.beta1 = settings.beta1,
             .beta2 = settings.beta2,
             .epsilon = settings.epsilon,
             .weightDecay = settings.weightDecay,
             .step = ++optimizerStep_,
             .gradientFactor = 1};
  if (settings.gradientClip) {
    // float32 like the reference: coefficient = min(1, clip / (norm + 1e-6)).
    const float coefficient =
        static_cast<float>(*settings.gradientClip) / (static_cast<float>(result.gradientNorm) + 1e-6F);
    adam.gradientFactor = std::min(1.0F, coefficient);
  }
  std::vector<AdamWTensor> tensors;
  tensors.reserve(parameters_.size());
  for (const ParameterInfo& p : parameters_) {
    tensors.push_back({.value = state(p.linear, p.kind, StateKind::Value).data(),
                       .gradient = state(p.linear, p.kind, StateKind::Gradient).data(),
                       .moment1 = state(p.linear, p.kind, StateKind::Moment1).data(),
                       .moment2 = state(p.linear, p.kind, StateKind::Moment2).data(),
                       .count = p.count(),
                       .learningRate = p.linear == linears_.size() + floats_.size() ? settings.activationLearningRate
                                                                                    : learningRate(p, settings)});
  }
  backend_->adamw(adam, tensors);
  floatsAt_ = FloatsAt::Unknown;
  return result;
}

}  // namespace lrqat
