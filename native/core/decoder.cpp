#include "core/decoder.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/error.h"
#include "core/host_tensor.h"

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
  return backend_.repeat({batch.sequences, batch.length, !firstKey_.empty(), gradientScale}, work);
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
  findPositions();
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

void Decoder::findPositions() {
  const MicroBatch& batch = batch_;
  position_.clear();
  if (!batch.hiddenFrom) return;
  position_.resize(static_cast<size_t>(batch.rows()));
  for (int64_t row = 0; row < batch.rows(); ++row) {
    const int64_t hidden = batch.hiddenTo[row] - batch.hiddenFrom[row];
    position_[static_cast<size_t>(row)] = static_cast<int32_t>(row % batch.length - hidden);
  }
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
          .hiddenFrom = batch_.hiddenFrom,
          .hiddenTo = batch_.hiddenTo};
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
  transform.position = position_.empty() ? nullptr : position_.data();
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
  if (!workspace_.preparedWeights.empty()) backend_.prepareWeight(w, workspace_.preparedWeights[index]);
  return w;
}

void Decoder::quantize(ActivationSite site, int64_t layer, Matrix x, Matrix y) {
  if (!quantizes(site)) return;
  if (calibrating_) ranges_->observe(layer, site, x);
  const ActivationSpec& spec = shape_.activations;
  const ActivationGrid grid = spec.staticRanges ? ranges_->grid(layer, site)
                                                : ActivationGrid{spec.bitsOf(site), spec.fractionalZeroPoint,
                                                                 shape_.activationGridWidth(site), nullptr};
  backend_.quantizeActivations(x, grid, y, block(layer).inside[static_cast<size_t>(site)]);
}

void Decoder::quantize(ActivationSite site, int64_t layer, Matrix x) {
  quantize(site, layer, x, x);
}

void Decoder::learnGrid(ActivationSite site, int64_t layer, Matrix x, Matrix gradient) {
  backend_.learnGrid(x, ranges_->grid(layer, site), gradient, ranges_->scaleGradient(layer, site),
                     ranges_->zeroGradient(layer, site));
}

void Decoder::projectPlainKeys(int64_t layer, Matrix out) {
  HeadTransform plain = headTransform(layer, Linear::K);
  plain.normWeight = plain.cosine = plain.sine = nullptr;
  backend_.projectHeads(raw(layer, Linear::K, rows(block(layer).rawK)), plain, out);
}

void Decoder::projectHeads(int64_t layer) {
  BlockActivations& a = block(layer);
  backend_.projectHeads(raw(layer, Linear::Q, rows(a.rawQ)), headTransform(layer, Linear::Q), rows(a.q));
  if (quantizes(ActivationSite::Keys)) {
    projectPlainKeys(layer, rows(a.k));
    quantize(ActivationSite::Keys, layer, rows(a.k));
    backend_.projectHeads({rows(a.k)}, headTransform(layer, Linear::K), rows(a.k));
  } else {
    backend_.projectHeads(raw(layer, Linear::K, rows(a.rawK)), headTransform(layer, Linear::K), rows(a.k));
  }
  backend_.projectHeads(raw(layer, Linear::V, rows(a.rawV)), headTransform(layer, Linear::V), rows(a.v));
  quantize(ActivationSite::RotatedQueries, layer, rows(a.q));
  quantize(ActivationSite::RotatedKeys, layer, rows(a.k));
  quantize(ActivationSite::Values, layer, rows(a.v));
}

