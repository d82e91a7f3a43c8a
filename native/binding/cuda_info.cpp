// What the CUDA backend finds on this machine; for `lrqat doctor` and for choices that a run stores.
#include <memory>
#include <optional>

#include "binding/engine_config.h"
#include "binding/register.h"
#include "binding/values.h"
#include "binding/worker_thread.h"
#include "core/cuda_library.h"
#include "core/nvml.h"

namespace lrqat::binding {

/// 13000 → "13.0".
static std::string versionText(int number) {
  return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

static Napi::Value cudaInfo(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (!info[0].IsString()) badValue("library", "a string");
    const CudaLibrary library = CudaLibrary::open(info[0].As<Napi::String>().Utf8Value());
    const CudaVersions versions = library.versions();
    auto out = Napi::Object::New(info.Env());
    out.Set("runtime", versionText(versions.runtime));
    out.Set("driver", versionText(versions.driver));
    const auto devices = library.devices();
    auto list = Napi::Array::New(info.Env(), devices.size());
    for (size_t i = 0; i < devices.size(); ++i) {
      const CudaDeviceInfo& device = devices[i];
      auto entry = Napi::Object::New(info.Env());
      entry.Set("index", static_cast<double>(i));
      entry.Set("name", device.name);
      entry.Set("uuid", device.uuid);
      entry.Set("computeCapability", std::to_string(device.computeMajor) + "." + std::to_string(device.computeMinor));
      entry.Set("multiprocessors", device.multiprocessors);
      entry.Set("totalBytes", static_cast<double>(device.totalBytes));
      entry.Set("freeBytes", static_cast<double>(device.freeBytes));
      list.Set(static_cast<uint32_t>(i), entry);
    }
    out.Set("devices", list);
    return out;
  });
}

/// Scratch memory of the CUDA backend for an engine configuration; no GPU is asked.
static Napi::Value cudaScratchBytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (!info[0].IsString()) badValue("library", "a string");
    const CudaLibrary library = CudaLibrary::open(info[0].As<Napi::String>().Utf8Value());
    const ParsedConfig parsed = parseEngineConfig(info[1]);
    return Napi::Number::New(info.Env(), static_cast<double>(library.scratchBytes(parsed.engine.shape)));
  });
}

/// Every part of the memory of an engine with so much scratch memory, on whichever device the configuration names.
static Napi::Value memoryPartsOf(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const ParsedConfig parsed = parseEngineConfig(info[0]);
    if (!info[1].IsNumber()) badValue("scratchBytes", "a number");
    return memoryObject(info.Env(), memoryParts(parsed.engine.shape, info[1].As<Napi::Number>().Int64Value()));
  });
}

/// Opened once; null where it cannot be, which is no news while a run goes on.
static const Nvml* nvml(const std::string& path) {
  static const std::unique_ptr<const Nvml> opened = [&]() -> std::unique_ptr<const Nvml> {
    try {
      return path.empty() ? nullptr : std::make_unique<const Nvml>(path);
    } catch (const Error&) {
      return nullptr;
    }
  }();
  return opened.get();
}

static Napi::Value gpuUsage(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (!info[0].IsString()) badValue("uuid", "a string");
    const char* name = Nvml::libraryName();
    const Nvml* library = nvml(name ? name : "");
    const auto usage = library ? library->read(info[0].As<Napi::String>().Utf8Value()) : std::nullopt;
    if (!usage) return info.Env().Null();
    auto out = Napi::Object::New(info.Env());
    const auto set = [&](const char* key, const auto& value) {
      out.Set(key, value ? Napi::Value(Napi::Number::New(info.Env(), static_cast<double>(*value))) : info.Env().Null());
    };
    set("utilization", usage->utilization);
    set("watts", usage->watts);
    set("celsius", usage->celsius);
    set("memoryUsed", usage->memoryUsed);
    set("memoryTotal", usage->memoryTotal);
    return out;
  });
}

void registerCudaInfo(Napi::Env env, Napi::Object exports) {
  exports.Set("cudaInfo", Napi::Function::New(env, cudaInfo, "cudaInfo"));
  exports.Set("cudaScratchBytes", Napi::Function::New(env, cudaScratchBytes, "cudaScratchBytes"));
  exports.Set("gpuUsage", Napi::Function::New(env, gpuUsage, "gpuUsage"));
  exports.Set("memoryParts", Napi::Function::New(env, memoryPartsOf, "memoryParts"));
}

}  // namespace lrqat::binding
