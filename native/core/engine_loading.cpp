// The engine's way from files to memory: tensors found and checked, embeddings and norms uploaded, weights quantized.
#include <algorithm>
#include <cmath>
#include <future>
#include <limits>

#include "core/engine.h"
#include "core/error.h"
#include "core/grid.h"
#include "core/host_tensor.h"
#include "core/random.h"
#include "core/rope.h"

namespace lrqat {

namespace {

std::string shapeText(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

/// Bytes of a tensor; −1 for a shape that no memory can hold.
int64_t bytesOf(const std::vector<int64_t>& shape, DType type) {
  int64_t bytes = byteSize(type);
  for (const int64_t extent : shape) {
    if (extent < 0 || (extent > 0 && bytes > std::numeric_limits<int64_t>::max() / extent)) return -1;
    bytes *= extent;
  }
  return bytes;
}

/// f(row) for all rows, a thread a part of so many; of several failures that of the first part is thrown.
void inParts(int64_t rows, int64_t rowsPerPart, const std::function<void(int64_t row)>& f) {
  const auto part = [&](int64_t first) {
    for (int64_t row = first; row < std::min(first + rowsPerPart, rows); ++row) f(row);
  };
  std::vector<std::future<void>> others;
  for (int64_t first = rowsPerPart; first < rows; first += rowsPerPart) {
    others.push_back(std::async(std::launch::async, part, first));
  }
  part(0);
  for (std::future<void>& other : others) other.get();
}

}  // namespace

void Engine::mapTensors() {
  for (const TensorSource& tensor : config_.tensors) {
    auto found = files_.find(tensor.file);
    if (found == files_.end()) found = files_.emplace(tensor.file, MappedFile(tensor.file)).first;
    if (tensor.offset < 0 || tensor.bytes < 0 || tensor.offset > found->second.size() - tensor.bytes ||
        bytesOf(tensor.shape, tensor.type) != tensor.bytes) {
      throw Error(ErrorCode::InputFile, tensor.file + ": tensor " + tensor.name + " of " +
                                            std::to_string(tensor.bytes) + " bytes at offset " +
                                            std::to_string(tensor.offset) + " does not fit the file of " +
                                            std::to_string(found->second.size()) + " bytes");
    }
    tensors_[tensor.name] = tensor;
  }
}

const TensorSource& Engine::source(const std::string& name, std::initializer_list<int64_t> shape) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) throw Error(ErrorCode::InvalidArgument, "tensor " + name + " is missing");
  if (!std::equal(shape.begin(), shape.end(), found->second.shape.begin(), found->second.shape.end())) {
    throw Error(ErrorCode::InputFile, found->second.file + ": tensor " + name + " has shape " +
                                          shapeText(found->second.shape) + ", the configuration needs " +
                                          shapeText(std::vector<int64_t>(shape)));
  }
  return found->second;
}

HostTensor Engine::hostTensor(const std::string& name, std::initializer_list<int64_t> shape) const {
  const TensorSource& tensor = source(name, shape);
  const int64_t rows = tensor.shape.size() > 1 ? tensor.shape[0] : 1;
  return {files_.at(tensor.file).data() + tensor.offset, tensor.type, rows, tensor.shape.back()};
}

void Engine::uploadFloats(const std::string& name, float* target, int64_t count) {
  const HostTensor tensor = hostTensor(name, {count});
  std::vector<float> values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    values[static_cast<size_t>(i)] = hostValue(tensor, i);
    if (!std::isfinite(values[static_cast<size_t>(i)])) {
      throw Error(ErrorCode::InputFile, tensors_.at(name).file + ": tensor " + name +
                                            " holds a value that is not finite at [" + std::to_string(i) + "]");
    }
  }
  backend_->upload(target, values.data(), count * 4);
}

void Engine::uploadMatrix(const std::string& name, Matrix target) {
  const HostTensor tensor = hostTensor(name, {target.rows, target.cols});
  uploadRows(tensor, target, [&](int64_t row) { checkFinite(name, tensor, row); });
}

void Engine::uploadRows(const HostTensor& tensor, Matrix target, const std::function<void(int64_t row)>& checkRow) {
  // Few transfers, little host memory.
  constexpr int64_t partBytes = int64_t{4} << 20;
  const int64_t rowBytes = target.cols * byteSize(target.type);
  const int64_t threads = std::clamp<int64_t>(config_.shape.threads, 1, 8);
  const int64_t rowsPerPart = std::max<int64_t>(1, partBytes / rowBytes);
  std::vector<std::byte> staged;
  for (int64_t first = 0; first < target.rows; first += threads * rowsPerPart) {
    const Matrix slice = target.slice(first, std::min(threads * rowsPerPart, target.rows - first));
    staged.resize(static_cast<size_t>(slice.bytes()));
    inParts(slice.rows, rowsPerPart, [&](int64_t row) {
      if (checkRow) checkRow(first + row);
      copyHostRow(tensor, first + row, target.type, staged.data() + row * rowBytes);
    });
    backend_->upload(slice.data, staged.data(), slice.bytes());
  }
}

