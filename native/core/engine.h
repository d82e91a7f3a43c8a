// A model in training: owns the mapped checkpoint, all planned memory and the optimiser state. Single-threaded: one
// caller at a time, except cancel().
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/decoder.h"
#include "core/lanes.h"
#include "core/mapped_file.h"

namespace lrqat {

/// Where a parameter of the checkpoint lies.
struct TensorSource {
  std::string name;
  std::string file;
  int64_t offset = 0;
  int64_t bytes = 0;
  DType type = DType::F32;
  std::vector<int64_t> shape;
};

struct EngineConfig {
  EngineShape shape;
  std::vector<TensorSource> tensors;
  uint64_t seed = 0;
  std::optional<MemoryParts> plan;
};

struct OptimizerSettings {
  double lowRankLearningRate = 0;
  double scaleLearningRate = 0;
  double zeroPointLearningRate = 0;
  double weightLearningRate = 0;
  double normLearningRate = 0;
  double headLearningRate = 0;
  double embeddingLearningRate = 0;
  /// Of scales and zero points of activations.
  double activationLearningRate = 0;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weightDecay = 0;
  std::optional<double> gradientClip;
};

/// Sequences [sequences, length]; host memory that outlives the call.
struct TokenBatch {
  int64_t sequences = 0;
  int64_t length = 0;
  std::span<const int32_t> tokens;
  std::span<const int32_t> targets;
  std::span<const int32_t> firstKey;  // empty: plain causal
  // Of training with distillation (TeacherRows), else empty.
  std::span<const int32_t> teacherClasses = {};
  std::span<const float> teacherLogProbabilities = {};
  /// Branches of one beginning: a token does not see keys hiddenFrom ≤ key < hiddenTo of its sequence, and its position
  /// is that much smaller. Both empty: none. Evaluation engines only.
  std::span<const int32_t> hiddenFrom = {};
  std::span<const int32_t> hiddenTo = {};
};

struct StepResult {
  double loss = 0;
  /// Means over the tokens; the divergence is 0 without distillation, and the loss the cross-entropy.
  double crossEntropy = 0;
  double divergence = 0;
  int64_t tokens = 0;
  double gradientNorm = 0;
  bool skipped = false;
};

struct EvaluationResult {
  double lossSum = 0;
  int64_t tokens = 0;
};

/// TeacherRows with their memory.
struct TeacherKnowledge {
  std::vector<int32_t> classes;
  std::vector<float> logProbabilities;
};

struct LayerStatistics {
  std::string name;
  WeightStatistics statistics;
  int64_t weights = 0;
  bool asymmetric = false;
};

enum class ParameterKind { A, B, Scale, ZeroPoint, Weight };
enum class StateKind { Value, Moment1, Moment2, Gradient };

struct ParameterInfo {
  /// Of a linear, or, from the number of linears on, of a tensor beside them, whose kind is Weight; the last one
  /// stands for scales and zero points of all activations where these are trained.
  size_t linear = 0;
  ParameterKind kind = ParameterKind::A;
  int64_t rows = 0;
  int64_t cols = 0;
  std::optional<FloatGroup> group = std::nullopt;  // of a tensor beside the linears
  int64_t count() const { return rows * cols; }
};

/// Merged integers of a linear in a file written earlier.
struct MergedSource {
  std::string file;
  int64_t codesOffset = 0;
  int64_t scalesOffset = 0;
  int64_t zeroPointsOffset = 0;  // one byte a scale; asymmetric grids only
};

/// Numbers in a file written earlier.
struct StoredTensor {
  std::string file;
  int64_t offset = 0;
};

/// Packed Φ0 of a linear.
using StoredPhi0 = StoredTensor;

/// What the range search (or another start) found, by linear name: s0 and, for asymmetric grids, the unrounded z0; Φ0
/// where it does not follow from them.
struct StoredRanges {
  std::map<std::string, std::vector<float>> scales;
  std::map<std::string, std::vector<float>> zeroPoints = {};
  std::map<std::string, StoredPhi0> phi0 = {};
};

/// What training starts from instead of round-to-nearest.
struct StartSettings {
  /// Integers and scales of GPTQ; its calibration tokens come with the call.
  bool gptq = false;
  double damping = 0.01;
  bool activationOrder = false;
  /// A·B starts at the leading singular values of what rounding leaves, where there is a low-rank term.
  bool lowRank = false;
  /// How often the weight without A·B is rounded and A·B found anew (LoftQ).
  int iterations = 1;
};

class Engine {
 public:
  /// Maps and checks the checkpoint, plans and allocates. Throws PlanMismatch, OutOfMemory, InputFile, InvalidArgument.
  Engine(EngineConfig config, std::unique_ptr<Backend> backend);

