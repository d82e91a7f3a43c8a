// Activations on a grid of their own for each token against a plain loop. Every operation is one rounded float32
// operation in both, so all must agree to the bit; bf16 differs by its rounding of inputs and results alone.
#include <algorithm>
#include <limits>

#include "core/half.h"
#include "cpu/cpu_backend.h"
#include "test/check.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

struct Plain {
  std::vector<float> y;
  std::vector<bool> inside;
};

Plain plain(const std::vector<float>& x, int64_t width, int bits, bool fractional) {
  Plain out{std::vector<float>(x.size()), std::vector<bool>(x.size())};
  const auto levels = static_cast<float>((1 << bits) - 1);
  for (size_t start = 0; start < x.size(); start += static_cast<size_t>(width)) {
    const auto begin = x.begin() + static_cast<std::ptrdiff_t>(start);
    float low = *std::min_element(begin, begin + width);
    float high = *std::max_element(begin, begin + width);
    if (!fractional) low = std::min(low, 0.0F), high = std::max(high, 0.0F);
    const float delta = std::max((high - low) / levels, 1e-8F);
    float zero = -low / delta;
    if (!fractional) zero = std::clamp(std::nearbyintf(zero), 0.0F, levels);
    for (size_t i = start; i < start + static_cast<size_t>(width); ++i) {
      const float code = std::nearbyintf(x[i] / delta) + zero;
      out.inside[i] = code >= 0 && code <= levels;
      out.y[i] = delta * (std::clamp(code, 0.0F, levels) - zero);
    }
  }
  return out;
}

/// Numbers in memory of either type.
struct Numbers {
  std::vector<std::byte> memory;
  Matrix matrix;

  Numbers(DType type, int64_t rows, int64_t cols, const std::vector<float>& values)
      : memory(static_cast<size_t>(rows * cols * byteSize(type))), matrix{memory.data(), type, rows, cols} {
    for (size_t i = 0; i < values.size(); ++i) {
      if (type == DType::F32) {
        static_cast<float*>(matrix.data)[i] = values[i];
      } else {
        static_cast<uint16_t*>(matrix.data)[i] = bf16FromFloat(values[i]);
      }
    }
  }
  float at(size_t i) const {
    return matrix.type == DType::F32 ? static_cast<const float*>(matrix.data)[i]
                                     : floatFromBf16(static_cast<const uint16_t*>(matrix.data)[i]);
  }
  std::vector<float> values() const {
    std::vector<float> out(static_cast<size_t>(matrix.elements()));
    for (size_t i = 0; i < out.size(); ++i) out[i] = at(i);
    return out;
  }
};

cpu::CpuBackend backendOf(int threads) {
  return cpu::CpuBackend({.threads = threads, .computeType = DType::F32, .oneDnnPath = {}});
}

bool marked(const std::vector<uint32_t>& inside, int64_t cols, int64_t row, int64_t col) {
  return (inside[static_cast<size_t>(row * markWords(cols) + col / 32)] >> (col % 32)) & 1U;
}

/// Tokens of all signs, of one sign, of zeros, far from zero and with an outlier, in widths that end anywhere in a
/// vector.
std::vector<float> tokens(int64_t rows, int64_t cols, uint32_t seed) {
  std::vector<float> x = randomNormal(static_cast<size_t>(rows * cols), seed);
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t j = 0; j < cols; ++j) {
      float& value = x[static_cast<size_t>(t * cols + j)];
      switch (t % 7) {
        case 1:
          value = std::abs(value) + 0.1F;
          break;
        case 2:
          value = -std::abs(value) - 0.1F;
          break;
        case 3:
          value = 0;
          break;
        case 4:
          value = 100 + value * 1e-4F;  // x/δ is beyond 2^22 where the zero point is fractional
          break;
        case 5:
          value *= j == 1 ? 50.0F : 1.0F;
          break;
        default:
          break;
      }
    }
  }
  return x;
}

