// The engine's own thread. libgomp keeps a team of threads per calling thread, so everything that computes runs here;
// Node's main thread only queues tasks and settles promises.
#pragma once

#include <napi.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace lrqat::binding {

class WorkerThread {
 public:
  explicit WorkerThread(Napi::Env env);
  /// Waits for the running task; queued ones are dropped (their promises stay pending: the environment is going away).
  ~WorkerThread();
  WorkerThread(const WorkerThread&) = delete;
  WorkerThread& operator=(const WorkerThread&) = delete;

  /// Computes on the worker and returns what makes the JavaScript result, on the main thread.
  using Finish = std::function<Napi::Value(Napi::Env)>;
  using Task = std::function<Finish()>;
  /// The promise rejects with an EngineFailure (addon.ts) when the task throws. `settled` runs on the main thread at
  /// the end.
  Napi::Promise run(Napi::Env env, Task task, std::function<void()> settled = {});
  /// From the worker: calls `call` on the main thread soon.
  void post(std::function<void(Napi::Env)> call);

 private:
  void loop();

  Napi::ThreadSafeFunction main_;
  /// Set by Node when the environment ends: it frees the function behind main_ before it finalizes the objects that own
  /// this thread.
  std::shared_ptr<std::atomic<bool>> mainGone_ = std::make_shared<std::atomic<bool>>(false);
  int64_t pending_ = 0;  // main thread only; keeps the event loop alive while above 0
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  bool stop_ = false;
  std::thread thread_;
};

/// Error object with `code` and `hint`.
Napi::Error engineFailure(Napi::Env env, const char* code, const std::string& message, const std::string& hint);
/// Runs `body`; lrqat::Error and std::exception become EngineFailures thrown to JavaScript.
Napi::Value guarded(Napi::Env env, const std::function<Napi::Value()>& body);

}  // namespace lrqat::binding
