// class Engine: its life, what prepares it, steps and what it says of itself.
#include "binding/engine_object.h"

#include "binding/engine_arguments.h"
#include "binding/engine_config.h"
#include "binding/register.h"
#include "binding/values.h"

namespace lrqat::binding {

void EngineObject::define(Napi::Env env, Napi::Object exports) {
  exports.Set("Engine", DefineClass(env, "Engine",
                                    {InstanceMethod<&EngineObject::load>("load"),
                                     InstanceMethod<&EngineObject::findStart>("findStart"),
                                     InstanceMethod<&EngineObject::calibrateActivations>("calibrateActivations"),
                                     InstanceMethod<&EngineObject::activationRanges>("activationRanges"),
                                     InstanceMethod<&EngineObject::setActivationRanges>("setActivationRanges"),
                                     InstanceMethod<&EngineObject::trainStep>("trainStep"),
                                     InstanceMethod<&EngineObject::evaluate>("evaluate"),
                                     InstanceMethod<&EngineObject::tokenLosses>("tokenLosses"),
                                     InstanceMethod<&EngineObject::logits>("logits"),
                                     InstanceMethod<&EngineObject::teach>("teach"),
                                     InstanceMethod<&EngineObject::parameterGradients>("parameterGradients"),
                                     InstanceMethod<&EngineObject::cancel>("cancel"),
                                     InstanceMethod<&EngineObject::parameters>("parameters"),
                                     InstanceMethod<&EngineObject::readState>("readState"),
                                     InstanceMethod<&EngineObject::writeState>("writeState"),
                                     InstanceMethod<&EngineObject::optimizerStep>("optimizerStep"),
                                     InstanceMethod<&EngineObject::setOptimizerStep>("setOptimizerStep"),
                                     InstanceMethod<&EngineObject::initialScales>("initialScales"),
                                     InstanceMethod<&EngineObject::scales>("scales"),
                                     InstanceMethod<&EngineObject::initialZeroPoints>("initialZeroPoints"),
                                     InstanceMethod<&EngineObject::zeroPoints>("zeroPoints"),
                                     InstanceMethod<&EngineObject::baseDigest>("baseDigest"),
                                     InstanceMethod<&EngineObject::phi0>("phi0"),
                                     InstanceMethod<&EngineObject::merge>("merge"),
                                     InstanceMethod<&EngineObject::attachMerged>("attachMerged"),
                                     InstanceMethod<&EngineObject::layerStatistics>("layerStatistics"),
                                     InstanceMethod<&EngineObject::algorithms>("algorithms"),
                                     InstanceMethod<&EngineObject::takeAlgorithms>("takeAlgorithms"),
                                     InstanceMethod<&EngineObject::memory>("memory"),
                                     InstanceMethod<&EngineObject::takeTimings>("takeTimings"),
                                     InstanceMethod<&EngineObject::close>("close")}));
}

EngineObject::EngineObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<EngineObject>(info) {
  guarded(info.Env(), [&]() -> Napi::Value {
    ParsedConfig parsed = parseEngineConfig(info[0]);
    std::unique_ptr<Backend> backend;
    if (parsed.engine.shape.device == Device::Cuda) {
      backend = CudaLibrary::open(parsed.cuda.library).createBackend(parsed.cuda);
    } else {
      backend = std::make_unique<cpu::CpuBackend>(parsed.cpu);
    }
    if (parsed.profile) {
      auto timed = std::make_unique<TimedBackend>(std::move(backend));
      timings_ = timed.get();
      backend = std::move(timed);
    }
    engine_ = std::make_shared<Engine>(std::move(parsed.engine), std::move(backend));
    worker_ = std::make_unique<WorkerThread>(info.Env());
    return info.Env().Undefined();
  });
}

Engine& EngineObject::engine() {
  if (!engine_) throw Error(ErrorCode::InvalidArgument, "the engine is closed");
  return *engine_;
}

Engine::Progress EngineObject::progressOf(const Napi::Object& options) {
  const auto callback = options.Get("onProgress");
  if (!callback.IsFunction()) return {};
  progress_ = Napi::Persistent(callback.As<Napi::Function>());
  return [this](const std::string& linear, int64_t done, int64_t total) {
    worker_->post([this, linear, done, total](Napi::Env env) {
      const Napi::HandleScope scope(env);
      auto progress = Napi::Object::New(env);
      progress.Set("linear", linear);
      progress.Set("done", static_cast<double>(done));
      progress.Set("total", static_cast<double>(total));
      progress_.Call({progress});
    });
  };
}

Napi::Value EngineObject::load(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    StoredRanges ranges;
    Engine::Progress progress;
    if (info[0].IsObject()) {
      const auto options = info[0].As<Napi::Object>();
      ranges = {floatsByLinear(options, "scales"), floatsByLinear(options, "zeroPoints"),
                options.Get("phi0").IsObject() ? storedTensors(options.Get("phi0"), "phi0")
                                               : std::map<std::string, StoredPhi0>{}};
      progress = progressOf(options);
    }
    return perform(info.Env(),
                   [ranges = std::move(ranges), progress](Engine& engine) { engine.load(ranges, progress); });
  });
}

