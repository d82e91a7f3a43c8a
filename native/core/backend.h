// The seam between the decoder, written once in core, and the machines that run it. About twenty coarse, fused
// operations: no tensor class, no autograd. All pointers are backend memory unless a comment says host. Symbols as in
// lr-qat.md.
//
// Scales outside the GEMM: for per-tensor and per-channel scales `rebuildWeight` produces the integers Q, a linear's
// raw output is P = X·Qᵀ, and the operation that consumes P applies s (and the bias): Y = s∘P + bias. Its backward
// therefore receives dY and emits dYs = dY∘s together with ds_i += Σ_t dY_ti·P_ti. For group scales (and float weights)
// the workspace holds Ŵ = s∘Q and `rowScale` is null, which means 1 and no ds.
//
// Determinism: every reduction has an order that depends on shapes and thread count alone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/types.h"

namespace lrqat {

struct EngineShape;

/// Raw output of a linear with what must still be applied to it.
struct RawOutput {
  Matrix p;                         // [T, m]
  const float* rowScale = nullptr;  // [m]; null: 1
  const float* bias = nullptr;      // [m] float32; null: none
};

/// Where the backward of a consumer of a RawOutput puts its results.
struct RawOutputGradient {
  Matrix dYs;                         // [T, m] = dY∘rowScale; may lie over P on CUDA
  float* rowScaleGradient = nullptr;  // [m] += Σ_t dY_ti·P_ti (the sum is complete before it is added); null: unwanted
};

struct AttentionShape {
  int64_t batch = 0;    // sequences in the micro-batch
  int64_t length = 0;   // tokens per sequence; T = batch·length
  int64_t heads = 0;    // query heads
  int64_t kvHeads = 0;  // key-value heads; divides heads
  int64_t headDim = 0;
  /// [T]: for the token at (b, i) the first visible key position of its sequence (sliding window and document
  /// boundaries); keys first..i are visible. Null: 0 everywhere (plain causal). Non-decreasing within a sequence.
  const int32_t* firstKey = nullptr;
  /// [T] each, or null; of the forward alone: keys hiddenFrom ≤ key < hiddenTo are not visible either.
  const int32_t* hiddenFrom = nullptr;
  const int32_t* hiddenTo = nullptr;
};

/// Optional per-head RMSNorm and rotary embedding of projected queries or keys.
struct HeadTransform {
  int64_t heads = 0;
  int64_t headDim = 0;
  const float* normWeight = nullptr;  // [headDim]; null: none (Qwen3 has it)
  float normEpsilon = 0;
  const float* cosine = nullptr;  // [length, headDim/2] rotary table; null: no rotation (values)
  const float* sine = nullptr;
  int64_t length = 0;  // position of row t is t % length
  /// [T]: positions that differ from that; null: none does. Of the forward alone.
  const int32_t* position = nullptr;
};

/// One summand of Backend::gemmSum.
struct GemmProduct {
  Matrix a;  // [M, K]
  Matrix b;  // [K, N]
};

/// One linear of a group that shares its input X.
struct LowRankTask {
  const LinearWeight* weight = nullptr;
  LowRank lowRank;
  const float* theta = nullptr;      // [scaleCount] trained numbers behind lowRank.scale (group scales)
  Matrix dYs;                        // [T, m]: dY∘s for tensor and channel scales, plain dY for group scales
  const float* zeroTheta = nullptr;  // [scaleCount] unrounded zero points behind lowRank.zero, where they are learned
  ClippedSet clipped;                // of the weight as the forward used it
  LinearGradient gradient;
};

/// The scales of one linear; see Backend::materializeScales.
struct ScaleTask {
  const LinearWeight* weight = nullptr;
  const float* theta = nullptr;      // [scaleCount] trained numbers; null: `scale` already holds what they would give
  float* scale = nullptr;            // [scaleCount]
  float* rowScale = nullptr;         // [m]; null for groups, or where it is not wanted
  const float* zeroTheta = nullptr;  // [scaleCount] unrounded zero points; null: `zero` needs nothing
  float* zero = nullptr;             // [scaleCount] integers in 0 … levels
};

/// The scale gradient of one linear; see Backend::finishScaleGradients.
struct ScaleGradientTask {
  const LinearWeight* weight = nullptr;
  const float* theta = nullptr;  // [scaleCount]
  const float* scale = nullptr;  // [scaleCount]
  float* gradient = nullptr;     // [scaleCount]
};

/// The gradients of one linear whose weight is trained; see Backend::finishWeightGradients.
struct WeightGradientTask {
  const LinearWeight* weight = nullptr;
  LowRank lowRank;
  const float* theta = nullptr;      // [scaleCount] trained numbers behind lowRank.scale; null: scales are kept
  const float* zeroTheta = nullptr;  // [scaleCount] unrounded zero points, where they are learned
  LinearGradient gradient;           // weight: dYsᵀX of the whole step in, dW out; scale and zero: written
};

/// Settings of one optimiser step that all parameters share; double, as in PyTorch: what a step multiplies by is
/// computed from them and rounded once.
struct AdamW {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weightDecay = 0;
  int64_t step = 1;          // counts from 1, for bias correction
  float gradientFactor = 1;  // clip coefficient, multiplied into the gradient before use
};

/// One trained tensor with its state. The moments may lie in host memory (MemoryPlace::Host).
struct AdamWTensor {
  float* value = nullptr;
  const float* gradient = nullptr;
  float* moment1 = nullptr;
  float* moment2 = nullptr;
  int64_t count = 0;
  double learningRate = 0;
};

/// Host: memory of the host that the device reads and writes in place (pinned); the same as Device on the CPU.
enum class MemoryPlace : uint8_t { Device, Host };

struct WeightStatistics {
  int64_t clipped = 0;        // entries outside the grid before clipping
  int64_t flipped = 0;        // integers that differ from those of step 0: clip(round(Φ0)) (A = 0 there), of a trained
                              // weight clip(round(W0/s0))
  double scaleDrift = 0;      // mean |s - s0| / s0
  double zeroPointDrift = 0;  // mean |z - z0|, integers; 0 where the grid is symmetric
};

/// What tells one micro-batch's work from another's; all else is the same for one engine.
struct WorkKey {
  int64_t sequences = 0;
  int64_t length = 0;
  bool firstKey = false;
  bool writes = false;  // gradients of whole matrices, instead of adding to them
  float gradientScale = 0;
  bool operator==(const WorkKey&) const = default;
};

class Backend {
 public:
  virtual ~Backend() = default;

