// The fused element-wise operations against double, forward and backward.
#include <functional>

#include "test/dense.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

using Doubles = std::vector<double>;

/// Error allowed for a float32 computation of a few operations on numbers of `size`, rounded once to `type`.
double allowed(DType type, double value, double size, double units = 16) {
  return units * 0x1p-24 * size + (type == DType::F32 ? 0 : roundOff(type) * 1.01 * std::abs(value)) + 1e-35;
}

std::string describe(const char* name, DType type, int64_t rows, int64_t cols, int threads, int flags) {
  return std::string(name) + " " + typeName(type) + " " + std::to_string(rows) + "x" + std::to_string(cols) + ", " +
         std::to_string(threads) + " threads, flags " + std::to_string(flags) + ": ";
}

/// A raw output with its scale and bias, either of them absent by flag.
struct Raw {
  Raw(Random& random, DType type, int64_t rows, int64_t cols, int flags)
      : p(Tensor::random(random, type, rows, cols, 6)),
        scale(Tensor::random(random, DType::F32, 1, cols)),
        bias(Tensor::random(random, DType::F32, 1, cols)),
        hasScale((flags & 1) != 0),
        hasBias((flags & 2) != 0) {}
  RawOutput output() { return {p.matrix(), hasScale ? scale.floats() : nullptr, hasBias ? bias.floats() : nullptr}; }
  double scaleAt(int64_t j) const { return hasScale ? scale.at(j) : 1; }
  double at(int64_t i, int64_t j) const { return p.at(i, j) * scaleAt(j) + (hasBias ? bias.at(j) : 0); }

  Tensor p;
  Tensor scale;
  Tensor bias;
  bool hasScale;
  bool hasBias;
};

/// Expects sums[j] = before[j] + Σ_t terms(t, j) within the error of so many float32 additions.
void expectColumnSums(const Tensor& sums, const Tensor& before, int64_t rows,
                      const std::function<double(int64_t, int64_t)>& term, const std::string& label) {
  for (int64_t j = 0; j < sums.cols(); ++j) {
    double total = before.at(j);
    double size = std::abs(total);
    for (int64_t t = 0; t < rows; ++t) {
      const double value = term(t, j);
      total += value;
      size += std::abs(value);
    }
    expectNear(sums.at(j), total, 0x1p-24 * size * (24 + std::sqrt(static_cast<double>(rows))), label);
  }
}

constexpr int64_t shapes[][2] = {{1, 1}, {3, 17}, {70, 48}, {129, 33}, {40, 192}, {1100, 20}};

void eachShape(const std::function<void(DType, int, int64_t, int64_t, int)>& body) {
  for (const DType type : {DType::F32, DType::BF16}) {
    for (const int threads : {1, 2}) {
      for (const auto& [rows, cols] : shapes) {
        for (int flags = 0; flags < 4; ++flags) body(type, threads, rows, cols, flags);
      }
    }
  }
}

void norm() {
  eachShape([](DType type, int threads, int64_t rows, int64_t cols, int flags) {
    if (flags != 0) return;
    Random random(static_cast<uint64_t>(rows * 1000 + cols));
    const auto backend = makeBackend(threads, type);
    const float epsilon = 1e-5F;
    Tensor x = Tensor::random(random, DType::F32, rows, cols, 3);
    Tensor w = Tensor::random(random, DType::F32, 1, cols);
    Tensor y(type, rows, cols);
    Tensor rstd(DType::F32, 1, rows);
    backend->rmsNorm(x.matrix(), w.floats(), epsilon, y.matrix(), rstd.floats());
    Tensor dy = Tensor::random(random, DType::F32, rows, cols);
    Tensor dx = Tensor::random(random, DType::F32, rows, cols);
    const Tensor before = dx;
    backend->rmsNormBackward(dy.matrix(), x.matrix(), w.floats(), rstd.floats(), dx.matrix());
    const std::string label = describe("norm", type, rows, cols, threads, flags);
    for (int64_t t = 0; t < rows; ++t) {
      double squares = 0;
      double dot = 0;
      double dotSize = 0;
      for (int64_t j = 0; j < cols; ++j) {
        squares += x.at(t, j) * x.at(t, j);
        dot += dy.at(t, j) * w.at(j) * x.at(t, j);
        dotSize += std::abs(dy.at(t, j) * w.at(j) * x.at(t, j));
      }
      const double r = 1 / std::sqrt(squares / static_cast<double>(cols) + epsilon);
      expectNear(rstd.at(t), r, 8 * 0x1p-24 * r, label + "rstd");
      for (int64_t j = 0; j < cols; ++j) {
        const double value = x.at(t, j) * r * w.at(j);
        expectNear(y.at(t, j), value, allowed(type, value, std::abs(value)), label + "y");
        const double mean = r * r / static_cast<double>(cols);
        const double gradient = before.at(t, j) + r * (dy.at(t, j) * w.at(j) - x.at(t, j) * dot * mean);
        const double size =
            std::abs(before.at(t, j)) + r * (std::abs(dy.at(t, j) * w.at(j)) + std::abs(x.at(t, j)) * dotSize * mean);
        expectNear(dx.at(t, j), gradient, allowed(DType::F32, gradient, size), label + "dx");
      }
    }
  });
}

