#include "cpu/kernels/norm.h"

#include "cpu/kernels/vector_math.h"

namespace lrqat::cpu::LRQAT_ISA {

namespace {

template <typename Y>
float forwardOf(const float* x, const float* weight, float epsilon, int64_t n, Y* y) {
  const float squares = sumOver(n, [&](int64_t i, auto part) {
    const Vec v = load(x + i, part);
    return v * v;
  });
  const float r = 1.0F / __builtin_sqrtf(squares / static_cast<float>(n) + epsilon);
  forEachVector(n, [&](int64_t i, auto part) { store(y + i, load(x + i, part) * r * load(weight + i, part), part); });
  return r;
}

float forward(const float* x, const float* weight, float epsilon, int64_t n, void* y, bool isBf16) {
  return isBf16 ? forwardOf(x, weight, epsilon, n, static_cast<bf16*>(y))
                : forwardOf(x, weight, epsilon, n, static_cast<float*>(y));
}

void backward(const float* dy, const float* x, const float* weight, float rstd, int64_t n, float* dx) {
  const float dot =
      sumOver(n, [&](int64_t i, auto part) { return load(dy + i, part) * load(weight + i, part) * load(x + i, part); });
  const float factor = dot * rstd * rstd / static_cast<float>(n);
  forEachVector(n, [&](int64_t i, auto part) {
    const Vec inner = load(dy + i, part) * load(weight + i, part) - load(x + i, part) * factor;
    store(dx + i, load(dx + i, part) + inner * rstd, part);
  });
}

}  // namespace

extern const NormKernels normKernels = {forward, backward};

}  // namespace lrqat::cpu::LRQAT_ISA
