// The gated activation and its backward against double.
#include "cuda/kernels/swiglu.h"

#include "cuda/test/elementwise.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

void forward() {
  eachElementwiseShape([](DType type, int64_t rows, int64_t cols, int flags) {
    Random random(static_cast<uint64_t>(rows * 1000 + cols * 8 + flags));
    Raw gate(random, type, rows, cols, flags);
    Raw up(random, type, rows, cols, flags);
    Tensor h(type, rows, cols);
    cuda::swiglu(gate.output(), up.output(), h.matrix(), nullptr);
    const std::vector<double> values = h.values();
    for (size_t t = 0, i = 0; t < static_cast<size_t>(rows); ++t) {
      for (size_t j = 0; j < static_cast<size_t>(cols); ++j, ++i) {
        const double g = gate.at(t, j);
        const double value = g * sigmoid(g) * up.at(t, j);
        // Products of numbers below 7, each with an error of a few roundings of its terms.
        expectNear(values[i], value, allowed(type, value, 7 * (std::abs(g) + 1), 8), "h");
      }
    }
    for (Tensor* over : {&gate.tensor, &up.tensor}) {
      const auto expected = h.bytes();
      const std::vector<double> saved = over->values();
      cuda::swiglu(gate.output(), up.output(), over->matrix(), nullptr);
      expectSameBytes(over->bytes(), expected, "over an input");
      over->set(saved);
    }
  });
}

void extremes() {
  // exp(-x) overflows and underflows: the limits are x·up and 0, never NaN.
  for (const DType type : {DType::F32, DType::BF16}) {
    context = typeName(type);
    Tensor gate(type, 1, 8);
    Tensor up(type, 1, 8);
    gate.set({-1000, -100, -88, 0, 88, 100, 1000, 1e30});
    up.set(std::vector<double>(8, 1));
    const std::vector<double> x = gate.values();
    Tensor h(type, 1, 8);
    cuda::swiglu({gate.matrix()}, {up.matrix()}, h.matrix(), nullptr);
    const std::vector<double> values = h.values();
    for (size_t j = 0; j < x.size(); ++j) {
      const double expected = x[j] * sigmoid(x[j]);
      expectNear(values[j], expected, (1e-6 + (type == DType::F32 ? 0 : roundOff(type))) * std::abs(expected) + 1e-35,
                 "silu");
    }
  }
}

void backward() {
  eachElementwiseShape([](DType type, int64_t rows, int64_t cols, int flags) {
    Random random(static_cast<uint64_t>(rows * 1000 + cols * 8 + flags));
    const Raw gate(random, type, rows, cols, flags);
    const Raw up(random, type, rows, cols, flags);
    Tensor dH(random, type, rows, cols);
    Tensor dGate(type, rows, cols);
    Tensor dUp(type, rows, cols);
    Tensor h(type, rows, cols);
    Tensor gateSums(random, DType::F32, 1, cols);
    Tensor upSums(random, DType::F32, 1, cols);
    const std::vector<double> gradient = dH.values();
    const std::vector<double> gateBefore = gateSums.values();
    const std::vector<double> upBefore = upSums.values();
    const ScratchMemory memory(cuda::swigluBackwardScratchBytes(rows, cols));
    const auto call = [&](Matrix gateTarget, Matrix upTarget, bool wantsSums, Matrix product) {
      cuda::Scratch scratch = memory.scratch();
      cuda::swigluBackward(dH.matrix(), gate.output(), up.output(),
                           {gateTarget, wantsSums ? gateSums.floats() : nullptr},
                           {upTarget, wantsSums ? upSums.floats() : nullptr}, product, scratch, nullptr);
    };
    call(dGate.matrix(), dUp.matrix(), true, h.matrix());
    const std::vector<double> gateValues = dGate.values();
    const std::vector<double> upValues = dUp.values();
    std::vector<double> dG(gradient.size());
    std::vector<double> dU(gradient.size());
    for (size_t t = 0, i = 0; t < static_cast<size_t>(rows); ++t) {
      for (size_t j = 0; j < static_cast<size_t>(cols); ++j, ++i) {
        const double g = gate.at(t, j);
        const double u = up.at(t, j);
        const double s = sigmoid(g);
        dG[i] = gradient[i] * u * s * (1 + g * (1 - s));
        dU[i] = gradient[i] * g * s;
        const double size = 7 * (std::abs(g) + 1);
        expectNear(gateValues[i], dG[i] * gate.scaleAt(j), allowed(type, dG[i] * gate.scaleAt(j), size, 8), "dGate");
        expectNear(upValues[i], dU[i] * up.scaleAt(j), allowed(type, dU[i] * up.scaleAt(j), size, 8), "dUp");
      }
    }
    const auto width = static_cast<size_t>(cols);
    // Beside the additions each term has the error of the sigmoid; the terms are below 7·7·6.
    const auto sumsNear = [&](const std::vector<double>& sums, const std::vector<double>& before,
                              const std::vector<double>& terms, const Raw& raw, const char* label) {
      for (size_t j = 0; j < width; ++j) {
        double total = before[j];
        double size = 64;
        for (size_t t = 0; t < static_cast<size_t>(rows); ++t) {
          total += terms[t * width + j] * raw.p[t * width + j];
          size += std::abs(terms[t * width + j] * raw.p[t * width + j]) + 16;
        }
        expectNear(sums[j], total, 0x1p-24 * size * (24 + std::sqrt(static_cast<double>(rows))), label);
      }
    };
    sumsNear(gateSums.values(), gateBefore, dG, gate, "ds of gate");
    sumsNear(upSums.values(), upBefore, dU, up, "ds of up");

    Tensor forwardH(type, rows, cols);
    cuda::swiglu(gate.output(), up.output(), forwardH.matrix(), nullptr);
    expectSameBytes(h.bytes(), forwardH.bytes(), "h has the bits of the forward");

    const auto gateBytes = dGate.bytes();
    const auto upBytes = dUp.bytes();
    const auto gateSumBytes = gateSums.bytes();
    const auto upSumBytes = upSums.bytes();
    dGate.poison();
    dUp.poison();
    gateSums.set(gateBefore);
    upSums.set(upBefore);
    call(dGate.matrix(), dUp.matrix(), true, {});
    expectSameBytes(dGate.bytes(), gateBytes, "dGate without h");
    expectSameBytes(dUp.bytes(), upBytes, "dUp without h");
    expectSameBytes(gateSums.bytes(), gateSumBytes, "ds of gate repeated");
    expectSameBytes(upSums.bytes(), upSumBytes, "ds of up repeated");
    call(dGate.matrix(), dUp.matrix(), false, {});
    expectSameBytes(dGate.bytes(), gateBytes, "dGate without scale gradient");
    gateSums.set(gateBefore);
    upSums.set(upBefore);
    call(gate.tensor.matrix(), up.tensor.matrix(), true, dH.matrix());
    expectSameBytes(gate.tensor.bytes(), gateBytes, "dGate over the raw gate");
    expectSameBytes(up.tensor.bytes(), upBytes, "dUp over the raw up");
    expectSameBytes(dH.bytes(), forwardH.bytes(), "h over dH");
    expectSameBytes(gateSums.bytes(), gateSumBytes, "ds of gate, all in place");
    expectSameBytes(upSums.bytes(), upSumBytes, "ds of up, all in place");
    memory.checkGuards();
  });
}

}  // namespace

int main(int argc, char** argv) {
  if (skippedWithoutGpu()) return 0;
  return run({{"swiglu", forward}, {"swiglu at extremes", extremes}, {"swiglu backward", backward}}, argc, argv);
}
