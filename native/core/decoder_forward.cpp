// The decoder's forward: embedding, blocks, head.
#include <algorithm>

#include "core/decoder.h"
#include "core/host_tensor.h"

namespace lrqat {

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
      backend_.gemm(dLogits, true, normed, false, floatGradients_.head, first > 0 || !batch_.first);
    }
    backend_.gemm(dLogits, false, embeddings_.head, false, workspace_.normedGradient.slice(first, count), false);
  }
}

}  // namespace lrqat
