// class Engine of addon.ts: one engine, and the thread that all its work is queued on.
#pragma once

#include <napi.h>

#include <chrono>
#include <memory>
#include <utility>

#include "binding/worker_thread.h"
#include "core/engine.h"
#include "core/timed_backend.h"

namespace lrqat::binding {

inline double secondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

class EngineObject final : public Napi::ObjectWrap<EngineObject> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit EngineObject(const Napi::CallbackInfo& info);

 private:
  // engine_object.cpp
  Napi::Value load(const Napi::CallbackInfo& info);
  Napi::Value findStart(const Napi::CallbackInfo& info);
  Napi::Value calibrateActivations(const Napi::CallbackInfo& info);
  Napi::Value activationRanges(const Napi::CallbackInfo& info);
  Napi::Value setActivationRanges(const Napi::CallbackInfo& info);
  Napi::Value trainStep(const Napi::CallbackInfo& info);
  void cancel(const Napi::CallbackInfo& info);
  Napi::Value algorithms(const Napi::CallbackInfo& info);
  Napi::Value takeAlgorithms(const Napi::CallbackInfo& info);
  Napi::Value memory(const Napi::CallbackInfo& info);
  Napi::Value takeTimings(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  // engine_evaluation.cpp
  Napi::Value evaluate(const Napi::CallbackInfo& info);
  Napi::Value tokenLosses(const Napi::CallbackInfo& info);
  Napi::Value logits(const Napi::CallbackInfo& info);
  Napi::Value teach(const Napi::CallbackInfo& info);
  Napi::Value parameterGradients(const Napi::CallbackInfo& info);

  // engine_state.cpp
  Napi::Value parameters(const Napi::CallbackInfo& info);
  Napi::Value readState(const Napi::CallbackInfo& info);
  Napi::Value writeState(const Napi::CallbackInfo& info);
  Napi::Value optimizerStep(const Napi::CallbackInfo& info);
  Napi::Value setOptimizerStep(const Napi::CallbackInfo& info);
  Napi::Value initialScales(const Napi::CallbackInfo& info);
  Napi::Value scales(const Napi::CallbackInfo& info);
  Napi::Value initialZeroPoints(const Napi::CallbackInfo& info);
  Napi::Value zeroPoints(const Napi::CallbackInfo& info);
  Napi::Value baseDigest(const Napi::CallbackInfo& info);
  Napi::Value phi0(const Napi::CallbackInfo& info);
  Napi::Value merge(const Napi::CallbackInfo& info);
  Napi::Value attachMerged(const Napi::CallbackInfo& info);
  Napi::Value layerStatistics(const Napi::CallbackInfo& info);

  /// Throws once the engine is closed.
  Engine& engine();
  /// Sends what a call does linear by linear to the `onProgress` of its options; null: there is none.
  Engine::Progress progressOf(const Napi::Object& options);
  /// Length of the sequences of a call: its argument, or what the engine was made for.
  int64_t parseLength(const Napi::Value& value);

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
  /// Queues `work(engine)`, whose result `toValue(env, result)` turns into JavaScript's on the main thread.
  template <typename Work, typename ToValue>
  Napi::Value answer(Napi::Env env, Work work, ToValue toValue) {
    return queue(env, [work = std::move(work), toValue](Engine& engine) -> WorkerThread::Finish {
      return [result = work(engine), toValue](Napi::Env onMain) -> Napi::Value { return toValue(onMain, result); };
    });
  }
  /// Queues `work(engine)`, which has no result.
  template <typename Work>
  Napi::Value perform(Napi::Env env, Work work) {
    return queue(env, [work = std::move(work)](Engine& engine) -> WorkerThread::Finish {
      work(engine);
      return [](Napi::Env onMain) -> Napi::Value { return onMain.Undefined(); };
    });
  }
  /// Queues `work(engine, index)` for the linear that the first argument names.
  template <typename Work, typename ToValue>
  Napi::Value ofLinear(const Napi::CallbackInfo& info, Work work, ToValue toValue);

  std::shared_ptr<Engine> engine_;
  TimedBackend* timings_ = nullptr;  // owned by the engine; null: not profiling
  Napi::FunctionReference progress_;
  int64_t running_ = 0;
  std::unique_ptr<WorkerThread> worker_;  // last: joined before the engine goes
};

}  // namespace lrqat::binding