void residual() {
  eachShape([](DType type, int threads, int64_t rows, int64_t cols, int flags) {
    Random random(static_cast<uint64_t>(rows * 1000 + cols * 4 + flags));
    const auto backend = makeBackend(threads, type);
    Raw raw(random, type, rows, cols, flags);
    Tensor x = Tensor::random(random, DType::F32, rows, cols);
    const std::string label = describe("residual", type, rows, cols, threads, flags);
    Tensor out(DType::F32, rows, cols);
    backend->addResidual(x.matrix(), raw.output(), out.matrix());
    Tensor inPlace = x;
    backend->addResidual(inPlace.matrix(), raw.output(), inPlace.matrix());
    expect(inPlace == out, label + "in place");
    Tensor dYs(type, rows, cols);
    Tensor sums = Tensor::random(random, DType::F32, 1, cols);
    const Tensor before = sums;
    backend->addResidualBackward(x.matrix(), raw.output(), {dYs.matrix(), sums.floats()});
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t j = 0; j < cols; ++j) {
        const double value = x.at(t, j) + raw.at(t, j);
        expectNear(out.at(t, j), value, allowed(DType::F32, value, std::abs(x.at(t, j)) + 8, 4), label + "out");
        const double gradient = x.at(t, j) * raw.scaleAt(j);
        expectNear(dYs.at(t, j), gradient, allowed(type, gradient, std::abs(gradient)), label + "dYs");
      }
    }
    expectColumnSums(
        sums, before, rows, [&](int64_t t, int64_t j) { return x.at(t, j) * raw.p.at(t, j); }, label + "ds");
    Tensor again(type, rows, cols);
    backend->addResidualBackward(x.matrix(), raw.output(), {again.matrix(), nullptr});
    expect(again == dYs, label + "without scale gradient");
    Tensor otherSums = before;
    makeBackend(3 - threads, type)->addResidualBackward(x.matrix(), raw.output(), {again.matrix(), otherSums.floats()});
    expect(otherSums == sums, label + "the thread count changes no bit of ds");
  });
}

/// The fused forms give the bits of the operations that they join.
void residualWithNorm() {
  eachShape([](DType type, int threads, int64_t rows, int64_t cols, int flags) {
    Random random(static_cast<uint64_t>(rows * 1000 + cols * 4 + flags));
    const auto backend = makeBackend(threads, type);
    Raw raw(random, type, rows, cols, flags);
    Tensor x = Tensor::random(random, DType::F32, rows, cols);
    Tensor w = Tensor::random(random, DType::F32, 1, cols);
    const std::string label = describe("residual with norm", type, rows, cols, threads, flags);
    Tensor out(DType::F32, rows, cols);
    Tensor y(type, rows, cols);
    Tensor rstd(DType::F32, 1, rows);
    backend->addResidual(x.matrix(), raw.output(), out.matrix());
    backend->rmsNorm(out.matrix(), w.floats(), 1e-5F, y.matrix(), rstd.floats());
    Tensor fusedOut(DType::F32, rows, cols);
    Tensor fusedY(type, rows, cols);
    Tensor fusedRstd(DType::F32, 1, rows);
    backend->addResidualNorm(x.matrix(), raw.output(), fusedOut.matrix(), w.floats(), 1e-5F, fusedY.matrix(),
                             fusedRstd.floats());
    expect(fusedOut == out && fusedY == y && fusedRstd == rstd, label + "forward");

    Tensor dy = Tensor::random(random, DType::F32, rows, cols);
    Tensor dx = Tensor::random(random, DType::F32, rows, cols);
    Tensor sums = Tensor::random(random, DType::F32, 1, cols);
    Tensor dYs(type, rows, cols);
    Tensor fusedDx = dx;
    Tensor fusedSums = sums;
    Tensor fusedDYs(type, rows, cols);
    backend->rmsNormBackward(dy.matrix(), out.matrix(), w.floats(), rstd.floats(), dx.matrix());
    backend->addResidualBackward(dx.matrix(), raw.output(), {dYs.matrix(), sums.floats()});
    backend->addResidualNormBackward(dy.matrix(), out.matrix(), w.floats(), rstd.floats(), fusedDx.matrix(),
                                     raw.output(), {fusedDYs.matrix(), fusedSums.floats()});
    expect(fusedDx == dx && fusedDYs == dYs && fusedSums == sums, label + "backward");
  });
}

