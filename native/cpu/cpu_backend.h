// The CPU implementation of Backend. Methods live beside their concern: weights.cpp, range.cpp, low_rank.cpp, gemm.cpp,
// attention.cpp, norm.cpp, heads.cpp, mlp.cpp, activations.cpp, loss.cpp, distillation.cpp, optimizer.cpp, memory.cpp,
// lanes.cpp.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/backend.h"

namespace lrqat::cpu {

class Gemm;

struct CpuOptions {
  int threads = 1;
  DType computeType = DType::F32;  // F32 or BF16
  std::string oneDnnPath;          // shared library to open; empty: the built-in GEMM
  bool preferLibrary = false;      // oneDNN even where our own products are faster, for comparison
};

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const CpuOptions& options);
  ~CpuBackend() override;
  CpuBackend(const CpuBackend&) = delete;
  CpuBackend& operator=(const CpuBackend&) = delete;

  void* allocate(int64_t bytes, const char* part, MemoryPlace place) override;
  void upload(void* target, const void* host, int64_t bytes) override;
  void download(void* host, const void* source, int64_t bytes) override;
  void copy(void* target, const void* source, int64_t bytes) override;
  void zero(void* target, int64_t bytes) override;
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
  void finishWeightGradients(std::span<const WeightGradientTask> tasks) override;
  void finishScaleGradients(std::span<const ScaleGradientTask> tasks) override;
  void lowRankGradient(Matrix x, std::span<const LowRankTask> tasks) override;

  void gemm(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate) override;
  void gemmSum(std::span<const GemmProduct> products, Matrix c) override;

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
  void addResidualBackward(Matrix dY, const RawOutput& raw, const RawOutputGradient& gradient) override;
  void addResidualNorm(Matrix x, const RawOutput& raw, Matrix out, const float* weight, float epsilon, Matrix y,
                       float* rstd) override;
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

  std::vector<std::unique_ptr<Backend>> laneBackends(const EngineShape& shape) override;
  void runLanes(int64_t count, const std::function<void(int64_t)>& work) override;
  void addTerms(std::span<const float* const> terms, float* values, int64_t count) override;

  int threads() const { return threads_; }
  /// Memory of its own for setScratch where no plan has any (single formulas, tests): `operationBytes` for one
  /// operation and, if `products`, what matrix products work in.
  void allocateScratch(int64_t operationBytes, bool products);
  /// Bump allocation inside the scratch region for the duration of one operation (scratch.h).
  class Scratch;
  friend class Scratch;
  /// Scratch that single operations take beside the matrix products in them (Gemm::scratchBytes), in bytes; the planner
  /// mirrors these formulas.
  static int64_t attentionScratchBytes(const AttentionShape& shape, DType computeType, int threads);
  /// Operations other than attention and lowRankGradient: partial sums per block of rows for at most `columns` columns.
  static int64_t elementwiseScratchBytes(int64_t tokens, int64_t columns, int threads);
  /// rebuildWeight, merge and weightStatistics of one linear.
  static int64_t rebuildScratchBytes(int64_t m, int64_t n, int64_t rank);
  /// lowRankGradient; `m` outputs of the widest task, `totalRank` summed over the tasks that share x.
  static int64_t lowRankScratchBytes(int64_t tokens, int64_t n, int64_t m, int64_t totalRank, DType computeType,
                                     int threads);

 private:
  /// Scratch of one of the lanes that work at once.
  int64_t laneScratchBytes(const EngineShape& shape) const;

  CpuOptions options_;
  int threads_;
  DType computeType_;
  std::unique_ptr<Gemm> gemm_;
  std::vector<void*> allocations_;
  std::span<std::byte> wholeScratch_;  // of matrix products and operations
  std::byte* scratch_ = nullptr;
  int64_t scratchBytes_ = 0;
  int64_t scratchUsed_ = 0;
};

}  // namespace lrqat::cpu