  // -- memory ---------------------------------------------------------------------------------------------------------
  /// One allocation a part of the plan, 256-byte aligned and zeroed; freed with the backend. Throws OutOfMemory.
  virtual void* allocate(int64_t bytes, const char* part, MemoryPlace place) = 0;
  virtual void upload(void* target, const void* host, int64_t bytes) = 0;
  virtual void download(void* host, const void* source, int64_t bytes) = 0;
  virtual void copy(void* target, const void* source, int64_t bytes) = 0;
  virtual void zero(void* target, int64_t bytes) = 0;
  /// Waits until everything asked for has been done; for measurements.
  virtual void synchronize() {}
  /// Does `work`: operations alone, the same with the same arguments whenever `key` is the same, whose results nobody
  /// reads in between. A backend may record and repeat them. False: what it has repeated was not what `work` does by
  /// now, and what that has written is of no use; all since the gradients were zero has to be done again.
  virtual bool repeat(const WorkKey&, const std::function<void()>& work) {
    work();
    return true;
  }
  /// How often recorded work has been repeated.
  virtual int64_t repeats() const { return 0; }
  /// The algorithms chosen so far for products of which a library has several, as text of the backend's own; empty
  /// where nothing is chosen.
  virtual std::string algorithms() const { return {}; }
  /// Takes earlier choices for the shapes they are for, before any of them is multiplied. False: they were made by
  /// another library and nothing is taken. Throws InvalidArgument when the text is none of the backend's.
  virtual bool takeAlgorithms(const std::string& text) { return text.empty(); }
  /// Largest scratch that any one operation takes for models of this shape; the planner mirrors the formula.
  virtual int64_t scratchBytes(const EngineShape& shape) const = 0;
  /// Memory that operations may use inside one call; set once, sized by the plan.
  virtual void setScratch(void* memory, int64_t bytes) = 0;