double silu(double x) {
  return x / (1 + std::exp(-x));
}
double siluSlope(double x) {
  const double s = 1 / (1 + std::exp(-x));
  return s * (1 + x * (1 - s));
}

void swiglu() {
  eachShape([](DType type, int threads, int64_t rows, int64_t cols, int flags) {
    Random random(static_cast<uint64_t>(rows * 1000 + cols * 4 + flags));
    const auto backend = makeBackend(threads, type);
    Raw gate(random, type, rows, cols, flags);
    Raw up(random, type, rows, cols, flags);
    if (rows > 2) {
      // Where e^x over- and underflows.
      gate.p.set(0, 200);
      gate.p.set(1, -200);
      gate.p.set(2, -95);
    }
    const std::string label = describe("swiglu", type, rows, cols, threads, flags);
    Tensor h(type, rows, cols);
    backend->swiglu(gate.output(), up.output(), h.matrix());
    Tensor dH = Tensor::random(random, type, rows, cols);
    Tensor dGate(type, rows, cols);
    Tensor dUp(type, rows, cols);
    Tensor gateSums = Tensor::random(random, DType::F32, 1, cols);
    Tensor upSums = Tensor::random(random, DType::F32, 1, cols);
    const Tensor gateBefore = gateSums;
    const Tensor upBefore = upSums;
    Tensor again(type, rows, cols);
    backend->swigluBackward(dH.matrix(), gate.output(), up.output(), {dGate.matrix(), gateSums.floats()},
                            {dUp.matrix(), upSums.floats()}, again.matrix());
    expect(again == h, label + "h written again by the backward");
    const auto gateGradient = [&](int64_t t, int64_t j) {
      return dH.at(t, j) * up.at(t, j) * siluSlope(gate.at(t, j));
    };
    const auto upGradient = [&](int64_t t, int64_t j) { return dH.at(t, j) * silu(gate.at(t, j)); };
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t j = 0; j < cols; ++j) {
        // A rounding of the gate (up to 8 here, or 200) changes e^x by that much, relatively.
        const double gateSize = 2 + std::abs(gate.at(t, j));
        const double value = silu(gate.at(t, j)) * up.at(t, j);
        expectNear(h.at(t, j), value, allowed(type, value, gateSize * (1 + std::abs(value))), label + "h");
        const double dG = gateGradient(t, j) * gate.scaleAt(j);
        const double size = gateSize * gateSize * (1 + std::abs(up.at(t, j)));
        expectNear(dGate.at(t, j), dG, allowed(type, dG, size), label + "dGate");
        const double dU = upGradient(t, j) * up.scaleAt(j);
        expectNear(dUp.at(t, j), dU, allowed(type, dU, gateSize * (1 + std::abs(dU))), label + "dUp");
      }
    }
    expectColumnSums(
        gateSums, gateBefore, rows, [&](int64_t t, int64_t j) { return gateGradient(t, j) * gate.p.at(t, j); },
        label + "gate ds");
    expectColumnSums(
        upSums, upBefore, rows, [&](int64_t t, int64_t j) { return upGradient(t, j) * up.p.at(t, j); },
        label + "up ds");
  });
}