void Decoder::backpropagateKeys(int64_t layer, Matrix dK, const RawOutputGradient& gradient) {
  BlockActivations& a = block(layer);
  HeadTransform transform = headTransform(layer, Linear::K);
  float* const normGradient = floatGradients_.layers[static_cast<size_t>(layer)].keyNorm;
  const Matrix keys = rows(a.k);  // attention has no more use for the rotated ones
  if (!quantizes(ActivationSite::Keys)) {
    backpropagateGrid(ActivationSite::RotatedKeys, layer, dK, [&] {
      const Matrix x = unquantized(dK);
      backend_.projectHeads(raw(layer, Linear::K, rows(a.rawK)), transform, x);
      return x;
    });
    addHeadNormGradient(normGradient, dK, raw(layer, Linear::K, rows(a.rawK)), transform);
    backend_.projectHeadsBackward(dK, raw(layer, Linear::K, rows(a.rawK)), transform, gradient);
    return;
  }
  // Only the norm of heads and a grid that is learned read what the rotation was given.
  if (transform.normWeight || learns(ActivationSite::RotatedKeys)) {
    projectPlainKeys(layer, keys);
    quantize(ActivationSite::Keys, layer, keys);
  }
  backpropagateGrid(ActivationSite::RotatedKeys, layer, dK, [&] {
    const Matrix x = unquantized(dK);
    backend_.projectHeads({keys}, transform, x);
    return x;
  });
  addHeadNormGradient(normGradient, dK, {keys}, transform);
  backend_.projectHeadsBackward(dK, {keys}, transform, {dK, nullptr});
  backpropagateGrid(ActivationSite::Keys, layer, dK, [&] {
    const Matrix x = unquantized(dK);
    projectPlainKeys(layer, x);
    return x;
  });
  transform.normWeight = transform.cosine = transform.sine = nullptr;
  backend_.projectHeadsBackward(dK, raw(layer, Linear::K, rows(a.rawK)), transform, gradient);
}

void Decoder::addNormGradient(float* gradient, Matrix dy, Matrix x, const float* rstd) {
  if (gradient && !observer_) backend_.rmsNormWeightGradient(dy, x, rstd, gradient);
}

void Decoder::addHeadNormGradient(float* gradient, Matrix dOut, const RawOutput& raw, const HeadTransform& transform) {
  if (gradient && !observer_) backend_.headNormWeightGradient(dOut, raw, transform, gradient);
}

void Decoder::normalize(int64_t layer) {
  BlockActivations& a = block(layer);
  const auto& norms = embeddings_.layers[static_cast<size_t>(layer)];
  backend_.rmsNorm(blockInput(layer), norms.inputNorm, shape_.model.rmsNormEpsilon, rows(a.normed1), a.rstd1);
  quantize(ActivationSite::AttentionInput, layer, rows(a.normed1));
}

void Decoder::forwardBlock(int64_t layer, Matrix input, const NextNorm* next) {
  checkCancelled();
  const auto& norms = embeddings_.layers[static_cast<size_t>(layer)];
  const float epsilon = shape_.model.rmsNormEpsilon;
  BlockActivations& a = block(layer);

  applyLinear(layer, Linear::Q, rows(a.normed1), rows(a.rawQ));
  applyLinear(layer, Linear::K, rows(a.normed1), rows(a.rawK));
  applyLinear(layer, Linear::V, rows(a.normed1), rows(a.rawV));
  projectHeads(layer);
  backend_.attention(attentionShape(), rows(a.q), rows(a.k), rows(a.v), rows(a.attention), a.lse);
  quantize(ActivationSite::AttentionOutput, layer, rows(a.attention), attentionOutput(a));
  if (stopAt_ == Linear::O) return;
  applyLinear(layer, Linear::O, attentionOutput(a), rows(a.rawO));
  backend_.addResidualNorm(input, raw(layer, Linear::O, rows(a.rawO)), rows(a.middle), norms.postNorm, epsilon,
                           rows(a.normed2), a.rstd2);
  quantize(ActivationSite::MlpInput, layer, rows(a.normed2));

  if (stopAt_ == Linear::Gate) return;
  applyLinear(layer, Linear::Gate, rows(a.normed2), rows(a.rawGate));
  applyLinear(layer, Linear::Up, rows(a.normed2), rows(a.rawUp));
  backend_.swiglu(raw(layer, Linear::Gate, rows(a.rawGate)), raw(layer, Linear::Up, rows(a.rawUp)), rows(a.gated));
  quantize(ActivationSite::MlpProduct, layer, rows(a.gated));
  if (stopAt_ == Linear::Down) return;
  applyLinear(layer, Linear::Down, rows(a.gated), rows(a.rawDown));
  if (!next) return;
  backend_.addResidualNorm(rows(a.middle), raw(layer, Linear::Down, rows(a.rawDown)), next->input, next->weight,
                           epsilon, next->normed, next->rstd);
  if (next->block) quantize(ActivationSite::AttentionInput, *next->block, next->normed);
}