  using Progress = std::function<void(const std::string& linear, int64_t done, int64_t total)>;
  /// Range search (or given ranges) and Φ0, linear by linear; initializes A = 0 and B ~ U(±1/√n).
  void load(const StoredRanges& given, const Progress& progress);
  /// Puts another start in place of round-to-nearest, linear by linear: Φ0, s0, z0, A, B and the trained numbers; the
  /// form RoundToNearest is gone. `calibration`: sequences for GPTQ. On the CPU, without checkpointing, evaluation
  /// only. Returns the bytes it worked in beside the engine's own, startWorkBytes of its shape. After a failure or
  /// Cancelled the engine must be loaded again.
  int64_t findStart(const StartSettings& settings, const TokenBatch& calibration, const Progress& progress);

  /// Static grids of activations, found on these sequences one after the other with the weights as they are: each
  /// tensor has the running mean of its smallest and largest number. What is trained of them starts there. Throws
  /// NotFinite; after a failure or Cancelled no ranges are known.
  void calibrateActivations(const TokenBatch& sequences);
  /// [layers, quantized sites, 2] in the order of the forward: smallest and largest number. Empty where activations
  /// have no static grids.
  std::vector<float> activationRanges() const;
  /// In place of a calibration.
  void setActivationRanges(std::span<const float> values);

  StepResult trainStep(const TokenBatch& batch, const OptimizerSettings& settings);
  /// `only`: quantized linears that `form` is meant for, by name; the others are float, and so are all activations.
  /// Default: all.
  EvaluationResult evaluate(const TokenBatch& batch, WeightForm form,
                            const std::optional<std::vector<std::string>>& only = std::nullopt);
  /// Cross-entropy of each position [sequences, length], nats; 0 where nothing is predicted.
  std::vector<float> tokenLosses(const TokenBatch& batch, WeightForm form);
  std::vector<float> logits(const TokenBatch& batch, WeightForm form);
  /// What the float model gives for every position, as trainStep takes it; of an engine with distillation.
  TeacherKnowledge teach(const TokenBatch& batch);
  /// Dense gradients of the mean loss of the float model, by parameter name; for tests. One micro-batch.
  std::map<std::string, std::vector<float>> parameterGradients(const TokenBatch& batch);
  void cancel() { cancel_.store(true); }
  void clearCancel() { cancel_.store(false); }

  const std::vector<ParameterInfo>& parameters() const { return parameters_; }
  const std::string& linearName(size_t linear) const { return names_[linear]; }
  size_t linearIndex(const std::string& name) const;  // throws InvalidArgument when unknown or not quantized
  /// Of a quantized linear of a trained tensor beside the linears, or `activations`. Throws InvalidArgument.
  size_t parameterIndex(const std::string& name) const;
  std::vector<float> readState(size_t linear, ParameterKind kind, StateKind state) const;
  void writeState(size_t linear, ParameterKind kind, StateKind state, std::span<const float> values);
  int64_t optimizerStep() const { return optimizerStep_; }
  void setOptimizerStep(int64_t step) { optimizerStep_ = step; }

  std::vector<float> initialScales(size_t linear) const;
  std::vector<float> scales(size_t linear);
  /// z0 unrounded, and the integers of this step; empty for symmetric grids.
  std::vector<float> initialZeroPoints(size_t linear) const;
  std::vector<uint8_t> zeroPoints(size_t linear);
  std::string baseDigest() const;
  std::vector<std::byte> phi0(size_t linear) const;
  std::vector<std::byte> merge(size_t linear);
  /// `floats`: the trained tensors beside the linears, float32, all of them.
  void attachMerged(const std::map<std::string, MergedSource>& sources,
                    const std::map<std::string, StoredTensor>& floats = {});
  std::vector<LayerStatistics> layerStatistics();
  /// See Backend::algorithms and takeAlgorithms.
  std::string algorithms() const { return backend_->algorithms(); }
  bool takeAlgorithms(const std::string& text) { return backend_->takeAlgorithms(text); }
  const MemoryParts& memory() const { return parts_; }
  const EngineShape& shape() const { return config_.shape; }

