// class Engine: what it holds, as it is read and written by checkpoints and exports.
#include <span>

#include "binding/engine_arguments.h"
#include "binding/engine_config.h"
#include "binding/engine_object.h"
#include "binding/values.h"

namespace lrqat::binding {

namespace {

const char* nameOf(FloatGroup group) {
  switch (group) {
    case FloatGroup::Norms:
      return "norms";
    case FloatGroup::Head:
      return "head";
    case FloatGroup::Embeddings:
      return "embeddings";
  }
  return "";
}

const char* nameOf(ParameterKind kind) {
  switch (kind) {
    case ParameterKind::A:
      return "a";
    case ParameterKind::B:
      return "b";
    case ParameterKind::Scale:
      return "scale";
    case ParameterKind::ZeroPoint:
      return "zeroPoint";
    case ParameterKind::Weight:
      return "weight";
  }
  return "";
}

}  // namespace

template <typename Work, typename ToValue>
Napi::Value EngineObject::ofLinear(const Napi::CallbackInfo& info, Work work, ToValue toValue) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const size_t linear = engine().linearIndex(parseName(info[0]));
    return answer(
        info.Env(), [linear, work](Engine& engine) { return work(engine, linear); }, toValue);
  });
}

Napi::Value EngineObject::parameters(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto& parameters = engine().parameters();
    auto out = Napi::Array::New(info.Env(), parameters.size());
    for (size_t i = 0; i < parameters.size(); ++i) {
      const ParameterInfo& p = parameters[i];
      auto item = Napi::Object::New(info.Env());
      item.Set("linear", engine().linearName(p.linear));
      item.Set("kind", nameOf(p.kind));
      if (p.group) item.Set("group", nameOf(*p.group));
      auto shape = Napi::Array::New(info.Env());
      const bool vector =
          p.kind == ParameterKind::Scale || p.kind == ParameterKind::ZeroPoint || p.group == FloatGroup::Norms;
      if (!vector) shape.Set(shape.Length(), static_cast<double>(p.rows));
      shape.Set(shape.Length(), static_cast<double>(p.cols));
      item.Set("shape", shape);
      out.Set(static_cast<uint32_t>(i), item);
    }
    return out;
  });
}

Napi::Value EngineObject::readState(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const size_t linear = engine().parameterIndex(parseName(info[0]));
    const ParameterKind kind = parseKind(info[1]);
    const StateKind state = parseState(info[2]);
    return answer(
        info.Env(), [linear, kind, state](Engine& engine) { return engine.readState(linear, kind, state); },
        float32Array);
  });
}

Napi::Value EngineObject::writeState(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const size_t linear = engine().parameterIndex(parseName(info[0]));
    const ParameterKind kind = parseKind(info[1]);
    const StateKind state = parseState(info[2]);
    auto values = std::make_shared<std::vector<float>>(floats(info[3], "values"));
    return perform(info.Env(),
                   [linear, kind, state, values](Engine& engine) { engine.writeState(linear, kind, state, *values); });
  });
}

Napi::Value EngineObject::optimizerStep(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(), static_cast<double>(engine().optimizerStep()));
  });
}

Napi::Value EngineObject::setOptimizerStep(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const int64_t step = info[0].IsNumber() ? info[0].As<Napi::Number>().Int64Value() : -1;
    if (step < 0) badValue("step", "a non-negative integer");
    engine().setOptimizerStep(step);
    return info.Env().Undefined();
  });
}

Napi::Value EngineObject::initialScales(const Napi::CallbackInfo& info) {
  return ofLinear(
      info, [](Engine& engine, size_t linear) { return engine.initialScales(linear); }, float32Array);
}

Napi::Value EngineObject::scales(const Napi::CallbackInfo& info) {
  return ofLinear(
      info, [](Engine& engine, size_t linear) { return engine.scales(linear); }, float32Array);
}

Napi::Value EngineObject::initialZeroPoints(const Napi::CallbackInfo& info) {
  return ofLinear(
      info, [](Engine& engine, size_t linear) { return engine.initialZeroPoints(linear); }, float32Array);
}

Napi::Value EngineObject::zeroPoints(const Napi::CallbackInfo& info) {
  return ofLinear(
      info,
      [](Engine& engine, size_t linear) {
        const std::vector<uint8_t> values = engine.zeroPoints(linear);
        const auto bytes = std::as_bytes(std::span(values));
        return std::vector<std::byte>(bytes.begin(), bytes.end());
      },
      uint8Array);
}

Napi::Value EngineObject::baseDigest(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return answer(
        info.Env(), [](Engine& engine) { return engine.baseDigest(); }, stringValue);
  });
}

Napi::Value EngineObject::phi0(const Napi::CallbackInfo& info) {
  return ofLinear(
      info, [](Engine& engine, size_t linear) { return engine.phi0(linear); }, uint8Array);
}

Napi::Value EngineObject::merge(const Napi::CallbackInfo& info) {
  return ofLinear(
      info, [](Engine& engine, size_t linear) { return engine.merge(linear); }, uint8Array);
}

Napi::Value EngineObject::attachMerged(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (!info[0].IsObject()) badValue("codes", "an object");
    const auto object = info[0].As<Napi::Object>();
    const auto keys = object.GetPropertyNames();
    std::map<std::string, MergedSource> sources;
    for (uint32_t i = 0; i < keys.Length(); ++i) {
      const std::string key = keys.Get(i).As<Napi::String>().Utf8Value();
      const Reader r(object.Get(key), "codes." + key);
      sources[key] = {r.string("file"), r.integer("codesOffset", 0), r.integer("scalesOffset", 0),
                      r.isNull("zeroPointsOffset") ? 0 : r.integer("zeroPointsOffset", 0)};
    }
    auto floats = info[1].IsObject() ? storedTensors(info[1], "floats") : std::map<std::string, StoredTensor>{};
    return perform(info.Env(), [sources = std::move(sources), floats = std::move(floats)](Engine& engine) {
      engine.attachMerged(sources, floats);
    });
  });
}

Napi::Value EngineObject::layerStatistics(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return queue(info.Env(), [](Engine& engine) -> WorkerThread::Finish {
      return [layers = engine.layerStatistics()](Napi::Env env) -> Napi::Value {
        auto out = Napi::Array::New(env, layers.size());
        for (size_t i = 0; i < layers.size(); ++i) {
          auto item = Napi::Object::New(env);
          item.Set("name", layers[i].name);
          item.Set("clippedShare",
                   static_cast<double>(layers[i].statistics.clipped) / static_cast<double>(layers[i].weights));
          item.Set("flipped", static_cast<double>(layers[i].statistics.flipped));
          item.Set("weights", static_cast<double>(layers[i].weights));
          item.Set("scaleDrift", layers[i].statistics.scaleDrift);
          if (layers[i].asymmetric) item.Set("zeroPointDrift", layers[i].statistics.zeroPointDrift);
          out.Set(static_cast<uint32_t>(i), item);
        }
        return out;
      };
    });
  });
}

}  // namespace lrqat::binding