void Decoder::embed() {
  const Matrix x = blockInput(0);
  if (embeddings_.table.data) {
    backend_.embed(embeddings_.table, workspace_.tokens, x);
    return;
  }
  gathered_.resize(static_cast<size_t>(x.bytes()));
  for (int64_t row = 0; row < x.rows; ++row) {
    copyHostRow(hostTable_, batch_.tokens[row], x.type, gathered_.data() + row * x.cols * byteSize(x.type));
  }
  backend_.upload(x.data, gathered_.data(), x.bytes());
}

void Decoder::forward() {
  const int64_t layers = shape_.model.layers;
  normalize(0);
  for (int64_t layer = 0; layer < layers; ++layer) {
    NextNorm next{rows(activations_.output), embeddings_.finalNorm, rows(activations_.normed), activations_.rstd, {}};
    if (layer + 1 < layers) {
      BlockActivations& after = block(layer + 1);
      next = {blockInput(layer + 1), embeddings_.layers[static_cast<size_t>(layer) + 1].inputNorm, rows(after.normed1),
              after.rstd1, layer + 1};
    }
    forwardBlock(layer, blockInput(layer), &next);
  }
}

void Decoder::head(HeadTask task, float gradientScale, float* out) {
  const int64_t total = batch_.rows();
  const int64_t vocab = shape_.model.vocabSize;
  for (int64_t first = 0; first < total; first += workspace_.logits.rows) {
    checkCancelled();
    const int64_t count = std::min(workspace_.logits.rows, total - first);
    const Matrix normed = activations_.normed.slice(first, count);
    const Matrix logits = workspace_.logits.slice(0, count);
    backend_.gemm(normed, false, embeddings_.head, true, logits, false);
    if (task == HeadTask::Logits) {
      backend_.download(out + first * vocab, logits.data, logits.bytes());
      continue;
    }
    if (task == HeadTask::RowLosses) {
      // The final norm's memory for its backward, which an evaluation has no use for.
      backend_.rowLosses(logits, workspace_.targets + first, activations_.rstd);
      backend_.download(out + first, activations_.rstd, count * 4);
      continue;
    }
    const Distillation& distillation = shape_.distillation;
    if (task == HeadTask::TeacherRows) {
      backend_.teacherRows(logits, distillation.temperature, workspace_.teacher.from(first));
      continue;
    }
    const bool wantGradient = task == HeadTask::LossAndGradient;
    const Matrix dLogits = wantGradient ? workspace_.logitGradient.slice(0, count) : Matrix{};
    const int32_t* targets = workspace_.targets + first;
    if (wantGradient && batch_.teacherClasses) {
      backend_.distillationLoss(logits, targets, workspace_.teacher.from(first), distillation, gradientScale, dLogits,
                                workspace_.lossSums);
    } else {
      backend_.crossEntropy(logits, targets, gradientScale, dLogits, workspace_.lossSums);
    }
    if (!wantGradient) continue;
    if (observer_) {
      observer_->onHead(normed, dLogits);
    } else if (floatGradients_.head.data) {
      backend_.gemm(dLogits, true, normed, false, floatGradients_.head, true);
    }
    backend_.gemm(dLogits, false, embeddings_.head, false, workspace_.normedGradient.slice(first, count), false);
  }
}

