// Activations on their grids against plain loops on the host. Every operation is one rounded float32 operation in both,
// so values and marks must agree to the bit; sums of learned grids are compared with double.
#include "cuda/kernels/activations.h"

#include <algorithm>
#include <array>

#include "cuda/test/elementwise.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

struct Plain {
  std::vector<double> y;
  std::vector<bool> inside;
};

/// `numbers` on one grid.
void put(const std::vector<double>& x, size_t start, size_t count, const StaticGrid& grid, Plain& out) {
  for (size_t i = start; i < start + count; ++i) {
    const float code = std::nearbyintf(static_cast<float>(x[i]) / grid.scale) + grid.zero;
    out.inside[i] = code >= grid.low && code <= grid.high;
    const float value = grid.scale * (std::clamp(code, grid.low, grid.high) - grid.zero);
    out.y[i] = static_cast<double>(value);
  }
}

StaticGrid gridOfGroup(const std::vector<double>& x, size_t start, size_t width, int bits, bool fractional) {
  const auto levels = static_cast<float>((1 << bits) - 1);
  auto low = static_cast<float>(*std::min_element(&x[start], &x[start] + width));
  auto high = static_cast<float>(*std::max_element(&x[start], &x[start] + width));
  if (!fractional) low = std::min(low, 0.0F), high = std::max(high, 0.0F);
  const float delta = std::max((high - low) / levels, 1e-8F);
  float zero = -low / delta;
  if (!fractional) zero = std::clamp(std::nearbyintf(zero), 0.0F, levels);
  return {delta, zero, 0, levels};
}

Plain plain(const std::vector<double>& x, size_t width, int bits, bool fractional) {
  Plain out{std::vector<double>(x.size()), std::vector<bool>(x.size())};
  for (size_t start = 0; start < x.size(); start += width) {
    put(x, start, width, gridOfGroup(x, start, width, bits, fractional), out);
  }
  return out;
}

double rounded(DType type, double value) {
  std::byte memory[4];
  encode(type, value, memory);
  return decoded(type, memory);
}

/// Tokens of all signs, of one sign, of zeros, far from zero and with an outlier.
std::vector<double> tokens(Random& random, int64_t rows, int64_t cols) {
  std::vector<double> x(static_cast<size_t>(rows * cols));
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t j = 0; j < cols; ++j) {
      const double value = random.uniform() * 3;
      const double kinds[] = {value, std::abs(value) + 0.1, -std::abs(value) - 0.1,
                              0,     100 + value * 1e-4,    value * (j == 1 ? 50 : 1),
                              value};
      x[static_cast<size_t>(t * cols + j)] = kinds[t % 7];
    }
  }
  return x;
}

struct Marks {
  Marks(int64_t rows, int64_t cols) : cols_(cols), memory(static_cast<size_t>(rows * markWords(cols) * 4)) {}
  uint32_t* device() const { return reinterpret_cast<uint32_t*>(memory.data()); }
  void read() {
    const std::vector<std::byte> bytes = memory.read();
    words.resize(bytes.size() / 4);
    std::memcpy(words.data(), bytes.data(), bytes.size());
  }
  bool at(int64_t i) const {
    return (words[static_cast<size_t>(i / cols_ * markWords(cols_) + i % cols_ / 32)] >> (i % cols_ % 32) & 1U) != 0;
  }
  int64_t cols_;
  DeviceMemory memory;
  std::vector<uint32_t> words;
};

constexpr int64_t shapes[][3] = {
    // rows, columns, width of a grid
    {15, 1, 1},        {15, 6, 3},     {9, 24, 6},     {7, 40, 40},     {21, 64, 16},      {20, 96, 48},
    {8, 129, 129},     {9, 172, 172},  {15, 256, 128}, {13, 320, 80},   {9, 384, 96},      {6, 512, 256},
    {5, 1024, 64},     {4, 1024, 512}, {8, 4096, 128}, {5, 4096, 4096}, {3, 11008, 11008}, {2, 5504, 5504},
    {2, 14336, 14336}, {64, 88, 22},   {3, 8200, 8200}};

