// Every byte the engine allocates, by part. The same code that counts also places the buffers (layout.h), and the
// planner of the TypeScript side (src/experiment/planner.ts) mirrors these formulas; Engine refuses to start when the
// two differ.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/float_parameters.h"
#include "core/layout.h"
#include "core/model.h"

namespace lrqat {

struct EngineShape {
  ModelShape model;
  /// [layers · 7] in the order of allLinears; nullopt: kept in float.
  std::vector<std::optional<QuantSpec>> linears;
  ActivationSpec activations;
  Distillation distillation;
  /// What is trained beside the linears.
  FloatGroups floatGroups;
  Device device = Device::Cpu;
  DType computeType = DType::F32;
  /// Of the residual stream and of saved block inputs.
  DType residualType = DType::F32;
  int threads = 1;
  bool training = true;
  int64_t microBatch = 1;
  int64_t sequenceLength = 1;
  /// Blocks are computed again in the backward from their inputs, all but the last `keptBlocks`.
  bool checkpointBlocks = false;
  /// With checkpointBlocks, 1 … layers. The last block's backward comes first: it never has to be computed again.
  int64_t keptBlocks = 1;
  /// What element-wise operations can make again from what is kept (norm outputs, rotated heads, silu(gate)·up) is not
  /// kept for the backward but made again in it.
  bool recomputeElementwise = false;
  /// Every linear's rebuilt weight and clipped entries stay for all micro-batches of a step, forward and backward; on
  /// the CPU alone. Results are the same.
  bool keepWeights = false;
  /// Parts of a training micro-batch that go through all layers on their own, each on one thread and with gradients of
  /// its own (lanes.h); divides microBatch, needs keepWeights. 1: all threads share every operation.
  int64_t lanes = 1;
  /// Embedding rows are gathered from the mapped checkpoint instead of a table in backend memory (not when tied, nor
  /// when they are trained).
  bool embeddingsOnHost = false;
  /// The optimiser's moments live in host memory that the device reads and writes in place, and with them those scales
  /// of the range search that training has no use for.
  bool optimizerOnHost = false;

  int64_t tokens() const { return microBatch * sequenceLength; }
  int64_t lanesAtOnce() const { return std::min<int64_t>(lanes, threads); }
  /// Which of those that work at once takes a lane: neighbours follow each other.
  int64_t workerOf(int64_t lane) const { return lane * lanesAtOnce() / lanes; }
  /// One of the lanes: an engine of this shape would train it as one micro-batch.
  EngineShape lane() const {
    EngineShape shape = *this;
    shape.microBatch = microBatch / lanes;
    shape.lanes = 1;
    shape.threads = 1;
    return shape;
  }
  bool ownsTable() const { return !embeddingsOnHost || model.tiedEmbeddings || floatGroups.embeddings; }
  /// Blocks with activations of their own; the others share those of the first of these.
  int64_t ownActivations() const {
    if (!training) return 1;
    return checkpointBlocks ? std::clamp<int64_t>(keptBlocks, 1, model.layers) : model.layers;
  }
  /// Scales that stay as they are: those of the range search serve as trained and as current ones too. An engine that
  /// only evaluates may be given the scales of merged integers instead.
  bool keepsScales(const QuantSpec& quantization) const { return training && !quantization.learnScales; }
  /// Nothing in a step reads the scales of the range search once others have taken their place.
  bool scale0OnHost(const QuantSpec& quantization) const {
    return training && optimizerOnHost && quantization.learnScales;
  }
  /// Width of the tensor at a site, and of what shares a grid in it.
  int64_t activationCols(ActivationSite site) const;
  int64_t activationGridWidth(ActivationSite site) const;
  const std::optional<QuantSpec>& spec(int64_t layer, Linear linear) const {
    return linears[static_cast<size_t>(layer * linearsPerLayer + static_cast<int64_t>(linear))];
  }
};

/// Bytes by part; mirrors MemoryParts of addon.ts.
struct MemoryParts {
  int64_t quantizedWeights = 0;
  int64_t parameters = 0;
  int64_t gradients = 0;
  int64_t optimizer = 0;
  int64_t embeddings = 0;
  int64_t activations = 0;
  int64_t workspace = 0;
  /// Host memory that the device uses in place; not part of total().
  int64_t host = 0;

