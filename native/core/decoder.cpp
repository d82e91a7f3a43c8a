#include "core/decoder.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace lrqat {

Decoder::Decoder(const EngineShape& shape, Backend& backend, std::vector<LinearLayer>& linears,
                 const EmbeddingBuffers& embeddings, FloatGradients floatGradients, HostTensor hostTable,
                 const ActivationBuffers& activations, const WorkspaceBuffers& workspace, ActivationRanges* ranges)
    : shape_(shape),
      backend_(backend),
      linears_(linears),
      embeddings_(embeddings),
      floatGradients_(std::move(floatGradients)),
      blocks_(activations.blocks),
      activations_(activations),
      workspace_(workspace),
      ranges_(ranges),
      rebuilt_(workspace.keptWeights.size()),
      hostTable_(hostTable),
      needsHost_(!std::all_of(linears.begin(), linears.end(), [](const LinearLayer& l) { return l.quantized; })) {}

void Decoder::evaluate(const MicroBatch& batch, WeightForm form, bool activations) {
  begin(batch, form, activations);
  forward();
  head(HeadTask::Loss, 0, nullptr);
}

void Decoder::rowLosses(const MicroBatch& batch, WeightForm form, float* out) {
  begin(batch, form);
  forward();
  head(HeadTask::RowLosses, 0, out);
}

bool Decoder::trainMicroBatch(const MicroBatch& batch, float gradientScale) {
  begin(batch, WeightForm::Trained);
  trains_ = true;
  const auto work = [&] {
    forward();
    head(HeadTask::LossAndGradient, gradientScale, nullptr);
    backward();
  };
  if (needsHost_) {
    work();
    return true;
  }
  checkCancelled();
  return backend_.repeat(
      {batch.sequences, batch.length, !firstKey_.empty(), batch.first && writesGradients(), gradientScale}, work);
}

Decoder::Losses Decoder::losses() {
  double sums[2] = {};
  backend_.download(sums, workspace_.lossSums, sizeof sums);
  return {sums[0], sums[1]};
}

void Decoder::clearLosses() {
  backend_.zero(workspace_.lossSums, 2 * sizeof(double));
}

void Decoder::teacherRows(const MicroBatch& batch, const TeacherRows& out) {
  const TeacherRows& here = workspace_.teacher;
  LRQAT_CHECK(here.k > 0 && out.k == here.k);
  begin(batch, WeightForm::Float);
  forward();
  head(HeadTask::TeacherRows, 0, nullptr);
  backend_.download(out.classes, here.classes, batch.rows() * here.k * 4);
  backend_.download(out.logProbabilities, here.logProbabilities, batch.rows() * (here.k + 1) * 4);
}

void Decoder::logits(const MicroBatch& batch, WeightForm form, float* out) {
  begin(batch, form);
  forward();
  head(HeadTask::Logits, 0, out);
}

void Decoder::observeGradients(const MicroBatch& batch, float gradientScale, GradientObserver& observer) {
  begin(batch, WeightForm::Float);
  observer_ = &observer;
  forward();
  head(HeadTask::LossAndGradient, gradientScale, nullptr);
  backward();
  observer_ = nullptr;
}

void Decoder::embedInto(const MicroBatch& batch, void* hidden) {
  begin(batch, WeightForm::Trained);
  const Matrix x = blockInput(0);
  backend_.download(hidden, x.data, x.bytes());
}

Matrix Decoder::inputOf(const MicroBatch& batch, int64_t layer, const void* hidden, Linear which) {
  begin(batch, WeightForm::Trained);
  const Matrix input = blockInput(layer);
  backend_.upload(input.data, hidden, input.bytes());
  normalize(layer);
  BlockActivations& a = block(layer);
  if (which == Linear::Q) return rows(a.normed1);
  stopAt_ = which;
  forwardBlock(layer, input, nullptr);
  stopAt_.reset();
  if (which == Linear::O) return attentionOutput(a);
  return rows(which == Linear::Gate ? a.normed2 : a.gated);
}

