#include "binding/worker_thread.h"

#include <exception>
#include <memory>
#include <new>
#include <utility>

#include "core/error.h"

namespace lrqat::binding {

namespace {

struct Failure {
  std::string code;
  std::string message;
  std::string hint;
};

Failure describe(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    return {name(error.code()), error.what(), error.hint()};
  } catch (const std::bad_alloc&) {
    return {name(ErrorCode::OutOfMemory), "the system has no memory left",
            "a smaller training.microBatchSize needs less"};
  } catch (const std::exception& error) {
    return {name(ErrorCode::Internal), error.what(), ""};
  }
}

}  // namespace

Napi::Error engineFailure(Napi::Env env, const char* code, const std::string& message, const std::string& hint) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Value().Set("code", code);
  error.Value().Set("hint", hint);
  return error;
}

Napi::Value guarded(Napi::Env env, const std::function<Napi::Value()>& body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    const Failure failure = describe(std::current_exception());
    throw engineFailure(env, failure.code.c_str(), failure.message, failure.hint);
  }
}

WorkerThread::WorkerThread(Napi::Env env) {
  main_ = Napi::ThreadSafeFunction::New(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), "lrqat engine",
                                        0, 1, [gone = mainGone_](Napi::Env) { gone->store(true); });
  main_.Unref(env);
  thread_ = std::thread([this] { loop(); });
}

WorkerThread::~WorkerThread() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    queue_.clear();
  }
  wake_.notify_all();
  thread_.join();
  if (!mainGone_->load()) main_.Release();
}

void WorkerThread::loop() {
  for (;;) {
    std::function<void()> task;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stop_ || !queue_.empty(); });
      if (stop_) return;
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task();
  }
}

void WorkerThread::post(std::function<void(Napi::Env)> call) {
  if (mainGone_->load()) return;
  auto* boxed = new std::function<void(Napi::Env)>(std::move(call));
  const auto status =
      main_.NonBlockingCall(boxed, [](Napi::Env env, Napi::Function, std::function<void(Napi::Env)>* function) {
        const std::unique_ptr<std::function<void(Napi::Env)>> owned(function);
        if (env) (*owned)(env);
      });
  if (status != napi_ok) delete boxed;
}

Napi::Promise WorkerThread::run(Napi::Env env, Task task, std::function<void()> settled) {
  auto deferred = std::make_shared<Napi::Promise::Deferred>(env);
  if (pending_++ == 0) main_.Ref(env);
  auto settle = [this, deferred, settled = std::move(settled)](Napi::Env e, const std::function<void()>& resolve) {
    const Napi::HandleScope scope(e);
    if (--pending_ == 0) main_.Unref(e);
    if (settled) settled();
    resolve();
  };
  auto job = [this, deferred, task = std::move(task), settle = std::move(settle)] {
    try {
      Finish finish = task();
      post([deferred, settle, finish = std::move(finish)](Napi::Env e) {
        settle(e, [&] { deferred->Resolve(finish(e)); });
      });
    } catch (...) {
      post([deferred, settle, failure = describe(std::current_exception())](Napi::Env e) {
        settle(e, [&] {
          deferred->Reject(engineFailure(e, failure.code.c_str(), failure.message, failure.hint).Value());
        });
      });
    }
  };
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(job));
  }
  wake_.notify_one();
  return deferred->Promise();
}

}  // namespace lrqat::binding