 private:
  void mapTensors();
  const TensorSource& source(const std::string& name, std::initializer_list<int64_t> shape) const;
  HostTensor hostTensor(const std::string& name, std::initializer_list<int64_t> shape) const;
  void uploadFloats(const std::string& name, float* target, int64_t count);
  void uploadMatrix(const std::string& name, Matrix target);
  /// Rows of host memory, some at a time; `checkRow` sees each before.
  void uploadRows(const HostTensor& tensor, Matrix target, const std::function<void(int64_t row)>& checkRow = {});
  /// A vector or matrix of the checkpoint.
  void uploadTensor(const std::string& name, Matrix target);
  /// Throws InputFile when a value of the row is NaN or infinite.
  void checkFinite(const std::string& name, const HostTensor& tensor, int64_t row) const;
  void allocate();
  void loadEmbeddings();
  /// The trained tensors beside the linears start at those of the checkpoint.
  void initializeFloats();
  void initializeLowRank(size_t linear);
  /// A trained weight starts at that of the checkpoint.
  void initializeWeight(size_t linear);
  /// Ranges of a linear from an earlier search. Throws InvalidArgument unless there are as many as it has scales.
  void uploadRanges(size_t linear, const StoredRanges& given);
  /// Given scales that are kept become what training would make of them: floored, in their format.
  void keepScalesUsable(LinearWeight& weight);
  /// The trained scales and zero points start at those of the range search.
  void initializeRanges(LinearLayer& l);
  void uploadPhi0(size_t linear, const StoredPhi0& stored);
  /// Brings s0 to the scale format and codes Φ0 again with it.
  void snapScales(LinearWeight& weight);
  void checkBatch(const TokenBatch& batch) const;
  /// Throws InvalidArgument unless the batch brings a teacher exactly where the engine wants one, in order and within
  /// the vocabulary.
  void checkTeacher(const TokenBatch& batch) const;
  void checkHidden(const TokenBatch& batch) const;
  MicroBatch microBatch(const TokenBatch& batch, int64_t first, int64_t count) const;
  int64_t sequencesPerMicroBatch(int64_t length) const;
  void requireLoaded() const;
  /// Throws InvalidArgument where the shape asks for lanes that it cannot have.
  void requireLanes() const;
  /// Before micro-batches that share weights: puts the scales that `form` uses into every linear's scale and rowScale
  /// buffers, and what it reads beside the linears into the embedding buffers.
  void prepare(WeightForm form);
  void prepareFloats(WeightForm form);
  /// The embedding buffer that the forward reads.
  Matrix floatTensor(const FloatParameter& parameter) const;
  /// Puts the static grids of activations of a form on the device, where activations are quantized in what follows.
  void prepareGrids(WeightForm form);
  /// The scale buffer of one linear alone.
  void materializeScales(const LinearLayer& l);
  /// Scale gradients of a step, in the domain of the trained numbers.
  void finishScaleGradients();
  /// Gradients and losses of a whole batch.
  Decoder::Losses accumulateGradients(const TokenBatch& batch, float gradientScale);
  /// All gradients of the linears whose weights are trained.
  void finishWeightGradients();
  /// What a step adds to begins as zero.
  void zeroGradients();
  std::span<float> state(size_t linear, ParameterKind kind, StateKind which) const;

  EngineConfig config_;
  std::unique_ptr<Backend> backend_;
  std::map<std::string, MappedFile> files_;
  std::map<std::string, TensorSource> tensors_;
  MemoryParts parts_;
  std::vector<LinearLayer> linears_;
  std::vector<std::string> names_;
  EmbeddingBuffers embeddings_;
  std::vector<FloatParameter> floats_;
  /// What the embedding buffers of trained tensors hold.
  enum class FloatsAt : uint8_t { Checkpoint, Trained, Merged, Unknown } floatsAt_ = FloatsAt::Unknown;
  ActivationBuffers activations_;
  WorkspaceBuffers workspace_;
  void* gradientMemory_ = nullptr;
  std::unique_ptr<ActivationRanges> ranges_;  // null: no static grids
  ActivationGridBuffers grids_;
  std::unique_ptr<Decoder> decoder_;
  std::unique_ptr<Lanes> lanes_;  // null: all threads share every operation of a training step
  std::vector<ParameterInfo> parameters_;
  std::map<std::string, MergedSource> merged_;
  std::map<std::string, HostTensor> mergedFloats_;
  std::map<std::string, MappedFile> mergedFiles_;
  int64_t optimizerStep_ = 0;
  bool loaded_ = false;
  /// Φ0 and the scales are no longer those of round-to-nearest.
  bool started_ = false;
  std::atomic<bool> cancel_{false};
};

}  // namespace lrqat
