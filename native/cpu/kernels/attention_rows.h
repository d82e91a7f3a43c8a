// What the attention kernels of all instruction sets share. For kernel files only.
#pragma once

#include "cpu/kernels/attention.h"
#include "cpu/kernels/microkernel.h"

namespace lrqat::cpu::LRQAT_ISA {
namespace {

/// Hands out consecutive, 64-byte aligned parts of a buffer; of none at all when only their size is wanted.
class Parts {
 public:
  explicit Parts(float* memory) : memory_(memory) {}
  float* take(int64_t floats) {
    float* part = memory_ ? memory_ + used_ : nullptr;
    used_ += roundUp(floats, 16);
    return part;
  }
  int64_t used() const { return used_; }

 private:
  float* memory_;
  int64_t used_ = 0;
};

/// Keys that some of the queries first … last do not see: from … before to. None: from = to.
struct HiddenKeys {
  int64_t from, to;
  bool overlap(int64_t first, int64_t count) const { return first < to && from < first + count; }
};

inline HiddenKeys hiddenKeys(const AttentionInput& input, int64_t first, int64_t last) {
  HiddenKeys keys{input.length, 0};
  if (!input.hiddenFrom) return {0, 0};
  for (int64_t query = first; query <= last; ++query) {
    if (input.hiddenFrom[query] >= input.hiddenTo[query]) continue;
    if (input.hiddenFrom[query] < keys.from) keys.from = input.hiddenFrom[query];
    if (input.hiddenTo[query] > keys.to) keys.to = input.hiddenTo[query];
  }
  return keys.from < keys.to ? keys : HiddenKeys{0, 0};
}

/// First element of a head in rows of heads.
template <typename T>
const T* column(const void* matrix, int64_t head, int64_t headDim) {
  return static_cast<const T*>(matrix) + head * headDim;
}

/// dK and dV of a key-value head: the partial sums of its items, added in order.
template <typename T>
void sumPartsOf(const AttentionInput& input, int64_t kvHead, int64_t parts, const float* partial, T* dK, T* dV) {
  const int64_t d = input.headDim;
  const int64_t size = input.length * d;
  for (int which = 0; which < 2; ++which) {
    T* out = (which == 0 ? dK : dV) + kvHead * d;
    for (int64_t row = 0; row < input.length; ++row) {
      forEachVector(d, [&](int64_t c, auto part) {
        Vec total = {};
        for (int64_t i = 0; i < parts; ++i) total += load(partial + (2 * i + which) * size + row * d + c, part);
        store(out + row * input.kvHeads * d + c, total, part);
      });
    }
  }
}

}  // namespace
}  // namespace lrqat::cpu::LRQAT_ISA