/// What projectHeads computes for one head of one row, in double.
Doubles head(const Doubles& y, const HeadTransform& transform, int64_t position) {
  const int64_t d = transform.headDim;
  Doubles out = y;
  if (transform.normWeight) {
    double squares = 0;
    for (const double v : y) squares += v * v;
    const double r = 1 / std::sqrt(squares / static_cast<double>(d) + double{transform.normEpsilon});
    for (int64_t i = 0; i < d; ++i) out[static_cast<size_t>(i)] *= r * double{transform.normWeight[i]};
  }
  if (transform.cosine) {
    for (int64_t i = 0; i < d / 2; ++i) {
      const double c = transform.cosine[position * (d / 2) + i];
      const double s = transform.sine[position * (d / 2) + i];
      double& a = out[static_cast<size_t>(i)];
      double& b = out[static_cast<size_t>(i + d / 2)];
      const double first = a * c - b * s;
      b = b * c + a * s;
      a = first;
    }
  }
  return out;
}

void heads() {
  for (const DType type : {DType::F32, DType::BF16}) {
    for (const int threads : {1, 2}) {
      for (const auto& [headCount, headDim] :
           {std::pair<int64_t, int64_t>{1, 2}, {3, 10}, {2, 64}, {2, 24}, {1, 128}}) {
        for (int flags = 0; flags < 16; ++flags) {
          Random random(static_cast<uint64_t>(headCount * 1000 + headDim * 16 + flags));
          const int64_t length = 7;
          const int64_t rows = 3 * length;
          const int64_t cols = headCount * headDim;
          const auto backend = makeBackend(threads, type);
          Raw raw(random, type, rows, cols, flags);
          Tensor weight = Tensor::random(random, DType::F32, 1, headDim);
          Tensor cosine(DType::F32, length, headDim / 2);
          Tensor sine(DType::F32, length, headDim / 2);
          for (int64_t i = 0; i < length * headDim / 2; ++i) {
            const double angle = random.uniform() * 3;
            cosine.set(i, std::cos(angle));
            sine.set(i, std::sin(angle));
          }
          HeadTransform transform{.heads = headCount, .headDim = headDim, .normEpsilon = 1e-6F, .length = length};
          if (flags & 4) transform.normWeight = weight.floats();
          if (flags & 8) {
            transform.cosine = cosine.floats();
            transform.sine = sine.floats();
          }
          const std::string label = describe("heads", type, rows, cols, threads, flags);
          Tensor out(type, rows, cols);
          backend->projectHeads(raw.output(), transform, out.matrix());
          Tensor dOut = Tensor::random(random, type, rows, cols);
          Tensor dYs(type, rows, cols);
          Tensor sums = Tensor::random(random, DType::F32, 1, cols);
          const Tensor before = sums;
          backend->projectHeadsBackward(dOut.matrix(), raw.output(), transform, {dYs.matrix(), sums.floats()});
          Doubles gradients(static_cast<size_t>(rows * cols));
          for (int64_t t = 0; t < rows; ++t) {
            for (int64_t h = 0; h < headCount; ++h) {
              Doubles y(static_cast<size_t>(headDim));
              for (int64_t i = 0; i < headDim; ++i) y[static_cast<size_t>(i)] = raw.at(t, h * headDim + i);
              const Doubles expected = head(y, transform, t % length);
              for (int64_t i = 0; i < headDim; ++i) {
                const double value = expected[static_cast<size_t>(i)];
                expectNear(out.at(t, h * headDim + i), value, allowed(type, value, 10), label + "out");
              }
              // The transform is smooth: its gradient by central differences in double.
              for (int64_t i = 0; i < headDim; ++i) {
                constexpr double step = 1e-5;
                Doubles plus = y;
                Doubles minus = y;
                plus[static_cast<size_t>(i)] += step;
                minus[static_cast<size_t>(i)] -= step;
                const Doubles upper = head(plus, transform, t % length);
                const Doubles lower = head(minus, transform, t % length);
                double gradient = 0;
                for (int64_t l = 0; l < headDim; ++l) {
                  const auto at = static_cast<size_t>(l);
                  gradient += (upper[at] - lower[at]) / (2 * step) * dOut.at(t, h * headDim + l);
                }
                const int64_t column = h * headDim + i;
                gradients[static_cast<size_t>(t * cols + column)] = gradient;
                const double scaled = gradient * raw.scaleAt(column);
                expectNear(dYs.at(t, column), scaled, allowed(type, scaled, 10) + 2e-6 * (1 + std::abs(scaled)),
                           label + "dYs");
              }
            }
          }
          // Rows whose place in the rotary table is not their place in the sequence.
          const auto placeOf = [&](int64_t t) { return (t * 3 + 1) % length; };
          std::vector<int32_t> position;
          for (int64_t t = 0; t < rows; ++t) position.push_back(static_cast<int32_t>(placeOf(t)));
          transform.position = position.data();
          backend->projectHeads(raw.output(), transform, out.matrix());
          for (int64_t t = 0; t < rows; ++t) {
            Doubles y(static_cast<size_t>(headDim));
            for (int64_t i = 0; i < headDim; ++i) y[static_cast<size_t>(i)] = raw.at(t, i);
            const Doubles expected = head(y, transform, placeOf(t));
            for (int64_t i = 0; i < headDim; ++i) {
              const double value = expected[static_cast<size_t>(i)];
              expectNear(out.at(t, i), value, allowed(type, value, 10), label + "placed");
            }
          }
          for (int64_t j = 0; j < cols; ++j) {
            double total = before.at(j);
            for (int64_t t = 0; t < rows; ++t) total += gradients[static_cast<size_t>(t * cols + j)] * raw.p.at(t, j);
            expectNear(sums.at(j), total, 2e-5 * (10 + std::abs(total)), label + "ds");
          }
        }
      }
    }
  }
}