Napi::Value EngineObject::findStart(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const StartSettings settings = parseStart(info[0]);
    const auto options = info[0].As<Napi::Object>();
    auto batch = std::make_shared<OwnedBatch>();
    batch->length = 1;
    if (settings.gptq) batch = parseBatch(options.Get("calibration"), engine().shape().sequenceLength);
    return queue(info.Env(), [settings, batch, progress = progressOf(options)](Engine& engine) -> WorkerThread::Finish {
      const int64_t bytes = engine.findStart(settings, batch->view(), progress);
      return [bytes](Napi::Env env) -> Napi::Value { return Napi::Number::New(env, static_cast<double>(bytes)); };
    });
  });
}

Napi::Value EngineObject::calibrateActivations(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto batch = parseBatch(info[0], parseLength(info[1]));
    return perform(info.Env(), [batch](Engine& engine) { engine.calibrateActivations(batch->view()); });
  });
}

Napi::Value EngineObject::activationRanges(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return answer(
        info.Env(), [](Engine& engine) { return engine.activationRanges(); }, float32Array);
  });
}

Napi::Value EngineObject::setActivationRanges(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto values = std::make_shared<std::vector<float>>(floats(info[0], "ranges"));
    return perform(info.Env(), [values](Engine& engine) { engine.setActivationRanges(*values); });
  });
}

Napi::Value EngineObject::trainStep(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto batch = parseBatch(info[0], engine().shape().sequenceLength);
    const OptimizerSettings settings = parseSettings(info[1]);
    return queue(info.Env(), [batch, settings](Engine& engine) -> WorkerThread::Finish {
      const auto start = std::chrono::steady_clock::now();
      const StepResult result = engine.trainStep(batch->view(), settings);
      const bool distilled = engine.shape().distillation.classes > 0;
      return [result, distilled, seconds = secondsSince(start),
              step = engine.optimizerStep()](Napi::Env env) -> Napi::Value {
        auto out = Napi::Object::New(env);
        out.Set("loss", result.loss);
        if (distilled) {
          out.Set("crossEntropy", result.crossEntropy);
          out.Set("divergence", result.divergence);
        }
        out.Set("tokens", static_cast<double>(result.tokens));
        out.Set("gradientNorm", result.gradientNorm);
        out.Set("skipped", result.skipped);
        out.Set("optimizerStep", static_cast<double>(step));
        out.Set("seconds", seconds);
        return out;
      };
    });
  });
}

void EngineObject::cancel(const Napi::CallbackInfo&) {
  if (running_ > 0 && engine_) engine_->cancel();
}

Napi::Value EngineObject::algorithms(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return answer(
        info.Env(), [](Engine& engine) { return engine.algorithms(); }, stringValue);
  });
}

Napi::Value EngineObject::takeAlgorithms(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (!info[0].IsString()) badValue("text", "a string");
    return queue(info.Env(), [text = info[0].As<Napi::String>().Utf8Value()](Engine& engine) -> WorkerThread::Finish {
      return [taken = engine.takeAlgorithms(text)](Napi::Env env) -> Napi::Value {
        return Napi::Boolean::New(env, taken);
      };
    });
  });
}

Napi::Value EngineObject::memory(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value { return memoryObject(info.Env(), engine().memory()); });
}

Napi::Value EngineObject::takeTimings(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (!timings_) throw Error(ErrorCode::InvalidArgument, "the engine was created without profile: true");
    return queue(info.Env(), [timed = timings_](Engine&) -> WorkerThread::Finish {
      auto timings = timed->timings();
      timed->reset();
      return [timings = std::move(timings)](Napi::Env env) -> Napi::Value {
        auto out = Napi::Object::New(env);
        for (const auto& [operation, timing] : timings) {
          auto item = Napi::Object::New(env);
          item.Set("calls", static_cast<double>(timing.calls));
          item.Set("seconds", timing.seconds);
          out.Set(operation, item);
        }
        return out;
      };
    });
  });
}

Napi::Value EngineObject::close(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (engine_) engine_->cancel();
    auto closing = std::move(engine_);
    engine_ = nullptr;
    Ref();
    // The last queued task frees the memory on the worker.
    return worker_->run(
        info.Env(),
        [closing = std::move(closing)]() mutable -> WorkerThread::Finish {
          closing.reset();
          return [](Napi::Env env) -> Napi::Value { return env.Undefined(); };
        },
        [this] { Unref(); });
  });
}

void registerEngine(Napi::Env env, Napi::Object exports) {
  EngineObject::define(env, exports);
}

}  // namespace lrqat::binding
