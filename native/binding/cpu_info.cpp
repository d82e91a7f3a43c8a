// What the engine finds on this CPU; for `lrqat doctor` and for choices that a run stores.
#include <thread>

#include "binding/register.h"
#include "binding/values.h"
#include "binding/worker_thread.h"
#include "cpu/gemm.h"
#include "cpu/isa.h"

namespace lrqat::binding {

/// The widest instructions for bf16 that may be used here.
static const char* bf16Support() {
  if (cpu::hasTiles()) return "amx";
  return cpu::hasFastBf16() ? "avx512" : "none";
}

static Napi::Value cpuInfo(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto out = Napi::Object::New(info.Env());
    out.Set("isa", cpu::name(cpu::detectIsa()));
    out.Set("bf16", bf16Support());
    out.Set("logicalCores", static_cast<double>(std::thread::hardware_concurrency()));
    out.Set("gemm", info.Env().Null());
    if (info[0].IsString()) {
      const std::string name = cpu::Gemm(info[0].As<Napi::String>().Utf8Value(), 1).library();
      const size_t space = name.find(' ');
      if (space != std::string::npos) {
        auto library = Napi::Object::New(info.Env());
        library.Set("library", name.substr(0, space));
        library.Set("version", name.substr(space + 1));
        out.Set("gemm", library);
      }
    }
    return out;
  });
}

void registerCpuInfo(Napi::Env env, Napi::Object exports) {
  exports.Set("cpuInfo", Napi::Function::New(env, cpuInfo, "cpuInfo"));
}

}  // namespace lrqat::binding