void Decoder::backward() {
  const int64_t layers = shape_.model.layers;
  const Matrix gradient = rows(workspace_.gradient);
  const Matrix normedGradient = rows(workspace_.normedGradient);
  backend_.zero(gradient.data, gradient.bytes());
  if (observer_) observer_->onNorm(layers, 0, normedGradient, rows(activations_.output), activations_.rstd);
  addNormGradient(floatGradients_.finalNorm, normedGradient, rows(activations_.output), activations_.rstd);
  // The norm that read what the block at hand has given: the final one, then those of the blocks above.
  struct {
    Matrix x;
    const float* weight;
    const float* rstd;
  } norm{rows(activations_.output), embeddings_.finalNorm, activations_.rstd};
  for (int64_t layer = layers - 1; layer >= 0; --layer) {
    const Matrix input = blockInput(layer);
    BlockActivations& a = block(layer);
    const RawOutput down = raw(layer, Linear::Down, rows(a.rawDown));
    if (layer < firstKept()) {
      backend_.rmsNormBackward(normedGradient, norm.x, norm.weight, norm.rstd, gradient);
      // Only now: the block's buffers are those of the block above.
      normalize(layer);
      forwardBlock(layer, input, nullptr);
      backend_.addResidualBackward(gradient, down,
                                   rawGradient(layer, Linear::Down, dRaw(workspace_.dRawDown, a.rawDown), 2));
    } else {
      backend_.addResidualNormBackward(normedGradient, norm.x, norm.weight, norm.rstd, gradient, down,
                                       rawGradient(layer, Linear::Down, dRaw(workspace_.dRawDown, a.rawDown), 2));
    }
    backwardBlock(layer, input);
    norm = {input, embeddings_.layers[static_cast<size_t>(layer)].inputNorm, a.rstd1};
  }
  if (!observer_ && !floatGradients_.table.data) return;
  backend_.rmsNormBackward(normedGradient, norm.x, norm.weight, norm.rstd, gradient);
  if (observer_) {
    observer_->onEmbedding(gradient);
  } else {
    backend_.embedGradient(gradient, workspace_.tokens, floatGradients_.table);
  }
}

RawOutputGradient Decoder::rawGradient(int64_t layer, Linear which, Matrix dYs, int slot) {
  const LinearLayer& l = linear(layer, which);
  RawOutputGradient gradient{dYs, nullptr};
  const bool wanted = l.quantized && !l.weight.spec.trainsWeights() && l.buffers.gradient.theta;
  if (!observer_ && wanted && l.buffers.rowScale) {
    if (l.weight.spec.granularity == Granularity::Channel) {
      gradient.rowScaleGradient = l.buffers.gradient.theta;
    } else {
      gradient.rowScaleGradient = workspace_.rowScaleGradient[slot];
      backend_.zero(gradient.rowScaleGradient, l.weight.m * 4);
    }
  }
  return gradient;
}

Decoder::AttentionGradients Decoder::attentionGradients(int64_t layer) {
  WorkspaceBuffers buffers = workspace_;
  if (!buffers.dAttention.data) {
    Layout over(block(layer).rawGate.data);
    layoutAttentionGradients(shape_, over, buffers);
  }
  return {rows(buffers.dAttention), rows(buffers.dQ), rows(buffers.dK), rows(buffers.dV)};
}

void Decoder::backpropagateLinears(int64_t layer, std::span<const LinearGradientInput> inputs, Matrix dx) {
  std::array<GemmProduct, 3> products;
  size_t count = 0;
  for (const auto& [which, dYs, slot] : inputs) {
    ClippedSet* clipped = listsClipped(linear(layer, which)) ? &clippedOf(layer, which, slot) : nullptr;
    if (!dx.data && !clipped) continue;
    const Matrix w = rebuildWeight(layer, which, clipped);
    if (!dx.data) continue;
    if (keepsWeights()) {
      products[count++] = {dYs, w};
    } else {
      // The next weight takes the place of this one.
      backend_.gemm(dYs, false, w, false, dx, which != inputs.front().which);
    }
  }
  if (count > 0) backend_.gemmSum(std::span(products.data(), count), dx);
}

