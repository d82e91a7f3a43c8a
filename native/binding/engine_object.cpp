// class Engine of addon.ts.
#include <chrono>
#include <memory>
#include <span>

#include "binding/engine_arguments.h"
#include "binding/engine_config.h"
#include "binding/register.h"
#include "binding/values.h"
#include "binding/worker_thread.h"
#include "core/timed_backend.h"

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

double secondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

class EngineObject final : public Napi::ObjectWrap<EngineObject> {
 public:
  static void define(Napi::Env env, Napi::Object exports) {
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

  explicit EngineObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<EngineObject>(info) {
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

 private:
  /// Queues `work(engine)`, which returns what makes the result on the main thread.
  template <typename Work>
  Napi::Value queue(Napi::Env env, Work work) {
    if (!engine_) throw Error(ErrorCode::InvalidArgument, "the engine is closed");
    ++running_;
    Ref();  // the object must outlive its tasks
    return worker_->run(
        env, [engine = engine_, work = std::move(work)]() -> WorkerThread::Finish { return work(*engine); },
        [this] {
          if (--running_ == 0 && engine_) engine_->clearCancel();
          Unref();
        });
  }
  Engine& engine() {
    if (!engine_) throw Error(ErrorCode::InvalidArgument, "the engine is closed");
    return *engine_;
  }

  /// Sends what a call does linear by linear to the `onProgress` of its options; null: there is none.
  Engine::Progress progressOf(const Napi::Object& options) {
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

  Napi::Value load(const Napi::CallbackInfo& info) {
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
      return queue(info.Env(), [ranges = std::move(ranges), progress](Engine& engine) -> WorkerThread::Finish {
        engine.load(ranges, progress);
        return [](Napi::Env env) -> Napi::Value { return env.Undefined(); };
      });
    });
  }

  Napi::Value findStart(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const StartSettings settings = parseStart(info[0]);
      const auto options = info[0].As<Napi::Object>();
      auto batch = std::make_shared<OwnedBatch>();
      batch->length = 1;
      if (settings.gptq) batch = parseBatch(options.Get("calibration"), engine().shape().sequenceLength);
      return queue(
          info.Env(), [settings, batch, progress = progressOf(options)](Engine& engine) -> WorkerThread::Finish {
            const int64_t bytes = engine.findStart(settings, batch->view(), progress);
            return [bytes](Napi::Env env) -> Napi::Value { return Napi::Number::New(env, static_cast<double>(bytes)); };
          });
    });
  }

  Napi::Value calibrateActivations(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      auto batch = parseBatch(info[0], parseLength(info[1]));
      return queue(info.Env(), [batch](Engine& engine) -> WorkerThread::Finish {
        engine.calibrateActivations(batch->view());
        return [](Napi::Env env) -> Napi::Value { return env.Undefined(); };
      });
    });
  }

  Napi::Value activationRanges(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      return queue(info.Env(), [](Engine& engine) -> WorkerThread::Finish {
        return [values = engine.activationRanges()](Napi::Env env) { return float32Array(env, values); };
      });
    });
  }

  Napi::Value setActivationRanges(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      auto values = std::make_shared<std::vector<float>>(floats(info[0], "ranges"));
      return queue(info.Env(), [values](Engine& engine) -> WorkerThread::Finish {
        engine.setActivationRanges(*values);
        return [](Napi::Env env) -> Napi::Value { return env.Undefined(); };
      });
    });
  }

  Napi::Value trainStep(const Napi::CallbackInfo& info) {
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

  /// Length of the sequences of a call: its argument, or what the engine was made for.
  int64_t parseLength(const Napi::Value& value) {
    const int64_t most = engine().shape().sequenceLength;
    const int64_t length = value.IsNumber() ? value.As<Napi::Number>().Int64Value() : most;
    if (length < 1 || length > most) badValue("sequenceLength", "from 1 to " + std::to_string(most));
    return length;
  }

  Napi::Value evaluate(const Napi::CallbackInfo& info) {
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

  Napi::Value tokenLosses(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      auto batch = parseBatch(info[0], parseLength(info[2]));
      const WeightForm form = parseForm(info[1]);
      return queue(info.Env(), [batch, form](Engine& engine) -> WorkerThread::Finish {
        return [losses = engine.tokenLosses(batch->view(), form)](Napi::Env env) { return float32Array(env, losses); };
      });
    });
  }

  Napi::Value logits(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      auto batch = parseBatch(info[0], engine().shape().sequenceLength);
      const WeightForm form = parseForm(info[1]);
      return queue(info.Env(), [batch, form](Engine& engine) -> WorkerThread::Finish {
        return [values = engine.logits(batch->view(), form)](Napi::Env env) { return float32Array(env, values); };
      });
    });
  }

  Napi::Value teach(const Napi::CallbackInfo& info) {
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

  Napi::Value parameterGradients(const Napi::CallbackInfo& info) {
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

  void cancel(const Napi::CallbackInfo&) {
    if (running_ > 0 && engine_) engine_->cancel();
  }

  Napi::Value parameters(const Napi::CallbackInfo& info) {
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

  Napi::Value readState(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const size_t linear = engine().parameterIndex(parseName(info[0]));
      const ParameterKind kind = parseKind(info[1]);
      const StateKind state = parseState(info[2]);
      return queue(info.Env(), [linear, kind, state](Engine& engine) -> WorkerThread::Finish {
        return [values = engine.readState(linear, kind, state)](Napi::Env env) { return float32Array(env, values); };
      });
    });
  }

  Napi::Value writeState(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const size_t linear = engine().parameterIndex(parseName(info[0]));
      const ParameterKind kind = parseKind(info[1]);
      const StateKind state = parseState(info[2]);
      auto values = std::make_shared<std::vector<float>>(floats(info[3], "values"));
      return queue(info.Env(), [linear, kind, state, values](Engine& engine) -> WorkerThread::Finish {
        engine.writeState(linear, kind, state, *values);
        return [](Napi::Env env) -> Napi::Value { return env.Undefined(); };
      });
    });
  }

  Napi::Value optimizerStep(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      return Napi::Number::New(info.Env(), static_cast<double>(engine().optimizerStep()));
    });
  }

  Napi::Value setOptimizerStep(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const int64_t step = info[0].IsNumber() ? info[0].As<Napi::Number>().Int64Value() : -1;
      if (step < 0) badValue("step", "a non-negative integer");
      engine().setOptimizerStep(step);
      return info.Env().Undefined();
    });
  }

  Napi::Value initialScales(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const size_t linear = engine().linearIndex(parseName(info[0]));
      return queue(info.Env(), [linear](Engine& engine) -> WorkerThread::Finish {
        return [values = engine.initialScales(linear)](Napi::Env env) { return float32Array(env, values); };
      });
    });
  }

  Napi::Value scales(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const size_t linear = engine().linearIndex(parseName(info[0]));
      return queue(info.Env(), [linear](Engine& engine) -> WorkerThread::Finish {
        return [values = engine.scales(linear)](Napi::Env env) { return float32Array(env, values); };
      });
    });
  }

  Napi::Value initialZeroPoints(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const size_t linear = engine().linearIndex(parseName(info[0]));
      return queue(info.Env(), [linear](Engine& engine) -> WorkerThread::Finish {
        return [values = engine.initialZeroPoints(linear)](Napi::Env env) { return float32Array(env, values); };
      });
    });
  }

  Napi::Value zeroPoints(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const size_t linear = engine().linearIndex(parseName(info[0]));
      return queue(info.Env(), [linear](Engine& engine) -> WorkerThread::Finish {
        const std::vector<uint8_t> values = engine.zeroPoints(linear);
        const auto bytes = std::as_bytes(std::span(values));
        return [codes = std::vector<std::byte>(bytes.begin(), bytes.end())](Napi::Env env) {
          return uint8Array(env, codes);
        };
      });
    });
  }

  Napi::Value baseDigest(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      return queue(info.Env(), [](Engine& engine) -> WorkerThread::Finish {
        return [digest = engine.baseDigest()](Napi::Env env) -> Napi::Value { return Napi::String::New(env, digest); };
      });
    });
  }

  Napi::Value phi0(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const size_t linear = engine().linearIndex(parseName(info[0]));
      return queue(info.Env(), [linear](Engine& engine) -> WorkerThread::Finish {
        return [codes = engine.phi0(linear)](Napi::Env env) { return uint8Array(env, codes); };
      });
    });
  }

  Napi::Value merge(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const size_t linear = engine().linearIndex(parseName(info[0]));
      return queue(info.Env(), [linear](Engine& engine) -> WorkerThread::Finish {
        return [codes = engine.merge(linear)](Napi::Env env) { return uint8Array(env, codes); };
      });
    });
  }

  Napi::Value attachMerged(const Napi::CallbackInfo& info) {
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
      return queue(info.Env(),
                   [sources = std::move(sources), floats = std::move(floats)](Engine& engine) -> WorkerThread::Finish {
                     engine.attachMerged(sources, floats);
                     return [](Napi::Env env) -> Napi::Value { return env.Undefined(); };
                   });
    });
  }

  Napi::Value layerStatistics(const Napi::CallbackInfo& info) {
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

  Napi::Value algorithms(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      return queue(info.Env(), [](Engine& engine) -> WorkerThread::Finish {
        return [text = engine.algorithms()](Napi::Env env) -> Napi::Value { return Napi::String::New(env, text); };
      });
    });
  }

  Napi::Value takeAlgorithms(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      if (!info[0].IsString()) badValue("text", "a string");
      return queue(info.Env(), [text = info[0].As<Napi::String>().Utf8Value()](Engine& engine) -> WorkerThread::Finish {
        return [taken = engine.takeAlgorithms(text)](Napi::Env env) -> Napi::Value {
          return Napi::Boolean::New(env, taken);
        };
      });
    });
  }

  Napi::Value memory(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value { return memoryObject(info.Env(), engine().memory()); });
  }

  Napi::Value takeTimings(const Napi::CallbackInfo& info) {
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

  Napi::Value close(const Napi::CallbackInfo& info) {
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

  std::shared_ptr<Engine> engine_;
  TimedBackend* timings_ = nullptr;  // owned by the engine; null: not profiling
  Napi::FunctionReference progress_;
  int64_t running_ = 0;
  std::unique_ptr<WorkerThread> worker_;  // last: joined before the engine goes
};

void registerEngine(Napi::Env env, Napi::Object exports) {
  EngineObject::define(env, exports);
}

}  // namespace lrqat::binding
