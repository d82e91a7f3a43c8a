#include "core/activation_ranges.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/error.h"
#include "core/grid.h"

namespace lrqat {

namespace {

float highestCode(ActivationRange range, int bits, bool symmetric) {
  const int levels = (1 << bits) - 1;
  return static_cast<float>(symmetric && range.low < 0 ? levels / 2 : levels);
}

}  // namespace

ActivationRange runningRange(ActivationRange running, ActivationRange batch) {
  return {0.1F * batch.low + 0.9F * running.low, 0.1F * batch.high + 0.9F * running.high};
}

GridStart gridStart(ActivationRange range, int bits, bool symmetric) {
  if (symmetric) return {symmetricMinMax(range.low, range.high, highestCode(range, bits, symmetric)), 0};
  const AsymmetricRange found = asymmetricMinMax(range.low, range.high, bits);
  return {found.scale, found.zeroPointUnrounded};
}

StaticGrid staticGrid(GridStart numbers, ActivationRange range, int bits, bool symmetric) {
  const float high = highestCode(range, bits, symmetric);
  const float scale = std::max(numbers.scale, kScaleFloor);
  if (symmetric) return {scale, 0, range.low < 0 ? -high - 1 : 0, high};
  return {scale, zeroPoint(numbers.zero, (1 << bits) - 1), 0, high};
}

float gridGradientFactor(ActivationRange range, int bits, bool symmetric, int64_t numbers) {
  const auto highest = static_cast<double>(highestCode(range, bits, symmetric));
  return static_cast<float>(1 / std::sqrt(highest * static_cast<double>(numbers)));
}

ActivationRanges::ActivationRanges(const EngineShape& shape, Backend& backend, const ActivationGridBuffers& buffers)
    : shape_(shape), backend_(backend), buffers_(buffers) {
  for (size_t i = 0; i < activationSiteCount; ++i) {
    if (shape.activations.bits[i] > 0) sites_.push_back(static_cast<ActivationSite>(i));
  }
  ranges_.resize(static_cast<size_t>(shape.model.layers) * sites_.size());
}

size_t ActivationRanges::index(int64_t layer, ActivationSite site) const {
  const auto place = std::ranges::find(sites_, site) - sites_.begin();
  return static_cast<size_t>(layer) * sites_.size() + static_cast<size_t>(place);
}

int ActivationRanges::bitsAt(size_t index) const {
  return shape_.activations.bitsOf(sites_[index % sites_.size()]);
}

GridStart ActivationRanges::startAt(size_t index) const {
  return gridStart(ranges_[index], bitsAt(index), shape_.activations.symmetric);
}

void ActivationRanges::beginCalibration() {
  known_ = false;
  first_ = true;
  onDevice_ = OnDevice::Nothing;
}

void ActivationRanges::observe(int64_t layer, ActivationSite site, Matrix x) {
  const size_t at = index(layer, site);
  const ActivationRange batch = backend_.activationRange(x);
  if (!std::isfinite(batch.low) || !std::isfinite(batch.high)) {
    throw Error(ErrorCode::NotFinite,
                "an activation of block " + std::to_string(layer) + " is not finite while ranges are calibrated");
  }
  ranges_[at] = first_ ? batch : runningRange(ranges_[at], batch);
  const StaticGrid grid = staticGrid(startAt(at), ranges_[at], bitsAt(at), shape_.activations.symmetric);
  backend_.upload(buffers_.grids + at, &grid, sizeof grid);
}

void ActivationRanges::endCalibration() {
  known_ = true;
  onDevice_ = OnDevice::Nothing;
  if (!buffers_.value.scale) return;
  std::vector<float> scales;
  std::vector<float> zeros;
  for (size_t i = 0; i < ranges_.size(); ++i) {
    const GridStart start = startAt(i);
    scales.push_back(start.scale);
    zeros.push_back(start.zero);
  }
  backend_.upload(buffers_.value.scale, scales.data(), count() * 4);
  if (buffers_.value.zero) backend_.upload(buffers_.value.zero, zeros.data(), count() * 4);
}

std::vector<float> ActivationRanges::values() const {
  std::vector<float> out;
  for (const ActivationRange& range : ranges_) {
    out.push_back(range.low);
    out.push_back(range.high);
  }
  return out;
}

void ActivationRanges::set(std::span<const float> values) {
  if (values.size() != ranges_.size() * 2) {
    throw Error(ErrorCode::InvalidArgument, std::to_string(values.size()) + " numbers of activation ranges given, " +
                                                std::to_string(ranges_.size() * 2) + " needed");
  }
  for (size_t i = 0; i < ranges_.size(); ++i) {
    const ActivationRange range{values[2 * i], values[2 * i + 1]};
    if (!std::isfinite(range.low) || !std::isfinite(range.high) || range.low > range.high) {
      throw Error(ErrorCode::InvalidArgument, "activation range " + std::to_string(i) + " is none");
    }
    ranges_[i] = range;
  }
  endCalibration();
}

void ActivationRanges::upload(std::span<const GridStart> numbers) {
  std::vector<StaticGrid> grids;
  for (size_t i = 0; i < ranges_.size(); ++i) {
    grids.push_back(staticGrid(numbers[i], ranges_[i], bitsAt(i), shape_.activations.symmetric));
  }
  backend_.upload(buffers_.grids, grids.data(), count() * static_cast<int64_t>(sizeof(StaticGrid)));
}

std::vector<float> ActivationRanges::download(const float* values) const {
  std::vector<float> out(values ? ranges_.size() : 0);
  if (values) backend_.download(out.data(), values, count() * 4);
  return out;
}

void ActivationRanges::prepare(WeightForm form) {
  if (form == WeightForm::Float) return;
  if (!known_) {
    throw Error(ErrorCode::InvalidArgument, "the ranges of the activations are not known yet",
                "calibrate them, or set those of an earlier calibration");
  }
  const bool ofRanges = form == WeightForm::RoundToNearest || !buffers_.value.scale;
  if (ofRanges && onDevice_ == OnDevice::OfRanges) return;
  const std::vector<float> scales = ofRanges ? std::vector<float>{} : download(buffers_.value.scale);
  const std::vector<float> zeros = ofRanges ? std::vector<float>{} : download(buffers_.value.zero);
  std::vector<GridStart> numbers(ranges_.size());
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (ofRanges) {
      numbers[i] = startAt(i);
    } else {
      numbers[i] = {scales[i], zeros.empty() ? 0 : zeros[i]};
    }
  }
  upload(numbers);
  onDevice_ = ofRanges ? OnDevice::OfRanges : OnDevice::Trained;
}

