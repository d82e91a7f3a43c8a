// The integers that a row may hold, part by part: one grid a row, but for the zero points of groups.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/grid.h"
#include "core/types.h"
#include "cpu/kernels/weights.h"

namespace lrqat::cpu {

class RowGrids {
 public:
  /// `zero`: zero points of the form at hand, rounded or not; not looked at where the grid is symmetric.
  RowGrids(const LinearWeight& weight, const float* zero) : spec_(weight.spec), n_(weight.n), zero_(zero) {}

  /// body(offset, count, low, high): columns firstColumn + offset … of `row` hold the integers low … high (asymmetric:
  /// Q − z). Covers [firstColumn, firstColumn + columns) in order.
  template <typename Body>
  void forParts(int64_t row, int64_t firstColumn, int columns, Body body) const {
    if (spec_.symmetric) {
      body(0, columns, static_cast<float>(spec_.qmin()), static_cast<float>(spec_.qmax()));
      return;
    }
    if (spec_.granularity != Granularity::Group) {
      part(spec_.granularity == Granularity::Tensor ? 0 : row, 0, columns, body);
      return;
    }
    for (int offset = 0; offset < columns;) {
      const int64_t group = (firstColumn + offset) / spec_.groupSize;
      const auto end = static_cast<int>(std::min<int64_t>(columns, (group + 1) * spec_.groupSize - firstColumn));
      part(row * (n_ / spec_.groupSize) + group, offset, end - offset, body);
      offset = end;
    }
  }

  /// As WeightKernels::outsideMasks for a chunk of one row.
  int64_t outsideMasks(const WeightKernels& kernels, const float* rounded, int64_t row, int64_t firstColumn,
                       int columns, uint16_t* masks) const {
    int64_t found = 0;
    std::fill_n(masks, (columns + 15) / 16, uint16_t{0});
    forParts(row, firstColumn, columns, [&](int offset, int count, float low, float high) {
      if (offset % 16 == 0) {
        found += kernels.outsideMasks(rounded + offset, count, low, high, masks + offset / 16);
        return;
      }
      uint16_t part[kChunkColumns / 16];
      found += kernels.outsideMasks(rounded + offset, count, low, high, part);
      const int shift = offset % 16;
      for (int word = 0; word * 16 < count; ++word) {
        uint16_t* target = masks + offset / 16 + word;
        const uint32_t bits = static_cast<uint32_t>(part[word]) << shift;
        target[0] = static_cast<uint16_t>(target[0] | (bits & 0xffffU));
        if (bits >> 16) target[1] = static_cast<uint16_t>(target[1] | (bits >> 16));
      }
    });
    return found;
  }

  /// In place V = clip(R).
  void clip(const WeightKernels& kernels, float* rounded, int64_t row, int64_t firstColumn, int columns) const {
    forParts(row, firstColumn, columns, [&](int offset, int count, float low, float high) {
      kernels.roundInside(rounded + offset, count, low, high);
    });
  }

  /// In place from V to codes that count from the lower end of the grid.
  void fromLowerEnd(float* values, int64_t row, int64_t firstColumn, int columns, float steps) const {
    forParts(row, firstColumn, columns, [&](int offset, int count, float low, float) {
      for (int j = offset; j < offset + count; ++j) values[j] -= low * steps;
    });
  }

 private:
  template <typename Body>
  void part(int64_t index, int offset, int count, Body& body) const {
    // 0 − z, so that the end of a grid from 0 on is no negative zero.
    const float low = 0.0F - zeroPoint(zero_[index], spec_.levels());
    body(offset, count, low, low + static_cast<float>(spec_.levels()));
  }

  const QuantSpec& spec_;
  int64_t n_;
  const float* zero_;
};

}  // namespace lrqat::cpu
