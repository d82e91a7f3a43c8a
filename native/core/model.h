// Shape of a LLaMA-family decoder and the names of its linears; mirrors src/formats/model-shape.ts.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace lrqat {

enum class RopeKind { None, Linear, Llama3 };

struct RopeScaling {
  RopeKind kind = RopeKind::None;
  double factor = 1;
  double lowFrequencyFactor = 1;
  double highFrequencyFactor = 4;
  double originalMaxPositions = 8192;
};

struct ModelShape {
  int64_t hiddenSize = 0;
  int64_t intermediateSize = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kvHeads = 0;
  int64_t headDim = 0;
  int64_t vocabSize = 0;
  float rmsNormEpsilon = 1e-5F;
  double ropeTheta = 10000;
  RopeScaling ropeScaling;
  int64_t slidingWindow = 0;  // keys visible to a query, itself included; 0: all
  bool qkvBias = false;
  bool outputBias = false;
  bool mlpBias = false;
  bool qkNorm = false;
  bool tiedEmbeddings = false;

  int64_t queryWidth() const { return heads * headDim; }
  int64_t kvWidth() const { return kvHeads * headDim; }
};

enum class Linear { Q, K, V, O, Gate, Up, Down };
inline constexpr std::array allLinears{Linear::Q,    Linear::K,  Linear::V,   Linear::O,
                                       Linear::Gate, Linear::Up, Linear::Down};
inline constexpr int64_t linearsPerLayer = 7;

inline const char* name(Linear linear) {
  constexpr std::array names{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                             "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};
  return names[static_cast<size_t>(linear)];
}

inline std::string layerPrefix(int64_t layer) {
  return "model.layers." + std::to_string(layer) + ".";
}

inline int64_t outputs(const ModelShape& s, Linear linear) {
  switch (linear) {
    case Linear::Q:
      return s.queryWidth();
    case Linear::K:
    case Linear::V:
      return s.kvWidth();
    case Linear::O:
    case Linear::Down:
      return s.hiddenSize;
    case Linear::Gate:
    case Linear::Up:
      return s.intermediateSize;
  }
  return 0;
}

inline int64_t inputs(const ModelShape& s, Linear linear) {
  switch (linear) {
    case Linear::O:
      return s.queryWidth();
    case Linear::Down:
      return s.intermediateSize;
    default:
      return s.hiddenSize;
  }
}

inline bool hasBias(const ModelShape& s, Linear linear) {
  switch (linear) {
    case Linear::Q:
    case Linear::K:
    case Linear::V:
      return s.qkvBias;
    case Linear::O:
      return s.outputBias;
    default:
      return s.mlpBias;
  }
}

}  // namespace lrqat
