// NVIDIA's management library (NVML), which comes with the driver and is opened at run time: how busy, hot and full a
// GPU is. Its few entry points are declared here as its public C interface has them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/dynamic_library.h"

namespace lrqat {

/// What a GPU reports at a moment; empty where it reports nothing of the kind.
struct GpuUsage {
  std::optional<double> utilization;  // share of the last moments in which a kernel ran, 0 to 1
  std::optional<double> watts;
  std::optional<double> celsius;
  std::optional<int64_t> memoryUsed;  // bytes, by all processes
  std::optional<int64_t> memoryTotal;
};

class Nvml {
 public:
  /// Throws Unsupported when there is no such library or it refuses to begin.
  explicit Nvml(const std::string& path);
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  /// `uuid` as nvidia-smi -L prints it. Nothing when there is no such GPU.
  std::optional<GpuUsage> read(const std::string& uuid) const;

  /// Name for the loader; null where no driver has the library.
  static const char* libraryName();

 private:
  using Device = void*;
  using Status = int;  // 0: success
  struct Utilization {
    unsigned gpu, memory;  // percent
  };
  struct Memory {
    unsigned long long total, available, used;
  };

  DynamicLibrary library_;
  Status (*init_)();
  Status (*shutdown_)();
  Status (*deviceByUuid_)(const char*, Device*);
  Status (*utilization_)(Device, Utilization*);
  Status (*power_)(Device, unsigned* milliwatts);
  Status (*temperature_)(Device, int sensor, unsigned* celsius);
  Status (*memory_)(Device, Memory*);
};

}  // namespace lrqat