  // -- quantized weights
  // ------------------------------------------------------------------------------------------------
  /// Range search over `weight.source` (fills scale0, and zero0 where it has memory), then φ (fills phi0). A weight
  /// with NaN or infinity throws InputFile.
  virtual void quantize(LinearWeight& weight) = 0;
  /// φ alone, from scale0 and zero0 that are already there (resume).
  virtual void encode(LinearWeight& weight) = 0;
  /// Produces the weight in `out` [m, n]: integers Q (asymmetric: Q − z, magnitudes up to 255, still exact in bf16) for
  /// tensor/channel granularity, s times that (float32 product, then rounded to out.type) for groups, the plain weight
  /// for WeightForm::Float. With `clipped`, lists the masked entries as well.
  virtual void rebuildWeight(const LinearWeight& weight, const LowRank& lowRank, WeightForm form, Matrix out,
                             ClippedSet* clipped) = 0;
  /// Merged integers as packed offset codes (code = Q + 2^(bits-1); asymmetric: Q itself), host memory of
  /// m·packedRowBytes(bits, n).
  /// Identical to the Q of rebuildWeight(Trained).
  virtual void merge(const LinearWeight& weight, const LowRank& lowRank, void* hostCodes) = 0;
  virtual WeightStatistics weightStatistics(const LinearWeight& weight, const LowRank& lowRank) = 0;
  /// scale[i] = max(theta, 1e-8) or exp(theta); Integer storage always max-free and linear (lr-qat.md §11.2). Then
  /// rowScale [m] from scale (tensor: broadcast, channel: copy). zero[i] = zeroPoint(zeroTheta[i]), see grid.h. For all
  /// linears of a model in one call.
  virtual void materializeScales(std::span<const ScaleTask> tasks) = 0;
  /// Tensor scales: scaleGradient [1] += Σ_i rowScaleGradient_i [m]. Channel scales need none of it: their gradient is
  /// itself the rowScaleGradient of every operation.
  virtual void sumRowScaleGradient(int64_t m, const float* rowScaleGradient, float* scaleGradient) = 0;
  /// Tensor and channel scales: a gradient with respect to the scale, summed over a step, becomes that of the trained
  /// number, in place (the 1e-8 floor passes none; log: times s; Integer storage: unchanged).
  virtual void finishScaleGradients(std::span<const ScaleGradientTask> tasks) = 0;
  /// LSQ (lr-qat.md §2.2): from D = dYsᵀX, summed over a step, what follows for the weight, the scales (in the trained
  /// domain) and the zero points: with x = W/s, R = round(x), V = clip(R), M = 1 inside the grid and G = D/s (groups:
  /// D)
  ///   dW = G∘M,  ds = f·Σ G∘(V − M∘x),  dz = −f·s·Σ G∘(1 − M),  f = 1 or 1/√(qmax·N).
  virtual void finishWeightGradients(std::span<const WeightGradientTask> tasks) = 0;
  /// dA, dB (for groups also ds in the trained domain; where learned, dz = −s·Σ_clipped G) of all linears that read
  /// X [T, n], accumulated. Closed form with sparse correction; dense tiles where groups or |K| > capacity need
  /// it.
  virtual void lowRankGradient(Matrix x, std::span<const LowRankTask> tasks) = 0;

  // -- dense
  // --------------------------------------------------------------------------------------------------------------
  /// c [M, N] = a·b (+ c when accumulate). transposeA: a is [K, M]; transposeB: b is [N, K].
  virtual void gemm(Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate) = 0;

  /// c [M, N] float32 = Σ a·b: the same bits as one gemm after the other, each added to c.
  virtual void gemmSum(std::span<const GemmProduct> products, Matrix c) {
    bool add = false;
    for (const GemmProduct& product : products) {
      gemm(product.a, false, product.b, false, c, add);
      add = true;
    }
  }