void Engine::uploadTensor(const std::string& name, Matrix target) {
  if (target.rows == 1) {
    uploadFloats(name, static_cast<float*>(target.data), target.cols);
  } else {
    uploadMatrix(name, target);
  }
}

void Engine::checkFinite(const std::string& name, const HostTensor& tensor, int64_t row) const {
  if (const auto col = firstNotFinite(tensor, row)) {
    throw Error(ErrorCode::InputFile, tensors_.at(name).file + ": tensor " + name +
                                          " holds a value that is not finite at [" + std::to_string(row) + ", " +
                                          std::to_string(*col) + "]");
  }
}

void Engine::loadEmbeddings() {
  const ModelShape& model = config_.shape.model;
  if (embeddings_.table.data) {
    uploadMatrix("model.embed_tokens.weight", embeddings_.table);
  } else {
    const HostTensor table = hostTensor("model.embed_tokens.weight", {model.vocabSize, model.hiddenSize});
    for (int64_t row = 0; row < table.rows; ++row) checkFinite("model.embed_tokens.weight", table, row);
  }
  if (!model.tiedEmbeddings) uploadMatrix("lm_head.weight", embeddings_.head);
  uploadFloats("model.norm.weight", embeddings_.finalNorm, model.hiddenSize);
  const RopeTable rope = ropeTable(model, config_.shape.sequenceLength);
  backend_->upload(embeddings_.cosine, rope.cosine.data(), static_cast<int64_t>(rope.cosine.size()) * 4);
  backend_->upload(embeddings_.sine, rope.sine.data(), static_cast<int64_t>(rope.sine.size()) * 4);
  for (int64_t layer = 0; layer < model.layers; ++layer) {
    const std::string prefix = layerPrefix(layer);
    auto& buffers = embeddings_.layers[static_cast<size_t>(layer)];
    uploadFloats(prefix + "input_layernorm.weight", buffers.inputNorm, model.hiddenSize);
    uploadFloats(prefix + "post_attention_layernorm.weight", buffers.postNorm, model.hiddenSize);
    if (model.qkNorm) {
      uploadFloats(prefix + "self_attn.q_norm.weight", buffers.queryNorm, model.headDim);
      uploadFloats(prefix + "self_attn.k_norm.weight", buffers.keyNorm, model.headDim);
    }
    for (const Linear linear : allLinears) {
      if (hasBias(model, linear)) {
        uploadFloats(prefix + name(linear) + ".bias", buffers.bias[static_cast<size_t>(linear)],
                     outputs(model, linear));
      }
    }
  }
}

void Engine::load(const StoredRanges& given, const Progress& progress) {
  const auto total = static_cast<int64_t>(
      std::count_if(linears_.begin(), linears_.end(), [](const LinearLayer& l) { return l.quantized; }));
  int64_t done = 0;
  for (size_t i = 0; i < linears_.size(); ++i) {
    LinearLayer& l = linears_[i];
    if (!l.quantized) continue;
    if (cancel_.load()) throw Error(ErrorCode::Cancelled, "cancelled");
    try {
      if (given.scales.contains(names_[i])) {
        uploadRanges(i, given);
        if (const auto stored = given.phi0.find(names_[i]); stored != given.phi0.end()) {
          uploadPhi0(i, stored->second);
        } else {
          backend_->encode(l.weight);
        }
      } else {
        backend_->quantize(l.weight);
        if (l.weight.spec.scaleFormat != ScaleFormat::F32) snapScales(l.weight);
      }
    } catch (const Error& error) {
      if (error.code() != ErrorCode::InputFile) throw;
      const std::string weightName = names_[i] + ".weight";
      throw Error(error.code(), tensors_.at(weightName).file + ": tensor " + weightName + ": " + error.what(),
                  error.hint());
    }
    initializeRanges(l);
    initializeLowRank(i);
    initializeWeight(i);
    if (progress) progress(names_[i], ++done, total);
  }
  initializeFloats();
  if (ranges_) ranges_->forget();
  optimizerStep_ = 0;
  loaded_ = true;
  started_ = !given.phi0.empty();
}

