// Forwards without a backward: losses, logits, what a teacher gives.
#include <algorithm>

#include "core/engine.h"
#include "core/engine_batch.h"
#include "core/error.h"

namespace lrqat {

namespace {

/// Restricts quantized forms to some linears while it lives.
class Selection {
 public:
  Selection(std::vector<LinearLayer>& linears, std::span<const size_t> selected) : linears_(linears) {
    for (LinearLayer& l : linears_) l.selected = false;
    for (const size_t index : selected) linears_[index].selected = true;
  }
  ~Selection() {
    for (LinearLayer& l : linears_) l.selected = true;
  }
  Selection(const Selection&) = delete;
  Selection& operator=(const Selection&) = delete;

 private:
  std::vector<LinearLayer>& linears_;
};

}  // namespace

EvaluationResult Engine::evaluate(const TokenBatch& batch, WeightForm form,
                                  const std::optional<std::vector<std::string>>& only) {
  requireLoaded();
  checkBatch(batch);
  std::optional<Selection> selection;
  if (only) {
    std::vector<size_t> indices;
    for (const std::string& name : *only) indices.push_back(linearIndex(name));
    selection.emplace(linears_, indices);
  }
  prepare(form);
  if (!only) prepareGrids(form);
  EvaluationResult result;
  result.tokens = predicted(batch.targets);
  const int64_t step = sequencesPerMicroBatch(batch.length);
  decoder_->clearLosses();
  for (int64_t first = 0; first < batch.sequences; first += step) {
    decoder_->evaluate(microBatch(batch, first, std::min(step, batch.sequences - first)), form, !only);
  }
  result.lossSum = decoder_->losses().crossEntropy;
  return result;
}

std::vector<float> Engine::tokenLosses(const TokenBatch& batch, WeightForm form) {
  requireLoaded();
  checkBatch(batch);
  prepare(form);
  prepareGrids(form);
  std::vector<float> out(batch.tokens.size());
  const int64_t step = sequencesPerMicroBatch(batch.length);
  for (int64_t first = 0; first < batch.sequences; first += step) {
    decoder_->rowLosses(microBatch(batch, first, std::min(step, batch.sequences - first)), form,
                        out.data() + first * batch.length);
  }
  return out;
}

std::vector<float> Engine::logits(const TokenBatch& batch, WeightForm form) {
  requireLoaded();
  checkBatch(batch);
  prepare(form);
  prepareGrids(form);
  const int64_t vocab = config_.shape.model.vocabSize;
  std::vector<float> out(static_cast<size_t>(batch.sequences * batch.length * vocab));
  const int64_t step = sequencesPerMicroBatch(batch.length);
  for (int64_t first = 0; first < batch.sequences; first += step) {
    decoder_->logits(microBatch(batch, first, std::min(step, batch.sequences - first)), form,
                     out.data() + first * batch.length * vocab);
  }
  return out;
}

TeacherKnowledge Engine::teach(const TokenBatch& batch) {
  requireLoaded();
  const int64_t k = config_.shape.distillation.classes;
  if (!config_.shape.training || k == 0) {
    throw Error(ErrorCode::InvalidArgument, "the engine was created without distillation");
  }
  checkBatch(batch);
  prepare(WeightForm::Float);
  TeacherKnowledge out;
  out.classes.resize(batch.tokens.size() * static_cast<size_t>(k));
  out.logProbabilities.resize(batch.tokens.size() * static_cast<size_t>(k + 1));
  const TeacherRows all{out.classes.data(), out.logProbabilities.data(), k};
  const int64_t step = sequencesPerMicroBatch(batch.length);
  for (int64_t first = 0; first < batch.sequences; first += step) {
    decoder_->teacherRows(microBatch(batch, first, std::min(step, batch.sequences - first)),
                          all.from(first * batch.length));
  }
  return out;
}

}  // namespace lrqat