void quantizes() {
  const auto one = backendOf(1);
  for (const auto& [cols, width] : {std::pair<int64_t, int64_t>{1, 1},
                                    {6, 3},
                                    {24, 6},
                                    {40, 40},
                                    {64, 16},
                                    {96, 48},
                                    {129, 129},
                                    {172, 172},
                                    {256, 128}}) {
    for (const int bits : {2, 4, 8}) {
      for (const bool fractional : {false, true}) {
        for (const DType type : {DType::F32, DType::BF16}) {
          context = std::to_string(cols) + "/" + std::to_string(width) + ", " + std::to_string(bits) + " bits";
          constexpr int64_t rows = 15;
          const Numbers x(type, rows, cols, tokens(rows, cols, static_cast<uint32_t>(cols * 10 + bits)));
          const Plain expected = plain(x.values(), width, bits, fractional);
          const Numbers rounded(type, rows, cols, expected.y);
          Numbers y(type, rows, cols, {});
          std::vector<uint32_t> inside(static_cast<size_t>(rows * markWords(cols)), ~0U);
          backendOf(2).quantizeActivations(x.matrix, {bits, fractional, width}, y.matrix, inside.data());
          Numbers gradient(type, rows, cols, randomNormal(static_cast<size_t>(rows * cols), 77));
          const std::vector<float> before = gradient.values();
          backendOf(2).maskGradient(gradient.matrix, inside.data());
          for (int64_t i = 0; i < rows * cols; ++i) {
            const auto at = static_cast<size_t>(i);
            expect(marked(inside, cols, i / cols, i % cols) == expected.inside[at], "mask");
            expect(y.at(at) == rounded.at(at), "value on the grid");
            expect(gradient.at(at) == (expected.inside[at] ? before[at] : 0.0F), "gradient");
          }
          // In place, without marks, on one thread: the same.
          Numbers again = Numbers(type, rows, cols, x.values());
          cpu::CpuBackend single({.threads = 1, .computeType = DType::F32, .oneDnnPath = {}});
          single.quantizeActivations(again.matrix, {bits, fractional, width}, again.matrix, nullptr);
          expect(again.memory == y.memory, "in place");
        }
      }
    }
  }
}

/// With an integer zero point zero stays zero, and no token needs more than 2^bits levels.
void fitsAnInteger() {
  constexpr int64_t rows = 14, cols = 200;
  const Numbers x(DType::F32, rows, cols, tokens(rows, cols, 3));
  for (const int bits : {2, 4, 8}) {
    Numbers y(DType::F32, rows, cols, {});
    backendOf(2).quantizeActivations(x.matrix, {bits, false, cols}, y.matrix, nullptr);
    for (int64_t t = 0; t < rows; ++t) {
      std::vector<float> row(cols);
      for (int64_t j = 0; j < cols; ++j) row[static_cast<size_t>(j)] = y.at(static_cast<size_t>(t * cols + j));
      std::ranges::sort(row);
      const auto distinct = std::unique(row.begin(), row.end()) - row.begin();
      expect(distinct <= (1 << bits), "more levels than the code has");
    }
  }
}

/// What is not finite must not look like a number afterwards: the step is skipped because of it.
void notFinite() {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    for (const bool fractional : {false, true}) {
      std::vector<float> values = randomNormal(40, 5);
      values[17] = bad;
      const Numbers x(DType::F32, 1, 40, values);
      Numbers y(DType::F32, 1, 40, {});
      std::vector<uint32_t> inside(2);
      backendOf(1).quantizeActivations(x.matrix, {8, fractional, 40}, y.matrix, inside.data());
      expect(!std::isfinite(y.at(17)), "a number out of what is none");
    }
  }
}

