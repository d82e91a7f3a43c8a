#include "core/float_parameters.h"

#include "core/layout.h"
#include "core/memory_plan.h"

namespace lrqat {

std::vector<FloatParameter> floatParameters(const EngineShape& shape) {
  const ModelShape& model = shape.model;
  const FloatGroups& groups = shape.floatGroups;
  std::vector<FloatParameter> out;
  const auto add = [&](const std::string& name, FloatTensor tensor, int64_t layer, int64_t rows, int64_t cols) {
    FloatParameter& parameter = out.emplace_back();
    parameter.name = name;
    parameter.tensor = tensor;
    parameter.layer = layer;
    parameter.rows = rows;
    parameter.cols = cols;
  };
  if (groups.embeddings) add("model.embed_tokens", FloatTensor::Table, 0, model.vocabSize, model.hiddenSize);
  if (groups.norms) {
    for (int64_t layer = 0; layer < model.layers; ++layer) {
      const std::string prefix = layerPrefix(layer);
      add(prefix + "input_layernorm", FloatTensor::InputNorm, layer, 1, model.hiddenSize);
      if (model.qkNorm) {
        add(prefix + "self_attn.q_norm", FloatTensor::QueryNorm, layer, 1, model.headDim);
        add(prefix + "self_attn.k_norm", FloatTensor::KeyNorm, layer, 1, model.headDim);
      }
      add(prefix + "post_attention_layernorm", FloatTensor::PostNorm, layer, 1, model.hiddenSize);
    }
    add("model.norm", FloatTensor::FinalNorm, 0, 1, model.hiddenSize);
  }
  if (groups.head && !model.tiedEmbeddings) add("lm_head", FloatTensor::Head, 0, model.vocabSize, model.hiddenSize);
  return out;
}

void layoutFloats(Layout& layout, std::vector<FloatParameter>& parameters, float* FloatParameter::*buffer) {
  for (FloatParameter& parameter : parameters) parameter.*buffer = layout.floats(parameter.count());
}

FloatGradients floatGradients(const EngineShape& shape, const std::vector<FloatParameter>& parameters) {
  FloatGradients out;
  out.layers.resize(static_cast<size_t>(shape.model.layers));
  for (const FloatParameter& p : parameters) {
    FloatGradients::Layer& layer = out.layers[static_cast<size_t>(p.layer)];
    const Matrix matrix{p.gradient, DType::F32, p.rows, p.cols};
    switch (p.tensor) {
      case FloatTensor::Table:
        out.table = matrix;
        if (shape.model.tiedEmbeddings) out.head = matrix;
        break;
      case FloatTensor::InputNorm:
        layer.inputNorm = p.gradient;
        break;
      case FloatTensor::PostNorm:
        layer.postNorm = p.gradient;
        break;
      case FloatTensor::QueryNorm:
        layer.queryNorm = p.gradient;
        break;
      case FloatTensor::KeyNorm:
        layer.keyNorm = p.gradient;
        break;
      case FloatTensor::FinalNorm:
        out.finalNorm = p.gradient;
        break;
      case FloatTensor::Head:
        out.head = matrix;
        break;
    }
  }
  return out;
}

}  // namespace lrqat