void Decoder::accumulateGradients(int64_t layer, Matrix x, std::span<const LinearGradientInput> inputs) {
  std::array<LowRankTask, 3> tasks;
  size_t count = 0;
  for (const auto& [which, dYs, slot] : inputs) {
    LinearLayer& l = linear(layer, which);
    if (observer_) {
      observer_->onLinear(layer, which, x, dYs);
      continue;
    }
    if (!l.quantized) continue;
    const ParameterBuffers& gradient = l.buffers.gradient;
    if (gradient.weight) {
      backend_.gemm(dYs, true, x, false, {gradient.weight, DType::F32, l.weight.m, l.weight.n}, true);
      continue;
    }
    const bool groupScales = l.weight.spec.granularity == Granularity::Group;
    if (gradient.theta && l.weight.spec.granularity == Granularity::Tensor) {
      backend_.sumRowScaleGradient(l.weight.m, workspace_.rowScaleGradient[slot], gradient.theta);
    }
    if (l.weight.spec.rank == 0 && !(groupScales && gradient.theta) && !gradient.zero) continue;
    tasks[count++] = {
        .weight = &l.weight,
        .lowRank = l.lowRank(),
        .theta = l.buffers.value.theta,
        .dYs = dYs,
        .zeroTheta = l.buffers.value.zero,
        .clipped = clippedOf(layer, which, slot),
        .gradient = {gradient.a, gradient.b, groupScales ? gradient.theta : nullptr, gradient.zero, nullptr}};
  }
  if (count > 0) backend_.lowRankGradient(x, std::span(tasks.data(), count));
}

bool Decoder::makesElementwiseAgain(int64_t layer) const {
  // A block before the kept ones has just been computed again; these share what element-wise operations gave.
  return shape_.recomputeElementwise && layer >= firstKept();
}

