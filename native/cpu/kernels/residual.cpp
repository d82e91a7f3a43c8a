#include "cpu/kernels/residual.h"

#include "cpu/kernels/raw_values.h"

namespace lrqat::cpu::LRQAT_ISA {

namespace {

template <typename T>
void forwardOf(const float* x, const T* p, const RawColumns& columns, int64_t n, float* out) {
  forEachVector(n, [&](int64_t i, auto part) {
    store(out + i, load(x + i, part) + valueOf(load(p + i, part), columns, i, part), part);
  });
}

template <typename T>
void backwardOf(const float* dY, const T* p, const RawColumns& columns, int64_t rows, int64_t n, T* dYs, float* sums) {
  for (int64_t row = 0; row < rows; row += kResidualRows) {
    const int64_t end = rows - row < kResidualRows ? rows : row + kResidualRows;
    forEachVector(n, [&](int64_t i, auto part) {
      const Vec scale = scaleAt(columns, i, part);
      Vec total = sums ? load(sums + i, part) : Vec{};
      for (int64_t place = row * n + i; place < end * n; place += n) {
        const Vec gradient = load(dY + place, part);
        store(dYs + place, gradient * scale, part);
        if (sums) total += gradient * load(p + place, part);
      }
      if (sums) store(sums + i, total, part);
    });
  }
}

void forward(const float* x, const void* p, bool isBf16, const RawColumns& columns, int64_t n, float* out) {
  if (isBf16) {
    forwardOf(x, static_cast<const bf16*>(p), columns, n, out);
  } else {
    forwardOf(x, static_cast<const float*>(p), columns, n, out);
  }
}

void backward(const float* dY, const void* p, bool isBf16, const RawColumns& columns, int64_t rows, int64_t n,
              void* dYs, float* sums) {
  if (isBf16) {
    backwardOf(dY, static_cast<const bf16*>(p), columns, rows, n, static_cast<bf16*>(dYs), sums);
  } else {
    backwardOf(dY, static_cast<const float*>(p), columns, rows, n, static_cast<float*>(dYs), sums);
  }
}

}  // namespace

extern const ResidualKernels residualKernels = {forward, backward};

}  // namespace lrqat::cpu::LRQAT_ISA
