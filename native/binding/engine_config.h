// EngineConfig of addon.ts → lrqat::EngineConfig.
#pragma once

#include <napi.h>

#include <string>

#include "core/cuda_library.h"
#include "core/engine.h"
#include "cpu/cpu_backend.h"

namespace lrqat::binding {

struct ParsedConfig {
  EngineConfig engine;
  cpu::CpuOptions cpu;
  CudaOptions cuda;  // of a shape on Device::Cuda
  bool profile = false;
};

/// MemoryParts of addon.ts.
Napi::Object memoryObject(Napi::Env env, const MemoryParts& parts);

/// Throws InvalidArgument naming the property.
ParsedConfig parseEngineConfig(const Napi::Value& value);
QuantSpec parseQuantSpec(const Napi::Value& value, const std::string& path);

}  // namespace lrqat::binding