void Decoder::backwardBlock(int64_t layer, Matrix input) {
  checkCancelled();
  const auto& norms = embeddings_.layers[static_cast<size_t>(layer)];
  const float epsilon = shape_.model.rmsNormEpsilon;
  BlockActivations& a = block(layer);
  const Matrix gradient = rows(workspace_.gradient);  // of the block's output, then of its middle
  const Matrix normedGradient = rows(workspace_.normedGradient);
  const FloatGradients::Layer& floatGradients = floatGradients_.layers[static_cast<size_t>(layer)];
  const bool needInputGradient = needsInputGradient(layer) || learns(ActivationSite::AttentionInput);
  const bool again = makesElementwiseAgain(layer);

  // Feed-forward half.
  const Matrix dRawDown = dRaw(workspace_.dRawDown, a.rawDown);
  const Matrix dGated = dRaw(workspace_.dGated, a.gated);
  const bool gatedAgain = again || !workspace_.dGated.data;  // its gradient takes its place
  const Matrix dRawGate = dRaw(workspace_.dRawGate, a.rawGate);
  const Matrix dRawUp = dRaw(workspace_.dRawUp, a.rawUp);
  const std::array down{LinearGradientInput{Linear::Down, dRawDown, 2}};
  backpropagateLinears(layer, down, dGated);
  backpropagateGrid(ActivationSite::MlpProduct, layer, dGated, [&] {
    const Matrix x = unquantized(dGated);
    backend_.swiglu(raw(layer, Linear::Gate, rows(a.rawGate)), raw(layer, Linear::Up, rows(a.rawUp)), x);
    return x;
  });
  backend_.swigluBackward(dGated, raw(layer, Linear::Gate, rows(a.rawGate)), raw(layer, Linear::Up, rows(a.rawUp)),
                          rawGradient(layer, Linear::Gate, dRawGate, 0), rawGradient(layer, Linear::Up, dRawUp, 1),
                          gatedAgain ? rows(a.gated) : Matrix{});
  if (gatedAgain) quantize(ActivationSite::MlpProduct, layer, rows(a.gated));
  accumulateGradients(layer, rows(a.gated), down);
  if (again) {
    backend_.rmsNorm(rows(a.middle), norms.postNorm, epsilon, rows(a.normed2), a.rstd2);
    quantize(ActivationSite::MlpInput, layer, rows(a.normed2));
  }
  const std::array gateAndUp{LinearGradientInput{Linear::Gate, dRawGate, 0},
                             LinearGradientInput{Linear::Up, dRawUp, 1}};
  backpropagateLinears(layer, gateAndUp, normedGradient);
  accumulateGradients(layer, rows(a.normed2), gateAndUp);
  backpropagateGrid(ActivationSite::MlpInput, layer, normedGradient, [&] {
    const Matrix x = unquantized(rows(a.normed2));
    backend_.rmsNorm(rows(a.middle), norms.postNorm, epsilon, x, a.rstd2);
    return x;
  });
  if (observer_) observer_->onNorm(layer, 1, normedGradient, rows(a.middle), a.rstd2);
  addNormGradient(floatGradients.postNorm, normedGradient, rows(a.middle), a.rstd2);

  // Attention half; its buffers lie over those of the feed-forward half.
  const Matrix dRawO = dRaw(workspace_.dRawO, a.rawO);
  const auto [dAttention, dQ, dK, dV] = attentionGradients(layer);
  const Matrix dRawQ = dRaw(workspace_.dRawQ, dQ);
  const Matrix dRawK = dRaw(workspace_.dRawK, dK);
  const Matrix dRawV = dRaw(workspace_.dRawV, dV);
  backend_.addResidualNormBackward(normedGradient, rows(a.middle), norms.postNorm, a.rstd2, gradient,
                                   raw(layer, Linear::O, rows(a.rawO)), rawGradient(layer, Linear::O, dRawO, 0));
  const std::array output{LinearGradientInput{Linear::O, dRawO, 0}};
  backpropagateLinears(layer, output, dAttention);
  quantize(ActivationSite::AttentionOutput, layer, rows(a.attention), attentionOutput(a));
  accumulateGradients(layer, attentionOutput(a), output);
  backpropagateGrid(ActivationSite::AttentionOutput, layer, dAttention, [&] { return rows(a.attention); });
  if (again) {
    projectHeads(layer);
    normalize(layer);
  }
  backend_.attentionBackward(attentionShape(), rows(a.q), rows(a.k), rows(a.v), rows(a.attention), a.lse, dAttention,
                             dQ, dK, dV);
  backpropagateGrid(ActivationSite::RotatedQueries, layer, dQ, [&] {
    const Matrix x = unquantized(dQ);
    backend_.projectHeads(raw(layer, Linear::Q, rows(a.rawQ)), headTransform(layer, Linear::Q), x);
    return x;
  });
  backpropagateGrid(ActivationSite::Values, layer, dV, [&] {
    const Matrix x = unquantized(dV);
    backend_.projectHeads(raw(layer, Linear::V, rows(a.rawV)), headTransform(layer, Linear::V), x);
    return x;
  });
  addHeadNormGradient(floatGradients.queryNorm, dQ, raw(layer, Linear::Q, rows(a.rawQ)),
                      headTransform(layer, Linear::Q));
  backend_.projectHeadsBackward(dQ, raw(layer, Linear::Q, rows(a.rawQ)), headTransform(layer, Linear::Q),
                                rawGradient(layer, Linear::Q, dRawQ, 0));
  backpropagateKeys(layer, dK, rawGradient(layer, Linear::K, dRawK, 1));
  backend_.projectHeadsBackward(dV, raw(layer, Linear::V, rows(a.rawV)), headTransform(layer, Linear::V),
                                rawGradient(layer, Linear::V, dRawV, 2));
  const std::array heads{LinearGradientInput{Linear::Q, dRawQ, 0}, LinearGradientInput{Linear::K, dRawK, 1},
                         LinearGradientInput{Linear::V, dRawV, 2}};
  backpropagateLinears(layer, heads, needInputGradient ? normedGradient : Matrix{});
  accumulateGradients(layer, rows(a.normed1), heads);
  if (needInputGradient) {
    backpropagateGrid(ActivationSite::AttentionInput, layer, normedGradient, [&] {
      const Matrix x = unquantized(rows(a.normed1));
      backend_.rmsNorm(input, norms.inputNorm, epsilon, x, a.rstd1);
      return x;
    });
  }
  if (observer_) observer_->onNorm(layer, 0, normedGradient, input, a.rstd1);
  addNormGradient(floatGradients.inputNorm, normedGradient, input, a.rstd1);
}

}  // namespace lrqat
