#include "cuda/check.h"
#include "cuda/kernels/clipped_count.h"

namespace lrqat::cuda {

namespace {

__global__ void publishKernel(ClippedReport report) {
  report.publish(0);
}

}  // namespace

void publishNoneClipped(const ClippedReport& report, cudaStream_t stream) {
  publishKernel<<<1, 1, 0, stream>>>(report);
  LRQAT_CUDA(cudaGetLastError());
}

}  // namespace lrqat::cuda
