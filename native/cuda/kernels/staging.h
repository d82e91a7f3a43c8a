// Host memory (mapped checkpoints, merged integers) on its way to the device: copied panel by panel through two pinned
// buffers, so that reading the next panel overlaps the transfer and the kernels of the one before.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "core/types.h"

namespace lrqat::cuda {

class HostStaging {
 public:
  static constexpr int64_t panelBytes = int64_t{8} << 20;

  /// Pins 2·panelBytes of host memory. Throws OutOfMemory.
  HostStaging();
  ~HostStaging();
  HostStaging(const HostStaging&) = delete;
  HostStaging& operator=(const HostStaging&) = delete;

  /// Copies `bytes` ≤ panelBytes from pageable host memory to the device, in the order of `stream`. Returns once `host`
  /// has been read; waits only for the transfer of the panel before the last.
  void upload(void* device, const void* host, int64_t bytes, cudaStream_t stream);

 private:
  void release();

  std::byte* buffer_[2] = {};
  cudaEvent_t sent_[2] = {};
  int next_ = 0;
};

/// Rows of `rowBytes` that one panel holds; throws Unsupported when not even one fits.
int64_t panelRows(int64_t rowBytes);

/// body(firstRow, rows, deviceData) for the panels of [m] rows of `rowBytes` at `host`, each uploaded to `device`
/// (panelBytes) before.
template <typename Body>
void forPanels(HostStaging& staging, const void* host, int64_t m, int64_t rowBytes, void* device, cudaStream_t stream,
               Body body) {
  const int64_t rows = panelRows(rowBytes);
  for (int64_t first = 0; first < m; first += rows) {
    const int64_t count = rows < m - first ? rows : m - first;
    staging.upload(device, static_cast<const std::byte*>(host) + first * rowBytes, count * rowBytes, stream);
    body(first, count);
  }
}

}  // namespace lrqat::cuda
