#include "core/engine.h"

#include "core/error.h"

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
  requireLanes();
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
  if (!shape.training || shape.lanes == 1) return;
  lanes_ = std::make_unique<Lanes>(Lanes::Whole{.shape = config_.shape,
                                                .backend = *backend_,
                                                .linears = linears_,
                                                .embeddings = embeddings_,
                                                .hostTable = table,
                                                .activations = activations_,
                                                .workspace = workspace_,
                                                .ranges = ranges_.get(),
                                                .gradients = gradientMemory_});
  lanes_->setCancelFlag(&cancel_);
}

void Engine::requireLanes() const {
  const EngineShape& shape = config_.shape;
  if (shape.lanes == 1) return;
  LRQAT_CHECK(shape.lanes > 1);
  if (!shape.keepWeights || shape.device != Device::Cpu) {
    throw Error(ErrorCode::InvalidArgument, "lanes read the same rebuilt weights", "keep them, on the CPU");
  }
  if (shape.microBatch % shape.lanes != 0) {
    throw Error(ErrorCode::InvalidArgument, std::to_string(shape.lanes) + " lanes do not divide a micro-batch of " +
                                                std::to_string(shape.microBatch) + " sequences");
  }
  if (shape.activations.learnsRanges()) {
    throw Error(ErrorCode::InvalidArgument, "learned ranges of activations are trained in one lane");
  }
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
  // The first lane's are the engine's.
  gradientMemory_ =
      place(parts_.gradients, "gradients", [&](Layout& l) { return shape.lanes * layoutGradients(shape, l, trained); });
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

}  // namespace lrqat
