// Head projection and its backward against double: scale, bias, per-head norm, rotation, each present or absent.
#include "cuda/kernels/heads.h"

#include "cuda/test/elementwise.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

struct HeadCase {
  int64_t rows;
  int64_t heads;
  int64_t headDim;
  int64_t length;
};

// Head widths of every path: vectors in whole and ragged groups of lanes, two vectors a thread, scalars.
constexpr HeadCase cases[] = {{5, 1, 2, 3},    {70, 3, 6, 70},    {130, 4, 64, 65}, {67, 5, 80, 20},
                              {65, 3, 96, 65}, {129, 9, 128, 50}, {9, 2, 256, 9},   {3, 2, 512, 3},
                              {70, 2, 34, 35}, {6, 2, 90, 4},     {4, 1, 510, 2}};

struct Reference {
  std::vector<double> out;
  std::vector<double> dY;
  double outSize = 0;
  double gradientSize = 0;
};

struct Setup {
  Setup(Random& random, const HeadCase& c, int flags)
      : weight(random, DType::F32, 1, c.headDim, 1, (flags & 4) != 0 ? 4 : 0),
        cosine(DType::F32, c.length, c.headDim / 2, (flags & 4) != 0 ? 4 : 0),
        sine(DType::F32, c.length, c.headDim / 2, (flags & 4) != 0 ? 4 : 0) {
    std::vector<double> cosines(static_cast<size_t>(c.length * c.headDim / 2));
    std::vector<double> sines(cosines.size());
    for (size_t i = 0; i < cosines.size(); ++i) {
      const double angle = random.uniform() * 3;
      cosines[i] = std::cos(angle);
      sines[i] = std::sin(angle);
    }
    cosine.set(cosines);
    sine.set(sines);
    transform = {.heads = c.heads,
                 .headDim = c.headDim,
                 .normWeight = (flags & 8) != 0 ? weight.floats() : nullptr,
                 .normEpsilon = 1e-5F,
                 .cosine = (flags & 16) != 0 ? cosine.floats() : nullptr,
                 .sine = (flags & 16) != 0 ? sine.floats() : nullptr,
                 .length = c.length};
  }

  Tensor weight;
  Tensor cosine;
  Tensor sine;
  HeadTransform transform;
};

/// out, and for the gradient dOut that of s∘P + bias.
Reference referenceOf(const HeadCase& c, const Setup& setup, const Raw& raw, const std::vector<double>& dOut,
                      const std::vector<int32_t>& position = {}) {
  const std::vector<double> w = setup.weight.values();
  const std::vector<double> cosine = setup.cosine.values();
  const std::vector<double> sine = setup.sine.values();
  Reference reference{std::vector<double>(dOut.size()), std::vector<double>(dOut.size())};
  const auto d = static_cast<size_t>(c.headDim);
  const size_t half = d / 2;
  std::vector<double> y(d);
  std::vector<double> turned(d);
  std::vector<double> dy(d);
  for (size_t t = 0; t < static_cast<size_t>(c.rows); ++t) {
    const size_t angles =
        (position.empty() ? t % static_cast<size_t>(c.length) : static_cast<size_t>(position[t])) * half;
    for (size_t head = 0; head < static_cast<size_t>(c.heads); ++head) {
      const size_t start = (t * static_cast<size_t>(c.heads) + head) * d;
      double squares = 0;
      for (size_t i = 0; i < d; ++i) {
        y[i] = raw.at(t, head * d + i);
        squares += y[i] * y[i];
      }
      const bool normed = setup.transform.normWeight != nullptr;
      const double r = 1 / std::sqrt(squares / static_cast<double>(d) + static_cast<double>(1e-5F));
      for (size_t i = 0; i < d; ++i) turned[i] = normed ? y[i] * r * w[i] : y[i];
      for (size_t i = 0; i < d; ++i) dy[i] = dOut[start + i];
      if (setup.transform.cosine) {
        for (size_t i = 0; i < half; ++i) {
          const double co = cosine[angles + i];
          const double si = sine[angles + i];
          const double a = turned[i];
          const double b = turned[half + i];
          turned[i] = a * co - b * si;
          turned[half + i] = b * co + a * si;
          const double da = dy[i];
          const double db = dy[half + i];
          dy[i] = da * co + db * si;
          dy[half + i] = db * co - da * si;
        }
      }
      if (normed) {
        double dot = 0;
        for (size_t i = 0; i < d; ++i) dot += dy[i] * w[i] * y[i];
        for (size_t i = 0; i < d; ++i) dy[i] = (dy[i] * w[i] - y[i] * dot * r * r / static_cast<double>(d)) * r;
      }
      for (size_t i = 0; i < d; ++i) {
        reference.out[start + i] = turned[i];
        reference.dY[start + i] = dy[i];
        reference.outSize = std::max(reference.outSize, std::abs(turned[i]));
        reference.gradientSize = std::max(reference.gradientSize, std::abs(dy[i]));
      }
    }
  }
  return reference;
}

