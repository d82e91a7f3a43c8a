// Forward and backward of a LLaMA-family decoder, written once against Backend. One micro-batch at a time, block by
// block; at any moment one weight is in float form, in the workspace, unless the plan has room to keep all for a step.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/activation_ranges.h"
#include "core/backend.h"
#include "core/memory_plan.h"

namespace lrqat {

/// One of the model's linears as the decoder sees it.
struct LinearLayer {
  LinearWeight weight;  // spec is meaningless when !quantized
  bool quantized = false;
  bool selected = true;  // false: float in every form, as long as only some linears are looked at
  LinearBuffers buffers;

  WeightForm formIn(WeightForm form) const { return quantized && selected ? form : WeightForm::Float; }
  LowRank lowRank() const {
    return {buffers.value.a, buffers.value.b, buffers.scale, buffers.zero, buffers.value.weight};
  }
  /// What the integer zero points of a step are made of; null: the grid is symmetric.
  const float* trainedZeroPoints() const { return buffers.value.zero ? buffers.value.zero : weight.zero0; }
};

/// Token sequences of one micro-batch, host memory.
struct MicroBatch {
  int64_t sequences = 0;
  int64_t length = 0;
  const int32_t* tokens = nullptr;    // [sequences, length]
  const int32_t* targets = nullptr;   // [sequences, length]; -1: not predicted
  const int32_t* firstKey = nullptr;  // [sequences, length] or null
  // What the float model gives, [sequences · length, k] and […, k + 1] (TeacherRows); null: not known.
  const int32_t* teacherClasses = nullptr;
  const float* teacherLogProbabilities = nullptr;
  const int32_t* hiddenFrom = nullptr;  // [sequences, length] or null, as hiddenTo
  const int32_t* hiddenTo = nullptr;
  /// First of a step: gradients of weights and of the head are written, all others added to what is there.
  bool first = false;

  int64_t rows() const { return sequences * length; }
};

/// Sees the operands of every weight gradient that training never forms; for tests that compare with dense gradients.
class GradientObserver {
 public:
  virtual ~GradientObserver() = default;
  virtual void onLinear(int64_t layer, Linear linear, Matrix x, Matrix dY) = 0;
  /// which: 0 = input norm, 1 = post-attention norm; layer == layers: final norm.
  virtual void onNorm(int64_t layer, int which, Matrix dY, Matrix x, const float* rstd) = 0;
  virtual void onHead(Matrix normed, Matrix logitGradient) = 0;
  virtual void onEmbedding(Matrix dX) = 0;
};

class Decoder {
 public:
  Decoder(const EngineShape& shape, Backend& backend, std::vector<LinearLayer>& linears,
          const EmbeddingBuffers& embeddings, FloatGradients floatGradients, HostTensor hostTable,
          const ActivationBuffers& activations, const WorkspaceBuffers& workspace, ActivationRanges* ranges);

  /// Adds Σ cross-entropy over the predicted tokens to the loss.
  /// `activations` false: none is quantized, whatever the form.
  void evaluate(const MicroBatch& batch, WeightForm form, bool activations = true);
  /// Cross-entropy of each row, host memory [rows]; 0 where nothing is predicted. Waits for the device.
  void rowLosses(const MicroBatch& batch, WeightForm form, float* out);
  /// Adds the gradients of gradientScale · Σ cross-entropy, or of what Backend::distillationLoss makes of it where the
  /// batch has a teacher, to every linear's gradient buffers, and the unscaled sums to the losses. False: see
  /// Backend::repeat.
  [[nodiscard]] bool trainMicroBatch(const MicroBatch& batch, float gradientScale);
  struct Losses {
    double crossEntropy = 0;
    double divergence = 0;
  };
  /// Sums since clearLosses, over the predicted tokens of evaluate and trainMicroBatch. Waits for the device.
  Losses losses();
  void clearLosses();
  /// What the float model gives for each position of a batch, host memory. Waits for the device.
  void teacherRows(const MicroBatch& batch, const TeacherRows& out);
  /// Logits of all rows, host memory [rows, vocab] float32.
  void logits(const MicroBatch& batch, WeightForm form, float* out);
  /// As trainMicroBatch for the float weights, but reports to `observer` instead of filling gradient buffers.
  void observeGradients(const MicroBatch& batch, float gradientScale, GradientObserver& observer);

