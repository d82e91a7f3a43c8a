#include "cuda/kernels/staging.h"

#include <cstring>

#include "core/error.h"
#include "cuda/check.h"

namespace lrqat::cuda {

HostStaging::HostStaging() {
  try {
    for (int i = 0; i < 2; ++i) {
      LRQAT_CUDA(cudaMallocHost(reinterpret_cast<void**>(&buffer_[i]), panelBytes));
      LRQAT_CUDA(cudaEventCreateWithFlags(&sent_[i], cudaEventDisableTiming));
    }
  } catch (...) {
    release();
    throw;
  }
}

HostStaging::~HostStaging() {
  release();
}

void HostStaging::release() {
  for (int i = 0; i < 2; ++i) {
    if (sent_[i]) {
      cudaEventSynchronize(sent_[i]);
      cudaEventDestroy(sent_[i]);
    }
    if (buffer_[i]) cudaFreeHost(buffer_[i]);
  }
}

void HostStaging::upload(void* device, const void* host, int64_t bytes, cudaStream_t stream) {
  LRQAT_CHECK(bytes <= panelBytes);
  const int slot = next_;
  next_ ^= 1;
  LRQAT_CUDA(cudaEventSynchronize(sent_[slot]));
  std::memcpy(buffer_[slot], host, static_cast<size_t>(bytes));
  LRQAT_CUDA(cudaMemcpyAsync(device, buffer_[slot], static_cast<size_t>(bytes), cudaMemcpyDefault, stream));
  LRQAT_CUDA(cudaEventRecord(sent_[slot], stream));
}

int64_t panelRows(int64_t rowBytes) {
  const int64_t rows = HostStaging::panelBytes / rowBytes;
  if (rows < 1) throw Error(ErrorCode::Unsupported, "a weight row of " + std::to_string(rowBytes) + " bytes");
  return rows;
}

}  // namespace lrqat::cuda
