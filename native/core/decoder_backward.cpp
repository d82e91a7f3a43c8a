// The decoder's backward, block by block from the last one.
#include <array>

#include "core/decoder.h"

namespace lrqat {

void Decoder::learnGrid(ActivationSite site, int64_t layer, Matrix x, Matrix gradient) {
  backend_.learnGrid(x, ranges_->grid(layer, site), gradient, ranges_->scaleGradient(layer, site),
                     ranges_->zeroGradient(layer, site));
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
      backend_.gemm(dYs, true, x, false, {gradient.weight, DType::F32, l.weight.m, l.weight.n}, !batch_.first);
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
