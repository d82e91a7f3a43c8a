#include "core/nvml.h"

#include "core/error.h"

namespace lrqat {

Nvml::Nvml(const std::string& path)
    : library_(path, "it comes with NVIDIA's driver"),
      init_(library_.require<decltype(init_)>("nvmlInit_v2")),
      shutdown_(library_.require<decltype(shutdown_)>("nvmlShutdown")),
      deviceByUuid_(library_.require<decltype(deviceByUuid_)>("nvmlDeviceGetHandleByUUID")),
      utilization_(library_.require<decltype(utilization_)>("nvmlDeviceGetUtilizationRates")),
      power_(library_.require<decltype(power_)>("nvmlDeviceGetPowerUsage")),
      temperature_(library_.require<decltype(temperature_)>("nvmlDeviceGetTemperature")),
      memory_(library_.require<decltype(memory_)>("nvmlDeviceGetMemoryInfo")) {
  if (const Status status = init_(); status != 0) {
    throw Error(ErrorCode::Unsupported, "nvmlInit failed with status " + std::to_string(status) + " in " + path);
  }
}

Nvml::~Nvml() {
  shutdown_();
}

const char* Nvml::libraryName() {
#if defined(_WIN32)
  return "nvml.dll";
#elif defined(__APPLE__)
  return nullptr;
#else
  return "libnvidia-ml.so.1";
#endif
}

std::optional<GpuUsage> Nvml::read(const std::string& uuid) const {
  Device device = nullptr;
  if (deviceByUuid_(uuid.c_str(), &device) != 0) return std::nullopt;
  GpuUsage usage;
  Utilization utilization{};
  if (utilization_(device, &utilization) == 0) usage.utilization = utilization.gpu / 100.0;
  unsigned milliwatts = 0;
  if (power_(device, &milliwatts) == 0) usage.watts = milliwatts / 1000.0;
  unsigned celsius = 0;
  constexpr int ofTheGpu = 0;
  if (temperature_(device, ofTheGpu, &celsius) == 0) usage.celsius = celsius;
  Memory memory{};
  if (memory_(device, &memory) == 0) {
    usage.memoryUsed = static_cast<int64_t>(memory.used);
    usage.memoryTotal = static_cast<int64_t>(memory.total);
  }
  return usage;
}

}  // namespace lrqat
