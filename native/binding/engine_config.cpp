#include "binding/engine_config.h"

#include <algorithm>
#include <array>

#include "binding/values.h"

namespace lrqat::binding {

static ModelShape parseModel(const Reader& r) {
  ModelShape m;
  m.hiddenSize = r.integer("hiddenSize", 1, 1 << 20);
  m.intermediateSize = r.integer("intermediateSize", 1, 1 << 22);
  m.layers = r.integer("layers", 1, 4096);
  m.heads = r.integer("heads", 1, 1 << 16);
  m.kvHeads = r.integer("kvHeads", 1, m.heads);
  m.headDim = r.integer("headDim", 2, 1 << 16);
  m.vocabSize = r.integer("vocabSize", 1, 1 << 24);
  if (m.heads % m.kvHeads != 0) badValue(r.path("kvHeads"), "a divisor of heads");
  if (m.headDim % 2 != 0) badValue(r.path("headDim"), "even");
  m.rmsNormEpsilon = r.real("rmsNormEpsilon");
  m.ropeTheta = r.number("ropeTheta");
  const Reader scaling = r.object("ropeScaling");
  m.ropeScaling.kind = scaling.choice<RopeKind>(
      "type", {{"none", RopeKind::None}, {"linear", RopeKind::Linear}, {"llama3", RopeKind::Llama3}});
  if (m.ropeScaling.kind != RopeKind::None) m.ropeScaling.factor = scaling.number("factor");
  if (m.ropeScaling.kind == RopeKind::Llama3) {
    m.ropeScaling.lowFrequencyFactor = scaling.number("lowFrequencyFactor");
    m.ropeScaling.highFrequencyFactor = scaling.number("highFrequencyFactor");
    m.ropeScaling.originalMaxPositions = scaling.number("originalMaxPositions");
  }
  m.slidingWindow = r.isNull("slidingWindow") ? 0 : r.integer("slidingWindow", 1);
  m.qkvBias = r.boolean("qkvBias");
  m.outputBias = r.boolean("outputBias");
  m.mlpBias = r.boolean("mlpBias");
  m.qkNorm = r.boolean("qkNorm");
  m.tiedEmbeddings = r.boolean("tiedEmbeddings");
  return m;
}

QuantSpec parseQuantSpec(const Napi::Value& value, const std::string& path) {
  const Reader r(value, path);
  QuantSpec spec;
  spec.bits = static_cast<int>(r.integer("bits", 2, 8));
  spec.groupSize = r.integer("groupSize", -1);
  spec.granularity = spec.groupSize == 0  ? Granularity::Tensor
                     : spec.groupSize < 0 ? Granularity::Channel
                                          : Granularity::Group;
  if (spec.groupSize < 0) spec.groupSize = 0;
  spec.storage = r.choice<Storage>("storage", {{"fp32", Storage::F32},
                                               {"bf16", Storage::BF16},
                                               {"fp16", Storage::F16},
                                               {"fixed-point", Storage::FixedPoint},
                                               {"integer", Storage::Integer},
                                               {"trained", Storage::Trained}});
  if (spec.storage == Storage::FixedPoint) {
    spec.fractionBits = static_cast<int>(r.integer("fractionBits", 0, 8 - spec.bits));
    spec.code = r.choice<FixedPointCode>(
        "encoding", {{"reference", FixedPointCode::Reference}, {"centred", FixedPointCode::Centred}});
  }
  spec.range = r.choice<RangeMethod>("range", {{"minmax", RangeMethod::MinMax},
                                               {"mse", RangeMethod::Mse},
                                               {"lp-2.4", RangeMethod::Lp24},
                                               {"lp-3", RangeMethod::Lp3},
                                               {"lp-3.5", RangeMethod::Lp35},
                                               {"lp-4", RangeMethod::Lp4},
                                               {"lp-5", RangeMethod::Lp5}});
  spec.scaleDomain = r.choice<ScaleDomain>("scaleDomain", {{"linear", ScaleDomain::Linear}, {"log", ScaleDomain::Log}});
  if (!r.get("scaleFormat").IsUndefined()) {
    spec.scaleFormat = r.choice<ScaleFormat>(
        "scaleFormat", {{"fp32", ScaleFormat::F32}, {"bf16", ScaleFormat::BF16}, {"fp16", ScaleFormat::F16}});
  }
  spec.learnScales = r.boolean("learnScales");
  if (!r.isNull("symmetric")) spec.symmetric = r.boolean("symmetric");
  spec.learnZeroPoints = !r.isNull("learnZeroPoints") && r.boolean("learnZeroPoints");
  spec.rank = static_cast<int>(r.integer("rank", 0, 1 << 16));
  spec.alpha = r.real("alpha");
  spec.gradientScaling = !r.isNull("gradientScaling") && r.boolean("gradientScaling");
  return spec;
}

static std::vector<TensorSource> parseTensors(const Napi::Value& value) {
  if (!value.IsArray()) badValue("tensors", "an array");
  const auto array = value.As<Napi::Array>();
  std::vector<TensorSource> tensors;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Reader r(array.Get(i), "tensors[" + std::to_string(i) + "]");
    TensorSource tensor{
        .name = r.string("name"),
        .file = r.string("file"),
        .offset = r.integer("offset", 0),
        .bytes = r.integer("bytes", 0),
        .type = r.choice<DType>("dtype", {{"F32", DType::F32}, {"BF16", DType::BF16}, {"F16", DType::F16}}),
        .shape = {}};
    if (!r.get("shape").IsArray()) badValue(r.path("shape"), "an array");
    const auto shape = r.get("shape").As<Napi::Array>();
    if (shape.Length() < 1 || shape.Length() > 2) badValue(r.path("shape"), "of one or two dimensions");
    int64_t elements = 1;
    for (uint32_t k = 0; k < shape.Length(); ++k) {
      const Napi::Value extent = shape.Get(k);
      const int64_t size = extent.IsNumber() ? extent.As<Napi::Number>().Int64Value() : 0;
      if (size < 1 || size > (int64_t{1} << 40) / elements) badValue(r.path("shape"), "of positive sizes");
      elements *= size;
      tensor.shape.push_back(size);
    }
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

static ActivationSpec parseActivations(const Reader& r) {
  ActivationSpec spec;
  spec.fractionalZeroPoint = r.choice<bool>("zeroPoint", {{"integer", false}, {"reference", true}});
  const Reader bits = r.object("bits");
  constexpr std::array names{"attentionInput",  "keys",     "values",    "rotatedQueries", "rotatedKeys",
                             "attentionOutput", "mlpInput", "mlpProduct"};
  static_assert(names.size() == activationSiteCount);
  for (size_t i = 0; i < names.size(); ++i) {
    if (!bits.isNull(names[i])) spec.bits[i] = static_cast<int>(bits.integer(names[i], 2, 8));
  }
  if (!r.isNull("staticRanges")) {
    const Reader ranges = r.object("staticRanges");
    spec.staticRanges = true;
    spec.symmetric = ranges.boolean("symmetric");
    spec.learnRanges = ranges.boolean("learn");
    spec.gradientScaling = ranges.boolean("gradientScaling");
    if (spec.fractionalZeroPoint) badValue(r.path("zeroPoint"), "integer where ranges are static");
  }
  return spec;
}

static Distillation parseDistillation(const Reader& r, const ModelShape& model) {
  Distillation out{.classes = r.integer("topK", 1, std::min(model.vocabSize, maxTeacherClasses)),
                   .weight = r.real("weight"),
                   .temperature = r.real("temperature")};
  if (!(out.weight >= 0 && out.weight <= 1)) badValue(r.path("weight"), "from 0 to 1");
  if (!(out.temperature > 0)) badValue(r.path("temperature"), "positive");
  return out;
}

static void parseDevice(const Reader& r, ParsedConfig& parsed) {
  EngineShape& shape = parsed.engine.shape;
  shape.device = r.choice<Device>("type", {{"cpu", Device::Cpu}, {"cuda", Device::Cuda}});
  if (shape.device == Device::Cpu) return;
  parsed.cuda = {.library = r.string("library"),
                 .cublasLt = r.string("cublasLt"),
                 .index = static_cast<int>(r.integer("index", 0, 1 << 16)),
                 .computeType = shape.computeType};
}

ParsedConfig parseEngineConfig(const Napi::Value& value) {
  const Reader r(value, "config");
  ParsedConfig parsed;
  EngineShape& shape = parsed.engine.shape;
  shape.model = parseModel(r.object("model"));
  parsed.engine.tensors = parseTensors(r.get("tensors"));

  const Reader linears = r.object("linears");
  for (int64_t layer = 0; layer < shape.model.layers; ++layer) {
    for (const Linear linear : allLinears) {
      const std::string full = layerPrefix(layer) + name(linear);
      if (linears.isNull(full.c_str())) {
        shape.linears.emplace_back(std::nullopt);
        continue;
      }
      const QuantSpec spec = parseQuantSpec(linears.get(full.c_str()), linears.path(full.c_str()));
      const int64_t n = inputs(shape.model, linear);
      if (spec.granularity == Granularity::Group && n % spec.groupSize != 0) {
        throw Error(ErrorCode::InvalidArgument, full + ": group size " + std::to_string(spec.groupSize) +
                                                    " does not divide its " + std::to_string(n) + " inputs");
      }
      shape.linears.emplace_back(spec);
    }
  }

  if (!r.isNull("trainedFloats")) {
    const Reader groups = r.object("trainedFloats");
    shape.floatGroups = {groups.boolean("norms"), groups.boolean("head"), groups.boolean("embeddings")};
  }
  if (!r.isNull("activations")) shape.activations = parseActivations(r.object("activations"));
  if (!r.isNull("distillation")) shape.distillation = parseDistillation(r.object("distillation"), shape.model);
  shape.computeType = r.choice<DType>("compute", {{"float32", DType::F32}, {"bf16", DType::BF16}});
  if (!r.isNull("residual")) {
    shape.residualType = r.choice<DType>("residual", {{"float32", DType::F32}, {"bf16", DType::BF16}});
  }
  if (!r.isNull("elementwise")) {
    shape.recomputeElementwise = r.choice<bool>("elementwise", {{"keep", false}, {"recompute", true}});
  }
  if (!r.isNull("rebuiltWeights")) {
    shape.keepWeights = r.choice<bool>("rebuiltWeights", {{"rebuild", false}, {"keep", true}});
  }
  if (!r.isNull("embeddings")) {
    shape.embeddingsOnHost = r.choice<bool>("embeddings", {{"device", false}, {"host", true}});
  }
  if (!r.isNull("optimizerState")) {
    shape.optimizerOnHost = r.choice<bool>("optimizerState", {{"device", false}, {"host", true}});
  }
  if (!r.isNull("device")) parseDevice(r.object("device"), parsed);
  if (shape.device == Device::Cpu && shape.residualType != DType::F32) {
    badValue(r.path("residual"), "float32 on the CPU");
  }
  if (shape.device == Device::Cuda && shape.keepWeights) badValue(r.path("rebuiltWeights"), "rebuild on CUDA");
  shape.threads = static_cast<int>(r.integer("threads", 1, 1024));
  shape.training = r.boolean("training");
  shape.microBatch = r.integer("microBatchSize", 1, 1 << 20);
  shape.sequenceLength = r.integer("sequenceLength", 1, 1 << 24);
  shape.checkpointBlocks = r.choice<bool>("activationCheckpointing", {{"none", false}, {"block", true}});
  if (!r.isNull("lanes")) shape.lanes = r.integer("lanes", 1, shape.microBatch);
  if (!r.isNull("keptBlocks")) shape.keptBlocks = r.integer("keptBlocks", 1, shape.model.layers);
  parsed.engine.seed = static_cast<uint64_t>(r.integer("seed", 0));
  if (!r.isNull("plan")) {
    const Reader plan = r.object("plan");
    parsed.engine.plan = MemoryParts{.quantizedWeights = plan.integer("quantizedWeights", 0),
                                     .parameters = plan.integer("parameters", 0),
                                     .gradients = plan.integer("gradients", 0),
                                     .optimizer = plan.integer("optimizer", 0),
                                     .embeddings = plan.integer("embeddings", 0),
                                     .activations = plan.integer("activations", 0),
                                     .workspace = plan.integer("workspace", 0),
                                     .host = plan.integer("host", 0)};
  }
  parsed.cpu.threads = shape.threads;
  parsed.cpu.computeType = shape.computeType;
  if (!r.isNull("profile")) parsed.profile = r.boolean("profile");
  if (!r.isNull("oneDnn")) parsed.cpu.oneDnnPath = r.string("oneDnn");
  return parsed;
}

Napi::Object memoryObject(Napi::Env env, const MemoryParts& parts) {
  auto out = Napi::Object::New(env);
  out.Set("quantizedWeights", static_cast<double>(parts.quantizedWeights));
  out.Set("parameters", static_cast<double>(parts.parameters));
  out.Set("gradients", static_cast<double>(parts.gradients));
  out.Set("optimizer", static_cast<double>(parts.optimizer));
  out.Set("embeddings", static_cast<double>(parts.embeddings));
  out.Set("activations", static_cast<double>(parts.activations));
  out.Set("workspace", static_cast<double>(parts.workspace));
  out.Set("host", static_cast<double>(parts.host));
  return out;
}

}  // namespace lrqat::binding
