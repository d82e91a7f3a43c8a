// Residual sums, alone and with the norm that follows, and their backward, against double.
#include "cuda/kernels/norm.h"
#include "cuda/kernels/residual.h"
#include "cuda/kernels/residual_norm.h"
#include "cuda/test/elementwise.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

void forward() {
  eachElementwiseShape([](DType type, int64_t rows, int64_t cols, int flags) {
    for (const DType stream : {DType::F32, DType::BF16}) {
      for (const DType outType : {DType::F32, DType::BF16}) {
        Random random(static_cast<uint64_t>(rows * 1000 + cols * 8 + flags));
        const Raw raw(random, type, rows, cols, flags);
        Tensor x(random, stream, rows, cols);
        const std::vector<double> before = x.values();
        Tensor out(outType, rows, cols);
        cuda::addResidual(x.matrix(), raw.output(), out.matrix(), nullptr);
        const std::vector<double> values = out.values();
        for (size_t t = 0, i = 0; t < static_cast<size_t>(rows); ++t) {
          for (size_t j = 0; j < static_cast<size_t>(cols); ++j, ++i) {
            const double value = before[i] + raw.at(t, j);
            // Three float32 roundings of numbers below 8.
            expectNear(values[i], value, allowed(outType, value, std::abs(before[i]) + 8, 4), "out");
          }
        }
        if (stream != outType) continue;
        cuda::addResidual(x.matrix(), raw.output(), x.matrix(), nullptr);
        expectSameBytes(x.bytes(), out.bytes(), "in place");
      }
    }
  });
}

void withNorm() {
  eachElementwiseShape([](DType type, int64_t rows, int64_t cols, int flags) {
    for (const DType stream : {DType::F32, DType::BF16}) {
      Random random(static_cast<uint64_t>(rows * 1000 + cols * 8 + flags));
      const Raw raw(random, type, rows, cols, flags);
      Tensor x(random, stream, rows, cols);
      const Tensor weight(random, DType::F32, 1, cols, 1, (flags & 4) != 0 ? 4 : 0);
      Tensor out(stream, rows, cols);
      Tensor y(type, rows, cols);
      Tensor rstd(DType::F32, 1, rows);
      cuda::addResidual(x.matrix(), raw.output(), out.matrix(), nullptr);
      cuda::rmsNorm(out.matrix(), weight.floats(), 1e-5F, y.matrix(), rstd.floats(), nullptr);
      Tensor fusedY(type, rows, cols);
      Tensor fusedRstd(DType::F32, 1, rows);
      cuda::addResidualNorm(x.matrix(), raw.output(), x.matrix(), weight.floats(), 1e-5F, fusedY.matrix(),
                            fusedRstd.floats(), nullptr);
      expectSameBytes(x.bytes(), out.bytes(), "the sum is that of addResidual");
      // The width of a vector, and with it the order of the sum of squares, may differ where the types do.
      const std::vector<double> expected = y.values();
      const std::vector<double> values = fusedY.values();
      for (size_t i = 0; i < values.size(); ++i) {
        expectNear(values[i], expected[i], allowed(type, expected[i], std::abs(expected[i])), "y");
      }
      const std::vector<double> expectedRstd = rstd.values();
      const std::vector<double> rstdValues = fusedRstd.values();
      for (size_t t = 0; t < rstdValues.size(); ++t) {
        expectNear(rstdValues[t], expectedRstd[t], 8 * 0x1p-24 * expectedRstd[t], "rstd");
      }
    }
  });
}

void backward() {
  eachElementwiseShape([](DType type, int64_t rows, int64_t cols, int flags) {
    Random random(static_cast<uint64_t>(rows * 1000 + cols * 8 + flags));
    const Raw raw(random, type, rows, cols, flags);
    const Tensor dY(random, DType::F32, rows, cols);
    Tensor dYs(type, rows, cols);
    Tensor sums(random, DType::F32, 1, cols, 1, (flags & 4) != 0 ? 4 : 0);
    const std::vector<double> gradient = dY.values();
    const std::vector<double> before = sums.values();
    const ScratchMemory memory(cuda::addResidualBackwardScratchBytes(rows, cols));
    cuda::Scratch scratch = memory.scratch();
    cuda::addResidualBackward(dY.matrix(), raw.output(), {dYs.matrix(), sums.floats()}, scratch, nullptr);
    const std::vector<double> values = dYs.values();
    for (size_t t = 0, i = 0; t < static_cast<size_t>(rows); ++t) {
      for (size_t j = 0; j < static_cast<size_t>(cols); ++j, ++i) {
        const double value = gradient[i] * raw.scaleAt(j);
        expectNear(values[i], value, allowed(type, value, std::abs(value)), "dYs");
      }
    }
    const auto width = static_cast<size_t>(cols);
    expectColumnSums(
        sums.values(), before, static_cast<size_t>(rows),
        [&](size_t t, size_t j) { return gradient[t * width + j] * raw.p[t * width + j]; }, "ds");
    const auto sumBytes = sums.bytes();
    const auto dYsBytes = dYs.bytes();
    for (int repeat = 0; repeat < 2; ++repeat) {
      sums.set(before);
      dYs.poison();
      cuda::Scratch again = memory.scratch();
      cuda::addResidualBackward(dY.matrix(), raw.output(), {dYs.matrix(), sums.floats()}, again, nullptr);
      expectSameBytes(sums.bytes(), sumBytes, "ds repeated");
      expectSameBytes(dYs.bytes(), dYsBytes, "dYs repeated");
    }
    dYs.poison();
    cuda::Scratch none;
    cuda::addResidualBackward(dY.matrix(), raw.output(), {dYs.matrix(), nullptr}, none, nullptr);
    expectSameBytes(dYs.bytes(), dYsBytes, "without scale gradient");
    sums.set(before);
    cuda::Scratch last = memory.scratch();
    cuda::addResidualBackward(dY.matrix(), raw.output(), {raw.tensor.matrix(), sums.floats()}, last, nullptr);
    expectSameBytes(raw.tensor.bytes(), dYsBytes, "over the raw output");
    expectSameBytes(sums.bytes(), sumBytes, "ds of a gradient over the raw output");
    memory.checkGuards();
  });
}

