#include "core/memory_plan.h"

#include <algorithm>

namespace lrqat {

namespace {

template <typename Visit>
void forEachQuantized(const EngineShape& shape, Visit visit) {
  for (int64_t layer = 0; layer < shape.model.layers; ++layer) {
    for (const Linear linear : allLinears) {
      if (const auto& spec = shape.spec(layer, linear)) {
        visit(static_cast<size_t>(layer * linearsPerLayer + static_cast<int64_t>(linear)), *spec,
              outputs(shape.model, linear), inputs(shape.model, linear));
      }
    }
  }
}

void layoutTrained(Layout& layout, const QuantSpec& spec, int64_t m, int64_t n, bool scales, ParameterBuffers& out) {
  if (spec.trainsWeights()) out.weight = layout.floats(m * n);
  if (spec.rank > 0) {
    out.a = layout.floats(m * spec.rank);
    out.b = layout.floats(spec.rank * n);
  }
  if (scales) out.theta = layout.floats(spec.scaleCount(m, n));
  if (spec.trainsZeroPoints()) out.zero = layout.floats(spec.scaleCount(m, n));
}

void layoutLearnedGrids(const EngineShape& shape, Layout& layout, ActivationGridBuffers::Numbers& out) {
  if (!shape.activations.learnsRanges()) return;
  const int64_t count = shape.model.layers * shape.activations.sites();
  out.scale = layout.floats(count);
  if (!shape.activations.symmetric) out.zero = layout.floats(count);
}

/// What element-wise operations make: kept by each block, or shared by all when it is made again in the backward.
void layoutElementwise(const EngineShape& shape, Layout& layout, BlockActivations& out) {
  const ModelShape& model = shape.model;
  const int64_t tokens = shape.tokens();
  const DType e = shape.computeType;
  out.normed1 = layout.matrix(e, tokens, model.hiddenSize);
  out.q = layout.matrix(e, tokens, model.queryWidth());
  out.k = layout.matrix(e, tokens, model.kvWidth());
  out.v = layout.matrix(e, tokens, model.kvWidth());
  out.normed2 = layout.matrix(e, tokens, model.hiddenSize);
  out.gated = layout.matrix(e, tokens, model.intermediateSize);
}

uint32_t* layoutMarks(const EngineShape& shape, ActivationSite site, Layout& layout) {
  return static_cast<uint32_t*>(layout.bytes(shape.tokens() * markWords(shape.activationCols(site)) * 4));
}

void layoutBlock(const EngineShape& shape, bool ownsInput, Layout& layout, BlockActivations& out) {
  const ModelShape& model = shape.model;
  const int64_t tokens = shape.tokens();
  const DType e = shape.computeType;
  if (ownsInput) out.input = layout.matrix(shape.residualType, tokens, model.hiddenSize);
  out.rstd1 = layout.floats(tokens);
  out.rawQ = layout.matrix(e, tokens, model.queryWidth());
  out.rawK = layout.matrix(e, tokens, model.kvWidth());
  out.rawV = layout.matrix(e, tokens, model.kvWidth());
  out.attention = layout.matrix(e, tokens, model.queryWidth());
  out.lse = layout.floats(tokens * model.heads);
  out.rawO = layout.matrix(e, tokens, model.hiddenSize);
  out.middle = layout.matrix(shape.residualType, tokens, model.hiddenSize);
  out.rstd2 = layout.floats(tokens);
  out.rawGate = layout.matrix(e, tokens, model.intermediateSize);
  out.rawUp = layout.matrix(e, tokens, model.intermediateSize);
  out.rawDown = layout.matrix(e, tokens, model.hiddenSize);
  if (!shape.training || shape.activations.learnsRanges()) return;  // learned grids find the marks anew
  for (size_t i = 0; i < activationSiteCount; ++i) {
    const auto site = static_cast<ActivationSite>(i);
    if (shape.activations.bits[i] > 0 && site != ActivationSite::AttentionOutput) {
      out.inside[i] = layoutMarks(shape, site, layout);
    }
  }
}

}  // namespace

int64_t EngineShape::activationCols(ActivationSite site) const {
  switch (site) {
    case ActivationSite::AttentionInput:
    case ActivationSite::MlpInput:
      return model.hiddenSize;
    case ActivationSite::Keys:
    case ActivationSite::Values:
    case ActivationSite::RotatedKeys:
      return model.kvWidth();
    case ActivationSite::RotatedQueries:
    case ActivationSite::AttentionOutput:
      return model.queryWidth();
    case ActivationSite::MlpProduct:
      return model.intermediateSize;
  }
  return 0;
}

int64_t EngineShape::activationGridWidth(ActivationSite site) const {
  const bool byHead = site == ActivationSite::RotatedQueries || site == ActivationSite::RotatedKeys ||
                      site == ActivationSite::AttentionOutput;
  return byHead ? model.headDim : activationCols(site);
}

int64_t layoutQuantizedWeights(const EngineShape& shape, Layout& layout, std::vector<LinearBuffers>& out) {
  out.resize(shape.linears.size());
  forEachQuantized(shape, [&](size_t index, const QuantSpec& spec, int64_t m, int64_t n) {
    out[index].phi0 = layout.bytes(m * packedRowBytes(spec.codeBits(), n));
    if (!shape.scale0OnHost(spec)) out[index].scale0 = layout.floats(spec.scaleCount(m, n));
    if (!spec.symmetric) out[index].zero0 = layout.floats(spec.scaleCount(m, n));
  });
  return layout.highest();
}

int64_t layoutParameters(const EngineShape& shape, Layout& layout, TrainedBuffers& trained) {
  std::vector<LinearBuffers>& out = trained.linears;
  forEachQuantized(shape, [&](size_t index, const QuantSpec& spec, int64_t m, int64_t n) {
    const bool kept = shape.keepsScales(spec);
    layoutTrained(layout, spec, m, n, !kept, out[index].value);
    out[index].scale = kept ? out[index].scale0 : layout.floats(spec.scaleCount(m, n));
    if (!spec.symmetric) out[index].zero = layout.floats(spec.scaleCount(m, n));
    if (spec.granularity != Granularity::Group) out[index].rowScale = layout.floats(m);
  });
  layoutFloats(layout, trained.floats, &FloatParameter::value);
  const ActivationSpec& activations = shape.activations;
  if (activations.staticRanges && activations.sites() > 0) {
    const int64_t count = shape.model.layers * activations.sites();
    trained.activations.grids =
        static_cast<StaticGrid*>(layout.bytes(count * static_cast<int64_t>(sizeof(StaticGrid))));
  }
  layoutLearnedGrids(shape, layout, trained.activations.value);
  return layout.highest();
}

int64_t layoutGradients(const EngineShape& shape, Layout& layout, TrainedBuffers& out) {
  if (!shape.training) return 0;
  forEachQuantized(shape, [&](size_t index, const QuantSpec& spec, int64_t m, int64_t n) {
    layoutTrained(layout, spec, m, n, spec.learnScales, out.linears[index].gradient);
  });
  layoutFloats(layout, out.floats, &FloatParameter::gradient);
  layoutLearnedGrids(shape, layout, out.activations.gradient);
  return layout.highest();
}

int64_t layoutOptimizer(const EngineShape& shape, Layout& layout, TrainedBuffers& out) {
  if (!shape.training) return 0;
  forEachQuantized(shape, [&](size_t index, const QuantSpec& spec, int64_t m, int64_t n) {
    layoutTrained(layout, spec, m, n, spec.learnScales, out.linears[index].moment1);
    layoutTrained(layout, spec, m, n, spec.learnScales, out.linears[index].moment2);
  });
  layoutFloats(layout, out.floats, &FloatParameter::moment1);
  layoutFloats(layout, out.floats, &FloatParameter::moment2);
  layoutLearnedGrids(shape, layout, out.activations.moment1);
  layoutLearnedGrids(shape, layout, out.activations.moment2);
  return layout.highest();
}

int64_t layoutHost(const EngineShape& shape, Layout& layout, TrainedBuffers& out) {
  if (!shape.optimizerOnHost) return 0;
  layoutOptimizer(shape, layout, out);
  forEachQuantized(shape, [&](size_t index, const QuantSpec& spec, int64_t m, int64_t n) {
    if (shape.scale0OnHost(spec)) out.linears[index].scale0 = layout.floats(spec.scaleCount(m, n));
  });
  return layout.highest();
}

int64_t layoutEmbeddings(const EngineShape& shape, Layout& layout, EmbeddingBuffers& out) {
  const ModelShape& model = shape.model;
  if (shape.ownsTable()) out.table = layout.matrix(shape.computeType, model.vocabSize, model.hiddenSize);
  out.head = model.tiedEmbeddings ? out.table : layout.matrix(shape.computeType, model.vocabSize, model.hiddenSize);
  out.finalNorm = layout.floats(model.hiddenSize);
  out.cosine = layout.floats(shape.sequenceLength * (model.headDim / 2));
  out.sine = layout.floats(shape.sequenceLength * (model.headDim / 2));
  out.layers.resize(static_cast<size_t>(model.layers));
  for (auto& layer : out.layers) {
    layer.inputNorm = layout.floats(model.hiddenSize);
    layer.postNorm = layout.floats(model.hiddenSize);
    if (model.qkNorm) {
      layer.queryNorm = layout.floats(model.headDim);
      layer.keyNorm = layout.floats(model.headDim);
    }
    for (const Linear linear : allLinears) {
      if (hasBias(model, linear)) layer.bias[static_cast<size_t>(linear)] = layout.floats(outputs(model, linear));
    }
  }
  return layout.highest();
}

int64_t layoutActivations(const EngineShape& shape, Layout& layout, ActivationBuffers& out) {
  const int64_t tokens = shape.tokens();
  const int64_t hidden = shape.model.hiddenSize;
  const int64_t kept = shape.ownActivations();
  const bool keepInputs = shape.training && kept < shape.model.layers;
  out.blocks.resize(static_cast<size_t>(kept));
  const bool shareElementwise = shape.training && shape.recomputeElementwise;
  BlockActivations shared;
  if (shareElementwise) layoutElementwise(shape, layout, shared);
  for (auto& block : out.blocks) {
    block = shared;
    if (!shareElementwise) layoutElementwise(shape, layout, block);
    layoutBlock(shape, !keepInputs, layout, block);
  }
  if (keepInputs) {
    out.blockInputs.resize(static_cast<size_t>(shape.model.layers));
    for (auto& input : out.blockInputs) input = layout.matrix(shape.residualType, tokens, hidden);
  }
  out.output = layout.matrix(shape.residualType, tokens, hidden);
  // The last block can make its first norm again, so the final norm may lie over it.
  out.normed = shape.training && shape.recomputeElementwise ? out.blocks.back().normed1
                                                            : layout.matrix(shape.computeType, tokens, hidden);
  out.rstd = layout.floats(tokens);
  if (shape.activations.bitsOf(ActivationSite::AttentionOutput) > 0) {
    out.quantizedAttention = layout.matrix(shape.computeType, tokens, shape.model.queryWidth());
    const bool marked = shape.training && !shape.activations.learnsRanges();
    uint32_t* marks = marked ? layoutMarks(shape, ActivationSite::AttentionOutput, layout) : nullptr;
    for (auto& block : out.blocks) block.inside[static_cast<size_t>(ActivationSite::AttentionOutput)] = marks;
  }
  return layout.highest();
}

void layoutAttentionGradients(const EngineShape& shape, Layout& layout, WorkspaceBuffers& out) {
  const ModelShape& model = shape.model;
  const int64_t tokens = shape.tokens();
  const DType e = shape.computeType;
  out.dAttention = layout.matrix(e, tokens, model.queryWidth());
  out.dQ = layout.matrix(e, tokens, model.queryWidth());
  out.dK = layout.matrix(e, tokens, model.kvWidth());
  out.dV = layout.matrix(e, tokens, model.kvWidth());
}

bool attentionGradientsOverGate(const EngineShape& shape) {
  if (shape.device != Device::Cuda) return false;
  Layout gate;
  for (int i = 0; i < 2; ++i) (void)gate.matrix(shape.computeType, shape.tokens(), shape.model.intermediateSize);
  Layout gradients;
  WorkspaceBuffers unused;
  layoutAttentionGradients(shape, gradients, unused);
  return gradients.highest() <= gate.highest();
}

static void layoutKeptWeights(const EngineShape& shape, Layout& layout, WorkspaceBuffers& out) {
  out.keptWeights.clear();
  out.keptClipped.clear();
  for (int64_t layer = 0; layer < shape.model.layers; ++layer) {
    for (const Linear linear : allLinears) {
      const int64_t m = outputs(shape.model, linear);
      const int64_t n = inputs(shape.model, linear);
      out.keptWeights.push_back(layout.bytes(m * n * byteSize(shape.computeType)));
      ClippedSet& clipped = out.keptClipped.emplace_back();
      const auto& spec = shape.spec(layer, linear);
      if (!shape.training || !spec || (spec->rank == 0 && !spec->trainsZeroPoints())) continue;
      clipped.rowStart = static_cast<int64_t*>(layout.bytes((m + 1) * 8));
      clipped.capacity = clippedCapacity(m, n);
      clipped.column = static_cast<int32_t*>(layout.bytes(clipped.capacity * 4));
    }
  }
}

/// Head, feed-forward half and attention half of the backward follow each other.
static void layoutPhases(const EngineShape& shape, int64_t rowsOfLogits, Layout& layout, WorkspaceBuffers& out) {
  const ModelShape& model = shape.model;
  const int64_t tokens = shape.tokens();
  const DType e = shape.computeType;
  const int64_t mark = layout.used();
  out.logits = layout.matrix(DType::F32, rowsOfLogits, model.vocabSize);
  out.logitGradient = e == DType::F32 ? out.logits : layout.matrix(e, rowsOfLogits, model.vocabSize);
  layout.rewind(mark);
  // On CUDA the gradients of raw outputs take the place of what they are gradients of, that of silu(gate)·up too: the
  // product is made again where its gradient has been read. Those of the attention lie where gate and up were.
  const bool inPlace = shape.device == Device::Cuda;
  if (!inPlace) {
    out.dGated = layout.matrix(e, tokens, model.intermediateSize);
    out.dRawDown = layout.matrix(e, tokens, model.hiddenSize);
    out.dRawGate = layout.matrix(e, tokens, model.intermediateSize);
    out.dRawUp = layout.matrix(e, tokens, model.intermediateSize);
  }
  layout.rewind(mark);
  if (!attentionGradientsOverGate(shape)) layoutAttentionGradients(shape, layout, out);
  if (!inPlace) {
    out.dRawO = layout.matrix(e, tokens, model.hiddenSize);
    out.dRawQ = layout.matrix(e, tokens, model.queryWidth());
    out.dRawK = layout.matrix(e, tokens, model.kvWidth());
    out.dRawV = layout.matrix(e, tokens, model.kvWidth());
  }
}

/// What a lane has beside the rows of its worker in what the whole micro-batch keeps.
static void layoutLanes(const EngineShape& shape, Layout& layout, WorkspaceBuffers& out) {
  const EngineShape lane = shape.lane();
  const int64_t rowsOfLogits = laneLogitRows(shape);
  int64_t widestOutput = 0;
  for (const Linear linear : allLinears) widestOutput = std::max(widestOutput, outputs(shape.model, linear));
  Layout counted;
  WorkspaceBuffers unused;
  layoutPhases(lane, rowsOfLogits, counted, unused);

  std::vector<WorkspaceBuffers> workers(static_cast<size_t>(shape.lanesAtOnce()));
  for (WorkspaceBuffers& worker : workers) {
    for (auto& rowScaleGradient : worker.rowScaleGradient) rowScaleGradient = layout.floats(widestOutput);
    Layout phases(layout.bytes(counted.highest()));
    layoutPhases(lane, rowsOfLogits, phases, worker);
  }
  out.lanes.clear();
  for (int64_t index = 0; index < shape.lanes; ++index) {
    WorkspaceBuffers& own = out.lanes.emplace_back(workers[static_cast<size_t>(shape.workerOf(index))]);
    own.lossSums = static_cast<double*>(layout.bytes(16));
  }
}

int64_t layoutWorkspace(const EngineShape& shape, int64_t scratchBytes, Layout& layout, WorkspaceBuffers& out) {
  const ModelShape& model = shape.model;
  const int64_t tokens = shape.tokens();
  const DType e = shape.computeType;
  int64_t widestWeight = 0;
  int64_t widestOutput = 0;
  for (const Linear linear : allLinears) {
    widestWeight = std::max(widestWeight, outputs(model, linear) * inputs(model, linear));
    widestOutput = std::max(widestOutput, outputs(model, linear));
  }
  out.tokens = static_cast<int32_t*>(layout.bytes(tokens * 4));
  out.targets = static_cast<int32_t*>(layout.bytes(tokens * 4));
  out.firstKey = static_cast<int32_t*>(layout.bytes(tokens * 4));
  out.lossSums = static_cast<double*>(layout.bytes(16));
  if (shape.keepWeights) {
    layoutKeptWeights(shape, layout, out);
  } else {
    out.weight = layout.bytes(widestWeight * byteSize(e));
  }
  out.scratchBytes = scratchBytes;
  out.scratch = layout.bytes(scratchBytes);
  if (!shape.training) {
    for (int32_t** each : {&out.hiddenFrom, &out.hiddenTo, &out.position}) {
      *each = static_cast<int32_t*>(layout.bytes(tokens * 4));
    }
    out.logits = layout.matrix(DType::F32, logitRows(shape), model.vocabSize);
    return layout.highest();
  }

  out.gradient = layout.matrix(DType::F32, tokens, model.hiddenSize);
  out.normedGradient = layout.matrix(DType::F32, tokens, model.hiddenSize);
  for (auto& rowScaleGradient : out.rowScaleGradient) rowScaleGradient = layout.floats(widestOutput);
  if (const int64_t k = shape.distillation.classes; k > 0) {
    out.teacher.k = k;
    out.teacher.classes = static_cast<int32_t*>(layout.bytes(tokens * k * 4));
    out.teacher.logProbabilities = layout.floats(tokens * (k + 1));
  }
  if (shape.activations.learnsRanges()) {
    int64_t widest = 0;
    for (size_t i = 0; i < activationSiteCount; ++i) {
      if (shape.activations.bits[i] > 0) {
        widest = std::max(widest, shape.activationCols(static_cast<ActivationSite>(i)));
      }
    }
    out.unquantized = layout.bytes(tokens * widest * byteSize(e));
  }
  // At most three linears share an input (q, k, v); each set must hold the widest linear of its slot.
  constexpr Linear slots[3][3] = {{Linear::Q, Linear::O, Linear::Gate},
                                  {Linear::K, Linear::Up, Linear::Up},
                                  {Linear::V, Linear::Down, Linear::Down}};
  for (int slot = 0; slot < 3 && !shape.keepWeights; ++slot) {
    int64_t rows = 0;
    int64_t words = 0;
    int64_t capacity = 0;
    for (const Linear linear : slots[slot]) {
      const int64_t m = outputs(model, linear);
      const int64_t n = inputs(model, linear);
      rows = std::max(rows, m);
      words = std::max(words, m * ((n + 31) / 32));
      capacity = std::max(capacity, clippedCapacity(m, n));
    }
    ClippedSet& clipped = out.clipped[slot];
    if (shape.device == Device::Cpu) {
      clipped.rowStart = static_cast<int64_t*>(layout.bytes((rows + 1) * 8));
      clipped.column = static_cast<int32_t*>(layout.bytes(capacity * 4));
    } else {
      clipped.mask = static_cast<uint32_t*>(layout.bytes(words * 4));
      clipped.counters = static_cast<uint32_t*>(layout.bytes(8));
    }
    clipped.capacity = capacity;
  }
  const int64_t mark = layout.used();
  layoutPhases(shape, logitRows(shape), layout, out);
  if (shape.lanes > 1) {
    // Lanes work while the whole micro-batch does not.
    layout.rewind(mark);
    layoutLanes(shape, layout, out);
  }
  return layout.highest();
}

int64_t logitRows(const EngineShape& shape) {
  const int64_t tokens = shape.tokens();
  const int64_t most = (int64_t{1} << 24) / shape.model.vocabSize;
  if (shape.device == Device::Cpu) return std::min(tokens, std::max<int64_t>(32, most));
  // Every chunk reads the head's weights, and the float32 gradient of a trained head is read and written as well:
  // below so many rows a product waits for memory.
  const bool trainsHead =
      shape.training && (shape.model.tiedEmbeddings ? shape.floatGroups.embeddings : shape.floatGroups.head);
  const int64_t least = trainsHead ? 1024 : 256;
  constexpr int64_t tile = 128;  // rows of a product
  return std::min({tokens, std::max(least, most / tile * tile), std::max(least, (tokens + 3) / 4)});
}

int64_t laneLogitRows(const EngineShape& shape) {
  const int64_t share = std::max<int64_t>(32, logitRows(shape) / shape.lanes);
  const int64_t cached = std::max<int64_t>(128, (int64_t{1} << 19) / shape.model.vocabSize);
  return std::min({shape.lane().tokens(), share, cached});
}

int64_t clippedCapacity(int64_t m, int64_t n) {
  return std::max<int64_t>(1024, m * n / 32);
}

MemoryParts memoryParts(const EngineShape& shape, int64_t scratchBytes) {
  TrainedBuffers trained(shape);
  EmbeddingBuffers embeddings;
  ActivationBuffers activations;
  WorkspaceBuffers workspace;
  const auto count = [](auto&& place) {
    Layout layout;
    return place(layout);
  };
  return {
      .quantizedWeights = count([&](Layout& l) { return layoutQuantizedWeights(shape, l, trained.linears); }),
      .parameters = count([&](Layout& l) { return layoutParameters(shape, l, trained); }),
      .gradients = shape.lanes * count([&](Layout& l) { return layoutGradients(shape, l, trained); }),
      .optimizer = shape.optimizerOnHost ? 0 : count([&](Layout& l) { return layoutOptimizer(shape, l, trained); }),
      .embeddings = count([&](Layout& l) { return layoutEmbeddings(shape, l, embeddings); }),
      .activations = count([&](Layout& l) { return layoutActivations(shape, l, activations); }),
      .workspace = count([&](Layout& l) { return layoutWorkspace(shape, scratchBytes, l, workspace); }),
      .host = count([&](Layout& l) { return layoutHost(shape, l, trained); }),
  };
}

}  // namespace lrqat