void Decoder::passBlock(const MicroBatch& batch, int64_t layer, void* hidden) {
  begin(batch, WeightForm::Trained);
  const Matrix input = blockInput(layer);
  backend_.upload(input.data, hidden, input.bytes());
  normalize(layer);
  const NextNorm next{
      rows(activations_.output), embeddings_.finalNorm, rows(activations_.normed), activations_.rstd, {}};
  forwardBlock(layer, input, &next);
  backend_.download(hidden, activations_.output.data, input.bytes());
}

void Decoder::calibrate(const MicroBatch& batch) {
  struct Calibrating {
    bool& flag;
    explicit Calibrating(bool& value) : flag(value) { flag = true; }
    ~Calibrating() { flag = false; }
  } calibrating(calibrating_);
  begin(batch, WeightForm::Trained);
  forward();
  ranges_->endSequence();
}

void Decoder::begin(const MicroBatch& batch, WeightForm form, bool activations) {
  LRQAT_CHECK(batch.sequences > 0 && batch.length > 0);
  LRQAT_CHECK(batch.rows() <= shape_.tokens() && batch.length <= shape_.sequenceLength);
  batch_ = batch;
  form_ = form;
  activationsQuantized_ = activations;
  observer_ = nullptr;
  trains_ = false;
  stopAt_.reset();
  backend_.upload(workspace_.tokens, batch.tokens, batch.rows() * 4);
  backend_.upload(workspace_.targets, batch.targets, batch.rows() * 4);
  if (batch.teacherClasses) {
    const TeacherRows& teacher = workspace_.teacher;
    LRQAT_CHECK(teacher.k > 0);
    backend_.upload(teacher.classes, batch.teacherClasses, batch.rows() * teacher.k * 4);
    backend_.upload(teacher.logProbabilities, batch.teacherLogProbabilities, batch.rows() * (teacher.k + 1) * 4);
  }
  uploadFirstKeys();
  uploadBranches();
  embed();
}

void Decoder::uploadFirstKeys() {
  const MicroBatch& batch = batch_;
  firstKey_.clear();
  const int64_t window = shape_.model.slidingWindow;
  if (!batch.firstKey && (window == 0 || window >= batch.length)) return;
  firstKey_.resize(static_cast<size_t>(batch.rows()));
  for (int64_t row = 0; row < batch.rows(); ++row) {
    const int64_t position = row % batch.length;
    const int64_t first = batch.firstKey ? batch.firstKey[row] : 0;
    const int64_t windowStart = window > 0 ? position - window + 1 : 0;
    firstKey_[static_cast<size_t>(row)] = static_cast<int32_t>(std::max({first, windowStart, int64_t{0}}));
  }
  backend_.upload(workspace_.firstKey, firstKey_.data(), batch.rows() * 4);
}

void Decoder::uploadBranches() {
  const MicroBatch& batch = batch_;
  if (!batch.hiddenFrom) return;
  LRQAT_CHECK(workspace_.position);
  position_.resize(static_cast<size_t>(batch.rows()));
  for (int64_t row = 0; row < batch.rows(); ++row) {
    const int64_t hidden = batch.hiddenTo[row] - batch.hiddenFrom[row];
    position_[static_cast<size_t>(row)] = static_cast<int32_t>(row % batch.length - hidden);
  }
  backend_.upload(workspace_.hiddenFrom, batch.hiddenFrom, batch.rows() * 4);
  backend_.upload(workspace_.hiddenTo, batch.hiddenTo, batch.rows() * 4);
  backend_.upload(workspace_.position, position_.data(), batch.rows() * 4);
}

bool Decoder::writesGradients() const {
  return floatGradients_.head.data ||
         std::any_of(linears_.begin(), linears_.end(), [](const LinearLayer& l) { return l.buffers.gradient.weight; });
}

void Decoder::checkCancelled() const {
  if (cancel_ && cancel_->load(std::memory_order_relaxed)) throw Error(ErrorCode::Cancelled, "cancelled");
}

