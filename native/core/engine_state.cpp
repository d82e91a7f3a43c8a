// What the engine holds, by name and as numbers: states of the optimizer, ranges, integers, merged weights.
#include <algorithm>
#include <cstring>

#include "core/engine.h"
#include "core/error.h"

namespace lrqat {

size_t Engine::linearIndex(const std::string& name) const {
  const auto found = std::find(names_.begin(), names_.end(), name);
  const auto index = static_cast<size_t>(found - names_.begin());
  if (index >= linears_.size() || !linears_[index].quantized) {
    throw Error(ErrorCode::InvalidArgument, name + " is not a quantized linear of this model");
  }
  return index;
}

size_t Engine::parameterIndex(const std::string& name) const {
  const auto found = std::ranges::find(floats_, name, &FloatParameter::name);
  if (found == floats_.end()) {
    return grids_.value.scale && name == names_.back() ? names_.size() - 1 : linearIndex(name);
  }
  return linears_.size() + static_cast<size_t>(found - floats_.begin());
}

std::span<float> Engine::state(size_t index, ParameterKind kind, StateKind which) const {
  if (index == linears_.size() + floats_.size()) {
    const ActivationGridBuffers::Numbers& numbers = which == StateKind::Value     ? grids_.value
                                                    : which == StateKind::Moment1 ? grids_.moment1
                                                    : which == StateKind::Moment2 ? grids_.moment2
                                                                                  : grids_.gradient;
    float* const values = kind == ParameterKind::Scale       ? numbers.scale
                          : kind == ParameterKind::ZeroPoint ? numbers.zero
                                                             : nullptr;
    if (!values) throw Error(ErrorCode::InvalidArgument, "activations have no such state in this engine");
    return {values, static_cast<size_t>(ranges_->count())};
  }
  if (index >= linears_.size()) {
    const FloatParameter& p = floats_[index - linears_.size()];
    float* const data = which == StateKind::Value     ? p.value
                        : which == StateKind::Moment1 ? p.moment1
                        : which == StateKind::Moment2 ? p.moment2
                                                      : p.gradient;
    if (!data || kind != ParameterKind::Weight) {
      throw Error(ErrorCode::InvalidArgument, p.name + " has no such state in this engine");
    }
    return {data, static_cast<size_t>(p.count())};
  }
  const LinearLayer& l = linears_[index];
  const LinearBuffers& buffers = l.buffers;
  const ParameterBuffers& p = which == StateKind::Value     ? buffers.value
                              : which == StateKind::Moment1 ? buffers.moment1
                              : which == StateKind::Moment2 ? buffers.moment2
                                                            : buffers.gradient;
  float* data = kind == ParameterKind::A        ? p.a
                : kind == ParameterKind::B      ? p.b
                : kind == ParameterKind::Scale  ? p.theta
                : kind == ParameterKind::Weight ? p.weight
                                                : p.zero;
  const int64_t rank = l.weight.spec.rank;
  const int64_t count = kind == ParameterKind::A        ? l.weight.m * rank
                        : kind == ParameterKind::B      ? rank * l.weight.n
                        : kind == ParameterKind::Weight ? l.weight.m * l.weight.n
                                                        : l.weight.spec.scaleCount(l.weight.m, l.weight.n);
  if (!data) throw Error(ErrorCode::InvalidArgument, names_[index] + " has no such state in this engine");
  return {data, static_cast<size_t>(count)};
}

std::vector<float> Engine::readState(size_t index, ParameterKind kind, StateKind which) const {
  const auto values = state(index, kind, which);
  std::vector<float> out(values.size());
  backend_->download(out.data(), values.data(), static_cast<int64_t>(values.size_bytes()));
  return out;
}

void Engine::writeState(size_t index, ParameterKind kind, StateKind which, std::span<const float> values) {
  const auto target = state(index, kind, which);
  if (target.size() != values.size()) {
    throw Error(ErrorCode::InvalidArgument, names_[index] + ": " + std::to_string(values.size()) + " values given, " +
                                                std::to_string(target.size()) + " needed");
  }
  backend_->upload(target.data(), values.data(), static_cast<int64_t>(values.size_bytes()));
  if (index >= linears_.size()) floatsAt_ = FloatsAt::Unknown;
}

std::vector<float> Engine::initialScales(size_t index) const {
  const LinearWeight& w = linears_[index].weight;
  std::vector<float> out(static_cast<size_t>(w.spec.scaleCount(w.m, w.n)));
  backend_->download(out.data(), w.scale0, static_cast<int64_t>(out.size()) * 4);
  return out;
}

std::vector<float> Engine::initialZeroPoints(size_t index) const {
  const LinearWeight& w = linears_[index].weight;
  std::vector<float> out(w.zero0 ? static_cast<size_t>(w.spec.scaleCount(w.m, w.n)) : 0);
  if (w.zero0) backend_->download(out.data(), w.zero0, static_cast<int64_t>(out.size()) * 4);
  return out;
}

std::vector<uint8_t> Engine::zeroPoints(size_t index) {
  requireLoaded();
  LinearLayer& l = linears_[index];
  if (!l.buffers.zero) return {};
  materializeScales(l);
  std::vector<float> values(static_cast<size_t>(l.weight.spec.scaleCount(l.weight.m, l.weight.n)));
  backend_->download(values.data(), l.buffers.zero, static_cast<int64_t>(values.size()) * 4);
  return {values.begin(), values.end()};
}

void Engine::materializeScales(const LinearLayer& l) {
  const ScaleTask task{&l.weight, l.buffers.value.theta, l.buffers.scale,
                       nullptr,   l.trainedZeroPoints(), l.buffers.zero};
  backend_->materializeScales(std::span(&task, 1));
}

std::vector<float> Engine::scales(size_t index) {
  requireLoaded();
  LinearLayer& l = linears_[index];
  materializeScales(l);
  std::vector<float> out(static_cast<size_t>(l.weight.spec.scaleCount(l.weight.m, l.weight.n)));
  backend_->download(out.data(), l.buffers.scale, static_cast<int64_t>(out.size()) * 4);
  return out;
}

std::vector<std::byte> Engine::phi0(size_t index) const {
  requireLoaded();
  const LinearWeight& w = linears_[index].weight;
  std::vector<std::byte> out(static_cast<size_t>(w.m * packedRowBytes(w.spec.codeBits(), w.n)));
  if (!out.empty()) backend_->download(out.data(), w.phi0, static_cast<int64_t>(out.size()));
  return out;
}

std::vector<std::byte> Engine::merge(size_t index) {
  requireLoaded();
  LinearLayer& l = linears_[index];
  materializeScales(l);
  std::vector<std::byte> codes(static_cast<size_t>(l.weight.m * packedRowBytes(l.weight.spec.bits, l.weight.n)));
  backend_->merge(l.weight, l.lowRank(), codes.data());
  return codes;
}

void Engine::attachMerged(const std::map<std::string, MergedSource>& sources,
                          const std::map<std::string, StoredTensor>& floats) {
  const auto mapped = [&](const std::string& file) -> const MappedFile& {
    const auto found = mergedFiles_.find(file);
    return found == mergedFiles_.end() ? mergedFiles_.emplace(file, MappedFile(file)).first->second : found->second;
  };
  for (const auto& [name, stored] : floats) {
    const size_t index = parameterIndex(name);
    if (index < linears_.size())
      throw Error(ErrorCode::InvalidArgument, name + " is a linear, not a tensor beside them");
    const FloatParameter& p = floats_[index - linears_.size()];
    const MappedFile& file = mapped(stored.file);
    if (stored.offset < 0 || stored.offset > file.size() - p.count() * 4) {
      throw Error(ErrorCode::InputFile, stored.file + ": the numbers of " + name + " do not fit the file");
    }
    mergedFloats_[name] = {file.data() + stored.offset, DType::F32, p.rows, p.cols};
    if (floatsAt_ == FloatsAt::Merged) floatsAt_ = FloatsAt::Unknown;
  }
  for (const auto& [linear, merged] : sources) {
    LinearWeight& w = linears_[linearIndex(linear)].weight;
    const MappedFile& file = mapped(merged.file);
    const int64_t codeBytes = w.m * packedRowBytes(w.spec.bits, w.n);
    const int64_t scaleBytes = w.spec.scaleCount(w.m, w.n) * 4;
    const int64_t size = file.size();
    if (merged.codesOffset < 0 || merged.codesOffset > size - codeBytes || merged.scalesOffset < 0 ||
        merged.scalesOffset > size - scaleBytes || merged.zeroPointsOffset < 0 ||
        (!w.spec.symmetric && (merged.zeroPointsOffset == 0 || merged.zeroPointsOffset > size - scaleBytes / 4))) {
      throw Error(ErrorCode::InputFile, merged.file + ": the merged integers of " + linear + " do not fit the file");
    }
    if (config_.shape.keepsScales(w.spec)) {
      requireLoaded();
      const std::vector<float> kept = initialScales(linearIndex(linear));
      if (std::memcmp(kept.data(), file.data() + merged.scalesOffset, static_cast<size_t>(scaleBytes)) != 0) {
        throw Error(ErrorCode::InputFile, merged.file + ": the scales of " + linear +
                                              " are not those that this engine was loaded with and does not train");
      }
    }
    w.merged = file.data() + merged.codesOffset;
    merged_[linear] = merged;
  }
}

std::vector<LayerStatistics> Engine::layerStatistics() {
  requireLoaded();
  prepare(WeightForm::Trained);
  std::vector<LayerStatistics> out;
  for (size_t i = 0; i < linears_.size(); ++i) {
    const LinearLayer& l = linears_[i];
    if (!l.quantized) continue;
    out.push_back({names_[i], backend_->weightStatistics(l.weight, l.lowRank()), l.weight.m * l.weight.n,
                   !l.weight.spec.symmetric});
  }
  return out;
}

}  // namespace lrqat
