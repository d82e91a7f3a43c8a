#include "binding/engine_arguments.h"

#include "binding/values.h"

namespace lrqat::binding {

std::optional<std::vector<std::string>> parseNames(const Napi::Value& value, const char* what) {
  if (value.IsUndefined() || value.IsNull()) return std::nullopt;
  if (!value.IsArray()) badValue(what, "a list of names");
  const auto list = value.As<Napi::Array>();
  std::vector<std::string> names;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Value entry = list.Get(i);
    if (!entry.IsString()) badValue(what, "a list of names");
    names.push_back(entry.As<Napi::String>().Utf8Value());
  }
  return names;
}

WeightForm parseForm(const Napi::Value& value) {
  const std::string text = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  if (text == "float") return WeightForm::Float;
  if (text == "round-to-nearest") return WeightForm::RoundToNearest;
  if (text == "trained") return WeightForm::Trained;
  if (text == "merged") return WeightForm::Merged;
  badValue("form", "one of float, round-to-nearest, trained, merged");
}

ParameterKind parseKind(const Napi::Value& value) {
  const std::string text = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  if (text == "a") return ParameterKind::A;
  if (text == "b") return ParameterKind::B;
  if (text == "scale") return ParameterKind::Scale;
  if (text == "zeroPoint") return ParameterKind::ZeroPoint;
  if (text == "weight") return ParameterKind::Weight;
  badValue("kind", "one of a, b, scale, zeroPoint, weight");
}

std::map<std::string, std::vector<float>> floatsByLinear(const Napi::Object& options, const char* key) {
  std::map<std::string, std::vector<float>> out;
  const Napi::Value given = options.Get(key);
  if (!given.IsObject()) return out;
  const auto object = given.As<Napi::Object>();
  const auto names = object.GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); ++i) {
    const std::string linear = names.Get(i).As<Napi::String>().Utf8Value();
    out[linear] = floats(object.Get(linear), std::string(key) + "." + linear);
  }
  return out;
}

std::map<std::string, StoredTensor> storedTensors(const Napi::Value& value, const std::string& path) {
  std::map<std::string, StoredTensor> out;
  const auto object = value.As<Napi::Object>();
  const auto names = object.GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); ++i) {
    const std::string name = names.Get(i).As<Napi::String>().Utf8Value();
    const Reader r(object.Get(name), path + "." + name);
    out[name] = {r.string("file"), r.integer("offset", 0)};
  }
  return out;
}

StartSettings parseStart(const Napi::Value& value) {
  const Reader r(value, "start");
  StartSettings settings;
  if (!r.isNull("gptq")) {
    const Reader gptq = r.object("gptq");
    settings.gptq = true;
    settings.damping = gptq.number("damping");
    settings.activationOrder = gptq.boolean("activationOrder");
  }
  if (!r.isNull("lowRank")) {
    settings.lowRank = true;
    settings.iterations = static_cast<int>(r.object("lowRank").integer("iterations", 1, 1000));
  }
  return settings;
}

StateKind parseState(const Napi::Value& value) {
  const std::string text = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  if (text == "value") return StateKind::Value;
  if (text == "moment1") return StateKind::Moment1;
  if (text == "moment2") return StateKind::Moment2;
  if (text == "gradient") return StateKind::Gradient;
  badValue("state", "one of value, moment1, moment2, gradient");
}

std::string parseName(const Napi::Value& value) {
  if (!value.IsString()) badValue("linear", "a string");
  return value.As<Napi::String>().Utf8Value();
}

std::shared_ptr<OwnedBatch> parseBatch(const Napi::Value& value, int64_t length) {
  const Reader r(value, "batch");
  auto batch = std::make_shared<OwnedBatch>();
  batch->length = length;
  batch->tokens = int32s(r.get("tokens"), "batch.tokens");
  batch->targets = int32s(r.get("targets"), "batch.targets");
  if (!r.isNull("firstKey")) batch->firstKey = int32s(r.get("firstKey"), "batch.firstKey");
  if (!r.isNull("teacher")) {
    const Reader teacher = r.object("teacher");
    batch->teacherClasses = int32s(teacher.get("classes"), "batch.teacher.classes");
    batch->teacherLogProbabilities = floats(teacher.get("logProbabilities"), "batch.teacher.logProbabilities");
  }
  if (!r.isNull("hidden")) {
    const Reader hidden = r.object("hidden");
    batch->hiddenFrom = int32s(hidden.get("from"), "batch.hidden.from");
    batch->hiddenTo = int32s(hidden.get("to"), "batch.hidden.to");
  }
  if (batch->tokens.size() % static_cast<size_t>(length) != 0) {
    badValue("batch.tokens", "a whole number of sequences of " + std::to_string(length) + " tokens, not " +
                                 std::to_string(batch->tokens.size()) + " tokens");
  }
  return batch;
}

OptimizerSettings parseSettings(const Napi::Value& value) {
  const Reader r(value, "settings");
  const Reader rate = r.object("learningRate");
  OptimizerSettings settings{.lowRankLearningRate = rate.number("lowRank"),
                             .scaleLearningRate = rate.number("scales"),
                             .zeroPointLearningRate = rate.number(rate.isNull("zeroPoints") ? "scales" : "zeroPoints"),
                             .weightLearningRate = rate.isNull("weights") ? 0 : rate.number("weights"),
                             .normLearningRate = rate.isNull("norms") ? 0 : rate.number("norms"),
                             .headLearningRate = rate.isNull("head") ? 0 : rate.number("head"),
                             .embeddingLearningRate = rate.isNull("embeddings") ? 0 : rate.number("embeddings"),
                             .activationLearningRate = rate.isNull("activations") ? 0 : rate.number("activations"),
                             .beta1 = r.number("beta1"),
                             .beta2 = r.number("beta2"),
                             .epsilon = r.number("epsilon"),
                             .weightDecay = r.number("weightDecay"),
                             .gradientClip = std::nullopt};
  if (!r.isNull("gradientClip")) settings.gradientClip = r.number("gradientClip");
  return settings;
}

}  // namespace lrqat::binding
