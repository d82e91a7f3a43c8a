// Static grids of activations (lr-qat.md §1.6): one range a tensor, the running mean of its smallest and largest number
// over calibration sequences, and the grids that follow from it or have been trained from there.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/backend.h"
#include "core/memory_plan.h"

namespace lrqat {

/// 0.1·batch + 0.9·running.
ActivationRange runningRange(ActivationRange running, ActivationRange batch);

/// What a range gives: the scale, and for asymmetric grids the zero point, not yet rounded.
struct GridStart {
  float scale = 1;
  float zero = 0;
};
GridStart gridStart(ActivationRange range, int bits, bool symmetric);

/// The grid of a scale (floored) and an unrounded zero point. A symmetric grid whose range has nothing below zero holds
/// the codes 0 … 2^bits − 1, another one −2^(bits−1) … 2^(bits−1) − 1.
StaticGrid staticGrid(GridStart numbers, ActivationRange range, int bits, bool symmetric);

/// 1/√(qmax·N) for a tensor of so many numbers, as for trained weights.
float gridGradientFactor(ActivationRange range, int bits, bool symmetric, int64_t numbers);

/// Of all quantized tensors, [layers, sites that are quantized] in the order of the forward.
class ActivationRanges {
 public:
  /// `shape` with static ranges.
  ActivationRanges(const EngineShape& shape, Backend& backend, const ActivationGridBuffers& buffers);

  int64_t count() const { return static_cast<int64_t>(ranges_.size()); }
  bool known() const { return known_; }

  /// Forgets what is known; then every tensor of every sequence is observed once.
  void beginCalibration();
  /// Includes x in the running range of its tensor and puts that range's grid on the device. Throws NotFinite.
  void observe(int64_t layer, ActivationSite site, Matrix x);
  void endSequence() { first_ = false; }
  /// The trained numbers start at those of the ranges.
  void endCalibration();
  void forget() { known_ = false; }

  /// [count, 2]: smallest, largest.
  std::vector<float> values() const;
  /// Throws InvalidArgument unless they are the ranges of so many tensors.
  void set(std::span<const float> values);

  /// Puts the grids of a form on the device: round-to-nearest has those of the ranges, the others trained ones.
  void prepare(WeightForm form);
  ActivationGrid grid(int64_t layer, ActivationSite site) const;
  float* scaleGradient(int64_t layer, ActivationSite site) const;
  float* zeroGradient(int64_t layer, ActivationSite site) const;  // null: not trained
  /// After the micro-batches of a step of so many tokens: what the floor of scales and the rounding of zero points let
  /// through, scaled where that is wanted.
  void finishGradients(int64_t tokens);

 private:
  enum class OnDevice { Nothing, OfRanges, Trained };

  size_t index(int64_t layer, ActivationSite site) const;
  int bitsAt(size_t index) const;
  GridStart startAt(size_t index) const;
  void upload(std::span<const GridStart> numbers);
  std::vector<float> download(const float* values) const;

  const EngineShape& shape_;
  Backend& backend_;
  ActivationGridBuffers buffers_;
  std::vector<ActivationSite> sites_;
  std::vector<ActivationRange> ranges_;
  bool known_ = false;
  bool first_ = true;
  OnDevice onDevice_ = OnDevice::Nothing;
};

}  // namespace lrqat