  // -- decoder
  // --------------------------------------------------------------------------------------------------------------
  /// x [T, d] (residual type) = table[ids]; table [vocab, d] in its own type, ids [T] checked by the caller.
  virtual void embed(Matrix table, const int32_t* ids, Matrix x) = 0;
  /// y = x·rsqrt(mean x² + eps)·w; x residual type, y compute type; rstd [T] float32 kept for the backward.
  virtual void rmsNorm(Matrix x, const float* weight, float epsilon, Matrix y, float* rstd) = 0;
  /// dx (float32, accumulated) of rmsNorm for dy float32.
  virtual void rmsNormBackward(Matrix dy, Matrix x, const float* weight, const float* rstd, Matrix dx) = 0;
  /// out = rotate(norm(s∘P + bias)) per head.
  virtual void projectHeads(const RawOutput& raw, const HeadTransform& transform, Matrix out) = 0;
  /// dOut [T, heads·headDim] compute type.
  virtual void projectHeadsBackward(Matrix dOut, const RawOutput& raw, const HeadTransform& transform,
                                    const RawOutputGradient& gradient) = 0;
  /// Exact softmax attention with scale 1/√headDim. q [T, heads·headDim], k, v [T, kvHeads·headDim], o like q, lse
  /// [batch, heads, length] float32. Never holds a T×T matrix of a whole batch.
  virtual void attention(const AttentionShape& shape, Matrix q, Matrix k, Matrix v, Matrix o, float* lse) = 0;
  virtual void attentionBackward(const AttentionShape& shape, Matrix q, Matrix k, Matrix v, Matrix o, const float* lse,
                                 Matrix dO, Matrix dQ, Matrix dK, Matrix dV) = 0;
  /// out = x + s∘P + bias; x, out of the residual type (may alias).
  virtual void addResidual(Matrix x, const RawOutput& raw, Matrix out) = 0;
  /// addResidual, then rmsNorm of its result; a backend may do both in one pass.
  virtual void addResidualNorm(Matrix x, const RawOutput& raw, Matrix out, const float* weight, float epsilon, Matrix y,
                               float* rstd) {
    addResidual(x, raw, out);
    rmsNorm(out, weight, epsilon, y, rstd);
  }
  /// For dY float32 [T, m].
  virtual void addResidualBackward(Matrix dY, const RawOutput& raw, const RawOutputGradient& gradient) = 0;
  /// rmsNormBackward, then addResidualBackward of dx; a backend may do both in one pass.
  virtual void addResidualNormBackward(Matrix dy, Matrix x, const float* weight, const float* rstd, Matrix dx,
                                       const RawOutput& raw, const RawOutputGradient& gradient) {
    rmsNormBackward(dy, x, weight, rstd, dx);
    addResidualBackward(dx, raw, gradient);
  }
  /// h = silu(gate)·up with gate, up = s∘P + bias; h compute type.
  virtual void swiglu(const RawOutput& gate, const RawOutput& up, Matrix h) = 0;
  /// For dH [T, f] compute type. Writes h = silu(gate)·up again when `h` has memory; on CUDA that may be dH's.
  virtual void swigluBackward(Matrix dH, const RawOutput& gate, const RawOutput& up, const RawOutputGradient& dGate,
                              const RawOutputGradient& dUp, Matrix h) = 0;
  /// y = x on its grid, for each token t and group of `grid.width` columns (y may be x; both of the same type):
  ///   lo = min x, hi = max x (with 0 between them unless the zero point is fractional), L = 2^bits − 1,
  ///   δ = max((hi − lo)/L, 1e-8), ζ = −lo/δ, z = ζ if fractional, else clip(round(ζ), 0, L),
  ///   R = round(x/δ) + z, y = δ·(clip(R, 0, L) − z),
  /// all in float32. `inside` [T, markWords(cols)]: bit j % 32 of word j / 32 of a row is set where 0 ≤ R ≤ L; null:
  /// not wanted. NaN and what shares a grid with infinity stay visible as NaN.
  /// With `grid.shared` R = round(x/scale) + zero, y = scale·(clip(R, low, high) − zero), inside where low ≤ R ≤ high;
  /// infinity is then clipped as any other number, NaN stays.
  virtual void quantizeActivations(Matrix x, const ActivationGrid& grid, Matrix y, uint32_t* inside) = 0;
  /// The gradient through quantizeActivations, in place: what is not `inside` becomes 0. No gradient goes through δ and
  /// z.
  virtual void maskGradient(Matrix gradient, const uint32_t* inside) = 0;
  /// Smallest and largest number of x; both NaN where one is not finite. Waits for the device.
  virtual ActivationRange activationRange(Matrix x) = 0;
  /// The gradient through a shared grid that is learned. x [T, cols] as it was before, `gradient` of its values on the
  /// grid (x's type or float32; in place that of x, as maskGradient makes it). With R and C = clip(R, low, high) of
  /// quantizeActivations and M = 1 inside the grid:
  ///   *scaleGradient += Σ dY·((C − zero) − M·x/scale),  *zeroGradient += −scale·Σ dY·(1 − M)  (null: unwanted),
  /// summed in double in a fixed order, complete before they are added.
  virtual void learnGrid(Matrix x, const ActivationGrid& grid, Matrix gradient, float* scaleGradient,
                         float* zeroGradient) = 0;
  /// Softmax cross-entropy of logits [rows, vocab] float32 against targets [rows] (-1: ignored). Adds Σ loss to
  /// *lossSum, summed in fixed order in double. `gradient` [rows, vocab] becomes (softmax − onehot)·gradientScale, in
  /// the memory of the logits (float32) or its own (compute type), which may leave the logits overwritten; without
  /// memory it is not wanted.
  virtual void crossEntropy(Matrix logits, const int32_t* targets, float gradientScale, Matrix gradient,
                            double* lossSum) = 0;
  /// Of each row of logits [rows, vocab] float32: the `k` = out.k classes with the largest logits (of equal ones those
  /// with the smaller index), and the logarithms of their shares of softmax(logits / temperature) and of all others
  /// together. The logits may be left overwritten.
  virtual void teacherRows(Matrix, float /* temperature */, const TeacherRows& /* out */) {
    throw Error(ErrorCode::Unsupported, "distillation is not computed on this device", "use the CPU");
  }
  /// crossEntropy, mixed with the divergence from a teacher that is known by k classes and the rest. For a predicted
  /// row z with the teacher's p_1 … p_k and rest p_R, weight w, temperature T, q = softmax(z/T), q_R the sum of q over
  /// the other classes, all k + 1 of which are the classes of
  ///   D = Σ_i p_i·(ln p_i − ln q_i) + p_R·(ln p_R − ln q_R)
  /// (with the whole vocabulary as classes the exact KL divergence; else a lower bound of it, by the log-sum
  /// inequality). As ∂ln q_i/∂z_j = (δ_ij − q_j)/T, and ∂ln q_R/∂z_j = (q_j/q_R − q_j)/T for a class j of the rest and
  /// −q_j/T for another, and Σp = 1,
  ///   ∂D/∂z_j = (q_j − p_j)/T for the k classes, q_j·(1 − p_R/q_R)/T for the others.
  /// lossSums[0] += Σ CE and lossSums[1] += Σ D over the rows with a target, in double and in a fixed order;
  /// `gradient` [rows, vocab], in the memory of the logits (float32) or its own (compute type), becomes
  ///   gradientScale·((1 − w)·∂CE/∂z + w·T²·∂D/∂z), 0 in the other rows. The logits may be left overwritten.
  virtual void distillationLoss(Matrix, const int32_t* /* targets */, const TeacherRows&, const Distillation&,
                                float /* gradientScale */, Matrix /* gradient */, double* /* lossSums */) {
    throw Error(ErrorCode::Unsupported, "distillation is not computed on this device", "use the CPU");
  }
  /// losses [rows] = cross-entropy of each predicted row, 0 where targets is −1. The logits are left as they are.
  virtual void rowLosses(Matrix logits, const int32_t* targets, float* losses) = 0;
  /// gradient [d] += Σ_t dy_t∘x_t·rstd_t: of the weight of rmsNorm; dy [T, d] float32.
  virtual void rmsNormWeightGradient(Matrix dy, Matrix x, const float* rstd, float* gradient) = 0;
  /// gradient [headDim] += that of transform.normWeight for dOut [T, heads·headDim] compute type, which is left as it
  /// is.
  virtual void headNormWeightGradient(Matrix dOut, const RawOutput& raw, const HeadTransform& transform,
                                      float* gradient) = 0;
  /// gradient [vocab, d] float32: row ids[t] += dX_t for t = 0, 1, …; dX [T, d] float32.
  virtual void embedGradient(Matrix dX, const int32_t* ids, Matrix gradient) = 0;
  /// Converts between element types, same element count.
  virtual void convert(Matrix from, Matrix to) = 0;

