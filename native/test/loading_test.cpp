// Rows of a checkpoint on their way to memory: types, and what is not finite in them.
#include <bit>
#include <cstring>
#include <fstream>
#include <limits>

#include "core/error.h"
#include "core/half.h"
#include "core/host_tensor.h"
#include "test/check.h"
#include "test/small_engine.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

void rows() {
  constexpr int64_t kRows = 3;
  constexpr int64_t kCols = 37;
  const std::vector<float> values = randomNormal(kRows * kCols, 7);
  for (const DType type : {DType::F32, DType::BF16, DType::F16}) {
    context = "type " + std::to_string(static_cast<int>(type));
    // One byte further on than any alignment.
    std::vector<std::byte> memory(1 + kRows * kCols * 4);
    const auto put = [&](int64_t i, float value) {
      std::byte* const place = memory.data() + 1 + i * byteSize(type);
      const uint16_t half = type == DType::BF16 ? bf16FromFloat(value) : f16FromFloat(value);
      std::memcpy(place, type == DType::F32 ? static_cast<const void*>(&value) : &half,
                  static_cast<size_t>(byteSize(type)));
    };
    for (size_t i = 0; i < values.size(); ++i) put(static_cast<int64_t>(i), values[i]);
    const HostTensor tensor{memory.data() + 1, type, kRows, kCols};
    for (int64_t row = 0; row < kRows; ++row) {
      expect(!firstNotFinite(tensor, row), "all are finite");
      std::vector<float> wide(kCols);
      std::vector<uint16_t> narrow(kCols);
      copyHostRow(tensor, row, DType::F32, reinterpret_cast<std::byte*>(wide.data()));
      copyHostRow(tensor, row, DType::BF16, reinterpret_cast<std::byte*>(narrow.data()));
      for (int64_t col = 0; col < kCols; ++col) {
        const float expected = hostValue(tensor, row * kCols + col);
        expectEqual(wide[static_cast<size_t>(col)], expected, "as float32");
        expectEqual(narrow[static_cast<size_t>(col)], bf16FromFloat(expected), "as bf16");
      }
    }
    const float infinity = std::numeric_limits<float>::infinity();
    for (const float bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
      put(1 * kCols + 36, bad);
      expectEqual(firstNotFinite(tensor, 1).value_or(-1), int64_t{36}, "the last column");
      put(1 * kCols + 5, bad);
      expectEqual(firstNotFinite(tensor, 1).value_or(-1), int64_t{5}, "the first of two");
      expect(!firstNotFinite(tensor, 0) && !firstNotFinite(tensor, 2), "rows beside it");
      put(1 * kCols + 5, 0);
      put(1 * kCols + 36, 0);
    }
  }
}

/// A head of several parts, each checked by a thread of its own: the first of its rows is named.
void damagedHead() {
  ModelShape model;
  model.hiddenSize = 64;
  model.intermediateSize = 32;
  model.layers = 1;
  model.heads = model.kvHeads = 2;
  model.headDim = 32;
  model.vocabSize = 50000;
  const RandomCheckpoint checkpoint(model);
  QuantSpec spec;
  spec.bits = 4;
  const auto damage = [&](int64_t row, int64_t col) {
    for (const TensorSource& tensor : checkpoint.tensors) {
      if (tensor.name != "lm_head.weight") continue;
      std::fstream file(tensor.file, std::ios::in | std::ios::out | std::ios::binary);
      const float nan = std::numeric_limits<float>::quiet_NaN();
      file.seekp(tensor.offset + (row * model.hiddenSize + col) * 4);
      file.write(reinterpret_cast<const char*>(&nan), sizeof nan);
    }
  };
  const auto load = [&] {
    Engine engine = open(configure(checkpoint, model, spec));
    engine.load({}, {});
  };
  load();
  for (const int64_t row : {int64_t{49999}, int64_t{17000}, int64_t{16384}, int64_t{3}}) {
    damage(row, row % 64);
    const std::string message = expectThrows<Error>(load, "a damaged head");
    const std::string place = "[" + std::to_string(row) + ", " + std::to_string(row % 64) + "]";
    expect(message.find("lm_head.weight") != std::string::npos, "names the tensor: " + message);
    expect(message.find(place) != std::string::npos, "names " + place + ": " + message);
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run({{"rows as float32 and bf16", rows}, {"a head that is not finite", damagedHead}}, argc, argv);
}