void Engine::uploadPhi0(size_t index, const StoredPhi0& stored) {
  const LinearWeight& w = linears_[index].weight;
  const MappedFile file(stored.file);
  const int64_t bytes = w.m * packedRowBytes(w.spec.codeBits(), w.n);
  if (stored.offset < 0 || stored.offset > file.size() - bytes) {
    throw Error(ErrorCode::InvalidArgument, stored.file + ": Φ0 of " + names_[index] + " does not fit the file");
  }
  backend_->upload(w.phi0, file.data() + stored.offset, bytes);
}

void Engine::uploadRanges(size_t index, const StoredRanges& given) {
  LinearWeight& w = linears_[index].weight;
  const int64_t count = w.spec.scaleCount(w.m, w.n);
  const auto put = [&](const std::map<std::string, std::vector<float>>& values, const char* what, float* target) {
    const auto found = values.find(names_[index]);
    const int64_t stored = found == values.end() ? 0 : static_cast<int64_t>(found->second.size());
    if (stored != count) {
      throw Error(ErrorCode::InvalidArgument, names_[index] + ": " + std::to_string(stored) + " stored " + what + ", " +
                                                  std::to_string(count) + " needed");
    }
    backend_->upload(target, found->second.data(), count * 4);
  };
  put(given.scales, "scales", w.scale0);
  if (w.zero0) put(given.zeroPoints, "zero points", w.zero0);
  if (config_.shape.keepsScales(w.spec)) keepScalesUsable(w);
}

void Engine::keepScalesUsable(LinearWeight& weight) {
  const QuantSpec& spec = weight.spec;
  std::vector<float> scales(static_cast<size_t>(spec.scaleCount(weight.m, weight.n)));
  const auto bytes = static_cast<int64_t>(scales.size()) * 4;
  backend_->download(scales.data(), weight.scale0, bytes);
  for (float& scale : scales) {
    scale = scaleOnGrid(spec.scaleFormat, spec.storage == Storage::Integer ? scale : std::max(scale, kScaleFloor));
  }
  backend_->upload(weight.scale0, scales.data(), bytes);
}

void Engine::initializeRanges(LinearLayer& l) {
  const QuantSpec& spec = l.weight.spec;
  const int64_t count = spec.scaleCount(l.weight.m, l.weight.n);
  if (l.buffers.value.theta) {
    std::vector<float> theta(static_cast<size_t>(count));
    backend_->download(theta.data(), l.weight.scale0, count * 4);
    if (spec.scaleDomain == ScaleDomain::Log && spec.storage != Storage::Integer) {
      for (float& value : theta) value = std::log(value);
    }
    backend_->upload(l.buffers.value.theta, theta.data(), count * 4);
  }
  if (l.buffers.value.zero) backend_->copy(l.buffers.value.zero, l.weight.zero0, count * 4);
}

void Engine::snapScales(LinearWeight& weight) {
  std::vector<float> scales(static_cast<size_t>(weight.spec.scaleCount(weight.m, weight.n)));
  const auto bytes = static_cast<int64_t>(scales.size()) * 4;
  backend_->download(scales.data(), weight.scale0, bytes);
  for (float& scale : scales) scale = scaleOnGrid(weight.spec.scaleFormat, scale);
  backend_->upload(weight.scale0, scales.data(), bytes);
  backend_->encode(weight);
}

void Engine::initializeWeight(size_t index) {
  const LinearLayer& l = linears_[index];
  if (!l.buffers.value.weight) return;
  uploadMatrix(names_[index] + ".weight", {l.buffers.value.weight, DType::F32, l.weight.m, l.weight.n});
}

void Engine::initializeFloats() {
  for (const FloatParameter& p : floats_) uploadTensor(p.name + ".weight", {p.value, DType::F32, p.rows, p.cols});
  floatsAt_ = FloatsAt::Checkpoint;
}

void Engine::initializeLowRank(size_t index) {
  LinearLayer& l = linears_[index];
  const int64_t rank = l.weight.spec.rank;
  if (rank == 0) return;
  backend_->zero(l.buffers.value.a, l.weight.m * rank * 4);
  // Kaiming-uniform with a = √5 over fan-in n (lr-qat.md §1.5): U(−1/√n, 1/√n).
  const double bound = 1 / std::sqrt(static_cast<double>(l.weight.n));
  std::vector<float> b(static_cast<size_t>(rank * l.weight.n));
  for (size_t i = 0; i < b.size(); ++i) {
    b[i] = static_cast<float>((2 * uniformAt(config_.seed, index + 1, i) - 1) * bound);
  }
  backend_->upload(l.buffers.value.b, b.data(), static_cast<int64_t>(b.size()) * 4);
}

}  // namespace lrqat
