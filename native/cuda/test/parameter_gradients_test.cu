// Gradients of norm weights and embedding rows against double; the same bits when repeated.
#include "cuda/kernels/parameter_gradients.h"

#include "cuda/test/elementwise.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

constexpr int64_t shapes[][2] = {{1, 1}, {3, 17}, {70, 48}, {129, 33}, {5, 172}, {700, 64}, {9, 2048}, {1100, 20}};

void normWeights() {
  for (const auto& [rows, cols] : shapes) {
    for (const DType type : {DType::F32, DType::BF16}) {
      context = describe(type, rows, cols, 0);
      Random random(static_cast<uint64_t>(rows * 1000 + cols));
      const Tensor x(random, type, rows, cols, 3);
      const Tensor dy(random, DType::F32, rows, cols);
      const Tensor rstd(random, DType::F32, 1, rows);
      Tensor gradient(random, DType::F32, 1, cols);
      const std::vector<double> before = gradient.values();
      const ScratchMemory memory(cuda::rmsNormWeightGradientScratchBytes(rows, cols));
      cuda::Scratch scratch = memory.scratch();
      cuda::rmsNormWeightGradient(dy.matrix(), x.matrix(), rstd.floats(), gradient.floats(), scratch, nullptr);
      synchronize();
      memory.checkGuards();
      const std::vector<double> xs = x.values();
      const std::vector<double> dys = dy.values();
      const std::vector<double> r = rstd.values();
      const auto width = static_cast<size_t>(cols);
      expectColumnSums(
          gradient.values(), before, static_cast<size_t>(rows),
          [&](size_t t, size_t j) { return dys[t * width + j] * xs[t * width + j] * r[t]; }, "dw of a norm");
      const auto first = gradient.bytes();
      gradient.set(before);
      scratch = memory.scratch();
      cuda::rmsNormWeightGradient(dy.matrix(), x.matrix(), rstd.floats(), gradient.floats(), scratch, nullptr);
      expectSameBytes(first, gradient.bytes(), "repeated");
    }
  }
}

struct HeadCase {
  int64_t rows, heads, headDim, length;
};