ActivationGrid ActivationRanges::grid(int64_t layer, ActivationSite site) const {
  return {shape_.activations.bitsOf(site), false, shape_.activationGridWidth(site),
          buffers_.grids + index(layer, site)};
}

float* ActivationRanges::scaleGradient(int64_t layer, ActivationSite site) const {
  return buffers_.gradient.scale + index(layer, site);
}

float* ActivationRanges::zeroGradient(int64_t layer, ActivationSite site) const {
  return buffers_.gradient.zero ? buffers_.gradient.zero + index(layer, site) : nullptr;
}

void ActivationRanges::finishGradients(int64_t tokens) {
  if (!buffers_.gradient.scale) return;
  const std::vector<float> scales = download(buffers_.value.scale);
  const std::vector<float> zeros = download(buffers_.value.zero);
  std::vector<float> scaleGradients = download(buffers_.gradient.scale);
  std::vector<float> zeroGradients = download(buffers_.gradient.zero);
  for (size_t i = 0; i < ranges_.size(); ++i) {
    const int64_t numbers = tokens * shape_.activationCols(sites_[i % sites_.size()]);
    const bool scaled = shape_.activations.gradientScaling;
    const float factor =
        scaled ? gridGradientFactor(ranges_[i], bitsAt(i), shape_.activations.symmetric, numbers) : 1.0F;
    scaleGradients[i] = scales[i] < kScaleFloor ? 0.0F : scaleGradients[i] * factor;
    if (zeros.empty()) continue;
    zeroGradients[i] = zeroPointPasses(zeros[i], (1 << bitsAt(i)) - 1) ? zeroGradients[i] * factor : 0.0F;
  }
  backend_.upload(buffers_.gradient.scale, scaleGradients.data(), count() * 4);
  if (!zeros.empty()) backend_.upload(buffers_.gradient.zero, zeroGradients.data(), count() * 4);
}

}  // namespace lrqat
