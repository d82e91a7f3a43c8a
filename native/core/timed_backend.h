// A Backend that measures another: wall time by operation, for benchmarks and profiles. Costs two clock reads a call,
// and waits for every operation of a device that works on its own.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>

#include "core/backend.h"

namespace lrqat {

class TimedBackend final : public Backend {
 public:
  struct Timing {
    int64_t calls = 0;
    double seconds = 0;
  };

  explicit TimedBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  /// By operation name, since the start or the last reset. Of lanes that work at once each second counts as its share.
  std::map<std::string, Timing> timings() const;
  void reset();

  void* allocate(int64_t bytes, const char* part, MemoryPlace place) override;
  void upload(void* target, const void* host, int64_t bytes) override;
  void download(void* host, const void* source, int64_t bytes) override;
  void copy(void* target, const void* source, int64_t bytes) override;
  void zero(void* target, int64_t bytes) override;
  void synchronize() override { inner_->synchronize(); }
  std::string algorithms() const override { return inner_->algorithms(); }
  bool takeAlgorithms(const std::string& text) override { return inner_->takeAlgorithms(text); }
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
  std::vector<std::unique_ptr<Backend>> laneBackends(const EngineShape& shape) override;
  void runLanes(int64_t count, const std::function<void(int64_t)>& work) override { inner_->runLanes(count, work); }
  void addTerms(std::span<const float* const> terms, float* values, int64_t count) override;

 private:
  template <typename Call>
  auto timed(const char* operation, Call call) {
    struct Clock {
      Backend& inner;
      Timing& timing;
      std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
      ~Clock() {
        inner.synchronize();
        ++timing.calls;
        timing.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      }
    } clock{*inner_, timings_[operation]};
    return call();
  }

  std::unique_ptr<Backend> inner_;
  std::map<std::string, Timing> timings_;
  std::vector<TimedBackend*> lanes_;  // they belong to whoever asked for them, and live as long as this
};

}  // namespace lrqat
