#include "core/rope.h"

#include <cmath>
#include <numbers>

namespace lrqat {

static double scaledFrequency(double frequency, const RopeScaling& scaling) {
  switch (scaling.kind) {
    case RopeKind::None:
      return frequency;
    case RopeKind::Linear:
      return frequency / scaling.factor;
    case RopeKind::Llama3:
      break;
  }
  const double wavelength = 2 * std::numbers::pi / frequency;
  const double longest = scaling.originalMaxPositions / scaling.lowFrequencyFactor;
  const double shortest = scaling.originalMaxPositions / scaling.highFrequencyFactor;
  if (wavelength > longest) return frequency / scaling.factor;
  if (wavelength < shortest) return frequency;
  const double smooth = (scaling.originalMaxPositions / wavelength - scaling.lowFrequencyFactor) /
                        (scaling.highFrequencyFactor - scaling.lowFrequencyFactor);
  return (1 - smooth) * frequency / scaling.factor + smooth * frequency;
}

RopeTable ropeTable(const ModelShape& shape, int64_t length) {
  const int64_t half = shape.headDim / 2;
  RopeTable table;
  table.cosine.resize(static_cast<size_t>(length * half));
  table.sine.resize(table.cosine.size());
  for (int64_t i = 0; i < half; ++i) {
    const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(shape.headDim);
    const double frequency = scaledFrequency(std::pow(shape.ropeTheta, exponent), shape.ropeScaling);
    for (int64_t position = 0; position < length; ++position) {
      const double angle = static_cast<double>(position) * frequency;
      table.cosine[static_cast<size_t>(position * half + i)] = static_cast<float>(std::cos(angle));
      table.sine[static_cast<size_t>(position * half + i)] = static_cast<float>(std::sin(angle));
    }
  }
  return table;
}

}  // namespace lrqat
