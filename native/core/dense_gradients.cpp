// Dense gradients of the float model, formed from the operands that training passes by. Plain loops in double: this is
// a test instrument for the decoder's backward, not a training path.
#include <algorithm>
#include <cmath>

#include "core/engine.h"
#include "core/error.h"
#include "core/half.h"

namespace lrqat {

namespace {

class DenseGradients final : public GradientObserver {
 public:
  DenseGradients(Backend& backend, const ModelShape& model, std::span<const int32_t> tokens)
      : backend_(backend), model_(model), tokens_(tokens) {}

  void onLinear(int64_t layer, Linear linear, Matrix x, Matrix dY) override {
    const std::string base = layerPrefix(layer) + name(linear);
    const auto input = host(x);
    const auto output = host(dY);
    addProduct(base + ".weight", output, dY.cols, input, x.cols, x.rows);
    if (hasBias(model_, linear)) addColumnSums(base + ".bias", output, dY.cols, dY.rows);
  }

  void onNorm(int64_t layer, int which, Matrix dY, Matrix x, const float* rstd) override {
    const std::string base = layer == model_.layers
                                 ? "model.norm"
                                 : layerPrefix(layer) + (which == 0 ? "input_layernorm" : "post_attention_layernorm");
    auto values = host(dY);
    const auto input = host(x);
    std::vector<float> inverse(static_cast<size_t>(x.rows));
    backend_.download(inverse.data(), rstd, x.rows * 4);
    for (int64_t row = 0; row < x.rows; ++row) {
      for (int64_t col = 0; col < x.cols; ++col) {
        const auto i = static_cast<size_t>(row * x.cols + col);
        values[i] *= input[i] * static_cast<double>(inverse[static_cast<size_t>(row)]);
      }
    }
    addColumnSums(base + ".weight", values, x.cols, x.rows);
  }

  void onHead(Matrix normed, Matrix logitGradient) override {
    const auto input = host(normed);
    const auto output = host(logitGradient);
    addProduct(model_.tiedEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight", output, logitGradient.cols,
               input, normed.cols, normed.rows);
  }

  void onEmbedding(Matrix dX) override {
    auto& sum = sums("model.embed_tokens.weight", model_.vocabSize * model_.hiddenSize);
    const auto values = host(dX);
    for (int64_t row = 0; row < dX.rows; ++row) {
      for (int64_t col = 0; col < dX.cols; ++col) {
        sum[static_cast<size_t>(tokens_[static_cast<size_t>(row)] * dX.cols + col)] +=
            values[static_cast<size_t>(row * dX.cols + col)];
      }
    }
  }

  std::map<std::string, std::vector<float>> take() const {
    std::map<std::string, std::vector<float>> out;
    for (const auto& [name, values] : sums_) out[name] = std::vector<float>(values.begin(), values.end());
    return out;
  }

 private:
  std::vector<double> host(Matrix m) {
    std::vector<std::byte> raw(static_cast<size_t>(m.bytes()));
    backend_.download(raw.data(), m.data, m.bytes());
    std::vector<double> out(static_cast<size_t>(m.elements()));
    for (size_t i = 0; i < out.size(); ++i) {
      if (m.type == DType::F32) {
        out[i] = static_cast<double>(reinterpret_cast<const float*>(raw.data())[i]);
      } else {
        out[i] = static_cast<double>(floatFromBf16(reinterpret_cast<const uint16_t*>(raw.data())[i]));
      }
    }
    return out;
  }

  std::vector<double>& sums(const std::string& name, int64_t count) {
    auto& values = sums_[name];
    values.resize(static_cast<size_t>(count));
    return values;
  }

  /// sum [m, n] += outputᵀ·input
  void addProduct(const std::string& name, const std::vector<double>& output, int64_t m,
                  const std::vector<double>& input, int64_t n, int64_t rows) {
    auto& sum = sums(name, m * n);
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t i = 0; i < m; ++i) {
        const double factor = output[static_cast<size_t>(t * m + i)];
        for (int64_t j = 0; j < n; ++j)
          sum[static_cast<size_t>(i * n + j)] += factor * input[static_cast<size_t>(t * n + j)];
      }
    }
  }

  void addColumnSums(const std::string& name, const std::vector<double>& values, int64_t cols, int64_t rows) {
    auto& sum = sums(name, cols);
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t j = 0; j < cols; ++j) sum[static_cast<size_t>(j)] += values[static_cast<size_t>(t * cols + j)];
    }
  }

  Backend& backend_;
  const ModelShape& model_;
  std::span<const int32_t> tokens_;
  std::map<std::string, std::vector<double>> sums_;
};

}  // namespace

std::map<std::string, std::vector<float>> Engine::parameterGradients(const TokenBatch& batch) {
  requireLoaded();
  checkBatch(batch);
  if (!config_.shape.training) throw Error(ErrorCode::InvalidArgument, "the engine was created for evaluation only");
  if (batch.sequences * batch.length > config_.shape.tokens()) {
    throw Error(ErrorCode::InvalidArgument, "parameterGradients takes one micro-batch");
  }
  const auto count = std::count_if(batch.targets.begin(), batch.targets.end(), [](int32_t t) { return t >= 0; });
  DenseGradients gradients(*backend_, config_.shape.model, batch.tokens);
  decoder_->forgetWeights();
  prepareFloats(WeightForm::Float);
  decoder_->observeGradients(microBatch(batch, 0, batch.sequences), 1.0F / static_cast<float>(count), gradients);
  return gradients.take();
}

}  // namespace lrqat
