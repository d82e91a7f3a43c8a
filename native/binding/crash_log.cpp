// A last line in the run's log when native code dies: the process cannot be saved, but the reader should not have to
// guess.
#include <string>

#include "binding/register.h"
#include "binding/values.h"
#include "binding/worker_thread.h"

#if !defined(_WIN32)
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#endif

namespace lrqat::binding {

#if !defined(_WIN32)

namespace {

constexpr int fatalSignals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
int logFile = -1;

const char* describeSignal(int signal) {
  switch (signal) {
    case SIGSEGV:
      return "fatal: segmentation fault (SIGSEGV) in the trainer process\n";
    case SIGBUS:
      return "fatal: bus error (SIGBUS): a mapped model file was probably truncated or its disk failed\n";
    case SIGILL:
      return "fatal: illegal instruction (SIGILL): this build does not fit this CPU\n";
    case SIGFPE:
      return "fatal: arithmetic exception (SIGFPE) in the trainer process\n";
    default:
      return "fatal: the trainer process aborted (SIGABRT)\n";
  }
}

// Only async-signal-safe calls from here on.
void onFatalSignal(int signal) {
  const char* text = describeSignal(signal);
  const ssize_t ignored = ::write(logFile, text, std::strlen(text));
  (void)ignored;
  // SA_RESETHAND restored the default action: dying of the same signal keeps the exit status honest.
  ::raise(signal);
}

}  // namespace

static Napi::Value installCrashLog(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (!info[0].IsString()) badValue("path", "a string");
    const std::string path = info[0].As<Napi::String>().Utf8Value();
    const int file = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0) throw Error(ErrorCode::InputFile, path + ": cannot be opened: " + std::strerror(errno));
    if (logFile >= 0) ::close(logFile);
    logFile = file;
    struct sigaction action {};
    action.sa_handler = onFatalSignal;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    sigemptyset(&action.sa_mask);
    for (const int signal : fatalSignals) ::sigaction(signal, &action, nullptr);
    return info.Env().Undefined();
  });
}

#else

static Napi::Value installCrashLog(const Napi::CallbackInfo& info) {
  return info.Env().Undefined();
}

#endif

void registerCrashLog(Napi::Env env, Napi::Object exports) {
  exports.Set("installCrashLog", Napi::Function::New(env, installCrashLog, "installCrashLog"));
}

}  // namespace lrqat::binding