void backwardWithNorm() {
  eachElementwiseShape([](DType type, int64_t rows, int64_t cols, int flags) {
    for (const DType stream : {DType::F32, DType::BF16}) {
      Random random(static_cast<uint64_t>(rows * 1000 + cols * 8 + flags));
      const size_t offset = (flags & 4) != 0 ? 4 : 0;
      const Raw raw(random, type, rows, cols, flags);
      const Tensor x(random, stream, rows, cols);
      const Tensor dy(random, stream == type ? DType::F32 : DType::BF16, rows, cols);
      const Tensor weight(random, DType::F32, 1, cols, 1, offset);
      Tensor rstd(random, DType::F32, 1, rows);
      Tensor dx(random, DType::F32, rows, cols);
      Tensor dYs(type, rows, cols);
      Tensor sums(random, DType::F32, 1, cols, 1, offset);
      const std::vector<double> dxBefore = dx.values();
      const std::vector<double> sumsBefore = sums.values();
      const ScratchMemory memory(std::max(cuda::addResidualBackwardScratchBytes(rows, cols),
                                          cuda::addResidualNormBackwardScratchBytes(rows, cols)));
      cuda::Scratch scratch = memory.scratch();
      cuda::rmsNormBackward(dy.matrix(), x.matrix(), weight.floats(), rstd.floats(), dx.matrix(), nullptr);
      cuda::addResidualBackward(dx.matrix(), raw.output(), {dYs.matrix(), sums.floats()}, scratch, nullptr);
      const std::vector<double> gradient = dx.values();
      const auto dxBytes = dx.bytes();
      const auto dYsBytes = dYs.bytes();
      std::vector<std::byte> sumBytes;
      for (int repeat = 0; repeat < 3; ++repeat) {
        const bool wantsSums = repeat < 2;
        dx.set(dxBefore);
        sums.set(sumsBefore);
        dYs.poison();
        cuda::Scratch again = memory.scratch();
        cuda::addResidualNormBackward(dy.matrix(), x.matrix(), weight.floats(), rstd.floats(), dx.matrix(),
                                      raw.output(), {dYs.matrix(), wantsSums ? sums.floats() : nullptr}, again,
                                      nullptr);
        expectSameBytes(dx.bytes(), dxBytes, "dx has the bits of the two calls");
        expectSameBytes(dYs.bytes(), dYsBytes, "dYs has the bits of the two calls");
        if (!wantsSums) continue;
        const auto width = static_cast<size_t>(cols);
        expectColumnSums(
            sums.values(), sumsBefore, static_cast<size_t>(rows),
            [&](size_t t, size_t j) { return gradient[t * width + j] * raw.p[t * width + j]; }, "ds");
        if (repeat == 0) sumBytes = sums.bytes();
        expectSameBytes(sums.bytes(), sumBytes, "ds repeated");
      }
      dx.set(dxBefore);
      sums.set(sumsBefore);
      cuda::Scratch last = memory.scratch();
      cuda::addResidualNormBackward(dy.matrix(), x.matrix(), weight.floats(), rstd.floats(), dx.matrix(), raw.output(),
                                    {raw.tensor.matrix(), sums.floats()}, last, nullptr);
      expectSameBytes(raw.tensor.bytes(), dYsBytes, "over the raw output");
      expectSameBytes(sums.bytes(), sumBytes, "ds of a gradient over the raw output");
      memory.checkGuards();
    }
  });
}

}  // namespace

int main(int argc, char** argv) {
  if (skippedWithoutGpu()) return 0;
  return run({{"residual sum", forward},
              {"residual sum with norm", withNorm},
              {"residual backward", backward},
              {"residual backward with norm", backwardWithNorm}},
             argc, argv);
}