  /// Weights that were kept are no longer those of the parameters, the form or the selection at hand.
  void forgetWeights() { std::fill(rebuilt_.begin(), rebuilt_.end(), false); }
  /// Rebuilds one that is kept, [layers · 7], with its clipped entries, for a training step.
  void keepWeight(int64_t index);
  /// What is kept is rebuilt by other decoders as well.
  void shareWeights() { std::fill(rebuilt_.begin(), rebuilt_.end(), true); }
  // Block by block, for who changes weights in between (form Trained where a linear is selected): `hidden` holds the
  // residual stream [rows, hidden] of a micro-batch, host memory of the residual type.
  /// The stream that enters the first block.
  void embedInto(const MicroBatch& batch, void* hidden);
  /// What `which` (Q, O, Gate or Down) of a block reads; valid until the next call.
  Matrix inputOf(const MicroBatch& batch, int64_t layer, const void* hidden, Linear which);
  /// From what enters a block to what leaves it.
  void passBlock(const MicroBatch& batch, int64_t layer, void* hidden);

  /// Forward in form Trained of one sequence, whose activations are included in the running ranges on their way.
  void calibrate(const MicroBatch& batch);

  /// Some gradients depend on MicroBatch::first.
  bool writesGradients() const;

  /// Checked between blocks; when it becomes true the running call throws Cancelled.
  void setCancelFlag(const std::atomic<bool>* flag) { cancel_ = flag; }

 private:
  enum class HeadTask { Loss, LossAndGradient, RowLosses, Logits, TeacherRows };

  LinearLayer& linear(int64_t layer, Linear which) {
    return linears_[static_cast<size_t>(layer * linearsPerLayer + static_cast<int64_t>(which))];
  }
  /// Layers before the first one whose activations are kept: their backward computes them again.
  int64_t firstKept() const { return shape_.model.layers - static_cast<int64_t>(blocks_.size()); }
  BlockActivations& block(int64_t layer) {
    return blocks_[static_cast<size_t>(std::max<int64_t>(layer - firstKept(), 0))];
  }
  Matrix blockInput(int64_t layer);
  AttentionShape attentionShape() const;
  HeadTransform headTransform(int64_t layer, Linear which) const;
  RawOutput raw(int64_t layer, Linear which, Matrix p);
  Matrix workspaceWeight(int64_t layer, Linear which) const;

