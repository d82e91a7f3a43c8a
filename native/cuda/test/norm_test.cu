// RMSNorm, its backward, embedding rows and conversions against double.
#include "cuda/kernels/norm.h"

#include "cuda/kernels/convert.h"
#include "cuda/kernels/embed.h"
#include "cuda/test/elementwise.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

// Every number of vectors a thread, whole and ragged, and the scalar path.
constexpr int64_t shapes[][2] = {{1, 1},    {3, 17},   {70, 48},  {129, 33},  {5, 172},  {9, 2048}, {7, 4096},
                                 {3, 5120}, {2, 8192}, {2, 4100}, {1, 13824}, {3, 2049}, {2, 7001}};

void rmsNorms() {
  for (const auto& [rows, cols] : shapes) {
    for (const DType streamType : {DType::F32, DType::BF16}) {
      for (const DType type : {DType::F32, DType::BF16}) {
        for (const size_t offset : {size_t{0}, size_t{4}}) {
          if (offset != 0 && cols > 8192) continue;  // the scalar path, which unaligned weights take, ends there
          context = describe(type, rows, cols, static_cast<int>(offset)) + " stream " + typeName(streamType);
          Random random(static_cast<uint64_t>(rows * 1000 + cols));
          const float epsilon = 1e-5F;
          const Tensor xTensor(random, streamType, rows, cols, 3);
          const Tensor wTensor(random, DType::F32, 1, cols, 1, offset);
          const Tensor dyTensor(random, type, rows, cols);
          Tensor dxTensor(random, DType::F32, rows, cols);
          Tensor yTensor(type, rows, cols);
          Tensor rstdTensor(DType::F32, 1, rows, offset);
          const std::vector<double> x = xTensor.values();
          const std::vector<double> w = wTensor.values();
          const std::vector<double> dy = dyTensor.values();
          const std::vector<double> before = dxTensor.values();
          cuda::rmsNorm(xTensor.matrix(), wTensor.floats(), epsilon, yTensor.matrix(), rstdTensor.floats(), nullptr);
          cuda::rmsNormBackward(dyTensor.matrix(), xTensor.matrix(), wTensor.floats(), rstdTensor.floats(),
                                dxTensor.matrix(), nullptr);
          const std::vector<double> y = yTensor.values();
          const std::vector<double> dx = dxTensor.values();
          const std::vector<double> rstd = rstdTensor.values();
          const auto width = static_cast<size_t>(cols);
          for (size_t t = 0; t < static_cast<size_t>(rows); ++t) {
            double squares = 0;
            double dot = 0;
            double dotSize = 0;
            for (size_t i = t * width, j = 0; j < width; ++i, ++j) {
              squares += x[i] * x[i];
              dot += dy[i] * w[j] * x[i];
              dotSize += std::abs(dy[i] * w[j] * x[i]);
            }
            const double r = 1 / std::sqrt(squares / static_cast<double>(cols) + static_cast<double>(epsilon));
            expectNear(rstd[t], r, 8 * 0x1p-24 * r, "rstd");
            for (size_t i = t * width, j = 0; j < width; ++i, ++j) {
              const double value = x[i] * r * w[j];
              expectNear(y[i], value, allowed(type, value, std::abs(value)), "y");
              const double mean = r * r / static_cast<double>(cols);
              const double gradient = before[i] + r * (dy[i] * w[j] - x[i] * dot * mean);
              const double size = std::abs(before[i]) + r * (std::abs(dy[i] * w[j]) + std::abs(x[i]) * dotSize * mean);
              expectNear(dx[i], gradient, allowed(DType::F32, gradient, size), "dx");
            }
          }
          const auto yBytes = yTensor.bytes();
          const auto dxBytes = dxTensor.bytes();
          yTensor.poison();
          dxTensor.set(before);
          cuda::rmsNorm(xTensor.matrix(), wTensor.floats(), epsilon, yTensor.matrix(), rstdTensor.floats(), nullptr);
          cuda::rmsNormBackward(dyTensor.matrix(), xTensor.matrix(), wTensor.floats(), rstdTensor.floats(),
                                dxTensor.matrix(), nullptr);
          expectSameBytes(yTensor.bytes(), yBytes, "y repeated");
          expectSameBytes(dxTensor.bytes(), dxBytes, "dx repeated");
        }
      }
    }
  }
}

