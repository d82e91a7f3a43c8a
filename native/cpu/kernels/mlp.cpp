#include "cpu/kernels/mlp.h"

#include <type_traits>

#include "cpu/kernels/raw_values.h"

namespace lrqat::cpu::LRQAT_ISA {

namespace {

/// For results of type T. Below -86 what is left of it, 5e-38, is no longer made smaller: reciprocal() stays among
/// normal numbers.
template <typename T>
inline Vec sigmoid(Vec x) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, bf16>) {
    // e^-x within |x|·2^-23: far below what rounding to bf16 takes away, at half of the cost.
    return reciprocal(1.0F + powerOfTwo(minimum(broadcast(124.0F), x * -1.44269504F)));
  }
#endif
  return reciprocal(1.0F + exponential(minimum(broadcast(86.0F), -x)));
}

template <typename T>
void forwardOf(const T* gateP, const T* upP, const RawColumns& gate, const RawColumns& up, int64_t n, T* h) {
  forEachVector(n, [&](int64_t i, auto part) {
    const Vec g = valueOf(load(gateP + i, part), gate, i, part);
    const Vec u = valueOf(load(upP + i, part), up, i, part);
    store(h + i, g * sigmoid<T>(g) * u, part);
  });
}

template <typename T>
void backwardOf(const T* dH, const T* gateP, const T* upP, const RawColumns& gate, const RawColumns& up, int64_t rows,
                int64_t n, T* dGate, T* dUp, float* gateSums, float* upSums) {
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t start = row * n;
    forEachVector(n, [&](int64_t i, auto part) {
      const Vec gateRaw = load(gateP + start + i, part);
      const Vec upRaw = load(upP + start + i, part);
      const Vec g = valueOf(gateRaw, gate, i, part);
      const Vec u = valueOf(upRaw, up, i, part);
      const Vec gradient = load(dH + start + i, part);
      const Vec s = sigmoid<T>(g);
      const Vec dG = gradient * u * s * (1.0F + g * (1.0F - s));
      const Vec dU = gradient * g * s;
      store(dGate + start + i, dG * scaleAt(gate, i, part), part);
      store(dUp + start + i, dU * scaleAt(up, i, part), part);
      addTo(gateSums, i, dG * gateRaw, part);
      addTo(upSums, i, dU * upRaw, part);
    });
  }
}

void forward(const void* gateP, const void* upP, bool isBf16, const RawColumns& gate, const RawColumns& up, int64_t n,
             void* h) {
  if (isBf16) {
    forwardOf(static_cast<const bf16*>(gateP), static_cast<const bf16*>(upP), gate, up, n, static_cast<bf16*>(h));
  } else {
    forwardOf(static_cast<const float*>(gateP), static_cast<const float*>(upP), gate, up, n, static_cast<float*>(h));
  }
}

void backward(const void* dH, const void* gateP, const void* upP, bool isBf16, const RawColumns& gate,
              const RawColumns& up, int64_t rows, int64_t n, void* dGate, void* dUp, float* gateSums, float* upSums) {
  if (isBf16) {
    backwardOf(static_cast<const bf16*>(dH), static_cast<const bf16*>(gateP), static_cast<const bf16*>(upP), gate, up,
               rows, n, static_cast<bf16*>(dGate), static_cast<bf16*>(dUp), gateSums, upSums);
  } else {
    backwardOf(static_cast<const float*>(dH), static_cast<const float*>(gateP), static_cast<const float*>(upP), gate,
               up, rows, n, static_cast<float*>(dGate), static_cast<float*>(dUp), gateSums, upSums);
  }
}

}  // namespace

extern const SwigluKernels swigluKernels = {forward, backward};

}  // namespace lrqat::cpu::LRQAT_ISA
