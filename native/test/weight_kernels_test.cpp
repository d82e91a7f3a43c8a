// The inner loops of quantized weights on every instruction set of this CPU against scalar formulas and each other.
#include <cstring>

#include "core/half.h"
#include "core/packing.h"
#include "cpu/kernels/gather.h"
#include "cpu/kernels/low_rank.h"
#include "cpu/kernels/weights.h"
#include "test/check.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

struct Level {
  const char* name;
  const cpu::WeightKernels& weights;
  const cpu::LowRankKernels& lowRank;
  const cpu::GatherKernels& gathers;
};

std::vector<Level> levels() {
  std::vector<Level> all = {
      {"baseline", cpu::baseline::weightKernels, cpu::baseline::lowRankKernels, cpu::baseline::gatherKernels}};
#if defined(__x86_64__)
  if (cpu::detectIsa() >= cpu::Isa::Avx2)
    all.push_back({"avx2", cpu::avx2::weightKernels, cpu::avx2::lowRankKernels, cpu::avx2::gatherKernels});
  if (cpu::detectIsa() >= cpu::Isa::Avx512) {
    all.push_back({"avx512", cpu::avx512::weightKernels, cpu::avx512::lowRankKernels, cpu::avx512::gatherKernels});
  }
#endif
  return all;
}

/// Exactly as long as it is filled, so that a sanitizer sees every read and write beyond the end.
template <typename T>
std::vector<T> exactly(size_t count, T value = T{}) {
  std::vector<T> values(count, value);
  values.shrink_to_fit();
  return values;
}

void packedCodes() {
  std::mt19937 generator(1);
  for (const Level& level : levels()) {
    for (int width = 2; width <= 8; ++width) {
      context = std::string(level.name) + " width " + std::to_string(width);
      for (const int64_t count : {1, 8, 31, 32, 33, 172}) {
        const int64_t tiles = (count + 31) / 32;
        const float offset = static_cast<float>(1 << (width - 1));
        auto values = exactly<float>(static_cast<size_t>(count));
        for (float& value : values) value = static_cast<float>(generator() % (1U << width)) - offset;
        auto packed = exactly<uint8_t>(static_cast<size_t>(tiles * 4 * width), uint8_t{0xaa});
        auto expected = exactly<uint8_t>(packed.size());
        for (int64_t j = 0; j < tiles * 32; ++j) {
          const float value = j < count ? values[static_cast<size_t>(j)] : 0.0F;
          writeCode(expected.data(), width, j, static_cast<uint32_t>(value + offset));
        }
        level.weights.pack(values.data(), count, offset, width, packed.data());
        expect(packed == expected, "packed bytes");
        auto unpacked = exactly<float>(static_cast<size_t>(tiles * 32));
        level.weights.unpack(packed.data(), width, tiles, 0.25F, -offset / 4, unpacked.data());
        for (int64_t j = 0; j < count; ++j) {
          expectEqual(readCode(packed.data(), width, j), static_cast<uint32_t>(values[static_cast<size_t>(j)] + offset),
                      "code");
          expectEqual(unpacked[static_cast<size_t>(j)], values[static_cast<size_t>(j)] / 4, "unpacked value");
        }
      }
    }
  }
}

void sixteenBitFormats() {
  std::vector<uint16_t> patterns(65536);
  for (size_t i = 0; i < patterns.size(); ++i) patterns[i] = static_cast<uint16_t>(i);
  std::mt19937 generator(2);
  std::vector<float> floats(100003);  // every kind of bit pattern but NaN, with many near the range of fp16
  for (size_t i = 0; i < floats.size(); ++i) {
    const uint32_t bits =
        i % 2 ? static_cast<uint32_t>(generator()) : (static_cast<uint32_t>(generator()) & 0x8fffffffU) | 0x30000000U;
    std::memcpy(&floats[i], &bits, 4);
    if (std::isnan(floats[i])) floats[i] = 1.0F;
  }
  for (const Level& level : levels()) {
    context = level.name;
    std::vector<float> wide(patterns.size());
    level.weights.widenBf16(patterns.data(), 65536, wide.data());
    for (size_t i = 0; i < wide.size(); ++i) {
      const float expected = floatFromBf16(patterns[i]);
      expect(std::isnan(expected) ? std::isnan(wide[i]) : wide[i] == expected, "bf16 to float");
    }
    level.weights.widenHalf(patterns.data(), 65536, wide.data());
    for (size_t i = 0; i < wide.size(); ++i) {
      const float expected = floatFromF16(patterns[i]);
      expect(std::isnan(expected) ? std::isnan(wide[i]) : wide[i] == expected, "fp16 to float");
    }
    std::vector<uint16_t> narrow(floats.size());
    level.weights.narrowBf16(floats.data(), static_cast<int64_t>(floats.size()), narrow.data());
    for (size_t i = 0; i < floats.size(); ++i) expectEqual(narrow[i], bf16FromFloat(floats[i]), "float to bf16");
    level.weights.narrowHalf(floats.data(), static_cast<int64_t>(floats.size()), narrow.data());
    for (size_t i = 0; i < floats.size(); ++i) expectEqual(narrow[i], f16FromFloat(floats[i]), "float to fp16");
  }
}

