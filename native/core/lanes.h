// Lanes: parts of a training micro-batch that go through all layers side by side. A small model's operations are over
// sooner than a sleeping thread wakes, so dividing each of them costs more than it gains; a lane is one thread's from
// the embedding to the last gradient, and its activations stay in that processor's caches.
//
// The cut does not depend on the number of threads, and neither does the order of sums: a lane adds its gradients in
// the order of the micro-batches, and lanes are added in their own order at the end of the step.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "core/decoder.h"

namespace lrqat {

class Lanes {
 public:
  /// What a decoder of the whole micro-batch works on, which stays where it is.
  struct Whole {
    const EngineShape& shape;
    Backend& backend;
    const std::vector<LinearLayer>& linears;
    const EmbeddingBuffers& embeddings;
    HostTensor hostTable;
    const ActivationBuffers& activations;
    const WorkspaceBuffers& workspace;
    ActivationRanges* ranges = nullptr;
    void* gradients = nullptr;  // shape.lanes times layoutGradients
  };
  explicit Lanes(const Whole& whole);
  ~Lanes();

  /// Begins a step: gradients become 0, the weights that are kept are rebuilt.
  void begin();
  /// As Decoder::trainMicroBatch of one micro-batch, a part for each lane; the gradients are complete after
  /// addGradients.
  void trainMicroBatch(std::span<const MicroBatch> parts, float gradientScale);
  /// Adds those of the other lanes to the first lane's, which are the engine's.
  void addGradients();
  /// Sums since begin, over all lanes.
  Decoder::Losses losses();

  void setCancelFlag(const std::atomic<bool>* flag);

 private:
  struct Lane;

  const Whole whole_;
  std::vector<std::unique_ptr<Backend>> backends_;  // as many as work at once
  std::vector<std::unique_ptr<Lane>> lanes_;
};

}  // namespace lrqat
