#include "core/timed_backend.h"

namespace lrqat {

void* TimedBackend::allocate(int64_t bytes, const char* part, MemoryPlace place) {
  return inner_->allocate(bytes, part, place);
}

void TimedBackend::upload(void* target, const void* host, int64_t bytes) {
  return timed("upload", [&] { return inner_->upload(target, host, bytes); });
}

void TimedBackend::download(void* host, const void* source, int64_t bytes) {
  return timed("download", [&] { return inner_->download(host, source, bytes); });
}

void TimedBackend::copy(void* target, const void* source, int64_t bytes) {
  return timed("copy", [&] { return inner_->copy(target, source, bytes); });
}

void TimedBackend::zero(void* target, int64_t bytes) {
  return timed("zero", [&] { return inner_->zero(target, bytes); });
}

int64_t TimedBackend::scratchBytes(const EngineShape& shape) const {
  return inner_->scratchBytes(shape);
}

void TimedBackend::setScratch(void* memory, int64_t bytes) {
  return inner_->setScratch(memory, bytes);
}

void TimedBackend::quantize(LinearWeight& weight) {
  return timed("quantize", [&] { return inner_->quantize(weight); });
}

void TimedBackend::encode(LinearWeight& weight) {
  return timed("encode", [&] { return inner_->encode(weight); });
}

void TimedBackend::rebuildWeight(const LinearWeight& weight, const LowRank& lowRank, WeightForm form, Matrix out,
                                 ClippedSet* clipped) {
  return timed("rebuildWeight", [&] { return inner_->rebuildWeight(weight, lowRank, form, out, clipped); });
}

void TimedBackend::merge(const LinearWeight& weight, const LowRank& lowRank, void* hostCodes) {
  return timed("merge", [&] { return inner_->merge(weight, lowRank, hostCodes); });
}

WeightStatistics TimedBackend::weightStatistics(const LinearWeight& weight, const LowRank& lowRank) {
  return timed("weightStatistics", [&] { return inner_->weightStatistics(weight, lowRank); });
}

void TimedBackend::materializeScales(std::span<const ScaleTask> tasks) {
  return timed("materializeScales", [&] { return inner_->materializeScales(tasks); });
}

void TimedBackend::sumRowScaleGradient(int64_t m, const float* rowScaleGradient, float* scaleGradient) {
  return timed("sumRowScaleGradient", [&] { return inner_->sumRowScaleGradient(m, rowScaleGradient, scaleGradient); });
}

void TimedBackend::finishScaleGradients(std::span<const ScaleGradientTask> tasks) {
  return timed("finishScaleGradients", [&] { return inner_->finishScaleGradients(tasks); });
}

void TimedBackend::finishWeightGradients(std::span<const WeightGradientTask> tasks) {
  return timed("finishWeightGradients", [&] { inner_->finishWeightGradients(tasks); });
}

void TimedBackend::lowRankGradient(Matrix x, std::span<const LowRankTask> tasks) {
  return timed("lowRankGradient", [&] { return inner_->lowRankGradient(x, tasks); });
}

void TimedBackend::gemm(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate) {
  return timed("gemm", [&] { return inner_->gemm(a, transposeA, b, transposeB, c, accumulate); });
}

void TimedBackend::gemmSum(std::span<const GemmProduct> products, Matrix c) {
  return timed("gemm", [&] { return inner_->gemmSum(products, c); });
}

void TimedBackend::embed(Matrix table, const int32_t* ids, Matrix x) {
  return timed("embed", [&] { return inner_->embed(table, ids, x); });
}

void TimedBackend::rmsNorm(Matrix x, const float* weight, float epsilon, Matrix y, float* rstd) {
  return timed("rmsNorm", [&] { return inner_->rmsNorm(x, weight, epsilon, y, rstd); });
}

void TimedBackend::rmsNormBackward(Matrix dy, Matrix x, const float* weight, const float* rstd, Matrix dx) {
  return timed("rmsNormBackward", [&] { return inner_->rmsNormBackward(dy, x, weight, rstd, dx); });
}

void TimedBackend::projectHeads(const RawOutput& raw, const HeadTransform& transform, Matrix out) {
  return timed("projectHeads", [&] { return inner_->projectHeads(raw, transform, out); });
}

void TimedBackend::projectHeadsBackward(Matrix dOut, const RawOutput& raw, const HeadTransform& transform,
                                        const RawOutputGradient& gradient) {
  return timed("projectHeadsBackward", [&] { return inner_->projectHeadsBackward(dOut, raw, transform, gradient); });
}

void TimedBackend::attention(const AttentionShape& shape, Matrix q, Matrix k, Matrix v, Matrix o, float* lse) {
  return timed("attention", [&] { return inner_->attention(shape, q, k, v, o, lse); });
}

void TimedBackend::attentionBackward(const AttentionShape& shape, Matrix q, Matrix k, Matrix v, Matrix o,
                                     const float* lse, Matrix dO, Matrix dQ, Matrix dK, Matrix dV) {
  return timed("attentionBackward", [&] { return inner_->attentionBackward(shape, q, k, v, o, lse, dO, dQ, dK, dV); });
}

void TimedBackend::addResidual(Matrix x, const RawOutput& raw, Matrix out) {
  return timed("addResidual", [&] { return inner_->addResidual(x, raw, out); });
}

void TimedBackend::addResidualBackward(Matrix dY, const RawOutput& raw, const RawOutputGradient& gradient) {
  return timed("addResidualBackward", [&] { return inner_->addResidualBackward(dY, raw, gradient); });
}

void TimedBackend::addResidualNorm(Matrix x, const RawOutput& raw, Matrix out, const float* weight, float epsilon,
                                   Matrix y, float* rstd) {
  return timed("addResidualNorm", [&] { return inner_->addResidualNorm(x, raw, out, weight, epsilon, y, rstd); });
}

void TimedBackend::addResidualNormBackward(Matrix dy, Matrix x, const float* weight, const float* rstd, Matrix dx,
                                           const RawOutput& raw, const RawOutputGradient& gradient) {
  return timed("addResidualNormBackward",
               [&] { return inner_->addResidualNormBackward(dy, x, weight, rstd, dx, raw, gradient); });
}

void TimedBackend::swiglu(const RawOutput& gate, const RawOutput& up, Matrix h) {
  return timed("swiglu", [&] { return inner_->swiglu(gate, up, h); });
}

void TimedBackend::swigluBackward(Matrix dH, const RawOutput& gate, const RawOutput& up, const RawOutputGradient& dGate,
                                  const RawOutputGradient& dUp, Matrix h) {
  return timed("swigluBackward", [&] { return inner_->swigluBackward(dH, gate, up, dGate, dUp, h); });
}

void TimedBackend::quantizeActivations(Matrix x, const ActivationGrid& grid, Matrix y, uint32_t* inside) {
  return timed("quantizeActivations", [&] { return inner_->quantizeActivations(x, grid, y, inside); });
}

void TimedBackend::maskGradient(Matrix gradient, const uint32_t* inside) {
  return timed("maskGradient", [&] { return inner_->maskGradient(gradient, inside); });
}

ActivationRange TimedBackend::activationRange(Matrix x) {
  return timed("activationRange", [&] { return inner_->activationRange(x); });
}

void TimedBackend::learnGrid(Matrix x, const ActivationGrid& grid, Matrix gradient, float* scaleGradient,
                             float* zeroGradient) {
  return timed("learnGrid", [&] { return inner_->learnGrid(x, grid, gradient, scaleGradient, zeroGradient); });
}

void TimedBackend::crossEntropy(Matrix logits, const int32_t* targets, float gradientScale, Matrix gradient,
                                double* lossSum) {
  return timed("crossEntropy", [&] { return inner_->crossEntropy(logits, targets, gradientScale, gradient, lossSum); });
}

void TimedBackend::teacherRows(Matrix logits, float temperature, const TeacherRows& out) {
  return timed("teacherRows", [&] { return inner_->teacherRows(logits, temperature, out); });
}

void TimedBackend::distillationLoss(Matrix logits, const int32_t* targets, const TeacherRows& teacher,
                                    const Distillation& distillation, float gradientScale, Matrix gradient,
                                    double* lossSums) {
  return timed("distillationLoss", [&] {
    return inner_->distillationLoss(logits, targets, teacher, distillation, gradientScale, gradient, lossSums);
  });
}

void TimedBackend::rowLosses(Matrix logits, const int32_t* targets, float* losses) {
  return timed("rowLosses", [&] { return inner_->rowLosses(logits, targets, losses); });
}

void TimedBackend::rmsNormWeightGradient(Matrix dy, Matrix x, const float* rstd, float* gradient) {
  return timed("rmsNormWeightGradient", [&] { return inner_->rmsNormWeightGradient(dy, x, rstd, gradient); });
}

void TimedBackend::headNormWeightGradient(Matrix dOut, const RawOutput& raw, const HeadTransform& transform,
                                          float* gradient) {
  return timed("headNormWeightGradient",
               [&] { return inner_->headNormWeightGradient(dOut, raw, transform, gradient); });
}

void TimedBackend::embedGradient(Matrix dX, const int32_t* ids, Matrix gradient) {
  return timed("embedGradient", [&] { return inner_->embedGradient(dX, ids, gradient); });
}

void TimedBackend::convert(Matrix from, Matrix to) {
  return timed("convert", [&] { return inner_->convert(from, to); });
}

double TimedBackend::squaredNorm(const float* values, int64_t count) {
  return timed("squaredNorm", [&] { return inner_->squaredNorm(values, count); });
}

void TimedBackend::adamw(const AdamW& settings, std::span<const AdamWTensor> tensors) {
  return timed("adamw", [&] { return inner_->adamw(settings, tensors); });
}

std::vector<std::unique_ptr<Backend>> TimedBackend::laneBackends(const EngineShape& shape) {
  std::vector<std::unique_ptr<Backend>> lanes = inner_->laneBackends(shape);
  lanes_.clear();
  for (auto& lane : lanes) {
    auto timed = std::make_unique<TimedBackend>(std::move(lane));
    lanes_.push_back(timed.get());
    lane = std::move(timed);
  }
  return lanes;
}

void TimedBackend::addTerms(std::span<const float* const> terms, float* values, int64_t count) {
  return timed("addTerms", [&] { return inner_->addTerms(terms, values, count); });
}

std::map<std::string, TimedBackend::Timing> TimedBackend::timings() const {
  std::map<std::string, Timing> all = timings_;
  for (const TimedBackend* lane : lanes_) {
    for (const auto& [operation, timing] : lane->timings_) {
      all[operation].calls += timing.calls;
      all[operation].seconds += timing.seconds / static_cast<double>(lanes_.size());
    }
  }
  return all;
}

void TimedBackend::reset() {
  timings_.clear();
  for (TimedBackend* lane : lanes_) lane->reset();
}

}  // namespace lrqat
