// Vector access to raw outputs; for kernel files only.
#pragma once

#include "cpu/kernels/raw_row.h"
#include "cpu/kernels/vector_math.h"

namespace lrqat::cpu::LRQAT_ISA {
namespace {

template <typename Extent>
inline Vec scaleAt(const RawColumns& columns, int64_t i, Extent part) {
  return columns.scale ? load(columns.scale + i, part) : broadcast(1);
}

/// s∘P + bias.
template <typename Extent>
inline Vec valueOf(Vec p, const RawColumns& columns, int64_t i, Extent part) {
  const Vec scaled = columns.scale ? p * load(columns.scale + i, part) : p;
  return columns.bias ? scaled + load(columns.bias + i, part) : scaled;
}

/// sums[i…] += value, where wanted.
template <typename Extent>
inline void addTo(float* sums, int64_t i, Vec value, Extent part) {
  if (sums) store(sums + i, load(sums + i, part) + value, part);
}

}  // namespace
}  // namespace lrqat::cpu::LRQAT_ISA