void headNormWeights() {
  constexpr HeadCase cases[] = {{1, 1, 2, 1}, {30, 3, 22, 10}, {70, 4, 64, 35}, {1100, 2, 128, 550}, {6, 2, 512, 6}};
  for (const HeadCase& c : cases) {
    for (const DType type : {DType::F32, DType::BF16}) {
      for (int flags = 0; flags < 8; ++flags) {
        const bool rotary = (flags & 4) == 0;
        const int64_t cols = c.heads * c.headDim;
        context = describe(type, c.rows, cols, flags) + ", heads of " + std::to_string(c.headDim);
        Random random(static_cast<uint64_t>(c.rows + c.headDim * 7 + flags));
        const Raw raw(random, type, c.rows, cols, flags & 3);
        const Tensor dOut(random, type, c.rows, cols);
        const Tensor weight(random, DType::F32, 1, c.headDim);
        const int64_t half = c.headDim / 2;
        const Tensor cosine(random, DType::F32, c.length, half);
        const Tensor sine(random, DType::F32, c.length, half);
        Tensor gradient(random, DType::F32, 1, c.headDim);
        const std::vector<double> before = gradient.values();
        const HeadTransform transform{.heads = c.heads,
                                      .headDim = c.headDim,
                                      .normWeight = weight.floats(),
                                      .normEpsilon = 1e-5F,
                                      .cosine = rotary ? cosine.floats() : nullptr,
                                      .sine = rotary ? sine.floats() : nullptr,
                                      .length = c.length};
        const ScratchMemory memory(cuda::headNormWeightGradientScratchBytes(c.rows, c.headDim));
        cuda::Scratch scratch = memory.scratch();
        cuda::headNormWeightGradient(dOut.matrix(), raw.output(), transform, gradient.floats(), scratch, nullptr);
        synchronize();
        memory.checkGuards();
        const std::vector<double> g = dOut.values();
        const std::vector<double> cosines = cosine.values();
        const std::vector<double> sines = sine.values();
        const auto headDim = static_cast<size_t>(c.headDim);
        const auto halfDim = static_cast<size_t>(half);
        std::vector<double> terms(static_cast<size_t>(c.rows * cols));
        for (size_t t = 0; t < static_cast<size_t>(c.rows); ++t) {
          const size_t angle = t % static_cast<size_t>(c.length) * halfDim;
          for (size_t start = 0; start < static_cast<size_t>(cols); start += headDim) {
            double squares = 0;
            for (size_t j = 0; j < headDim; ++j) squares += raw.at(t, start + j) * raw.at(t, start + j);
            const double r = 1 / std::sqrt(squares / static_cast<double>(headDim) + static_cast<double>(1e-5F));
            const size_t at = t * static_cast<size_t>(cols) + start;
            for (size_t i = 0; i < halfDim; ++i) {
              const double co = rotary ? cosines[angle + i] : 1;
              const double si = rotary ? sines[angle + i] : 0;
              const double a = g[at + i];
              const double b = g[at + halfDim + i];
              terms[at + i] = (a * co + b * si) * raw.at(t, start + i) * r;
              terms[at + halfDim + i] = (b * co - a * si) * raw.at(t, start + halfDim + i) * r;
            }
          }
        }
        // A row of the sum is a head of a row; a term has some ten roundings of its own.
        const std::vector<double> after = gradient.values();
        const size_t count = terms.size() / headDim;
        for (size_t j = 0; j < headDim; ++j) {
          double total = before[j];
          double size = std::abs(total);
          for (size_t k = 0; k < count; ++k) {
            total += terms[k * headDim + j];
            size += std::abs(terms[k * headDim + j]);
          }
          // A rotated term may be a small difference of its two parts.
          size += 2 * static_cast<double>(count);
          expectNear(after[j], total, 0x1p-24 * size * (24 + std::sqrt(static_cast<double>(count))), "dw of heads");
        }
        const auto first = gradient.bytes();
        gradient.set(before);
        scratch = memory.scratch();
        cuda::headNormWeightGradient(dOut.matrix(), raw.output(), transform, gradient.floats(), scratch, nullptr);
        expectSameBytes(first, gradient.bytes(), "repeated");
      }
    }
  }
}

void embeddingRows() {
  constexpr int64_t sizes[][3] = {{1, 1, 1}, {5, 3, 2}, {300, 44, 37}, {1000, 300, 7}, {2100, 17, 5000}};
  for (const auto& [rows, cols, vocab] : sizes) {
    context = std::to_string(rows) + " rows of " + std::to_string(cols) + ", " + std::to_string(vocab) + " ids";
    Random random(static_cast<uint64_t>(rows + cols));
    const Tensor dX(random, DType::F32, rows, cols);
    std::vector<int32_t> ids(static_cast<size_t>(rows));
    for (int32_t& id : ids) id = static_cast<int32_t>(random.below(vocab));
    DeviceMemory idMemory(ids.size() * 4);
    idMemory.write(ids.data());
    Tensor gradient(random, DType::F32, vocab, cols);
    const std::vector<double> before = gradient.values();
    cuda::embedGradient(dX.matrix(), reinterpret_cast<const int32_t*>(idMemory.data()), gradient.matrix(), nullptr);
    synchronize();
    // In the order of the rows: the bits of a loop.
    std::vector<float> expected(before.begin(), before.end());
    const std::vector<double> values = dX.values();
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t j = 0; j < cols; ++j) {
        expected[static_cast<size_t>(ids[static_cast<size_t>(t)] * cols + j)] +=
            static_cast<float>(values[static_cast<size_t>(t * cols + j)]);
      }
    }
    const std::vector<double> after = gradient.values();
    for (size_t i = 0; i < expected.size(); ++i) {
      expectEqual(static_cast<float>(after[i]), expected[i], "embedding row");
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (skippedWithoutGpu()) return 0;
  return run({{"weights of norms", normWeights},
              {"weights of the norms of heads", headNormWeights},
              {"embedding rows", embeddingRows}},
             argc, argv);
}
