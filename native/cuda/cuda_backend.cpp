#include "cuda/cuda_backend.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/memory_plan.h"
#include "cuda/check.h"
#include "cuda/kernels/activations.h"
#include "cuda/kernels/attention.h"
#include "cuda/kernels/convert.h"
#include "cuda/kernels/distillation.h"
#include "cuda/kernels/embed.h"
#include "cuda/kernels/heads.h"
#include "cuda/kernels/loss.h"
#include "cuda/kernels/merge.h"
#include "cuda/kernels/norm.h"
#include "cuda/kernels/optimizer.h"
#include "cuda/kernels/parameter_gradients.h"
#include "cuda/kernels/quantize.h"
#include "cuda/kernels/rebuild.h"
#include "cuda/kernels/residual.h"
#include "cuda/kernels/residual_norm.h"
#include "cuda/kernels/scales.h"
#include "cuda/kernels/statistics.h"
#include "cuda/kernels/swiglu.h"
#include "cuda/kernels/trained_weights.h"
#include "cuda/scratch_plan.h"

namespace lrqat::cuda {

CudaBackend::CudaBackend(int index, DType computeType, std::string cublasLt, bool graphs)
    : index_(index), computeType_(computeType), cublasLt_(std::move(cublasLt)) {
  LRQAT_CHECK(computeType != DType::F16);
  try {
    LRQAT_CUDA(cudaSetDevice(index_));
    LRQAT_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    LRQAT_CUDA(cudaHostAlloc(reinterpret_cast<void**>(&pinned_), sizeof(double), cudaHostAllocDefault));
    staging_ = std::make_unique<HostStaging>();
    graphs_ = std::make_unique<MicroBatchGraphs>(graphs);
  } catch (...) {
    release();
    throw;
  }
}

CudaBackend::~CudaBackend() {
  release();
}

void CudaBackend::release() {
  // Failures while freeing are of no use to anybody: the device may be what has failed.
  cudaSetDevice(index_);
  if (stream_) cudaStreamSynchronize(stream_);
  graphs_.reset();
  lowRank_.reset();
  gemm_.reset();
  staging_.reset();
  for (void* memory : deviceMemory_) cudaFree(memory);
  for (void* memory : hostMemory_) cudaFreeHost(memory);
  if (pinned_) cudaFreeHost(pinned_);
  if (stream_) cudaStreamDestroy(stream_);
}

cudaStream_t CudaBackend::current() {
  inputs_.wrote();
  LRQAT_CUDA(cudaSetDevice(index_));
  return stream_;
}

cudaStream_t CudaBackend::writing(std::initializer_list<const void*> places) {
  inputs_.wrote(places);
  LRQAT_CUDA(cudaSetDevice(index_));
  return stream_;
}

void* CudaBackend::allocate(int64_t bytes, const char* part, MemoryPlace place) {
  const cudaStream_t stream = current();
  void* memory = nullptr;
  const auto size = static_cast<size_t>(std::max<int64_t>(bytes, 1));
  const cudaError_t status =
      place == MemoryPlace::Device ? cudaMalloc(&memory, size) : cudaHostAlloc(&memory, size, cudaHostAllocDefault);
  if (status == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();  // not sticky
    size_t available = 0;
    size_t total = 0;
    LRQAT_CUDA(cudaMemGetInfo(&available, &total));
    throw Error(
        ErrorCode::OutOfMemory,
        "could not allocate " + std::to_string(bytes) + " bytes for " + part +
            (place == MemoryPlace::Device ? " on the GPU: " : " of pinned host memory; on the GPU ") +
            std::to_string(available) + " of " + std::to_string(total) + " bytes are free",
        "a smaller training.microBatchSize, activationCheckpointing \"block\" or storage \"integer\" needs less");
  }
  LRQAT_CUDA(status);
  (place == MemoryPlace::Device ? deviceMemory_ : hostMemory_).push_back(memory);
  inputs_.allocated(memory, static_cast<int64_t>(size));
  if (place == MemoryPlace::Device) {
    LRQAT_CUDA(cudaMemsetAsync(memory, 0, size, stream));
  } else {
    std::memset(memory, 0, size);
  }
  return memory;
}

void CudaBackend::upload(void* target, const void* host, int64_t bytes) {
  const cudaStream_t stream = current();
  for (int64_t first = 0; first < bytes; first += HostStaging::panelBytes) {
    staging_->upload(static_cast<std::byte*>(target) + first, static_cast<const std::byte*>(host) + first,
                     std::min(HostStaging::panelBytes, bytes - first), stream);
  }
}

void CudaBackend::download(void* host, const void* source, int64_t bytes) {
  const cudaStream_t stream = current();
  LRQAT_CUDA(cudaMemcpyAsync(host, source, static_cast<size_t>(bytes), cudaMemcpyDefault, stream));
  LRQAT_CUDA(cudaStreamSynchronize(stream));
}

void CudaBackend::copy(void* target, const void* source, int64_t bytes) {
  LRQAT_CUDA(cudaMemcpyAsync(target, source, static_cast<size_t>(bytes), cudaMemcpyDefault, current()));
}

void CudaBackend::zero(void* target, int64_t bytes) {
  LRQAT_CUDA(cudaMemsetAsync(target, 0, static_cast<size_t>(bytes), writing({target})));
}

void CudaBackend::synchronize() {
  LRQAT_CUDA(cudaStreamSynchronize(current()));
}

bool CudaBackend::repeat(const WorkKey& key, const std::function<void()>& work) {
  const cudaStream_t stream = current();
  const auto marked = [&] {
    inputs_.wrote();  // whatever was recorded before has not run
    work();
  };
  const bool holds = graphs_->run(key, marked, stream);
  inputs_.wrote();
  return holds;
}

int64_t CudaBackend::scratchBytes(const EngineShape& shape) const {
  return cuda::scratchBytes(shape);
}

void CudaBackend::setScratch(void* memory, int64_t bytes) {
  LRQAT_CHECK(bytes >= Gemm::workspaceBytes);
  lowRank_.reset();
  gemm_ = std::make_unique<Gemm>(cublasLt_, memory, Gemm::workspaceBytes);
  lowRank_.emplace(*gemm_);
  scratch_ = static_cast<std::byte*>(memory) + Gemm::workspaceBytes;
  scratchBytes_ = bytes - Gemm::workspaceBytes;
}

void CudaBackend::quantize(LinearWeight& weight) {
  Scratch memory = scratch();
  quantizeWeight(weight, *staging_, memory, current());
}

void CudaBackend::encode(LinearWeight& weight) {
  Scratch memory = scratch();
  encodeWeight(weight, *staging_, memory, current());
}

CudaBackend::ClippedCount& CudaBackend::countOf(const uint32_t* mask) {
  for (ClippedCount& count : counts_) {
    if (count.mask == mask || !count.mask) {
      count.mask = mask;
      return count;
    }
  }
  throw Error(ErrorCode::Internal, "more clipped sets than the engine has");
}

void CudaBackend::rebuildWeight(const LinearWeight& weight, const LowRank& lowRank, WeightForm form, Matrix out,
                                ClippedSet* clipped) {
  Scratch memory = scratch();
  const bool trained = form == WeightForm::Trained && !weight.spec.trainsWeights();
  const bool early = trained && inputs_.mayBeginEarly({weight.phi0, lowRank.a, lowRank.b, lowRank.scale, lowRank.zero,
                                                       weight.scale0, weight.zero0});
  const cudaStream_t stream = trained ? writing({out.data, clipped ? clipped->mask : nullptr}) : current();
  ClippedReport report;
  if (clipped) {
    ClippedCount& count = countOf(clipped->mask);
    count.counted = graphs_->next();
    report = count.counted.report;
  }
  cuda::rebuildWeight(weight, lowRank, form, out, clipped, report, exact(), early ? Start::Early : Start::InOrder,
                      *staging_, memory, stream);
}

int64_t CudaBackend::wait(const ClippedReport& report) const {
  constexpr int looksBetweenQueries = 1 << 14;
  for (bool finished = false;;) {
    for (int look = 0; look < looksBetweenQueries; ++look) {
      const uint64_t word = std::atomic_ref(*report.published).load(std::memory_order_acquire);
      if (static_cast<uint32_t>(word >> 32) == report.sequence) return static_cast<int64_t>(word & UINT32_MAX);
    }
    // A kernel that has failed never tells.
    if (finished) throw Error(ErrorCode::Internal, "the device has not told how many entries are clipped");
    const cudaError_t status = cudaStreamQuery(stream_);
    finished = status == cudaSuccess;
    if (status != cudaErrorNotReady) LRQAT_CUDA(status);
  }
}

void CudaBackend::merge(const LinearWeight& weight, const LowRank& lowRank, void* hostCodes) {
  Scratch memory = scratch();
  mergeWeight(weight, lowRank, hostCodes, exact(), memory, current());
}

WeightStatistics CudaBackend::weightStatistics(const LinearWeight& weight, const LowRank& lowRank) {
  Scratch memory = scratch();
  return cuda::weightStatistics(weight, lowRank, exact(), *staging_, memory, current());
}

void CudaBackend::materializeScales(std::span<const ScaleTask> tasks) {
  cuda::materializeScales(tasks, current());
}

void CudaBackend::sumRowScaleGradient(int64_t m, const float* rowScaleGradient, float* scaleGradient) {
  cuda::sumRowScaleGradient(m, rowScaleGradient, scaleGradient, writing({scaleGradient}));
}

void CudaBackend::finishScaleGradients(std::span<const ScaleGradientTask> tasks) {
  cuda::finishScaleGradients(tasks, current());
}

void CudaBackend::finishWeightGradients(std::span<const WeightGradientTask> tasks) {
  for (const WeightGradientTask& task : tasks) {
    Scratch memory = scratch();
    finishWeightGradient(task, memory, current());
  }
}

void CudaBackend::lowRankGradient(Matrix x, std::span<const LowRankTask> tasks) {
  const cudaStream_t stream = writing({});
  for (const LowRankTask& task : tasks) {
    const LinearGradient& g = task.gradient;
    inputs_.wrote({g.a, g.b, g.scale, g.zero});
  }
  std::array<int64_t, 3> clipped{};
  LRQAT_CHECK(tasks.size() <= clipped.size());
  for (size_t i = 0; i < tasks.size(); ++i) {
    const LinearWeight& weight = *tasks[i].weight;
    // Without a low-rank term nothing asks which entries are clipped, and the set has not been filled; group scales
    // need the dense form whatever their number.
    if (weight.spec.rank == 0 || weight.spec.granularity == Granularity::Group) continue;
    const MicroBatchGraphs::Counted& counted = countOf(tasks[i].clipped.mask).counted;
    const int64_t capacity = LowRankGradient::sparseCapacity(weight.m, weight.n);
    if (graphs_->recording()) {
      clipped[i] = graphs_->assume(counted.place, capacity);
      continue;
    }
    clipped[i] = wait(counted.report);
    graphs_->observe(counted.place, clipped[i], capacity);
  }
  Scratch memory = scratch();
  lowRank_->run(x, tasks, std::span(clipped.data(), tasks.size()), exact(), memory, stream);
}

void CudaBackend::gemm(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate) {
  gemm_->multiply(GemmOperand::of(a, transposeA), GemmOperand::of(b, transposeB), {c.data, c.type, c.cols}, 1.0F,
                  accumulate ? 1.0F : 0.0F, writing({c.data}));
}

void CudaBackend::embed(Matrix table, const int32_t* ids, Matrix x) {
  cuda::embed(table, ids, x, writing({x.data}));
}

void CudaBackend::rmsNorm(Matrix x, const float* weight, float epsilon, Matrix y, float* rstd) {
  cuda::rmsNorm(x, weight, epsilon, y, rstd, writing({y.data, rstd}));
}

void CudaBackend::rmsNormBackward(Matrix dy, Matrix x, const float* weight, const float* rstd, Matrix dx) {
  cuda::rmsNormBackward(dy, x, weight, rstd, dx, writing({dx.data}));
}

void CudaBackend::projectHeads(const RawOutput& raw, const HeadTransform& transform, Matrix out) {
  cuda::projectHeads(raw, transform, out, writing({out.data}));
}

void CudaBackend::projectHeadsBackward(Matrix dOut, const RawOutput& raw, const HeadTransform& transform,
                                       const RawOutputGradient& gradient) {
  Scratch memory = scratch();
  cuda::projectHeadsBackward(dOut, raw, transform, gradient, memory,
                             writing({gradient.dYs.data, gradient.rowScaleGradient}));
}

void CudaBackend::attention(const AttentionShape& shape, Matrix q, Matrix k, Matrix v, Matrix o, float* lse) {
  attentionForward(shape, q, k, v, o, lse, writing({o.data, lse}));
}

void CudaBackend::attentionBackward(const AttentionShape& shape, Matrix q, Matrix k, Matrix v, Matrix o,
                                    const float* lse, Matrix dO, Matrix dQ, Matrix dK, Matrix dV) {
  Scratch memory = scratch();
  cuda::attentionBackward(shape, q, k, v, o, lse, dO, dQ, dK, dV, memory, writing({dQ.data, dK.data, dV.data}));
}

void CudaBackend::addResidual(Matrix x, const RawOutput& raw, Matrix out) {
  cuda::addResidual(x, raw, out, writing({out.data}));
}

void CudaBackend::addResidualBackward(Matrix dY, const RawOutput& raw, const RawOutputGradient& gradient) {
  Scratch memory = scratch();
  cuda::addResidualBackward(dY, raw, gradient, memory, writing({gradient.dYs.data, gradient.rowScaleGradient}));
}

void CudaBackend::addResidualNorm(Matrix x, const RawOutput& raw, Matrix out, const float* weight, float epsilon,
                                  Matrix y, float* rstd) {
  cuda::addResidualNorm(x, raw, out, weight, epsilon, y, rstd, writing({out.data, y.data, rstd}));
}

void CudaBackend::addResidualNormBackward(Matrix dy, Matrix x, const float* weight, const float* rstd, Matrix dx,
                                          const RawOutput& raw, const RawOutputGradient& gradient) {
  Scratch memory = scratch();
  cuda::addResidualNormBackward(dy, x, weight, rstd, dx, raw, gradient, memory,
                                writing({dx.data, gradient.dYs.data, gradient.rowScaleGradient}));
}

void CudaBackend::swiglu(const RawOutput& gate, const RawOutput& up, Matrix h) {
  cuda::swiglu(gate, up, h, writing({h.data}));
}

void CudaBackend::swigluBackward(Matrix dH, const RawOutput& gate, const RawOutput& up, const RawOutputGradient& dGate,
                                 const RawOutputGradient& dUp, Matrix h) {
  Scratch memory = scratch();
  cuda::swigluBackward(dH, gate, up, dGate, dUp, h, memory,
                       writing({dGate.dYs.data, dGate.rowScaleGradient, dUp.dYs.data, dUp.rowScaleGradient, h.data}));
}

void CudaBackend::quantizeActivations(Matrix x, const ActivationGrid& grid, Matrix y, uint32_t* inside) {
  cuda::quantizeActivations(x, grid, y, inside, current());
}

void CudaBackend::maskGradient(Matrix gradient, const uint32_t* inside) {
  maskActivationGradient(gradient, inside, current());
}

ActivationRange CudaBackend::activationRange(Matrix x) {
  Scratch memory = scratch();
  const ActivationRangeParts device = activationRangeParts(x, memory, current());
  std::vector<ActivationRange> parts(static_cast<size_t>(device.count));
  download(parts.data(), device.parts, device.count * static_cast<int64_t>(sizeof(ActivationRange)));
  ActivationRange range = parts.front();
  for (const ActivationRange& part : parts) {
    if (std::isnan(part.low)) return part;
    range = {std::min(range.low, part.low), std::max(range.high, part.high)};
  }
  return range;
}

void CudaBackend::learnGrid(Matrix x, const ActivationGrid& grid, Matrix gradient, float* scaleGradient,
                            float* zeroGradient) {
  Scratch memory = scratch();
  cuda::learnGrid(x, grid, gradient, scaleGradient, zeroGradient, memory, current());
}

void CudaBackend::crossEntropy(Matrix logits, const int32_t* targets, float gradientScale, Matrix gradient,
                               double* lossSum) {
  Scratch memory = scratch();
  cuda::crossEntropy(logits, targets, gradientScale, gradient, lossSum, memory, current());
}

void CudaBackend::teacherRows(Matrix logits, float temperature, const TeacherRows& out) {
  cuda::teacherRows(logits, temperature, out, current());
}

void CudaBackend::distillationLoss(Matrix logits, const int32_t* targets, const TeacherRows& teacher,
                                   const Distillation& distillation, float gradientScale, Matrix gradient,
                                   double* lossSums) {
  Scratch memory = scratch();
  cuda::distillationLoss(logits, targets, teacher, distillation, gradientScale, gradient, lossSums, memory, current());
}

void CudaBackend::rowLosses(Matrix logits, const int32_t* targets, float* losses) {
  Scratch memory = scratch();
  cuda::rowLosses(logits, targets, losses, memory, current());
}

void CudaBackend::rmsNormWeightGradient(Matrix dy, Matrix x, const float* rstd, float* gradient) {
  Scratch memory = scratch();
  cuda::rmsNormWeightGradient(dy, x, rstd, gradient, memory, writing({gradient}));
}

void CudaBackend::headNormWeightGradient(Matrix dOut, const RawOutput& raw, const HeadTransform& transform,
                                         float* gradient) {
  Scratch memory = scratch();
  cuda::headNormWeightGradient(dOut, raw, transform, gradient, memory, writing({gradient}));
}

void CudaBackend::embedGradient(Matrix dX, const int32_t* ids, Matrix gradient) {
  cuda::embedGradient(dX, ids, gradient, writing({gradient.data}));
}

void CudaBackend::convert(Matrix from, Matrix to) {
  cuda::convert(from, to, current());
}

double CudaBackend::squaredNorm(const float* values, int64_t count) {
  const cudaStream_t stream = current();
  Scratch memory = scratch();
  cuda::squaredNorm(values, count, pinned_, memory, stream);
  LRQAT_CUDA(cudaStreamSynchronize(stream));
  return *pinned_;
}

void CudaBackend::adamw(const AdamW& settings, std::span<const AdamWTensor> tensors) {
  std::vector<DeviceAdamWTensor> entries;
  entries.reserve(tensors.size());
  for (const AdamWTensor& tensor : tensors) {
    entries.push_back({.value = tensor.value,
                       .gradient = tensor.gradient,
                       .moment1 = tensor.moment1,
                       .moment2 = tensor.moment2,
                       .count = tensor.count,
                       .learningRate = tensor.learningRate});
  }
  const int64_t chunks = numberAdamWChunks(entries);
  Scratch memory = scratch();
  const auto count = static_cast<int64_t>(entries.size());
  auto* table = memory.take<DeviceAdamWTensor>(count);
  upload(table, entries.data(), count * static_cast<int64_t>(sizeof(DeviceAdamWTensor)));
  cuda::adamw(table, static_cast<int>(count), chunks, settings, current());
}

}  // namespace lrqat::cuda
