// Failures of a Backend that lives in a shared library. Exceptions do not cross between modules that each have a C++
// runtime of their own inside (an unwinder that has not been used before aborts when it meets one), so the library
// catches them into a Failure that both sides know and the engine throws them again. Also the other way round, for the
// work that a backend is given to do (Backend::repeat).
#pragma once

#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "core/backend.h"
#include "core/error.h"

namespace lrqat::boundary {

struct Failure {
  int code = -1;  // an ErrorCode; -1: none
  char message[1024] = {};
  char hint[512] = {};

  bool failed() const { return code >= 0; }
  void set(ErrorCode errorCode, const std::string& text, const std::string& advice) {
    code = static_cast<int>(errorCode);
    std::snprintf(message, sizeof message, "%s", text.c_str());
    std::snprintf(hint, sizeof hint, "%s", advice.c_str());
  }
  /// Of the exception being handled.
  void setCurrent() {
    try {
      throw;
    } catch (const Error& error) {
      set(error.code(), error.what(), error.hint());
    } catch (const std::exception& error) {
      set(ErrorCode::Internal, error.what(), "");
    } catch (...) {
      set(ErrorCode::Internal, "an exception of no known kind", "");
    }
  }
  /// Throws what is recorded, once.
  void raise() {
    if (!failed()) return;
    const Failure taken = std::exchange(*this, {});
    throw Error(static_cast<ErrorCode>(taken.code), taken.message, taken.hint);
  }
};

/// In the library: nothing leaves.
class Catching {
 public:
  explicit Catching(Failure& failure) : failure_(failure) {}

  template <typename Call>
  auto operator()(Call call) const {
    try {
      return call();
    } catch (...) {
      failure_.setCurrent();
    }
    using Result = decltype(call());
    if constexpr (!std::is_void_v<Result>) return Result{};
  }
  /// `work` of the engine, which has caught what it threw.
  auto incoming(const std::function<void()>& work) const {
    return [this, &work] {
      work();
      failure_.raise();
    };
  }

 private:
  Failure& failure_;
};

/// In the engine: what the library has caught is thrown.
class Throwing {
 public:
  explicit Throwing(Failure& failure) : failure_(failure) {}

  template <typename Call>
  auto operator()(Call call) const {
    if constexpr (std::is_void_v<decltype(call())>) {
      call();
      failure_.raise();
    } else {
      auto result = call();
      failure_.raise();
      return result;
    }
  }
  auto incoming(const std::function<void()>& work) const {
    return [this, &work] {
      try {
        work();
      } catch (...) {
        failure_.setCurrent();
      }
    };
  }

 private:
  Failure& failure_;
};

/// Every call to another backend, by way of `Guard`.
template <class Guard>
class GuardedBackend final : public Backend {
 public:
  GuardedBackend(std::unique_ptr<Backend> inner, Failure& failure) : inner_(std::move(inner)), guard_(failure) {}
  GuardedBackend(std::unique_ptr<Backend> inner, std::unique_ptr<Failure> failure)
      : failure_(std::move(failure)), inner_(std::move(inner)), guard_(*failure_) {}

