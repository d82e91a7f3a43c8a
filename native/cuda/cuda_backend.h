// The CUDA implementation of Backend: one stream, kernels of native/cuda/kernels, dense products by cuBLASLt. Calls
// enqueue work and return; only what hands numbers to the host waits (download, squaredNorm, merge, weightStatistics,
// quantize, repeat, and lowRankGradient for the counts of clipped entries, which the device has sent before).
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/backend.h"
#include "cuda/gemm.h"
#include "cuda/kernels/staging.h"
#include "cuda/low_rank.h"
#include "cuda/micro_batch_graphs.h"
#include "cuda/rebuild_inputs.h"
#include "cuda/scratch.h"

namespace lrqat::cuda {

class CudaBackend final : public Backend {
 public:
  /// Throws Internal when the device cannot be used. Every call makes it the device of the calling thread.
  CudaBackend(int index, DType computeType, std::string cublasLt, bool graphs);
  ~CudaBackend() override;
  CudaBackend(const CudaBackend&) = delete;
  CudaBackend& operator=(const CudaBackend&) = delete;

  void* allocate(int64_t bytes, const char* part, MemoryPlace place) override;
  void upload(void* target, const void* host, int64_t bytes) override;
  void download(void* host, const void* source, int64_t bytes) override;
  void copy(void* target, const void* source, int64_t bytes) override;
  void zero(void* target, int64_t bytes) override;
  void synchronize() override;
  bool repeat(const WorkKey& key, const std::function<void()>& work) override;
  int64_t repeats() const override { return graphs_->launches(); }
  std::string algorithms() const override { return gemm_->algorithms(); }
  bool takeAlgorithms(const std::string& text) override { return gemm_->takeAlgorithms(text); }
  int64_t scratchBytes(const EngineShape& shape) const override;
  void setScratch(void* memory, int64_t bytes) override;

  void quantize(LinearWeight& weight) override;
  void encode(LinearWeight& weight) override;
  void rebuildWeight(const LinearWeight& weight, const LowRank& lowRank, WeightForm form, Matrix out,
                     ClippedSet* clipped) override;
  void merge(const LinearWeight& weight, const LowRank& lowRank, void* hostCodes) override;
  WeightStatistics weightStatistics(const LinearWeight& weight, const LowRank& lowRank) override;
  void materializeScales(std::span<const ScaleTask> tasks) override;
  void sumRowScaleGradient(int64_t m, const float* rowScaleGradient, float* scaleGradient) override;
  void finishScaleGradients(std::span<const ScaleGradientTask> tasks) override;
  void finishWeightGradients(std::span<const WeightGradientTask> tasks) override;
  void lowRankGradient(Matrix x, std::span<const LowRankTask> tasks) override;

  void gemm(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate) override;

  void embed(Matrix table, const int32_t* ids, Matrix x) override;
  void rmsNorm(Matrix x, const float* weight, float epsilon, Matrix y, float* rstd) override;
  void rmsNormBackward(Matrix dy, Matrix x, const float* weight, const float* rstd, Matrix dx) override;
  void projectHeads(const RawOutput& raw, const HeadTransform& transform, Matrix out) override;
  void projectHeadsBackward(Matrix dOut, const RawOutput& raw, const HeadTransform& transform,
                            const RawOutputGradient& gradient) override;
  void attention(const AttentionShape& shape, Matrix q, Matrix k, Matrix v, Matrix o, float* lse) override;
  void attentionBackward(const AttentionShape& shape, Matrix q, Matrix k, Matrix v, Matrix o, const float* lse,
                         Matrix dO, Matrix dQ, Matrix dK, Matrix dV) override;
  void addResidual(Matrix x, const RawOutput& raw, Matrix out) override;
  void addResidualNorm(Matrix x, const RawOutput& raw, Matrix out, const float* weight, float epsilon, Matrix y,
                       float* rstd) override;
  void addResidualBackward(Matrix dY, const RawOutput& raw, const RawOutputGradient& gradient) override;
  void addResidualNormBackward(Matrix dy, Matrix x, const float* weight, const float* rstd, Matrix dx,
                               const RawOutput& raw, const RawOutputGradient& gradient) override;
  void swiglu(const RawOutput& gate, const RawOutput& up, Matrix h) override;
  void swigluBackward(Matrix dH, const RawOutput& gate, const RawOutput& up, const RawOutputGradient& dGate,
                      const RawOutputGradient& dUp, Matrix h) override;
  void quantizeActivations(Matrix x, const ActivationGrid& grid, Matrix y, uint32_t* inside) override;
  void maskGradient(Matrix gradient, const uint32_t* inside) override;
  ActivationRange activationRange(Matrix x) override;
  void learnGrid(Matrix x, const ActivationGrid& grid, Matrix gradient, float* scaleGradient,
                 float* zeroGradient) override;
  void crossEntropy(Matrix logits, const int32_t* targets, float gradientScale, Matrix gradient,
                    double* lossSum) override;
  void teacherRows(Matrix logits, float temperature, const TeacherRows& out) override;
  void distillationLoss(Matrix logits, const int32_t* targets, const TeacherRows& teacher,
                        const Distillation& distillation, float gradientScale, Matrix gradient,
                        double* lossSums) override;
  void rowLosses(Matrix logits, const int32_t* targets, float* losses) override;
  void rmsNormWeightGradient(Matrix dy, Matrix x, const float* rstd, float* gradient) override;
  void headNormWeightGradient(Matrix dOut, const RawOutput& raw, const HeadTransform& transform,
                              float* gradient) override;
  void embedGradient(Matrix dX, const int32_t* ids, Matrix gradient) override;
  void convert(Matrix from, Matrix to) override;

  double squaredNorm(const float* values, int64_t count) override;
  void adamw(const AdamW& settings, std::span<const AdamWTensor> tensors) override;

 private:
  /// What rebuildWeight has last found about one clipped set, on its way to the host.
  struct ClippedCount {
    const uint32_t* mask = nullptr;
    MicroBatchGraphs::Counted counted;
  };

  /// The stream, with its device made the calling thread's, for an operation that may write anything.
  cudaStream_t current();
  /// The same for one that writes the tensors at these places and scratch, nothing else.
  cudaStream_t writing(std::initializer_list<const void*> places);
  bool exact() const { return computeType_ == DType::F32; }
  Scratch scratch() const { return {scratch_, scratchBytes_}; }
  ClippedCount& countOf(const uint32_t* mask);
  /// Waits for the device to tell.
  int64_t wait(const ClippedReport& report) const;
  void release();

  int index_;
  DType computeType_;
  std::string cublasLt_;
  cudaStream_t stream_ = nullptr;
  std::vector<void*> deviceMemory_;
  std::vector<void*> hostMemory_;
  void* scratch_ = nullptr;
  int64_t scratchBytes_ = 0;
  double* pinned_ = nullptr;  // a result
  RebuildInputs inputs_;
  std::array<ClippedCount, 3> counts_;
  std::unique_ptr<HostStaging> staging_;
  std::unique_ptr<MicroBatchGraphs> graphs_;
  std::unique_ptr<Gemm> gemm_;
  std::optional<LowRankGradient> lowRank_;
};

}  // namespace lrqat::cuda