Matrix Decoder::blockInput(int64_t layer) {
  return rows(activations_.blockInputs.empty() ? block(layer).input
                                               : activations_.blockInputs[static_cast<size_t>(layer)]);
}

AttentionShape Decoder::attentionShape() const {
  return {.batch = batch_.sequences,
          .length = batch_.length,
          .heads = shape_.model.heads,
          .kvHeads = shape_.model.kvHeads,
          .headDim = shape_.model.headDim,
          .firstKey = firstKey_.empty() ? nullptr : workspace_.firstKey,
          .hiddenFrom = batch_.hiddenFrom ? workspace_.hiddenFrom : nullptr,
          .hiddenTo = batch_.hiddenTo ? workspace_.hiddenTo : nullptr};
}

HeadTransform Decoder::headTransform(int64_t layer, Linear which) const {
  const auto& norms = embeddings_.layers[static_cast<size_t>(layer)];
  HeadTransform transform{.heads = which == Linear::Q ? shape_.model.heads : shape_.model.kvHeads,
                          .headDim = shape_.model.headDim,
                          .normEpsilon = shape_.model.rmsNormEpsilon,
                          .length = batch_.length};
  if (which == Linear::V) return transform;
  transform.normWeight = which == Linear::Q ? norms.queryNorm : norms.keyNorm;
  transform.cosine = embeddings_.cosine;
  transform.sine = embeddings_.sine;
  transform.position = batch_.hiddenFrom ? workspace_.position : nullptr;
  return transform;
}

RawOutput Decoder::raw(int64_t layer, Linear which, Matrix p) {
  const LinearLayer& l = linear(layer, which);
  const bool scaled = l.formIn(form_) != WeightForm::Float;
  return {p, scaled ? l.buffers.rowScale : nullptr,
          embeddings_.layers[static_cast<size_t>(layer)].bias[static_cast<size_t>(which)]};
}

Matrix Decoder::workspaceWeight(int64_t layer, Linear which) const {
  const auto index = static_cast<size_t>(layer * linearsPerLayer + static_cast<int64_t>(which));
  const LinearWeight& weight = linears_[index].weight;
  void* const memory = keepsWeights() ? workspace_.keptWeights[index] : workspace_.weight;
  return {memory, shape_.computeType, weight.m, weight.n};
}

void Decoder::applyLinear(int64_t layer, Linear which, Matrix x, Matrix p) {
  backend_.gemm(x, false, rebuildWeight(layer, which, nullptr), true, p, false);
}

bool Decoder::listsClipped(const LinearLayer& l) const {
  // Gradients of trained weights are masked at the end of the step.
  if (l.formIn(form_) != WeightForm::Trained || l.weight.spec.trainsWeights()) return false;
  return l.weight.spec.rank > 0 || l.buffers.gradient.zero;
}

ClippedSet& Decoder::clippedOf(int64_t layer, Linear which, int slot) {
  if (!keepsWeights()) return workspace_.clipped[slot];
  return workspace_.keptClipped[static_cast<size_t>(layer * linearsPerLayer + static_cast<int64_t>(which))];
}

void Decoder::keepWeight(int64_t index) {
  LRQAT_CHECK(keepsWeights());
  form_ = WeightForm::Trained;
  trains_ = true;
  rebuilt_[static_cast<size_t>(index)] = false;
  rebuildWeight(index / linearsPerLayer, static_cast<Linear>(index % linearsPerLayer), nullptr);
}

Matrix Decoder::rebuildWeight(int64_t layer, Linear which, ClippedSet* clipped) {
  const LinearLayer& l = linear(layer, which);
  const Matrix w = workspaceWeight(layer, which);
  const auto index = static_cast<size_t>(layer * linearsPerLayer + static_cast<int64_t>(which));
  if (keepsWeights()) {
    if (rebuilt_[index]) return w;
    if (trains_ && listsClipped(l)) clipped = &workspace_.keptClipped[index];
  }
  backend_.rebuildWeight(l.weight, l.lowRank(), l.formIn(form_), w, clipped);
  if (keepsWeights()) rebuilt_[index] = true;
  return w;
}

}  // namespace lrqat
