// class Engine: losses, logits and gradients of batches.
#include "binding/engine_arguments.h"
#include "binding/engine_object.h"
#include "binding/values.h"

namespace lrqat::binding {

int64_t EngineObject::parseLength(const Napi::Value& value) {
  const int64_t most = engine().shape().sequenceLength;
  const int64_t length = value.IsNumber() ? value.As<Napi::Number>().Int64Value() : most;
  if (length < 1 || length > most) badValue("sequenceLength", "from 1 to " + std::to_string(most));
  return length;
}

Napi::Value EngineObject::evaluate(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto batch = parseBatch(info[0], parseLength(info[2]));
    const WeightForm form = parseForm(info[1]);
    const auto only = parseNames(info[3], "only");
    return queue(info.Env(), [batch, form, only](Engine& engine) -> WorkerThread::Finish {
      const auto start = std::chrono::steady_clock::now();
      const EvaluationResult result = engine.evaluate(batch->view(), form, only);
      return [result, seconds = secondsSince(start)](Napi::Env env) -> Napi::Value {
        auto out = Napi::Object::New(env);
        out.Set("lossSum", result.lossSum);
        out.Set("tokens", static_cast<double>(result.tokens));
        out.Set("seconds", seconds);
        return out;
      };
    });
  });
}

Napi::Value EngineObject::tokenLosses(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto batch = parseBatch(info[0], parseLength(info[2]));
    const WeightForm form = parseForm(info[1]);
    return answer(
        info.Env(), [batch, form](Engine& engine) { return engine.tokenLosses(batch->view(), form); }, float32Array);
  });
}

Napi::Value EngineObject::logits(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto batch = parseBatch(info[0], engine().shape().sequenceLength);
    const WeightForm form = parseForm(info[1]);
    return answer(
        info.Env(), [batch, form](Engine& engine) { return engine.logits(batch->view(), form); }, float32Array);
  });
}

Napi::Value EngineObject::teach(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto batch = parseBatch(info[0], engine().shape().sequenceLength);
    return queue(info.Env(), [batch](Engine& engine) -> WorkerThread::Finish {
      return [known = engine.teach(batch->view())](Napi::Env env) -> Napi::Value {
        auto out = Napi::Object::New(env);
        out.Set("classes", int32Array(env, known.classes));
        out.Set("logProbabilities", float32Array(env, known.logProbabilities));
        return out;
      };
    });
  });
}

Napi::Value EngineObject::parameterGradients(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto batch = parseBatch(info[0], engine().shape().sequenceLength);
    return queue(info.Env(), [batch](Engine& engine) -> WorkerThread::Finish {
      return [gradients = engine.parameterGradients(batch->view())](Napi::Env env) -> Napi::Value {
        auto out = Napi::Object::New(env);
        for (const auto& [parameter, values] : gradients) out.Set(parameter, float32Array(env, values));
        return out;
      };
    });
  });
}

}  // namespace lrqat::binding