void compare(const Plain& expected, const Tensor& y, const Marks& marks, DType type) {
  const std::vector<double> values = y.values();
  for (size_t i = 0; i < values.size(); ++i) {
    expect(marks.at(static_cast<int64_t>(i)) == expected.inside[i], "mark");
    expect(values[i] == rounded(type, expected.y[i]), "value on the grid");
  }
}

void checkMasked(Random& random, const Plain& expected, const Marks& marks, int64_t rows, int64_t cols) {
  for (const DType type : {DType::F32, DType::BF16}) {
    Tensor gradient(random, type, rows, cols);
    const std::vector<double> before = gradient.values();
    cuda::maskActivationGradient(gradient.matrix(), marks.device(), nullptr);
    const std::vector<double> after = gradient.values();
    for (size_t i = 0; i < after.size(); ++i) expect(after[i] == (expected.inside[i] ? before[i] : 0), "gradient");
  }
}

void perToken() {
  for (const auto& [rows, cols, width] : shapes) {
    for (const DType type : {DType::F32, DType::BF16}) {
      for (const int bits : {2, 4, 8}) {
        for (const bool fractional : {false, true}) {
          for (const size_t offset : {size_t{0}, size_t{4}}) {
            context = describe(type, rows, cols, bits) + ", width " + std::to_string(width) +
                      (fractional ? ", fractional" : "") + (offset != 0 ? ", unaligned" : "");
            Random random(static_cast<uint64_t>(rows * 1000 + cols * 10 + bits));
            Tensor x(type, rows, cols, offset);
            x.set(tokens(random, rows, cols));
            Tensor y(type, rows, cols, offset);
            Marks marks(rows, cols);
            const ActivationGrid grid{bits, fractional, width};
            const Plain expected = plain(x.values(), static_cast<size_t>(width), bits, fractional);
            cuda::quantizeActivations(x.matrix(), grid, y.matrix(), marks.device(), nullptr);
            marks.read();
            compare(expected, y, marks, type);
            checkMasked(random, expected, marks, rows, cols);
            // In place and without marks: the same.
            cuda::quantizeActivations(x.matrix(), grid, x.matrix(), nullptr, nullptr);
            expectSameBytes(x.bytes(), y.bytes(), "in place");
          }
        }
      }
    }
  }
}