/// R of a block of rows from one instruction set.
std::vector<float> roundedBy(const Level& level, int rows, int rank, bool roundProduct) {
  constexpr int tiles = 3;
  std::vector<float> values = randomNormal(static_cast<size_t>(rows * cpu::kChunkColumns), 5, 3.0F);
  for (float& value : values) value = roundProduct ? std::nearbyint(value) : value;
  const std::vector<float> a = randomNormal(static_cast<size_t>(rows * rank), 6);
  const std::vector<float> panel = randomNormal(static_cast<size_t>(tiles * rank * cpu::kTileColumns), 7, 2.0F);
  level.weights.round({.values = values.data(),
                       .a = a.data(),
                       .panel = panel.data(),
                       .rows = rows,
                       .tiles = tiles,
                       .rank = rank,
                       .gamma = 0.25F,
                       .low = -9,
                       .high = 8,
                       .roundProduct = roundProduct});
  return values;
}

void roundingOnEveryLevel() {
  const std::vector<Level> all = levels();
  for (const bool roundProduct : {false, true}) {
    for (const int rank : {1, 5, 32}) {
      for (int rows = 1; rows <= cpu::kRowBlock; ++rows) {
        const std::vector<float> expected = roundedBy(all[0], rows, rank, roundProduct);
        for (size_t l = 1; l < all.size(); ++l) {
          context = std::string(all[l].name) + " rank " + std::to_string(rank) + " rows " + std::to_string(rows);
          const std::vector<float> values = roundedBy(all[l], rows, rank, roundProduct);
          // The baseline rounds product and sum separately: |Z| differs by about 1e-6, which moves an integer only
          // where Z lies that close to a tie; none of these random values does.
          expect(values == expected, "integers");
        }
      }
    }
  }
}

void limitsAndNaN() {
  for (const Level& level : levels()) {
    context = level.name;
    auto values = exactly<float>(5);
    values = {-1e30F, 1e30F, std::nanf(""), 2.5F, -0.5F};
    level.weights.roundInside(values.data(), 5, -9, 8);
    const std::vector<float> expected = {-9, 8, -9, 2, 0};
    expect(values == expected, "limits, NaN and ties");
    auto masks = exactly<uint16_t>(1, uint16_t{0xffff});
    expectEqual(level.weights.outsideMasks(values.data(), 5, -8, 7, masks.data()), int64_t{3}, "entries outside");
    expectEqual(masks[0], uint16_t{0b00111}, "mask");
    auto out = exactly<float>(5);
    const auto gradient = exactly<float>(5, 2.0F);
    level.weights.maskGradient(gradient.data(), values.data(), nullptr, 5, -8, 7, out.data());
    expect(out == std::vector<float>({0, 0, 0, 2, 2}), "masked gradient");
    expectEqual(level.weights.gradientProduct(gradient.data(), values.data(), 5, -8, 7), 2.0F * (-8 + 7 - 8 + 2 + 0),
                "Σ g·q");
  }
}

void sampledProducts() {
  constexpr int64_t n = 37;
  constexpr int64_t tokens = 41;
  const std::vector<float> x = randomNormal(n * tokens, 8);
  std::vector<uint16_t> narrow(x.size());
  for (size_t i = 0; i < x.size(); ++i) narrow[i] = bf16FromFloat(x[i]);
  const std::vector<float> y = randomNormal(cpu::kTokenChunk, 9);
  std::vector<int32_t> columns, index(n, -1);
  for (int32_t j = 1; j < n; j += 3) {
    index[static_cast<size_t>(j)] = static_cast<int32_t>(columns.size());
    columns.push_back(j);
  }
  const auto count = static_cast<int64_t>(columns.size());
  for (const Level& level : levels()) {
    for (const bool bf16 : {false, true}) {
      context = level.name;
      std::vector<float> gathered(static_cast<size_t>(count * cpu::kTokenStride), std::nanf(""));
      if (bf16) {
        level.gathers.gatherBf16(narrow.data(), n, tokens, columns.data(), count, gathered.data());
      } else {
        level.gathers.gatherFloat(x.data(), n, tokens, columns.data(), count, gathered.data());
      }
      std::vector<float> d(columns.size(), 1.0F);
      level.lowRank.sampledProducts(y.data(), gathered.data(), columns.data(), index.data(), count, 48, d.data());
      for (size_t e = 0; e < d.size(); ++e) {
        double expected = 1;
        for (int64_t t = 0; t < tokens; ++t) {
          const auto at = static_cast<size_t>(t * n + columns[e]);
          const float value = bf16 ? floatFromBf16(narrow[at]) : x[at];
          expected += static_cast<double>(y[static_cast<size_t>(t)]) * static_cast<double>(value);
        }
        expectNear(d[e], expected, 1e-5, "sampled product");  // 41 float32 terms of size 1
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run({{"packed codes", packedCodes},
              {"sixteen-bit formats", sixteenBitFormats},
              {"rounding, level against level", roundingOnEveryLevel},
              {"limits and NaN", limitsAndNaN},
              {"sampled products", sampledProducts}},
             argc, argv);
}