  // -- optimiser
  // ----------------------------------------------------------------------------------------------------------
  /// Σ g² in double, fixed order.
  virtual double squaredNorm(const float* values, int64_t count) = 0;
  /// In place on values and both moments; PyTorch's AdamW formulas in float32.
  virtual void adamw(const AdamW& settings, std::span<const AdamWTensor> tensors) = 0;

  // -- lanes (lanes.h), on the CPU alone
  // ----------------------------------------------------------------------------------------------------------
  /// shape.lanesAtOnce() backends of one thread each, for operations of shape.lane() that run at once. They work in the
  /// scratch memory of this one, which does nothing meanwhile.
  virtual std::vector<std::unique_ptr<Backend>> laneBackends(const EngineShape& /* shape */) {
    throw Error(ErrorCode::Unsupported, "this device trains no lanes", "use lanes: 1");
  }
  /// work(0) … work(count − 1), each on one thread. The first failure is thrown when all have ended.
  virtual void runLanes(int64_t count, const std::function<void(int64_t)>& work) {
    for (int64_t lane = 0; lane < count; ++lane) work(lane);
  }
  /// values[i] += terms[0][i], then terms[1][i], …
  virtual void addTerms(std::span<const float* const> /* terms */, float* /* values */, int64_t /* count */) {
    throw Error(ErrorCode::Unsupported, "this device trains no lanes", "use lanes: 1");
  }
};

}  // namespace lrqat
