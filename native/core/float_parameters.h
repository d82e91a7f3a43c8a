// What can be trained beside the quantized linears: norms, the head and the embedding table. Each has a float32 value
// of its own among the parameters; what the forward reads (EmbeddingBuffers) is a copy of it in its own type, or that
// of the checkpoint where the form at hand is one without training.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/types.h"

namespace lrqat {

struct EngineShape;
class Layout;

/// Which of them are trained. With tied embeddings table and head are one tensor, which `embeddings` stands for.
struct FloatGroups {
  bool norms = false;
  bool head = false;
  bool embeddings = false;

  bool any() const { return norms || head || embeddings; }
  bool operator==(const FloatGroups&) const = default;
};

enum class FloatGroup : uint8_t { Norms, Head, Embeddings };
enum class FloatTensor : uint8_t { Table, InputNorm, PostNorm, QueryNorm, KeyNorm, FinalNorm, Head };

/// One trained tensor, in float32.
struct FloatParameter {
  std::string name;  // in the checkpoint, without ".weight"
  FloatTensor tensor = FloatTensor::Table;
  int64_t layer = 0;
  int64_t rows = 1;
  int64_t cols = 0;
  float* value = nullptr;
  float* gradient = nullptr;  // null: the engine only evaluates
  float* moment1 = nullptr;
  float* moment2 = nullptr;

  int64_t count() const { return rows * cols; }
  FloatGroup group() const {
    return tensor == FloatTensor::Table  ? FloatGroup::Embeddings
           : tensor == FloatTensor::Head ? FloatGroup::Head
                                         : FloatGroup::Norms;
  }
};

/// Those that a shape trains, in the order of a forward, without memory.
std::vector<FloatParameter> floatParameters(const EngineShape& shape);

/// One of the four buffers of each.
void layoutFloats(Layout& layout, std::vector<FloatParameter>& parameters, float* FloatParameter::*buffer);

/// Where the backward adds gradients; null, or without memory: not trained.
struct FloatGradients {
  struct Layer {
    float* inputNorm = nullptr;
    float* postNorm = nullptr;
    float* queryNorm = nullptr;
    float* keyNorm = nullptr;
  };
  Matrix table;  // [vocab, hidden] float32
  Matrix head;   // the same memory when tied
  float* finalNorm = nullptr;
  std::vector<Layer> layers;
};
FloatGradients floatGradients(const EngineShape& shape, const std::vector<FloatParameter>& parameters);

}  // namespace lrqat