void conversions() {
  // Every bf16 and every float16, there and back, and float32 numbers around all their rounding points.
  const auto backend = makeBackend(2, DType::F32);
  for (const DType narrow : {DType::BF16, DType::F16}) {
    Tensor all(narrow, 1, 65536);
    for (int64_t i = 0; i < 65536; ++i) static_cast<uint16_t*>(all.matrix().data)[i] = static_cast<uint16_t>(i);
    Tensor wide(DType::F32, 1, 65536);
    backend->convert(all.matrix(), wide.matrix());
    Tensor back(narrow, 1, 65536);
    backend->convert(wide.matrix(), back.matrix());
    for (int64_t i = 0; i < 65536; ++i) {
      const double value = all.at(i);
      if (std::isnan(value)) {
        expect(std::isnan(wide.at(i)) && std::isnan(back.at(i)), "NaN stays NaN");
      } else {
        expect(wide.at(i) == value && back.at(i) == value, std::string(typeName(narrow)) + " " + std::to_string(value));
      }
    }
    Random random(5);
    constexpr int64_t count = 20011;
    Tensor from(DType::F32, 1, count);
    for (int64_t i = 0; i < count; ++i) {
      uint32_t bits = static_cast<uint32_t>(random.bits());
      const int kind = static_cast<int>(random.below(3));
      if (kind == 1) bits = (bits & 0xffff0000U) | 0x8000U;  // ties of bf16
      if (kind == 2) bits = (bits & 0xffffe000U) | 0x1000U;  // ties of float16
      std::memcpy(from.floats() + i, &bits, 4);
    }
    Tensor to(narrow, 1, count);
    backend->convert(from.matrix(), to.matrix());
    for (int64_t i = 0; i < count; ++i) {
      const float value = from.floats()[i];
      if (std::isnan(value)) continue;
      const uint16_t expected = narrow == DType::BF16 ? bf16FromFloat(value) : f16FromFloat(value);
      expectEqual(static_cast<const uint16_t*>(to.matrix().data)[i], expected, "rounding of " + std::to_string(value));
    }
  }
}

void embedding() {
  for (const DType type : {DType::F32, DType::BF16, DType::F16}) {
    Random random(3);
    Tensor table = Tensor::random(random, type, 50, 37);
    const std::vector<int32_t> ids{0, 49, 7, 7, 21};
    Tensor x(DType::F32, 5, 37);
    makeBackend(2, DType::F32)->embed(table.matrix(), ids.data(), x.matrix());
    for (int64_t t = 0; t < 5; ++t) {
      for (int64_t j = 0; j < 37; ++j) expectEqual(x.at(t, j), table.at(ids[static_cast<size_t>(t)], j), "embedding");
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run({{"norm", norm},
              {"residual", residual},
              {"residual with norm", residualWithNorm},
              {"swiglu", swiglu},
              {"heads", heads},
              {"conversions", conversions},
              {"embedding", embedding}},
             argc, argv);
}
