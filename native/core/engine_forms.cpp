// What a forward reads, brought to the form at hand: scales and zero points of the linears, the tensors beside them,
// the static grids of activations.
#include "core/engine.h"
#include "core/error.h"

namespace lrqat {

Matrix Engine::floatTensor(const FloatParameter& parameter) const {
  const auto& layer = embeddings_.layers[static_cast<size_t>(parameter.layer)];
  const auto vector = [&](float* data) { return Matrix{data, DType::F32, parameter.rows, parameter.cols}; };
  switch (parameter.tensor) {
    case FloatTensor::Table:
      return embeddings_.table;
    case FloatTensor::InputNorm:
      return vector(layer.inputNorm);
    case FloatTensor::PostNorm:
      return vector(layer.postNorm);
    case FloatTensor::QueryNorm:
      return vector(layer.queryNorm);
    case FloatTensor::KeyNorm:
      return vector(layer.keyNorm);
    case FloatTensor::FinalNorm:
      return vector(embeddings_.finalNorm);
    case FloatTensor::Head:
      return embeddings_.head;
  }
  throw Error(ErrorCode::Internal, "a tensor of no known kind");
}

void Engine::prepareFloats(WeightForm form) {
  const FloatsAt wanted = form == WeightForm::Trained  ? FloatsAt::Trained
                          : form == WeightForm::Merged ? FloatsAt::Merged
                                                       : FloatsAt::Checkpoint;
  if (floatsAt_ == wanted) return;
  floatsAt_ = FloatsAt::Unknown;
  for (const FloatParameter& p : floats_) {
    const Matrix tensor = floatTensor(p);
    if (wanted == FloatsAt::Trained) {
      backend_->convert({p.value, DType::F32, p.rows, p.cols}, tensor);
    } else if (wanted == FloatsAt::Checkpoint) {
      uploadTensor(p.name + ".weight", tensor);
    } else {
      const auto found = mergedFloats_.find(p.name);
      if (found == mergedFloats_.end()) {
        throw Error(ErrorCode::InvalidArgument, "no trained numbers attached for " + p.name);
      }
      uploadRows(found->second, tensor);
    }
  }
  floatsAt_ = wanted;
}

void Engine::prepare(WeightForm form) {
  decoder_->forgetWeights();
  prepareFloats(form);
  if (form == WeightForm::RoundToNearest && started_) {
    throw Error(ErrorCode::InvalidArgument, "rounding to nearest is not what this engine starts from",
                "measure it on an engine that has loaded without another start");
  }
  std::vector<ScaleTask> tasks;
  for (size_t i = 0; i < linears_.size(); ++i) {
    LinearLayer& l = linears_[i];
    if (!l.quantized || form == WeightForm::Float) continue;
    const int64_t bytes = l.weight.spec.scaleCount(l.weight.m, l.weight.n) * 4;
    tasks.push_back({&l.weight, nullptr, l.buffers.scale, l.buffers.rowScale, nullptr, l.buffers.zero});
    switch (form) {
      case WeightForm::Trained:
        tasks.back().theta = l.buffers.value.theta;
        tasks.back().zeroTheta = l.trainedZeroPoints();
        break;
      case WeightForm::RoundToNearest:
        if (l.buffers.scale != l.weight.scale0) backend_->copy(l.buffers.scale, l.weight.scale0, bytes);
        tasks.back().zeroTheta = l.weight.zero0;
        break;
      case WeightForm::Merged: {
        const auto found = merged_.find(names_[i]);
        if (found == merged_.end()) {
          throw Error(ErrorCode::InvalidArgument, "no merged integers attached for " + names_[i]);
        }
        const auto* file = mergedFiles_.at(found->second.file).data();
        // Kept scales have been compared with those of the file.
        if (l.buffers.scale != l.weight.scale0) {
          backend_->upload(l.buffers.scale, file + found->second.scalesOffset, bytes);
        }
        if (l.buffers.zero) {
          const auto* codes = reinterpret_cast<const uint8_t*>(file + found->second.zeroPointsOffset);
          const std::vector<float> zeroPoints(codes, codes + bytes / 4);
          backend_->upload(l.buffers.zero, zeroPoints.data(), bytes);
        }
        break;
      }
      case WeightForm::Float:
        break;
    }
  }
  backend_->materializeScales(tasks);
}

void Engine::prepareGrids(WeightForm form) {
  if (ranges_) ranges_->prepare(form);
}

void Engine::calibrateActivations(const TokenBatch& sequences) {
  requireLoaded();
  if (!ranges_) throw Error(ErrorCode::InvalidArgument, "the activations of this engine have no static ranges");
  checkBatch(sequences);
  prepare(WeightForm::Trained);
  ranges_->beginCalibration();
  for (int64_t first = 0; first < sequences.sequences; ++first) {
    decoder_->calibrate(microBatch(sequences, first, 1));
  }
  ranges_->endCalibration();
}

std::vector<float> Engine::activationRanges() const {
  if (!ranges_) return {};
  if (!ranges_->known()) throw Error(ErrorCode::InvalidArgument, "the ranges of the activations are not known yet");
  return ranges_->values();
}

void Engine::setActivationRanges(std::span<const float> values) {
  requireLoaded();
  if (!ranges_) throw Error(ErrorCode::InvalidArgument, "the activations of this engine have no static ranges");
  ranges_->set(values);
}

}  // namespace lrqat