void tooWide() {
  const Tensor x(DType::F32, 1, 40000);
  Tensor y(DType::F32, 1, 40000);
  Tensor rstd(DType::F32, 1, 1);
  expectThrows<Error>([&] { cuda::rmsNorm(x.matrix(), x.floats(), 1e-5F, y.matrix(), rstd.floats(), nullptr); },
                      "too wide a row");
}

void embedding() {
  for (const DType tableType : {DType::F32, DType::BF16, DType::F16}) {
    for (const DType type : {DType::F32, DType::BF16}) {
      for (const auto& [rows, cols] : shapes) {
        context = describe(type, rows, cols, 0) + " table " + typeName(tableType);
        Random random(static_cast<uint64_t>(rows * 1000 + cols));
        const int64_t vocab = 37;
        const Tensor table(random, tableType, vocab, cols);
        std::vector<int32_t> ids(static_cast<size_t>(rows));
        for (int32_t& id : ids) id = static_cast<int32_t>(random.below(vocab));
        DeviceMemory idMemory(ids.size() * 4);
        idMemory.write(ids.data());
        Tensor x(type, rows, cols);
        cuda::embed(table.matrix(), reinterpret_cast<const int32_t*>(idMemory.data()), x.matrix(), nullptr);
        const std::vector<double> values = x.values();
        const std::vector<double> entries = table.values();
        for (size_t i = 0; i < values.size(); ++i) {
          const size_t row = i / static_cast<size_t>(cols);
          const double entry = entries[static_cast<size_t>(ids[row] * cols) + i % static_cast<size_t>(cols)];
          std::byte stored[4];
          encode(type, entry, stored);
          expectEqual(values[i], decoded(type, stored), "x");
        }
      }
    }
  }
}

void pinnedTable() {
  // The table may lie in pinned host memory that is mapped into the device.
  const int64_t vocab = 50;
  const int64_t cols = 64;
  float* host = nullptr;
  LRQAT_CUDA(cudaHostAlloc(reinterpret_cast<void**>(&host), vocab * cols * 4, cudaHostAllocMapped));
  for (int64_t i = 0; i < vocab * cols; ++i) host[i] = static_cast<float>(i) * 0.5F;
  float* mapped = nullptr;
  LRQAT_CUDA(cudaHostGetDevicePointer(reinterpret_cast<void**>(&mapped), host, 0));
  const std::vector<int32_t> ids = {49, 0, 7, 7};
  DeviceMemory idMemory(ids.size() * 4);
  idMemory.write(ids.data());
  Tensor x(DType::F32, 4, cols);
  cuda::embed({mapped, DType::F32, vocab, cols}, reinterpret_cast<const int32_t*>(idMemory.data()), x.matrix(),
              nullptr);
  const std::vector<double> values = x.values();
  for (size_t i = 0; i < values.size(); ++i) {
    expectEqual(values[i], 0.5 * (ids[i / 64] * 64 + static_cast<double>(i % 64)), "x");
  }
  LRQAT_CUDA(cudaFreeHost(host));
}

void conversion() {
  for (const DType from : {DType::F32, DType::BF16, DType::F16}) {
    for (const DType to : {DType::F32, DType::BF16, DType::F16}) {
      for (const int64_t count : {1, 7, 8, 4096, 4099, 20001}) {
        for (const size_t offset : {size_t{0}, size_t{4}}) {
          context = std::string(typeName(from)) + " to " + typeName(to) + ", " + std::to_string(count);
          Random random(static_cast<uint64_t>(count));
          const Tensor source(random, from, 1, count, 100, offset);
          Tensor target(to, 1, count);
          cuda::convert(source.matrix(), target.matrix(), nullptr);
          const std::vector<double> values = target.values();
          const std::vector<double> numbers = source.values();
          for (size_t i = 0; i < values.size(); ++i) {
            std::byte stored[4];
            encode(to, numbers[i], stored);
            expectEqual(values[i], decoded(to, stored), "value");
          }
        }
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (skippedWithoutGpu()) return 0;
  return run({{"rms norm", rmsNorms},
              {"rms norm of too wide rows", tooWide},
              {"embedding", embedding},
              {"embedding from pinned memory", pinnedTable},
              {"conversion", conversion}},
             argc, argv);
}