  /// Brings the tokens and the first block's input to the device.
  void begin(const MicroBatch& batch, WeightForm form, bool activations = true);
  void uploadFirstKeys();
  void uploadBranches();
  void embed();
  void checkCancelled() const;
  void forward();
  /// Activations at `site` are quantized: the float model's never are.
  bool quantizes(ActivationSite site) const {
    return activationsQuantized_ && form_ != WeightForm::Float && shape_.activations.bitsOf(site) > 0 &&
           (!shape_.activations.staticRanges || calibrating_ || ranges_->known());
  }
  /// `x` of a block onto its grid, in place.
  void quantize(ActivationSite site, int64_t layer, Matrix x);
  void quantize(ActivationSite site, int64_t layer, Matrix x, Matrix y);
  bool learns(ActivationSite site) const { return quantizes(site) && shape_.activations.learnsRanges(); }
  /// Memory for an activation as it was before its grid, of the shape of `like`.
  Matrix unquantized(Matrix like) const { return {workspace_.unquantized, like.type, like.rows, like.cols}; }
  /// The gradient of an activation on its grid becomes that of the activation. `remake` writes it as it was before, and
  /// is called only where the grid is learned.
  template <typename Remake>
  void backpropagateGrid(ActivationSite site, int64_t layer, Matrix gradient, Remake remake) {
    if (learns(site)) {
      learnGrid(site, layer, remake(), gradient);
    } else if (quantizes(site)) {
      backend_.maskGradient(gradient, block(layer).inside[static_cast<size_t>(site)]);
    }
  }
  void learnGrid(ActivationSite site, int64_t layer, Matrix x, Matrix gradient);
  /// What o_proj reads.
  Matrix attentionOutput(const BlockActivations& block) {
    return rows(quantizes(ActivationSite::AttentionOutput) ? activations_.quantizedAttention : block.attention);
  }
  /// q, k and v of a block from their raw products.
  void projectHeads(int64_t layer);
  /// The keys as k_proj gives them, before their grid.
  void projectPlainKeys(int64_t layer, Matrix out);
  /// Of the weight of a norm, where it is trained.
  void addNormGradient(float* gradient, Matrix dy, Matrix x, const float* rstd);
  /// Of the weight of the norm of heads, where it is trained; dOut is left as it is.
  void addHeadNormGradient(float* gradient, Matrix dOut, const RawOutput& raw, const HeadTransform& transform);
  /// The input of a layer's first norm needs a gradient, or the norm's weight does.
  bool needsInputGradient(int64_t layer) const {
    return layer > 0 || observer_ || floatGradients_.table.data || floatGradients_.layers.front().inputNorm;
  }
  /// dK: of the rotated keys, overwritten.
  void backpropagateKeys(int64_t layer, Matrix dK, const RawOutputGradient& gradient);
  /// The block's input norm.
  void normalize(int64_t layer);
  /// Where a block's output goes, and the norm that reads it.
  struct NextNorm {
    Matrix input;
    const float* weight = nullptr;
    Matrix normed;
    float* rstd = nullptr;
    std::optional<int64_t> block;  // none: the final norm
  };
  /// From the normalized input on, up to the input of `stopAt_`; `next` null: nothing after the last product.
  void forwardBlock(int64_t layer, Matrix input, const NextNorm* next);
  void backward();
  /// From the gradient of down_proj's raw output to that of the block's normalized input.
  void backwardBlock(int64_t layer, Matrix input);
  struct AttentionGradients {
    Matrix dAttention, dQ, dK, dV;
  };
  AttentionGradients attentionGradients(int64_t layer);
  /// Memory of the gradient of a raw output: its own, or that of `place`.
  Matrix dRaw(Matrix own, Matrix place) const { return rows(own.data ? own : place); }
  /// p = x·Wᵀ.
  void applyLinear(int64_t layer, Linear which, Matrix x, Matrix p);
  RawOutputGradient rawGradient(int64_t layer, Linear which, Matrix dYs, int slot);
  struct LinearGradientInput {
    Linear which;
    Matrix dYs;
    int slot;  // of workspace_.clipped and rowScaleGradient
  };
  bool keepsWeights() const { return !rebuilt_.empty(); }
  /// Training needs the list of the clipped entries.
  bool listsClipped(const LinearLayer& l) const;
  ClippedSet& clippedOf(int64_t layer, Linear which, int slot);
  /// W in the form at hand; with `clipped`, or where it is kept for a backward, its clipped entries are listed.
  Matrix rebuildWeight(int64_t layer, Linear which, ClippedSet* clipped);
  /// dx = Σ dYs·W over the linears that read x, with the clipped entries of each W; dx without data: only these.
  void backpropagateLinears(int64_t layer, std::span<const LinearGradientInput> inputs, Matrix dx);
  /// Low-rank and scale gradients of the linears that read x; of trained weights the product that they follow from.
  void accumulateGradients(int64_t layer, Matrix x, std::span<const LinearGradientInput> inputs);
  /// What element-wise operations gave in the forward of this block is no longer there.
  bool makesElementwiseAgain(int64_t layer) const;
  void head(HeadTask task, float gradientScale, float* out);
  Matrix rows(Matrix full) const { return full.slice(0, batch_.rows()); }

  const EngineShape& shape_;
  Backend& backend_;
  std::vector<LinearLayer>& linears_;
  const EmbeddingBuffers& embeddings_;
  const FloatGradients floatGradients_;
  std::vector<BlockActivations> blocks_;
  ActivationBuffers activations_;
  WorkspaceBuffers workspace_;
  MicroBatch batch_;
  WeightForm form_ = WeightForm::Trained;
  bool activationsQuantized_ = true;
  /// Of static grids; null: there are none.
  ActivationRanges* ranges_;
  bool calibrating_ = false;
  GradientObserver* observer_ = nullptr;
  /// A backward of this micro-batch updates the gradients of the parameters.
  bool trains_ = false;
  /// [layers · 7]: the linear's kept weight is up to date; empty where none is kept.
  std::vector<bool> rebuilt_;
  std::optional<Linear> stopAt_;
  /// Where the embedding table lies when its rows stay on the host.
  HostTensor hostTable_;
  std::vector<int32_t> firstKey_;
  std::vector<int32_t> position_;
  std::vector<std::byte> gathered_;
  const std::atomic<bool>* cancel_ = nullptr;
  /// A linear that stays in float comes from the host each time.
  bool needsHost_;
};

}  // namespace lrqat
