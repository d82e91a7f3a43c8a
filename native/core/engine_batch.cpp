// Batches checked, and cut into micro-batches.
#include "core/engine_batch.h"

#include <algorithm>
#include <limits>

#include "core/engine.h"
#include "core/error.h"

namespace lrqat {

void Engine::checkBatch(const TokenBatch& batch) const {
  const EngineShape& shape = config_.shape;
  const auto count = static_cast<size_t>(batch.sequences * batch.length);
  if (batch.sequences < 1 || batch.length < 1 || batch.length > shape.sequenceLength) {
    throw Error(ErrorCode::InvalidArgument,
                "a batch needs at least one sequence of 1 to " + std::to_string(shape.sequenceLength) +
                    " tokens, got " + std::to_string(batch.sequences) + " of " + std::to_string(batch.length));
  }
  if (batch.tokens.size() != count || batch.targets.size() != count ||
      (!batch.firstKey.empty() && batch.firstKey.size() != count)) {
    throw Error(ErrorCode::InvalidArgument, "tokens, targets and firstKey must all have sequences · length = " +
                                                std::to_string(count) + " elements");
  }
  for (size_t i = 0; i < count; ++i) {
    const int32_t token = batch.tokens[i];
    const int32_t target = batch.targets[i];
    if (token < 0 || token >= shape.model.vocabSize || target < -1 || target >= shape.model.vocabSize) {
      throw Error(ErrorCode::InvalidArgument,
                  "token id " + std::to_string(token < 0 || token >= shape.model.vocabSize ? token : target) +
                      " is outside the model's vocabulary of " + std::to_string(shape.model.vocabSize),
                  "the corpus was probably tokenized for another model");
    }
    if (batch.firstKey.empty()) continue;
    const auto position = static_cast<int32_t>(static_cast<int64_t>(i) % batch.length);
    const int32_t first = batch.firstKey[i];
    if (first < 0 || first > position || (position > 0 && first < batch.firstKey[i - 1])) {
      throw Error(ErrorCode::InvalidArgument, "firstKey must not decrease within a sequence nor lie after its token");
    }
  }
  checkHidden(batch);
}

void Engine::checkHidden(const TokenBatch& batch) const {
  if (batch.hiddenFrom.empty() && batch.hiddenTo.empty()) return;
  const int64_t window = config_.shape.model.slidingWindow;
  if (config_.shape.training || (window > 0 && window < batch.length)) {
    throw Error(ErrorCode::Unsupported,
                "hidden keys need an engine for evaluation and a model without a sliding window");
  }
  if (batch.hiddenFrom.size() != batch.tokens.size() || batch.hiddenTo.size() != batch.tokens.size()) {
    throw Error(ErrorCode::InvalidArgument, "hidden.from and hidden.to must have as many elements as tokens");
  }
  for (size_t i = 0; i < batch.tokens.size(); ++i) {
    const int32_t from = batch.hiddenFrom[i];
    const int32_t to = batch.hiddenTo[i];
    const int64_t position = static_cast<int64_t>(i) % batch.length;
    if (from == to && from == 0) continue;
    const int32_t first = batch.firstKey.empty() ? 0 : batch.firstKey[i];
    if (from < first || to < from || to > position) {
      throw Error(ErrorCode::InvalidArgument, "hidden keys must lie between a token's first key and the token");
    }
  }
}

void Engine::checkTeacher(const TokenBatch& batch) const {
  const int64_t k = config_.shape.distillation.classes;
  const auto rows = static_cast<int64_t>(batch.tokens.size());
  if (static_cast<int64_t>(batch.teacherClasses.size()) != rows * k ||
      static_cast<int64_t>(batch.teacherLogProbabilities.size()) != (k == 0 ? 0 : rows * (k + 1))) {
    throw Error(ErrorCode::InvalidArgument, k == 0 ? "a teacher is given to an engine without distillation"
                                                   : "distillation needs " + std::to_string(k) + " classes and " +
                                                         std::to_string(k + 1) +
                                                         " log-probabilities of every token of a batch");
  }
  const int64_t vocab = config_.shape.model.vocabSize;
  for (int64_t row = 0; row < rows && k > 0; ++row) {
    const auto classes = batch.teacherClasses.subspan(static_cast<size_t>(row * k), static_cast<size_t>(k));
    const auto logs = batch.teacherLogProbabilities.subspan(static_cast<size_t>(row * (k + 1)));
    for (size_t i = 0; i < classes.size(); ++i) {
      if (classes[i] <= (i == 0 ? -1 : classes[i - 1]) || classes[i] >= vocab) {
        throw Error(ErrorCode::InvalidArgument,
                    "the teacher's classes must ascend within the vocabulary of " + std::to_string(vocab));
      }
    }
    // Rounding may lift a share of all but 1 a little above it.
    const auto isLog = [](float value) { return value <= 1e-3F; };
    if (!std::all_of(logs.begin(), logs.begin() + k + 1, isLog) ||
        (k == vocab && logs[static_cast<size_t>(k)] > -std::numeric_limits<float>::infinity())) {
      throw Error(ErrorCode::InvalidArgument, "the teacher's log-probabilities must not be positive");
    }
  }
}

MicroBatch Engine::microBatch(const TokenBatch& batch, int64_t first, int64_t count) const {
  const int64_t offset = first * batch.length;
  MicroBatch out{.sequences = count,
                 .length = batch.length,
                 .tokens = batch.tokens.data() + offset,
                 .targets = batch.targets.data() + offset,
                 .firstKey = batch.firstKey.empty() ? nullptr : batch.firstKey.data() + offset};
  if (!batch.teacherClasses.empty()) {
    const int64_t k = config_.shape.distillation.classes;
    out.teacherClasses = batch.teacherClasses.data() + offset * k;
    out.teacherLogProbabilities = batch.teacherLogProbabilities.data() + offset * (k + 1);
  }
  if (!batch.hiddenFrom.empty()) {
    out.hiddenFrom = batch.hiddenFrom.data() + offset;
    out.hiddenTo = batch.hiddenTo.data() + offset;
  }
  return out;
}

int64_t Engine::sequencesPerMicroBatch(int64_t length) const {
  return config_.shape.tokens() / length;
}

int64_t predicted(std::span<const int32_t> targets) {
  return static_cast<int64_t>(std::count_if(targets.begin(), targets.end(), [](int32_t t) { return t >= 0; }));
}

}  // namespace lrqat
