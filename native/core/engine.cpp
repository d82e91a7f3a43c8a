#include "core/engine.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "core/host_tensor.h"

namespace lrqat {

Engine::Engine(EngineConfig config, std::unique_ptr<Backend> backend)
    : config_(std::move(config)), backend_(std::move(backend)) {
  const EngineShape& shape = config_.shape;
  const size_t count = static_cast<size_t>(shape.model.layers * linearsPerLayer);
  LRQAT_CHECK(shape.linears.size() == count);
  linears_.resize(count);
  for (int64_t layer = 0; layer < shape.model.layers; ++layer) {
    for (const Linear linear : allLinears) names_.push_back(layerPrefix(layer) + name(linear));
  }
  if (shape.model.tiedEmbeddings && shape.floatGroups.head) {
    throw Error(ErrorCode::InvalidArgument, "head and embedding table of this model are one tensor",
                "train the group embeddings, which stands for both");
  }
  mapTensors();
  for (int64_t layer = 0; layer < shape.model.layers; ++layer) {
    for (const Linear linear : allLinears) {
      const auto index = static_cast<size_t>(layer * linearsPerLayer + static_cast<int64_t>(linear));
      LinearLayer& l = linears_[index];
      l.weight.m = outputs(shape.model, linear);
      l.weight.n = inputs(shape.model, linear);
      l.weight.source = hostTensor(names_[index] + ".weight", {l.weight.m, l.weight.n});
      if (const auto& spec = shape.spec(layer, linear)) {
        l.weight.spec = *spec;
        l.quantized = true;
      }
    }
  }
  parts_ = memoryParts(shape, backend_->scratchBytes(shape));
  if (config_.plan && *config_.plan != parts_) {
    const auto list = [](const MemoryParts& p) {
      return "quantizedWeights " + std::to_string(p.quantizedWeights) + ", parameters " + std::to_string(p.parameters) +
             ", gradients " + std::to_string(p.gradients) + ", optimizer " + std::to_string(p.optimizer) +
             ", embeddings " + std::to_string(p.embeddings) + ", activations " + std::to_string(p.activations) +
             ", workspace " + std::to_string(p.workspace) + ", host " + std::to_string(p.host);
    };
    throw Error(ErrorCode::PlanMismatch, "the memory plan is not what the engine needs; planned: " +
                                             list(*config_.plan) + "; needed: " + list(parts_));
  }
  allocate();
  loadEmbeddings();
  const ModelShape& model = shape.model;
  const HostTensor table = hostTensor("model.embed_tokens.weight", {model.vocabSize, model.hiddenSize});
  decoder_ =
      std::make_unique<Decoder>(config_.shape, *backend_, linears_, embeddings_, floatGradients(config_.shape, floats_),
                                table, activations_, workspace_, ranges_.get());
  decoder_->setCancelFlag(&cancel_);
}

void Engine::allocate() {
  const EngineShape& shape = config_.shape;
  TrainedBuffers trained(shape);
  std::vector<LinearBuffers>& buffers = trained.linears;
  const auto place = [&](int64_t bytes, const char* part, auto&& layout,
                         MemoryPlace where = MemoryPlace::Device) -> void* {
    if (bytes == 0) return nullptr;
    void* memory = backend_->allocate(bytes, part, where);
    Layout placed(memory);
    LRQAT_CHECK(layout(placed) == bytes);
    return memory;
  };
  place(parts_.quantizedWeights, "quantized weights",
        [&](Layout& l) { return layoutQuantizedWeights(shape, l, buffers); });
  place(parts_.parameters, "parameters", [&](Layout& l) { return layoutParameters(shape, l, trained); });
  gradientMemory_ = place(parts_.gradients, "gradients", [&](Layout& l) { return layoutGradients(shape, l, trained); });
  place(parts_.optimizer, "optimizer state", [&](Layout& l) { return layoutOptimizer(shape, l, trained); });
  place(
      parts_.host, "optimizer state", [&](Layout& l) { return layoutHost(shape, l, trained); }, MemoryPlace::Host);
  place(parts_.embeddings, "embeddings", [&](Layout& l) { return layoutEmbeddings(shape, l, embeddings_); });
  place(parts_.activations, "activations", [&](Layout& l) { return layoutActivations(shape, l, activations_); });
  place(parts_.workspace, "workspace",
        [&](Layout& l) { return layoutWorkspace(shape, backend_->scratchBytes(shape), l, workspace_); });
  backend_->setScratch(workspace_.scratch, workspace_.scratchBytes);

  for (size_t i = 0; i < linears_.size(); ++i) {
    LinearLayer& l = linears_[i];
    l.buffers = buffers[i];
    l.weight.phi0 = buffers[i].phi0;
    l.weight.scale0 = buffers[i].scale0;
    l.weight.zero0 = buffers[i].zero0;
    if (!l.quantized) continue;
    const QuantSpec& spec = l.weight.spec;
    if (spec.trainsWeights()) parameters_.push_back({i, ParameterKind::Weight, l.weight.m, l.weight.n});
    if (spec.rank > 0) {
      parameters_.push_back({i, ParameterKind::A, l.weight.m, spec.rank});
      parameters_.push_back({i, ParameterKind::B, spec.rank, l.weight.n});
    }
    const int64_t scaleCount = spec.scaleCount(l.weight.m, l.weight.n);
    if (spec.learnScales) parameters_.push_back({i, ParameterKind::Scale, 1, scaleCount});
    if (spec.trainsZeroPoints()) parameters_.push_back({i, ParameterKind::ZeroPoint, 1, scaleCount});
  }
  floats_ = std::move(trained.floats);
  for (const FloatParameter& p : floats_) {
    parameters_.push_back({names_.size(), ParameterKind::Weight, p.rows, p.cols, p.group()});
    names_.push_back(p.name);
  }
  grids_ = trained.activations;
  if (grids_.grids) ranges_ = std::make_unique<ActivationRanges>(shape, *backend_, grids_);
  if (!grids_.value.scale) return;
  parameters_.push_back({names_.size(), ParameterKind::Scale, 1, ranges_->count()});
  if (grids_.value.zero) parameters_.push_back({names_.size(), ParameterKind::ZeroPoint, 1, ranges_->count()});
  names_.emplace_back("activations");
}

void Engine::requireLoaded() const {
  if (!loaded_) throw Error(ErrorCode::InvalidArgument, "load() must come first");
}

void Engine::checkBatch(const TokenBatch& batch) const {
  const EngineShape& shape = config_.shape;
  const auto count = static_cast<size_t>(batch.sequences * batch.length);
  if (batch.sequences < 1 || batch.length < 1 || batch.length > shape.sequenceLength) {
    throw Error(ErrorCode::InvalidArgument,
                "a batch needs at least one sequence of 1 to " + std::to_string(shape.sequenceLength) +
                    " tokens, got " + std::to_string(batch.sequences) + " of " + std::to_string(batch.length));
  }
  if (batch.tokens.size() != count || batch.targets.size() != count ||
      (!batch.firstKey.empty() && batch.firstKey.size() != count)) {
    throw Error(ErrorCode::InvalidArgument, "tokens, targets and firstKey must all have sequences · length = " +
                                                std::to_string(count) + " elements");
  }
  for (size_t i = 0; i < count; ++i) {
    const int32_t token = batch.tokens[i];
    const int32_t target = batch.targets[i];
    if (token < 0 || token >= shape.model.vocabSize || target < -1 || target >= shape.model.vocabSize) {
      throw Error(ErrorCode::InvalidArgument,
                  "token id " + std::to_string(token < 0 || token >= shape.model.vocabSize ? token : target) +
                      " is outside the model's vocabulary of " + std::to_string(shape.model.vocabSize),
                  "the corpus was probably tokenized for another model");
    }
    if (batch.firstKey.empty()) continue;
    const auto position = static_cast<int32_t>(static_cast<int64_t>(i) % batch.length);
    const int32_t first = batch.firstKey[i];
    if (first < 0 || first > position || (position > 0 && first < batch.firstKey[i - 1])) {
      throw Error(ErrorCode::InvalidArgument, "firstKey must not decrease within a sequence nor lie after its token");
    }
  }
  checkHidden(batch);
}

void Engine::checkHidden(const TokenBatch& batch) const {
  if (batch.hiddenFrom.empty() && batch.hiddenTo.empty()) return;
  const int64_t window = config_.shape.model.slidingWindow;
  if (config_.shape.device != Device::Cpu || (window > 0 && window < batch.length)) {
    throw Error(ErrorCode::Unsupported, "hidden keys need the CPU and a model without a sliding window");
  }
  if (batch.hiddenFrom.size() != batch.tokens.size() || batch.hiddenTo.size() != batch.tokens.size()) {
    throw Error(ErrorCode::InvalidArgument, "hidden.from and hidden.to must have as many elements as tokens");
  }
  for (size_t i = 0; i < batch.tokens.size(); ++i) {
    const int32_t from = batch.hiddenFrom[i];
    const int32_t to = batch.hiddenTo[i];
    const int64_t position = static_cast<int64_t>(i) % batch.length;
    if (from == to && from == 0) continue;
    const int32_t first = batch.firstKey.empty() ? 0 : batch.firstKey[i];
    if (from < first || to < from || to > position) {
      throw Error(ErrorCode::InvalidArgument, "hidden keys must lie between a token's first key and the token");
    }
  }
}

void Engine::checkTeacher(const TokenBatch& batch) const {
  const int64_t k = config_.shape.distillation.classes;
  const auto rows = static_cast<int64_t>(batch.tokens.size());
  if (static_cast<int64_t>(batch.teacherClasses.size()) != rows * k ||
      static_cast<int64_t>(batch.teacherLogProbabilities.size()) != (k == 0 ? 0 : rows * (k + 1))) {
    throw Error(ErrorCode::InvalidArgument, k == 0 ? "a teacher is given to an engine without distillation"
                                                   : "distillation needs " + std::to_string(k) + " classes and " +
                                                         std::to_string(k + 1) +
                                                         " log-probabilities of every token of a batch");
  }
  const int64_t vocab = config_.shape.model.vocabSize;
  for (int64_t row = 0; row < rows && k > 0; ++row) {
    const auto classes = batch.teacherClasses.subspan(static_cast<size_t>(row * k), static_cast<size_t>(k));
    const auto logs = batch.teacherLogProbabilities.subspan(static_cast<size_t>(row * (k + 1)));
    for (size_t i = 0; i < classes.size(); ++i) {
      if (classes[i] <= (i == 0 ? -1 : classes[i - 1]) || classes[i] >= vocab) {
        throw Error(ErrorCode::InvalidArgument,
                    "the teacher's classes must ascend within the vocabulary of " + std::to_string(vocab));
      }
    }
    // Rounding may lift a share of all but 1 a little above it.
    const auto isLog = [](float value) { return value <= 1e-3F; };
    if (!std::all_of(logs.begin(), logs.begin() + k + 1, isLog) ||
        (k == vocab && logs[static_cast<size_t>(k)] > -std::numeric_limits<float>::infinity())) {
      throw Error(ErrorCode::InvalidArgument, "the teacher's log-probabilities must not be positive");
    }
  }
}

MicroBatch Engine::microBatch(const TokenBatch& batch, int64_t first, int64_t count) const {
  const int64_t offset = first * batch.length;
  MicroBatch out{.sequences = count,
                 .length = batch.length,
                 .tokens = batch.tokens.data() + offset,
                 .targets = batch.targets.data() + offset,
                 .firstKey = batch.firstKey.empty() ? nullptr : batch.firstKey.data() + offset};
  if (!batch.teacherClasses.empty()) {
    const int64_t k = config_.shape.distillation.classes;
    out.teacherClasses = batch.teacherClasses.data() + offset * k;
    out.teacherLogProbabilities = batch.teacherLogProbabilities.data() + offset * (k + 1);
  }
  if (!batch.hiddenFrom.empty()) {
    out.hiddenFrom = batch.hiddenFrom.data() + offset;
    out.hiddenTo = batch.hiddenTo.data() + offset;
  }
  return out;
}

int64_t Engine::sequencesPerMicroBatch(int64_t length) const {
  return config_.shape.tokens() / length;
}

Matrix Engine::floatTensor(const FloatParameter& parameter) const {
  const auto& layer = embeddings_.layers[static_cast<size_t>(parameter.layer)];
  const auto vector = [&](float* data) { return Matrix{data, DType::F32, parameter.rows, parameter.cols}; };
  switch (parameter.tensor) {
    case FloatTensor::Table:
      return embeddings_.table;
    case FloatTensor::InputNorm:
      return vector(layer.inputNorm);
    case FloatTensor::PostNorm:
      return vector(layer.postNorm);
    case FloatTensor::QueryNorm:
      return vector(layer.queryNorm);
    case FloatTensor::KeyNorm:
      return vector(layer.keyNorm);
    case FloatTensor::FinalNorm:
      return vector(embeddings_.finalNorm);
    case FloatTensor::Head:
      return embeddings_.head;
  }
  throw Error(ErrorCode::Internal, "a tensor of no known kind");
}

void Engine::prepareFloats(WeightForm form) {
  const FloatsAt wanted = form == WeightForm::Trained  ? FloatsAt::Trained
                          : form == WeightForm::Merged ? FloatsAt::Merged
                                                       : FloatsAt::Checkpoint;
  if (floatsAt_ == wanted) return;
  floatsAt_ = FloatsAt::Unknown;
  for (const FloatParameter& p : floats_) {
    const Matrix tensor = floatTensor(p);
    if (wanted == FloatsAt::Trained) {
      backend_->convert({p.value, DType::F32, p.rows, p.cols}, tensor);
    } else if (wanted == FloatsAt::Checkpoint) {
      uploadTensor(p.name + ".weight", tensor);
    } else {
      const auto found = mergedFloats_.find(p.name);
      if (found == mergedFloats_.end()) {
        throw Error(ErrorCode::InvalidArgument, "no trained numbers attached for " + p.name);
      }
      uploadRows(found->second, tensor);
    }
  }
  floatsAt_ = wanted;
}

void Engine::prepare(WeightForm form) {
  decoder_->forgetWeights();
  prepareFloats(form);
  if (form == WeightForm::RoundToNearest && started_) {
    throw Error(ErrorCode::InvalidArgument, "rounding to nearest is not what this engine starts from",
                "measure it on an engine that has loaded without another start");
  }
  std::vector<ScaleTask> tasks;
  for (size_t i = 0; i < linears_.size(); ++i) {
    LinearLayer& l = linears_[i];
    if (!l.quantized || form == WeightForm::Float) continue;
    const int64_t bytes = l.weight.spec.scaleCount(l.weight.m, l.weight.n) * 4;
    tasks.push_back({&l.weight, nullptr, l.buffers.scale, l.buffers.rowScale, nullptr, l.buffers.zero});
    switch (form) {
      case WeightForm::Trained:
        tasks.back().theta = l.buffers.value.theta;
        tasks.back().zeroTheta = l.trainedZeroPoints();
        break;
      case WeightForm::RoundToNearest:
        if (l.buffers.scale != l.weight.scale0) backend_->copy(l.buffers.scale, l.weight.scale0, bytes);
        tasks.back().zeroTheta = l.weight.zero0;
        break;
      case WeightForm::Merged: {
        const auto found = merged_.find(names_[i]);
        if (found == merged_.end()) {
          throw Error(ErrorCode::InvalidArgument, "no merged integers attached for " + names_[i]);
        }
        const auto* file = mergedFiles_.at(found->second.file).data();
        // Kept scales have been compared with those of the file.
        if (l.buffers.scale != l.weight.scale0) {
          backend_->upload(l.buffers.scale, file + found->second.scalesOffset, bytes);
        }
        if (l.buffers.zero) {
          const auto* codes = reinterpret_cast<const uint8_t*>(file + found->second.zeroPointsOffset);
          const std::vector<float> zeroPoints(codes, codes + bytes / 4);
          backend_->upload(l.buffers.zero, zeroPoints.data(), bytes);
        }
        break;
      }
      case WeightForm::Float:
        break;
    }
  }
  backend_->materializeScales(tasks);
}

void Engine::prepareGrids(WeightForm form) {
  if (ranges_) ranges_->prepare(form);
}

void Engine::calibrateActivations(const TokenBatch& sequences) {
  requireLoaded();
  if (!ranges_) throw Error(ErrorCode::InvalidArgument, "the activations of this engine have no static ranges");
  checkBatch(sequences);
  prepare(WeightForm::Trained);
  ranges_->beginCalibration();
  for (int64_t first = 0; first < sequences.sequences; ++first) {
    decoder_->calibrate(microBatch(sequences, first, 1));
  }
  ranges_->endCalibration();
}

std::vector<float> Engine::activationRanges() const {
  if (!ranges_) return {};
  if (!ranges_->known()) throw Error(ErrorCode::InvalidArgument, "the ranges of the activations are not known yet");
  return ranges_->values();
}

void Engine::setActivationRanges(std::span<const float> values) {
  requireLoaded();
  if (!ranges_) throw Error(ErrorCode::InvalidArgument, "the activations of this engine have no static ranges");
  ranges_->set(values);
}

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

static int64_t predicted(std::span<const int32_t> targets) {
  return static_cast<int64_t>(std::count_if(targets.begin(), targets.end(), [](int32_t t) { return t >= 0; }));
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
  const int64_t step = shape.sequencesPerPass();
  const auto accumulate = [&] {
    if (gradientMemory_) backend_->zero(gradientMemory_, parts_.gradients);
    decoder_->clearLosses();
    for (int64_t first = 0; first < batch.sequences; first += step) {
      if (!decoder_->trainMicroBatch(microBatch(batch, first, step), gradientScale)) return false;
    }
    return true;
  };
  // Nothing but gradients and loss has changed when a recorded micro-batch turns out not to fit any more.
  while (!accumulate()) {
  }
  finishScaleGradients();
  finishWeightGradients();
  if (ranges_) ranges_->finishGradients(batch.sequences * batch.length);
  const Decoder::Losses losses = decoder_->losses();
  result.crossEntropy = losses.crossEntropy / static_cast<double>(result.tokens);
  result.divergence = losses.divergence / static_cast<double>(result.tokens);
  result.loss = result.crossEntropy;
  if (const Distillation& distillation = shape.distillation; distillation.classes > 0) {
    const auto weight = static_cast<double>(distillation.weight);
    const auto temperature = static_cast<double>(distillation.temperature);
    result.loss = (1 - weight) * result.crossEntropy + weight * temperature * temperature * result.divergence;
  }
  // All gradients at once; the padding between them is zero.
  if (gradientMemory_) {
    result.gradientNorm =
        std::sqrt(backend_->squaredNorm(static_cast<const float*>(gradientMemory_), parts_.gradients / 4));
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

namespace {

/// Restricts quantized forms to some linears while it lives.
class Selection {
 public:
  Selection(std::vector<LinearLayer>& linears, std::span<const size_t> selected) : linears_(linears) {
    for (LinearLayer& l : linears_) l.selected = false;
    for (const size_t index : selected) linears_[index].selected = true;
  }
  ~Selection() {
    for (LinearLayer& l : linears_) l.selected = true;
  }
  Selection(const Selection&) = delete;
  Selection& operator=(const Selection&) = delete;

 private:
  std::vector<LinearLayer>& linears_;
};

}  // namespace

EvaluationResult Engine::evaluate(const TokenBatch& batch, WeightForm form,
                                  const std::optional<std::vector<std::string>>& only) {
  requireLoaded();
  checkBatch(batch);
  std::optional<Selection> selection;
  if (only) {
    std::vector<size_t> indices;
    for (const std::string& name : *only) indices.push_back(linearIndex(name));
    selection.emplace(linears_, indices);
  }
  prepare(form);
  if (!only) prepareGrids(form);
  EvaluationResult result;
  result.tokens = predicted(batch.targets);
  const int64_t step = sequencesPerMicroBatch(batch.length);
  decoder_->clearLosses();
  for (int64_t first = 0; first < batch.sequences; first += step) {
    decoder_->evaluate(microBatch(batch, first, std::min(step, batch.sequences - first)), form, !only);
  }
  result.lossSum = decoder_->losses().crossEntropy;
  return result;
}

std::vector<float> Engine::tokenLosses(const TokenBatch& batch, WeightForm form) {
  requireLoaded();
  checkBatch(batch);
  prepare(form);
  prepareGrids(form);
  std::vector<float> out(batch.tokens.size());
  const int64_t step = sequencesPerMicroBatch(batch.length);
  for (int64_t first = 0; first < batch.sequences; first += step) {
    decoder_->rowLosses(microBatch(batch, first, std::min(step, batch.sequences - first)), form,
                        out.data() + first * batch.length);
  }
  return out;
}

std::vector<float> Engine::logits(const TokenBatch& batch, WeightForm form) {
  requireLoaded();
  checkBatch(batch);
  prepare(form);
  prepareGrids(form);
  const int64_t vocab = config_.shape.model.vocabSize;
  std::vector<float> out(static_cast<size_t>(batch.sequences * batch.length * vocab));
  const int64_t step = sequencesPerMicroBatch(batch.length);
  for (int64_t first = 0; first < batch.sequences; first += step) {
    decoder_->logits(microBatch(batch, first, std::min(step, batch.sequences - first)), form,
                     out.data() + first * batch.length * vocab);
  }
  return out;
}

TeacherKnowledge Engine::teach(const TokenBatch& batch) {
  requireLoaded();
  const int64_t k = config_.shape.distillation.classes;
  if (!config_.shape.training || k == 0) {
    throw Error(ErrorCode::InvalidArgument, "the engine was created without distillation");
  }
  checkBatch(batch);
  prepare(WeightForm::Float);
  TeacherKnowledge out;
  out.classes.resize(batch.tokens.size() * static_cast<size_t>(k));
  out.logProbabilities.resize(batch.tokens.size() * static_cast<size_t>(k + 1));
  const TeacherRows all{out.classes.data(), out.logProbabilities.data(), k};
  const int64_t step = sequencesPerMicroBatch(batch.length);
  for (int64_t first = 0; first < batch.sequences; first += step) {
    decoder_->teacherRows(microBatch(batch, first, std::min(step, batch.sequences - first)),
                          all.from(first * batch.length));
  }
  return out;
}

size_t Engine::linearIndex(const std::string& name) const {
  const auto found = std::find(names_.begin(), names_.end(), name);
  const auto index = static_cast<size_t>(found - names_.begin());
  if (index >= linears_.size() || !linears_[index].quantized) {
    throw Error(ErrorCode::InvalidArgument, name + " is not a quantized linear of this model");
  }
  return index;
}

size_t Engine::parameterIndex(const std::string& name) const {
  const auto found = std::ranges::find(floats_, name, &FloatParameter::name);
  if (found == floats_.end()) {
    return grids_.value.scale && name == names_.back() ? names_.size() - 1 : linearIndex(name);
  }
  return linears_.size() + static_cast<size_t>(found - floats_.begin());
}

std::span<float> Engine::state(size_t index, ParameterKind kind, StateKind which) const {
  if (index == linears_.size() + floats_.size()) {
    const ActivationGridBuffers::Numbers& numbers = which == StateKind::Value     ? grids_.value
                                                    : which == StateKind::Moment1 ? grids_.moment1
                                                    : which == StateKind::Moment2 ? grids_.moment2
                                                                                  : grids_.gradient;
    float* const values = kind == ParameterKind::Scale       ? numbers.scale
                          : kind == ParameterKind::ZeroPoint ? numbers.zero
                                                             : nullptr;
    if (!values) throw Error(ErrorCode::InvalidArgument, "activations have no such state in this engine");
    return {values, static_cast<size_t>(ranges_->count())};
  }
  if (index >= linears_.size()) {
    const FloatParameter& p = floats_[index - linears_.size()];
    float* const data = which == StateKind::Value     ? p.value
                        : which == StateKind::Moment1 ? p.moment1
                        : which == StateKind::Moment2 ? p.moment2
                                                      : p.gradient;
    if (!data || kind != ParameterKind::Weight) {
      throw Error(ErrorCode::InvalidArgument, p.name + " has no such state in this engine");
    }
    return {data, static_cast<size_t>(p.count())};
  }
  const LinearLayer& l = linears_[index];
  const LinearBuffers& buffers = l.buffers;
  const ParameterBuffers& p = which == StateKind::Value     ? buffers.value
                              : which == StateKind::Moment1 ? buffers.moment1
                              : which == StateKind::Moment2 ? buffers.moment2
                                                            : buffers.gradient;
  float* data = kind == ParameterKind::A        ? p.a
                : kind == ParameterKind::B      ? p.b
                : kind == ParameterKind::Scale  ? p.theta
                : kind == ParameterKind::Weight ? p.weight
                                                : p.zero;
  const int64_t rank = l.weight.spec.rank;
  const int64_t count = kind == ParameterKind::A        ? l.weight.m * rank
                        : kind == ParameterKind::B      ? rank * l.weight.n
                        : kind == ParameterKind::Weight ? l.weight.m * l.weight.n
                                                        : l.weight.spec.scaleCount(l.weight.m, l.weight.n);
  if (!data) throw Error(ErrorCode::InvalidArgument, names_[index] + " has no such state in this engine");
  return {data, static_cast<size_t>(count)};
}

std::vector<float> Engine::readState(size_t index, ParameterKind kind, StateKind which) const {
  const auto values = state(index, kind, which);
  std::vector<float> out(values.size());
  backend_->download(out.data(), values.data(), static_cast<int64_t>(values.size_bytes()));
  return out;
}

void Engine::writeState(size_t index, ParameterKind kind, StateKind which, std::span<const float> values) {
  const auto target = state(index, kind, which);
  if (target.size() != values.size()) {
    throw Error(ErrorCode::InvalidArgument, names_[index] + ": " + std::to_string(values.size()) + " values given, " +
                                                std::to_string(target.size()) + " needed");
  }
  backend_->upload(target.data(), values.data(), static_cast<int64_t>(values.size_bytes()));
  if (index >= linears_.size()) floatsAt_ = FloatsAt::Unknown;
}

std::vector<float> Engine::initialScales(size_t index) const {
  const LinearWeight& w = linears_[index].weight;
  std::vector<float> out(static_cast<size_t>(w.spec.scaleCount(w.m, w.n)));
  backend_->download(out.data(), w.scale0, static_cast<int64_t>(out.size()) * 4);
  return out;
}

std::vector<float> Engine::initialZeroPoints(size_t index) const {
  const LinearWeight& w = linears_[index].weight;
  std::vector<float> out(w.zero0 ? static_cast<size_t>(w.spec.scaleCount(w.m, w.n)) : 0);
  if (w.zero0) backend_->download(out.data(), w.zero0, static_cast<int64_t>(out.size()) * 4);
  return out;
}

std::vector<uint8_t> Engine::zeroPoints(size_t index) {
  requireLoaded();
  LinearLayer& l = linears_[index];
  if (!l.buffers.zero) return {};
  materializeScales(l);
  std::vector<float> values(static_cast<size_t>(l.weight.spec.scaleCount(l.weight.m, l.weight.n)));
  backend_->download(values.data(), l.buffers.zero, static_cast<int64_t>(values.size()) * 4);
  return {values.begin(), values.end()};
}

void Engine::materializeScales(const LinearLayer& l) {
  const ScaleTask task{&l.weight, l.buffers.value.theta, l.buffers.scale,
                       nullptr,   l.trainedZeroPoints(), l.buffers.zero};
  backend_->materializeScales(std::span(&task, 1));
}

std::vector<float> Engine::scales(size_t index) {
  requireLoaded();
  LinearLayer& l = linears_[index];
  materializeScales(l);
  std::vector<float> out(static_cast<size_t>(l.weight.spec.scaleCount(l.weight.m, l.weight.n)));
  backend_->download(out.data(), l.buffers.scale, static_cast<int64_t>(out.size()) * 4);
  return out;
}

std::vector<std::byte> Engine::phi0(size_t index) const {
  requireLoaded();
  const LinearWeight& w = linears_[index].weight;
  std::vector<std::byte> out(static_cast<size_t>(w.m * packedRowBytes(w.spec.codeBits(), w.n)));
  if (!out.empty()) backend_->download(out.data(), w.phi0, static_cast<int64_t>(out.size()));
  return out;
}

std::vector<std::byte> Engine::merge(size_t index) {
  requireLoaded();
  LinearLayer& l = linears_[index];
  materializeScales(l);
  std::vector<std::byte> codes(static_cast<size_t>(l.weight.m * packedRowBytes(l.weight.spec.bits, l.weight.n)));
  backend_->merge(l.weight, l.lowRank(), codes.data());
  return codes;
}

void Engine::attachMerged(const std::map<std::string, MergedSource>& sources,
                          const std::map<std::string, StoredTensor>& floats) {
  const auto mapped = [&](const std::string& file) -> const MappedFile& {
    const auto found = mergedFiles_.find(file);
    return found == mergedFiles_.end() ? mergedFiles_.emplace(file, MappedFile(file)).first->second : found->second;
  };
  for (const auto& [name, stored] : floats) {
    const size_t index = parameterIndex(name);
    if (index < linears_.size())
      throw Error(ErrorCode::InvalidArgument, name + " is a linear, not a tensor beside them");
    const FloatParameter& p = floats_[index - linears_.size()];
    const MappedFile& file = mapped(stored.file);
    if (stored.offset < 0 || stored.offset > file.size() - p.count() * 4) {
      throw Error(ErrorCode::InputFile, stored.file + ": the numbers of " + name + " do not fit the file");
    }
    mergedFloats_[name] = {file.data() + stored.offset, DType::F32, p.rows, p.cols};
    if (floatsAt_ == FloatsAt::Merged) floatsAt_ = FloatsAt::Unknown;
  }
  for (const auto& [linear, merged] : sources) {
    LinearWeight& w = linears_[linearIndex(linear)].weight;
    const MappedFile& file = mapped(merged.file);
    const int64_t codeBytes = w.m * packedRowBytes(w.spec.bits, w.n);
    const int64_t scaleBytes = w.spec.scaleCount(w.m, w.n) * 4;
    const int64_t size = file.size();
    if (merged.codesOffset < 0 || merged.codesOffset > size - codeBytes || merged.scalesOffset < 0 ||
        merged.scalesOffset > size - scaleBytes || merged.zeroPointsOffset < 0 ||
        (!w.spec.symmetric && (merged.zeroPointsOffset == 0 || merged.zeroPointsOffset > size - scaleBytes / 4))) {
      throw Error(ErrorCode::InputFile, merged.file + ": the merged integers of " + linear + " do not fit the file");
    }
    if (config_.shape.keepsScales(w.spec)) {
      requireLoaded();
      const std::vector<float> kept = initialScales(linearIndex(linear));
      if (std::memcmp(kept.data(), file.data() + merged.scalesOffset, static_cast<size_t>(scaleBytes)) != 0) {
        throw Error(ErrorCode::InputFile, merged.file + ": the scales of " + linear +
                                              " are not those that this engine was loaded with and does not train");
      }
    }
    w.merged = file.data() + merged.codesOffset;
    merged_[linear] = merged;
  }
}

std::vector<LayerStatistics> Engine::layerStatistics() {
  requireLoaded();
  prepare(WeightForm::Trained);
  std::vector<LayerStatistics> out;
  for (size_t i = 0; i < linears_.size(); ++i) {
    const LinearLayer& l = linears_[i];
    if (!l.quantized) continue;
    out.push_back({names_[i], backend_->weightStatistics(l.weight, l.lowRank()), l.weight.m * l.weight.n,
                   !l.weight.spec.symmetric});
  }
  return out;
}

}  // namespace lrqat
