// GPTQ (Frantar et al., arXiv 2210.17323): a weight is rounded column by column, and the error of each column is taken
// up by the columns that are still to come, so that the output on the calibration inputs changes least.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/input_factor.h"
#include "core/types.h"

namespace lrqat {

/// Finds scale and zero point (unrounded; null: symmetric) of each of `rows` rows of `columns` weights.
using RangeOfRows = std::function<void(const float* weights, int64_t rows, int64_t columns, float* scale, float* zero)>;

/// One linear. Group scales are found anew when the first column of a group comes, on the weight as the columns before
/// have left it; in activation order, where groups are not met one after the other, they stay what they are, like those
/// of tensors and channels.
struct GptqWeight {
  HostTensor source;
  QuantSpec spec;
  float* scale = nullptr;    // [scaleCount] s0
  float* zero = nullptr;     // [scaleCount] unrounded zero points; null: symmetric
  float* target = nullptr;   // [m, n] out: what was rounded, in steps of the grid; before the clip
  float* rounded = nullptr;  // [m, n] out: V = Q − z
};

/// Memory that one linear after the other is rounded in.
class Gptq {
 public:
  /// For inputs of up to `widest` columns and groups of up to `widestGroup`.
  Gptq(int64_t widest, int64_t widestGroup, int threads);
  /// Bytes that the constructor takes.
  static int64_t bytes(int64_t widest, int64_t widestGroup);

  void round(const GptqWeight& weight, const InputFactor& factor, const RangeOfRows& rangeOfRows);

 private:
  void roundRows(const GptqWeight& weight, const InputFactor& factor, const RangeOfRows& rangeOfRows, int64_t firstRow,
                 int64_t rows);

  int threads_;
  std::vector<double> work_;    // [rows, n] the weight as the columns so far have left it
  std::vector<double> errors_;  // [rows, columns of a block]
  std::vector<float> group_;    // [rows, columns of a group]
  std::vector<float> ranges_;   // [2, rows]
};

}  // namespace lrqat
