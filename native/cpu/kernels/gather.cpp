#include "cpu/kernels/gather.h"

#include "cpu/kernels/microkernel.h"

namespace lrqat::cpu::LRQAT_ISA {

namespace {

/// So many wanted columns of a vector pay for its transpose.
constexpr int64_t fewestWanted = 3;

template <typename T>
void gather(const T* in, int64_t stride, int64_t tokens, const int32_t* columns, int64_t count, float* out) {
  const auto place = [&](int64_t c) { return out + c * kTokenStride; };
  const int64_t whole = tokens / lanes * lanes;
  for (int64_t first = 0; first < whole; first += lanes) {
    const T* rows = in + first * stride;
    for (int64_t c = 0; c < count;) {
      const int64_t base = columns[c];
      int64_t wanted = 1;
      while (c + wanted < count && columns[c + wanted] < base + lanes) ++wanted;
      if (wanted >= fewestWanted && base + lanes <= stride) {
        Vec v[lanes];
        for (int64_t t = 0; t < lanes; ++t) v[t] = load(rows + t * stride + base);
        transpose(v);
        for (int64_t i = 0; i < wanted; ++i) store(place(c + i) + first, v[columns[c + i] - base]);
      } else {
        for (int64_t i = 0; i < wanted; ++i) {
          for (int64_t t = 0; t < lanes; ++t) {
            place(c + i)[first + t] = loadPart(rows + t * stride + columns[c + i], 1)[0];
          }
        }
      }
      c += wanted;
    }
  }
  const int64_t end = (tokens + 15) / 16 * 16;
  for (int64_t c = 0; c < count; ++c) {
    for (int64_t t = whole; t < end; ++t) {
      place(c)[t] = t < tokens ? loadPart(in + t * stride + columns[c], 1)[0] : 0.0F;
    }
  }
}

void gatherFloat(const float* in, int64_t stride, int64_t tokens, const int32_t* columns, int64_t count, float* out) {
  gather(in, stride, tokens, columns, count, out);
}
void gatherBf16(const uint16_t* in, int64_t stride, int64_t tokens, const int32_t* columns, int64_t count, float* out) {
  gather(reinterpret_cast<const bf16*>(in), stride, tokens, columns, count, out);
}

}  // namespace

extern const GatherKernels gatherKernels = {gatherFloat, gatherBf16};

}  // namespace lrqat::cpu::LRQAT_ISA