  void* allocate(int64_t bytes, const char* part, MemoryPlace place) override {
    return guard_([&] { return inner_->allocate(bytes, part, place); });
  }
  void upload(void* target, const void* host, int64_t bytes) override {
    guard_([&] { inner_->upload(target, host, bytes); });
  }
  void download(void* host, const void* source, int64_t bytes) override {
    guard_([&] { inner_->download(host, source, bytes); });
  }
  void copy(void* target, const void* source, int64_t bytes) override {
    guard_([&] { inner_->copy(target, source, bytes); });
  }
  void zero(void* target, int64_t bytes) override {
    guard_([&] { inner_->zero(target, bytes); });
  }
  void synchronize() override {
    guard_([&] { inner_->synchronize(); });
  }
  bool repeat(const WorkKey& key, const std::function<void()>& work) override {
    return guard_([&] { return inner_->repeat(key, guard_.incoming(work)); });
  }
  int64_t repeats() const override {
    return guard_([&] { return inner_->repeats(); });
  }
  std::string algorithms() const override {
    return guard_([&] { return inner_->algorithms(); });
  }
  bool takeAlgorithms(const std::string& text) override {
    return guard_([&] { return inner_->takeAlgorithms(text); });
  }
  int64_t scratchBytes(const EngineShape& shape) const override {
    return guard_([&] { return inner_->scratchBytes(shape); });
  }
  void setScratch(void* memory, int64_t bytes) override {
    guard_([&] { inner_->setScratch(memory, bytes); });
  }
  void quantize(LinearWeight& weight) override {
    guard_([&] { inner_->quantize(weight); });
  }
  void encode(LinearWeight& weight) override {
    guard_([&] { inner_->encode(weight); });
  }
  void rebuildWeight(const LinearWeight& weight, const LowRank& lowRank, WeightForm form, Matrix out,
                     ClippedSet* clipped) override {
    guard_([&] { inner_->rebuildWeight(weight, lowRank, form, out, clipped); });
  }
  void merge(const LinearWeight& weight, const LowRank& lowRank, void* hostCodes) override {
    guard_([&] { inner_->merge(weight, lowRank, hostCodes); });
  }
  WeightStatistics weightStatistics(const LinearWeight& weight, const LowRank& lowRank) override {
    return guard_([&] { return inner_->weightStatistics(weight, lowRank); });
  }
  void materializeScales(std::span<const ScaleTask> tasks) override {
    guard_([&] { inner_->materializeScales(tasks); });
  }
  void sumRowScaleGradient(int64_t m, const float* rowScaleGradient, float* scaleGradient) override {
    guard_([&] { inner_->sumRowScaleGradient(m, rowScaleGradient, scaleGradient); });
  }
  void finishScaleGradients(std::span<const ScaleGradientTask> tasks) override {
    guard_([&] { inner_->finishScaleGradients(tasks); });
  }
  void finishWeightGradients(std::span<const WeightGradientTask> tasks) override {
    guard_([&] { inner_->finishWeightGradients(tasks); });
  }
  void lowRankGradient(Matrix x, std::span<const LowRankTask> tasks) override {
    guard_([&] { inner_->lowRankGradient(x, tasks); });
  }
  void gemm(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate) override {
    guard_([&] { inner_->gemm(a, transposeA, b, transposeB, c, accumulate); });
  }
  void embed(Matrix table, const int32_t* ids, Matrix x) override {
    guard_([&] { inner_->embed(table, ids, x); });
  }
  void rmsNorm(Matrix x, const float* weight, float epsilon, Matrix y, float* rstd) override {
    guard_([&] { inner_->rmsNorm(x, weight, epsilon, y, rstd); });
  }
  void rmsNormBackward(Matrix dy, Matrix x, const float* weight, const float* rstd, Matrix dx) override {
    guard_([&] { inner_->rmsNormBackward(dy, x, weight, rstd, dx); });
  }
  void projectHeads(const RawOutput& raw, const HeadTransform& transform, Matrix out) override {
    guard_([&] { inner_->projectHeads(raw, transform, out); });
  }
  void projectHeadsBackward(Matrix dOut, const RawOutput& raw, const HeadTransform& transform,
                            const RawOutputGradient& gradient) override {
    guard_([&] { inner_->projectHeadsBackward(dOut, raw, transform, gradient); });
  }
  void attention(const AttentionShape& shape, Matrix q, Matrix k, Matrix v, Matrix o, float* lse) override {
    guard_([&] { inner_->attention(shape, q, k, v, o, lse); });
  }
  void attentionBackward(const AttentionShape& shape, Matrix q, Matrix k, Matrix v, Matrix o, const float* lse,
                         Matrix dO, Matrix dQ, Matrix dK, Matrix dV) override {
    guard_([&] { inner_->attentionBackward(shape, q, k, v, o, lse, dO, dQ, dK, dV); });
  }
  void addResidual(Matrix x, const RawOutput& raw, Matrix out) override {
    guard_([&] { inner_->addResidual(x, raw, out); });
  }
  void addResidualNorm(Matrix x, const RawOutput& raw, Matrix out, const float* weight, float epsilon, Matrix y,
                       float* rstd) override {
    guard_([&] { inner_->addResidualNorm(x, raw, out, weight, epsilon, y, rstd); });
  }
  void addResidualBackward(Matrix dY, const RawOutput& raw, const RawOutputGradient& gradient) override {
    guard_([&] { inner_->addResidualBackward(dY, raw, gradient); });
  }
  void addResidualNormBackward(Matrix dy, Matrix x, const float* weight, const float* rstd, Matrix dx,
                               const RawOutput& raw, const RawOutputGradient& gradient) override {
    guard_([&] { inner_->addResidualNormBackward(dy, x, weight, rstd, dx, raw, gradient); });
  }
  void swiglu(const RawOutput& gate, const RawOutput& up, Matrix h) override {
    guard_([&] { inner_->swiglu(gate, up, h); });
  }
  void swigluBackward(Matrix dH, const RawOutput& gate, const RawOutput& up, const RawOutputGradient& dGate,
                      const RawOutputGradient& dUp, Matrix h) override {
    guard_([&] { inner_->swigluBackward(dH, gate, up, dGate, dUp, h); });
  }
  void quantizeActivations(Matrix x, const ActivationGrid& grid, Matrix y, uint32_t* inside) override {
    guard_([&] { inner_->quantizeActivations(x, grid, y, inside); });
  }
  void maskGradient(Matrix gradient, const uint32_t* inside) override {
    guard_([&] { inner_->maskGradient(gradient, inside); });
  }
  ActivationRange activationRange(Matrix x) override {
    return guard_([&] { return inner_->activationRange(x); });
  }
  void learnGrid(Matrix x, const ActivationGrid& grid, Matrix gradient, float* scaleGradient,
                 float* zeroGradient) override {
    guard_([&] { inner_->learnGrid(x, grid, gradient, scaleGradient, zeroGradient); });
  }
  void crossEntropy(Matrix logits, const int32_t* targets, float gradientScale, Matrix gradient,
                    double* lossSum) override {
    guard_([&] { inner_->crossEntropy(logits, targets, gradientScale, gradient, lossSum); });
  }
  void teacherRows(Matrix logits, float temperature, const TeacherRows& out) override {
    guard_([&] { inner_->teacherRows(logits, temperature, out); });
  }
  void distillationLoss(Matrix logits, const int32_t* targets, const TeacherRows& teacher,
                        const Distillation& distillation, float gradientScale, Matrix gradient,
                        double* lossSums) override {
    guard_(
        [&] { inner_->distillationLoss(logits, targets, teacher, distillation, gradientScale, gradient, lossSums); });
  }
  void rowLosses(Matrix logits, const int32_t* targets, float* losses) override {
    guard_([&] { inner_->rowLosses(logits, targets, losses); });
  }
  void rmsNormWeightGradient(Matrix dy, Matrix x, const float* rstd, float* gradient) override {
    guard_([&] { inner_->rmsNormWeightGradient(dy, x, rstd, gradient); });
  }
  void headNormWeightGradient(Matrix dOut, const RawOutput& raw, const HeadTransform& transform,
                              float* gradient) override {
    guard_([&] { inner_->headNormWeightGradient(dOut, raw, transform, gradient); });
  }
  void embedGradient(Matrix dX, const int32_t* ids, Matrix gradient) override {
    guard_([&] { inner_->embedGradient(dX, ids, gradient); });
  }
  void convert(Matrix from, Matrix to) override {
    guard_([&] { inner_->convert(from, to); });
  }
  double squaredNorm(const float* values, int64_t count) override {
    return guard_([&] { return inner_->squaredNorm(values, count); });
  }
  void adamw(const AdamW& settings, std::span<const AdamWTensor> tensors) override {
    guard_([&] { inner_->adamw(settings, tensors); });
  }

 private:
  std::unique_ptr<Failure> failure_;  // where it is this side's
  std::unique_ptr<Backend> inner_;
  Guard guard_;
};

}  // namespace lrqat::boundary