void shared() {
  std::vector<std::array<int64_t, 2>> sizes;
  for (const auto& [rows, cols, width] : shapes) sizes.push_back({rows, cols});
  sizes.push_back({700, 8192});  // more than the threads of learnGrid take at a time
  for (const auto& [rows, cols] : sizes) {
    for (const DType type : {DType::F32, DType::BF16}) {
      for (const StaticGrid& numbers :
           {StaticGrid{0.013F, 117, 0, 255}, StaticGrid{0.21F, 0, -8, 7}, StaticGrid{0.017F, 0, 0, 15}}) {
        context = describe(type, rows, cols, static_cast<int>(numbers.high)) + ", one grid";
        Random random(static_cast<uint64_t>(rows * 1000 + cols));
        Tensor x(type, rows, cols);
        std::vector<double> values = tokens(random, rows, cols);
        x.set(values);
        DeviceMemory gridMemory(sizeof numbers);
        gridMemory.write(&numbers);
        const ActivationGrid grid{8, false, cols, reinterpret_cast<const StaticGrid*>(gridMemory.data())};
        Tensor y(type, rows, cols);
        Marks marks(rows, cols);
        const std::vector<double> stored = x.values();
        Plain expected{std::vector<double>(stored.size()), std::vector<bool>(stored.size())};
        put(stored, 0, stored.size(), numbers, expected);
        cuda::quantizeActivations(x.matrix(), grid, y.matrix(), marks.device(), nullptr);
        marks.read();
        compare(expected, y, marks, type);
        checkMasked(random, expected, marks, rows, cols);

        const ScratchMemory rangeMemory(cuda::activationRangeScratchBytes());
        cuda::Scratch rangeScratch = rangeMemory.scratch();
        const cuda::ActivationRangeParts found = cuda::activationRangeParts(x.matrix(), rangeScratch, nullptr);
        std::vector<ActivationRange> parts(static_cast<size_t>(found.count));
        LRQAT_CUDA(cudaMemcpy(parts.data(), found.parts, parts.size() * sizeof(ActivationRange), cudaMemcpyDefault));
        ActivationRange range = parts.front();
        for (const ActivationRange& part : parts) {
          range = {std::min(range.low, part.low), std::max(range.high, part.high)};
        }
        expect(static_cast<double>(range.low) == *std::min_element(stored.begin(), stored.end()), "smallest");
        expect(static_cast<double>(range.high) == *std::max_element(stored.begin(), stored.end()), "largest");
        rangeMemory.checkGuards();

        for (const DType gradientType : {DType::F32, type}) {
          Tensor gradient(random, gradientType, rows, cols);
          const std::vector<double> before = gradient.values();
          Tensor sums(DType::F32, 1, 2);
          sums.set({0.5, -0.25});
          const auto learn = [&] {
            const ScratchMemory memory(cuda::learnGridScratchBytes());
            cuda::Scratch scratch = memory.scratch();
            cuda::learnGrid(x.matrix(), grid, gradient.matrix(), sums.floats(), sums.floats() + 1, scratch, nullptr);
            synchronize();
            memory.checkGuards();
          };
          learn();
          const std::vector<double> after = gradient.values();
          double scale = 0, outside = 0, scaleSize = 0, outsideSize = 0;
          for (size_t i = 0; i < after.size(); ++i) {
            expect(after[i] == (expected.inside[i] ? before[i] : 0), "gradient of a learned grid");
            const auto steps = static_cast<double>(static_cast<float>(stored[i]) / numbers.scale);
            const double code = std::clamp(std::nearbyint(steps) + static_cast<double>(numbers.zero),
                                           static_cast<double>(numbers.low), static_cast<double>(numbers.high));
            const double term =
                before[i] * (code - static_cast<double>(numbers.zero) - (expected.inside[i] ? steps : 0));
            scale += term;
            scaleSize += std::abs(before[i]) * (std::abs(code - static_cast<double>(numbers.zero)) + std::abs(steps));
            if (expected.inside[i]) continue;
            outside += before[i];
            outsideSize += std::abs(before[i]);
          }
          const std::vector<double> found2 = sums.values();
          // Two float32 operations a term, then double; the sum is rounded when it is added.
          expectNear(found2[0], 0.5 + scale, 0x1p-22 * (scaleSize + 1), "scale gradient");
          expectNear(found2[1], -0.25 - static_cast<double>(numbers.scale) * outside, 0x1p-22 * (outsideSize + 1),
                     "zero point gradient");
          const auto bytes = sums.bytes();
          gradient.set(before);
          sums.set({0.5, -0.25});
          learn();
          expectSameBytes(sums.bytes(), bytes, "sums repeated");
        }
      }
    }
  }
}

/// What is not finite must not look like a number afterwards, and is no range.
void notFinite() {
  for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    for (const int64_t cols : {int64_t{40}, int64_t{39}, int64_t{4096}}) {
      Random random(5);
      std::vector<double> values = tokens(random, 1, cols);
      values[17] = bad;
      Tensor x(DType::F32, 1, cols);
      x.set(values);
      Tensor y(DType::F32, 1, cols);
      Marks marks(1, cols);
      cuda::quantizeActivations(x.matrix(), {8, false, cols}, y.matrix(), marks.device(), nullptr);
      expect(!std::isfinite(y.values()[17]), "a number out of what is none");
      const ScratchMemory memory(cuda::activationRangeScratchBytes());
      cuda::Scratch scratch = memory.scratch();
      const cuda::ActivationRangeParts found = cuda::activationRangeParts(x.matrix(), scratch, nullptr);
      ActivationRange first;
      LRQAT_CUDA(cudaMemcpy(&first, found.parts, sizeof first, cudaMemcpyDefault));
      expect(std::isnan(first.low) && std::isnan(first.high), "a range out of what has none");
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (skippedWithoutGpu()) return 0;
  return run({{"a grid a token", perToken}, {"one grid for all", shared}, {"not finite", notFinite}}, argc, argv);
}
