#include "core/lanes.h"

#include <algorithm>

#include "core/error.h"

namespace lrqat {

namespace {

/// The rows of one worker's lanes in what is kept for a whole micro-batch: the next lane finds them in the caches.
class WorkerRows {
 public:
  WorkerRows(const EngineShape& shape, int64_t worker)
      : shape_(shape), count_(shape.lane().tokens()), first_(worker * count_) {}

  ActivationBuffers of(const ActivationBuffers& whole) const {
    ActivationBuffers own = whole;
    for (BlockActivations& block : own.blocks) block = of(block);
    for (Matrix& input : own.blockInputs) input = of(input);
    own.output = of(whole.output);
    own.normed = of(whole.normed);
    own.rstd = whole.rstd + first_;
    own.quantizedAttention = of(whole.quantizedAttention);
    return own;
  }

  WorkspaceBuffers of(const WorkspaceBuffers& whole, WorkspaceBuffers own) const {
    own.tokens = whole.tokens + first_;
    own.targets = whole.targets + first_;
    own.firstKey = whole.firstKey + first_;
    own.keptWeights = whole.keptWeights;
    own.keptClipped = whole.keptClipped;
    own.gradient = of(whole.gradient);
    own.normedGradient = of(whole.normedGradient);
    if (whole.teacher.k > 0) own.teacher = whole.teacher.from(first_);
    return own;
  }

 private:
  Matrix of(Matrix whole) const { return whole.data ? whole.slice(first_, count_) : whole; }

  BlockActivations of(const BlockActivations& whole) const {
    BlockActivations own = whole;
    for (Matrix* matrix :
         {&own.input, &own.normed1, &own.rawQ, &own.rawK, &own.rawV, &own.q, &own.k, &own.v, &own.attention, &own.rawO,
          &own.middle, &own.normed2, &own.rawGate, &own.rawUp, &own.gated, &own.rawDown}) {
      *matrix = of(*matrix);
    }
    own.rstd1 += first_;
    own.rstd2 += first_;
    own.lse += first_ * shape_.model.heads;
    for (size_t site = 0; site < activationSiteCount; ++site) {
      if (!own.inside[site]) continue;
      own.inside[site] += first_ * markWords(shape_.activationCols(static_cast<ActivationSite>(site)));
    }
    return own;
  }

  const EngineShape& shape_;
  int64_t count_;
  int64_t first_;
};

}  // namespace

/// Its linears differ from the engine's in where gradients go.
struct Lanes::Lane {
  Lane(const Whole& whole, int64_t index, Backend& backend, const TrainedBuffers& trained)
      : worker(whole.shape.workerOf(index)),
        gradients(trained.linears),
        linears(whole.linears),
        decoder(whole.shape, backend, linears, whole.embeddings, floatGradients(whole.shape, trained.floats),
                whole.hostTable, WorkerRows(whole.shape, worker).of(whole.activations),
                WorkerRows(whole.shape, worker).of(whole.workspace, whole.workspace.lanes[static_cast<size_t>(index)]),
                whole.ranges) {}

  int64_t worker;
  void* memory = nullptr;  // of all its gradients; null: none
  int64_t bytes = 0;
  std::vector<LinearBuffers> gradients;  // nothing but these in it
  std::vector<LinearLayer> linears;
  Decoder decoder;
};

Lanes::Lanes(const Whole& whole) : whole_(whole), backends_(whole.backend.laneBackends(whole.shape)) {
  const EngineShape& shape = whole.shape;
  auto* memory = static_cast<std::byte*>(whole.gradients);
  for (int64_t index = 0; index < shape.lanes; ++index) {
    TrainedBuffers trained(shape);
    Layout layout(memory);
    const int64_t bytes = layoutGradients(shape, layout, trained);
    Backend& backend = *backends_[static_cast<size_t>(shape.workerOf(index))];
    lanes_.push_back(std::make_unique<Lane>(whole, index, backend, trained));
    lanes_.back()->memory = memory;
    lanes_.back()->bytes = bytes;
    if (memory) memory += bytes;
  }
}

Lanes::~Lanes() = default;

void Lanes::setCancelFlag(const std::atomic<bool>* flag) {
  for (const auto& lane : lanes_) lane->decoder.setCancelFlag(flag);
}

void Lanes::begin() {
  for (const auto& lane : lanes_) {
    for (size_t i = 0; i < lane->linears.size(); ++i) {
      lane->linears[i] = whole_.linears[i];
      lane->linears[i].buffers.gradient = lane->gradients[i].gradient;
    }
    lane->decoder.shareWeights();
    lane->decoder.clearLosses();
  }
  // A weight is one thread's as well: whoever is free takes the next.
  std::atomic<int64_t> next = 0;
  const auto count = static_cast<int64_t>(whole_.linears.size());
  whole_.backend.runLanes(static_cast<int64_t>(backends_.size()), [&](int64_t worker) {
    for (const auto& lane : lanes_) {
      if (lane->worker != worker || !lane->memory) continue;
      backends_[static_cast<size_t>(worker)]->zero(lane->memory, lane->bytes);
    }
    const auto own = std::find_if(lanes_.begin(), lanes_.end(), [&](const auto& l) { return l->worker == worker; });
    for (int64_t index = next++; index < count; index = next++) (*own)->decoder.keepWeight(index);
  });
}

void Lanes::trainMicroBatch(std::span<const MicroBatch> parts, float gradientScale) {
  LRQAT_CHECK(parts.size() == lanes_.size());
  whole_.backend.runLanes(static_cast<int64_t>(backends_.size()), [&](int64_t worker) {
    for (size_t i = 0; i < lanes_.size(); ++i) {
      if (lanes_[i]->worker != worker) continue;
      // Only recorded work can turn out not to fit, and a lane records none.
      const bool done = lanes_[i]->decoder.trainMicroBatch(parts[i], gradientScale);
      LRQAT_CHECK(done);
    }
  });
}

void Lanes::addGradients() {
  if (!whole_.gradients) return;
  TrainedBuffers unused(whole_.shape);
  Layout layout;
  const int64_t count = layoutGradients(whole_.shape, layout, unused) / 4;
  auto* const first = static_cast<float*>(whole_.gradients);
  std::vector<const float*> others;
  for (int64_t index = 1; index < whole_.shape.lanes; ++index) others.push_back(first + index * count);
  whole_.backend.addTerms(others, first, count);
}

Decoder::Losses Lanes::losses() {
  Decoder::Losses sum;
  for (const auto& lane : lanes_) {
    const Decoder::Losses own = lane->decoder.losses();
    sum.crossEntropy += own.crossEntropy;
    sum.divergence += own.divergence;
  }
  return sum;
}

}  // namespace lrqat