  bool operator==(const MemoryParts&) const = default;
  int64_t total() const {
    return quantizedWeights + parameters + gradients + optimizer + embeddings + activations + workspace;
  }
};

/// Trained tensors of one linear and what belongs to them.
struct ParameterBuffers {
  float* a = nullptr;       // [m, r]
  float* b = nullptr;       // [r, n]
  float* theta = nullptr;   // [scaleCount] the trained number: s, or log s; null where scales are kept
  float* zero = nullptr;    // [scaleCount] the unrounded zero point, where it is learned
  float* weight = nullptr;  // [m, n] where the weight itself is trained
};

struct LinearBuffers {
  void* phi0 = nullptr;
  float* scale0 = nullptr;
  float* zero0 = nullptr;  // asymmetric only
  ParameterBuffers value;
  float* scale = nullptr;     // [scaleCount] linear domain, floored; scale0 where scales are kept
  float* zero = nullptr;      // [scaleCount] integer zero points, asymmetric only
  float* rowScale = nullptr;  // [m]; null for groups
  ParameterBuffers gradient;  // theta null unless learned
  ParameterBuffers moment1;
  ParameterBuffers moment2;
};

/// Static grids of activations, each [layers · quantized sites]; no memory where there are none.
struct ActivationGridBuffers {
  /// Trained numbers, or what belongs to them; null unless learned.
  struct Numbers {
    float* scale = nullptr;
    float* zero = nullptr;  // unrounded; asymmetric grids only
  };
  StaticGrid* grids = nullptr;  // of the form at hand
  Numbers value;
  Numbers gradient;
  Numbers moment1;
  Numbers moment2;
};

/// Float32 or compute-type copies of what is not quantized.
struct EmbeddingBuffers {
  Matrix table;                // [vocab, hidden] compute type; no memory when the rows stay on the host
  Matrix head;                 // the same memory when tied
  float* finalNorm = nullptr;  // [hidden]
  float* cosine = nullptr;     // [sequenceLength, headDim / 2]
  float* sine = nullptr;
  struct Layer {
    float* inputNorm = nullptr;  // [hidden]
    float* postNorm = nullptr;
    float* queryNorm = nullptr;  // [headDim], Qwen3
    float* keyNorm = nullptr;
    float* bias[linearsPerLayer] = {};
  };
  std::vector<Layer> layers;
};

/// What the backward of one block reads. T = tokens of a micro-batch, e = compute type.
struct BlockActivations {
  Matrix input;             // [T, hidden] residual type, the residual stream
  Matrix normed1;           // [T, hidden] e
  float* rstd1 = nullptr;   // [T]
  Matrix rawQ, rawK, rawV;  // [T, width] e: P = X·Qᵀ before scale, bias, norm and rotation
  Matrix q, k, v;           // [T, width] e
  Matrix attention;         // [T, queryWidth] e
  float* lse = nullptr;     // [microBatch, heads, length]
  Matrix rawO;              // [T, hidden] e
  Matrix middle;            // [T, hidden] residual type
  Matrix normed2;           // [T, hidden] e
  float* rstd2 = nullptr;
  Matrix rawGate, rawUp;  // [T, intermediate] e
  Matrix gated;           // [T, intermediate] e
  Matrix rawDown;         // [T, hidden] e
  /// By site, [T, markWords(width)]: where the gradient passes the quantizer; null where there is none. That of the
  /// attention's output is the same for all blocks, see ActivationBuffers.
  std::array<uint32_t*, activationSiteCount> inside{};
};

struct ActivationBuffers {
  /// Of the last layers, see EngineShape::ownActivations.
  std::vector<BlockActivations> blocks;
  /// Inputs of all blocks when some are computed again; else empty (they are in `blocks`).
  std::vector<Matrix> blockInputs;
  Matrix output;  // [T, hidden] residual type, after the last block
  Matrix normed;  // [T, hidden] e
  float* rstd = nullptr;
  /// The attention's output on its grid, [T, queryWidth] e, where it is quantized: attention's backward reads what it
  /// was, so that it is made again from that in the backward.
  Matrix quantizedAttention;
};

struct WorkspaceBuffers {
  int32_t* tokens = nullptr;    // [T]
  int32_t* targets = nullptr;   // [T]
  int32_t* firstKey = nullptr;  // [T]
  double* lossSums = nullptr;   // [2]: cross-entropy, divergence from the teacher
  void* weight = nullptr;       // the one rebuilt weight, widest linear, e; null where each linear has its own
  /// [layers · 7] where rebuilt weights are kept, else empty; clipped entries of those linears alone that list them.
  std::vector<void*> keptWeights;
  std::vector<ClippedSet> keptClipped;
  // Evaluation only, of branches of one beginning (AttentionShape, HeadTransform):
  int32_t* hiddenFrom = nullptr;  // [T]
  int32_t* hiddenTo = nullptr;    // [T]
  int32_t* position = nullptr;    // [T]
  Matrix logits;                  // [logitRows, vocab] float32
  Matrix logitGradient;           // same memory in float32; own [logitRows, vocab] in bf16
  // Training only:
  Matrix gradient;                  // [T, hidden] float32: of the residual stream
  Matrix normedGradient;            // [T, hidden] float32: of a norm's output
  float* rowScaleGradient[3] = {};  // [widest m] each
  TeacherRows teacher;              // [T, k] and [T, k + 1], where there is distillation
  ClippedSet clipped[3];            // without memory where each linear has its own
  // The head, the feed-forward phase and the attention phase share their memory. dRaw… without memory: in place;
  // dGated: where the product itself lies; dAttention … dV: see attentionGradientsOverGate.
  Matrix dRawDown, dGated, dRawGate, dRawUp;
  Matrix dRawO, dAttention, dQ, dK, dV, dRawQ, dRawK, dRawV;
  /// An activation as it was before its grid, where that is learned: [T, widest of the quantized sites] e.
  void* unquantized = nullptr;
  void* scratch = nullptr;
  int64_t scratchBytes = 0;
  /// Of each lane: its loss, and sums and phases of the backward that it shares with those of the same worker; empty
  /// where there is one lane.
  std::vector<WorkspaceBuffers> lanes;
};

int64_t layoutQuantizedWeights(const EngineShape& shape, Layout& layout, std::vector<LinearBuffers>& out);
/// What is trained, by linear and beside the linears, and the static grids of activations.
struct TrainedBuffers {
  explicit TrainedBuffers(const EngineShape& shape) : linears(shape.linears.size()), floats(floatParameters(shape)) {}
  std::vector<LinearBuffers> linears;
  std::vector<FloatParameter> floats;
  ActivationGridBuffers activations;
};
/// After layoutQuantizedWeights: kept scales are those of the range search.
int64_t layoutParameters(const EngineShape& shape, Layout& layout, TrainedBuffers& out);
/// Of one lane; the engine's part has as many of them as there are lanes.
int64_t layoutGradients(const EngineShape& shape, Layout& layout, TrainedBuffers& out);
int64_t layoutOptimizer(const EngineShape& shape, Layout& layout, TrainedBuffers& out);
/// Moments and scales of the range search in host memory.
int64_t layoutHost(const EngineShape& shape, Layout& layout, TrainedBuffers& out);
int64_t layoutEmbeddings(const EngineShape& shape, Layout& layout, EmbeddingBuffers& out);
int64_t layoutActivations(const EngineShape& shape, Layout& layout, ActivationBuffers& out);
/// `scratchBytes`: what the backend's operations need for this shape (Backend::scratchBytes).
int64_t layoutWorkspace(const EngineShape& shape, int64_t scratchBytes, Layout& layout, WorkspaceBuffers& out);

/// dAttention, dQ, dK and dV.
void layoutAttentionGradients(const EngineShape& shape, Layout& layout, WorkspaceBuffers& out);
/// They lie over the block's rawGate and rawUp, which nothing reads any more in the attention half of the backward: on
/// CUDA, where there is room.
bool attentionGradientsOverGate(const EngineShape& shape);

/// Rows of the logits chunk, at most T: on the CPU 2^24 elements of logits, at least 32 rows; on CUDA so many of them
/// in whole tiles of 128 rows, but no more than a quarter of T, and at least 256 rows, 1024 where the head is trained.
int64_t logitRows(const EngineShape& shape);

/// The same for a lane, at most its tokens: its share of logitRows, but no more than 2^19 elements, which its processor
/// still finds in the second-level cache; at least 128 rows, for every chunk packs the head again.
int64_t laneLogitRows(const EngineShape& shape);

/// Entries a clipped set can hold before the dense form takes over: 1/32 of the weights (engine.md: the sparse form
/// wins below 1–3 %), at least 1024.
int64_t clippedCapacity(int64_t m, int64_t n);

MemoryParts memoryParts(const EngineShape& shape, int64_t scratchBytes);

}  // namespace lrqat