void heads() {
  for (const DType type : {DType::F32, DType::BF16}) {
    for (const HeadCase& c : cases) {
      for (int flags = 0; flags < 32; ++flags) {
        const int64_t cols = c.heads * c.headDim;
        context = describe(type, c.rows, cols, flags) + " head " + std::to_string(c.headDim);
        Random random(static_cast<uint64_t>(c.rows * 1000 + cols * 32 + flags));
        Raw raw(random, type, c.rows, cols, flags);
        const Setup setup(random, c, flags);
        Tensor dOut(random, type, c.rows, cols);
        Tensor out(type, c.rows, cols);
        Tensor dYs(type, c.rows, cols);
        Tensor sums(random, DType::F32, 1, cols);
        const std::vector<double> before = sums.values();
        const Reference expected = referenceOf(c, setup, raw, dOut.values());

        cuda::projectHeads(raw.output(), setup.transform, out.matrix(), nullptr);
        const std::vector<double> values = out.values();
        for (size_t i = 0; i < values.size(); ++i) {
          // The values before the turn are below 7; the norm's sum adds an error of a few roundings.
          expectNear(values[i], expected.out[i], allowed(type, expected.out[i], expected.outSize + 7), "out");
        }

        const ScratchMemory memory(cuda::projectHeadsBackwardScratchBytes(c.rows, cols));
        const auto backward = [&](Matrix target, float* targetSums) {
          cuda::Scratch scratch = memory.scratch();
          cuda::projectHeadsBackward(dOut.matrix(), raw.output(), setup.transform, {target, targetSums}, scratch,
                                     nullptr);
        };
        backward(dYs.matrix(), sums.floats());
        const std::vector<double> gradients = dYs.values();
        const auto width = static_cast<size_t>(cols);
        for (size_t i = 0; i < gradients.size(); ++i) {
          const double value = expected.dY[i] * raw.scaleAt(i % width);
          expectNear(gradients[i], value, allowed(type, value, expected.gradientSize + 1), "dYs");
        }
        const std::vector<double> sumValues = sums.values();
        for (size_t j = 0; j < width; ++j) {
          double total = before[j];
          double size = 1;
          for (size_t t = 0; t < static_cast<size_t>(c.rows); ++t) {
            const double p = raw.p[t * width + j];
            total += expected.dY[t * width + j] * p;
            size += (std::abs(expected.dY[t * width + j]) + expected.gradientSize / 2) * std::abs(p);
          }
          expectNear(sumValues[j], total, 0x1p-24 * size * (24 + std::sqrt(static_cast<double>(c.rows))), "ds");
        }

        const auto dYsBytes = dYs.bytes();
        const auto sumBytes = sums.bytes();
        dYs.poison();
        sums.set(before);
        backward(dYs.matrix(), sums.floats());
        expectSameBytes(dYs.bytes(), dYsBytes, "dYs repeated");
        expectSameBytes(sums.bytes(), sumBytes, "ds repeated");
        memory.checkGuards();
        sums.set(before);
        backward(raw.tensor.matrix(), sums.floats());
        expectSameBytes(raw.tensor.bytes(), dYsBytes, "over the raw output");
        expectSameBytes(sums.bytes(), sumBytes, "ds of a gradient over the raw output");
        raw.tensor.set(raw.p);
        backward(dOut.matrix(), nullptr);
        expectSameBytes(dOut.bytes(), dYsBytes, "without scale gradient, over dOut");
      }
    }
  }
}

/// Rows whose place in the rotary table is not their place in the sequence.
void positions() {
  for (const DType type : {DType::F32, DType::BF16}) {
    for (const HeadCase& c : cases) {
      for (const int flags : {16, 24, 20}) {
        const int64_t cols = c.heads * c.headDim;
        context = describe(type, c.rows, cols, flags) + " head " + std::to_string(c.headDim);
        Random random(static_cast<uint64_t>(c.rows * 1000 + cols * 32 + flags));
        Raw raw(random, type, c.rows, cols, flags);
        Setup setup(random, c, flags);
        std::vector<int32_t> position;
        for (int64_t t = 0; t < c.rows; ++t) position.push_back(static_cast<int32_t>((t * 3 + 1) % c.length));
        int32_t* memory = nullptr;
        const auto bytes = position.size() * sizeof(int32_t);
        LRQAT_CUDA(cudaMalloc(&memory, bytes));
        LRQAT_CUDA(cudaMemcpy(memory, position.data(), bytes, cudaMemcpyHostToDevice));
        setup.transform.position = memory;
        Tensor out(type, c.rows, cols);
        const std::vector<double> unused(static_cast<size_t>(c.rows * cols));
        const Reference expected = referenceOf(c, setup, raw, unused, position);
        cuda::projectHeads(raw.output(), setup.transform, out.matrix(), nullptr);
        const std::vector<double> values = out.values();
        LRQAT_CUDA(cudaFree(memory));
        for (size_t i = 0; i < values.size(); ++i) {
          expectNear(values[i], expected.out[i], allowed(type, expected.out[i], expected.outSize + 7), "out");
        }
      }
    }
  }
}

void tooWide() {
  const Tensor p(DType::F32, 1, 1024);
  const Tensor out(DType::F32, 1, 1024);
  expectThrows<Error>(
      [&] { cuda::projectHeads({p.matrix()}, {.heads = 1, .headDim = 1024, .length = 1}, out.matrix(), nullptr); },
      "too wide a head");
}

}  // namespace

int main(int argc, char** argv) {
  if (skippedWithoutGpu()) return 0;
  return run({{"head projection", heads},
              {"head projection, rows placed", positions},
              {"head projection of too wide heads", tooWide}},
             argc, argv);
}