/// One grid for all: to the bit, and the sums of a learned grid against double.
void sharedGrid() {
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {15, 17}, {70, 48}, {300, 172}}) {
    for (const DType type : {DType::F32, DType::BF16}) {
      for (const StaticGrid& numbers :
           {StaticGrid{0.013F, 117, 0, 255}, StaticGrid{0.21F, 0, -8, 7}, StaticGrid{0.017F, 0, 0, 15}}) {
        context = std::to_string(rows) + " x " + std::to_string(cols) + ", high " + std::to_string(numbers.high);
        const Numbers x(type, rows, cols, tokens(rows, cols, static_cast<uint32_t>(cols)));
        const ActivationGrid grid{8, false, cols, &numbers};
        Numbers y(type, rows, cols, {});
        std::vector<uint32_t> inside(static_cast<size_t>(rows * markWords(cols)), ~0U);
        backendOf(2).quantizeActivations(x.matrix, grid, y.matrix, inside.data());
        const std::vector<float> stored = x.values();
        std::vector<float> expected(stored.size());
        std::vector<bool> passes(stored.size());
        std::vector<double> terms(stored.size());
        for (size_t i = 0; i < stored.size(); ++i) {
          const float steps = stored[i] / numbers.scale;
          const float code = std::nearbyintf(steps) + numbers.zero;
          passes[i] = code >= numbers.low && code <= numbers.high;
          const float kept = std::clamp(code, numbers.low, numbers.high) - numbers.zero;
          expected[i] = numbers.scale * kept;
          terms[i] = static_cast<double>(kept) - (passes[i] ? static_cast<double>(steps) : 0);
          expect(marked(inside, cols, static_cast<int64_t>(i) / cols, static_cast<int64_t>(i) % cols) == passes[i],
                 "mark");
        }
        expect(y.values() == Numbers(type, rows, cols, expected).values(), "values on the grid");

        const ActivationRange range = backendOf(2).activationRange(x.matrix);
        expect(range.low == *std::ranges::min_element(stored), "smallest");
        expect(range.high == *std::ranges::max_element(stored), "largest");

        for (const DType gradientType : {DType::F32, type}) {
          float scaleSums[2];
          for (const int threads : {1, 2}) {
            Numbers gradient(gradientType, rows, cols, randomNormal(stored.size(), 9));
            const std::vector<float> before = gradient.values();
            float scaleGradient = 0.5F;
            float zeroGradient = -0.25F;
            backendOf(threads).learnGrid(x.matrix, grid, gradient.matrix, &scaleGradient, &zeroGradient);
            const std::vector<float> after = gradient.values();
            double scale = 0, outside = 0, size = 0;
            for (size_t i = 0; i < stored.size(); ++i) {
              const auto dY = static_cast<double>(before[i]);
              expect(after[i] == (passes[i] ? before[i] : 0.0F), "gradient of a learned grid");
              scale += dY * terms[i];
              outside += passes[i] ? 0 : dY;
              size += std::abs(dY) * (1 + std::abs(terms[i]));
            }
            // Sums of a row in float32, of rows in double.
            expectNear(static_cast<double>(scaleGradient), 0.5 + scale, 1e-6 * (size + 1), "scale gradient");
            expectNear(static_cast<double>(zeroGradient), -0.25 - static_cast<double>(numbers.scale) * outside,
                       1e-6 * (size + 1), "zero point gradient");
            scaleSums[threads - 1] = scaleGradient;
          }
          expect(scaleSums[0] == scaleSums[1], "the same bits with one thread");
        }
      }
    }
  }
}

void noRange() {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    std::vector<float> values = randomNormal(80, 5);
    values[57] = bad;
    const Numbers x(DType::F32, 2, 40, values);
    const ActivationRange range = backendOf(2).activationRange(x.matrix);
    expect(std::isnan(range.low) && std::isnan(range.high), "a range out of what has none");
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run({{"quantizes", quantizes},
              {"fits an integer", fitsAnInteger},
              {"not finite", notFinite},
              {"one grid for all", sharedGrid},
              {"no range", noRange}},
             argc, argv);
}
