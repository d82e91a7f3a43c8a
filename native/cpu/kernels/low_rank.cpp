#include "cpu/kernels/low_rank.h"

#include "cpu/kernels/lanes16.h"

namespace lrqat::cpu::LRQAT_ISA {

namespace {

/// kEntries sums at a time, to hide the latency of the additions; each sum has its own fixed order.
template <int kEntries>
inline void products(const float* y, const float* x, const int32_t* columns, const int32_t* index, int64_t length,
                     float* d) {
  const float* rows[kEntries];
  F16 total[kEntries];
  for (int e = 0; e < kEntries; ++e) {
    rows[e] = x + static_cast<int64_t>(index[columns[e]]) * kTokenStride;
    total[e] = fill(0.0F);
  }
  for (int64_t t = 0; t < length; t += kLanes) {
    const F16 value = load(y + t);
    for (int e = 0; e < kEntries; ++e) total[e] = multiplyAdd(value, load(rows[e] + t), total[e]);
  }
  for (int e = 0; e < kEntries; ++e) d[e] += sum(total[e]);
}

void sampledProducts(const float* y, const float* x, const int32_t* columns, const int32_t* index, int64_t count,
                     int64_t length, float* d) {
  int64_t e = 0;
  for (; e + 4 <= count; e += 4) products<4>(y, x, columns + e, index, length, d + e);
  for (; e < count; ++e) products<1>(y, x, columns + e, index, length, d + e);
}

void addScaled(float* out, const float* x, float factor, int64_t count) {
  const F16 f = fill(factor);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(out + i, multiplyAdd(f, load(x + i), load(out + i)));
  if (i < count) {
    storePart(out + i, multiplyAdd(f, loadPart(x + i, count - i), loadPart(out + i, count - i)), count - i);
  }
}

void scaledFloat(const float* in, float factor, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = in[i] * factor;
}

void scaledBf16(const float* in, float factor, int64_t count, uint16_t* out) {
  const F16 f = fill(factor);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) storeBf16(out + i, load(in + i) * f);
  if (i < count) {
    uint16_t part[kLanes];
    storeBf16(part, loadPart(in + i, count - i) * f);
    std::memcpy(out + i, part, static_cast<size_t>(count - i) * 2);
  }
}

}  // namespace

extern const LowRankKernels lowRankKernels = {
    .sampledProducts = sampledProducts,
    .addScaled = addScaled,
    .scaledFloat = scaledFloat,
    .scaledBf16 = scaledBf16,
};

}  // namespace lrqat::cpu::LRQAT_ISA
