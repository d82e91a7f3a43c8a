// AdamW over many tensors in one launch, and the squared norm of gradients.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>

#include "core/backend.h"
#include "cuda/scratch.h"

namespace lrqat::cuda {

/// One trained tensor. Values and moments are device memory or pinned host memory that is mapped into the device.
struct DeviceAdamWTensor {
  float* value = nullptr;           // [count]
  const float* gradient = nullptr;  // [count]
  float* moment1 = nullptr;         // [count]
  float* moment2 = nullptr;         // [count]
  int64_t count = 0;
  int64_t firstChunk = 0;  // filled in by numberAdamWChunks
  double learningRate = 0;
};

/// Elements that one block updates at a time.
inline constexpr int64_t adamwChunk = 4096;

/// Numbers the chunks of all tensors of a host table (done once, before it is uploaded) and returns their count.
int64_t numberAdamWChunks(std::span<DeviceAdamWTensor> tensors);

/// One step on every tensor of a device table, in place on values and moments; the formulas of PyTorch's AdamW in
/// float32, bit by bit those of the CPU backend. `chunks`: what numberAdamWChunks returned.
void adamw(const DeviceAdamWTensor* tensors, int count, int64_t chunks, const AdamW& settings, cudaStream_t stream);

/// *out (device) = Σ values² in double, in an order that depends on the count alone.
void squaredNorm(const float* values, int64_t count, double* out, Scratch& scratch, cudaStream_t stream);
/// The same over the gradients of every tensor of a device table.
void squaredNorm(const DeviceAdamWTensor* tensors, int count, int64_t chunks, double* out, Scratch& scratch,
                 cudaStream_t stream);
/// Of either form.
int64_t squaredNormScratchBytes();

}  // namespace lrqat::cuda
