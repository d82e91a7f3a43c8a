// Speed of range search and encoding: one block of a 7B model in bf16 from a mapped file whose pages are in memory, and
// the search alone on rows that are on the device.

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "core/mapped_file.h"
#include "cuda/kernels/quantize.h"
#include "cuda/kernels/range.h"
#include "cuda/test/device_linear.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

constexpr int64_t kShapes[][2] = {{4096, 4096},  {4096, 4096},  {4096, 4096}, {4096, 4096},
                                  {11008, 4096}, {11008, 4096}, {4096, 11008}};

QuantSpec specOf(RangeMethod method, Granularity granularity) {
  QuantSpec spec;
  spec.range = method;
  spec.granularity = granularity;
  spec.groupSize = 128;
  spec.storage = Storage::Integer;
  return spec;
}

void wholeBlock(const MappedFile& file, const char* name, const QuantSpec& spec) {
  DeviceMemory phi0(static_cast<size_t>(11008 * packedRowBytes(spec.codeBits(), 4096)));
  DeviceMemory scale0(static_cast<size_t>(11008 * 4096 / 128) * 4);
  const DeviceScratch memory(cuda::quantizeScratchBytes(spec.granularity, 11008));
  cuda::HostStaging staging;
  double best = 1e30;
  for (int run = 0; run < 3; ++run) {
    const double start = now();
    const std::byte* at = file.data();
    for (const auto& [m, n] : kShapes) {
      LinearWeight weight;
      weight.m = m;
      weight.n = n;
      weight.spec = spec;
      weight.phi0 = phi0.data();
      weight.scale0 = reinterpret_cast<float*>(scale0.data());
      weight.source = {at, DType::BF16, m, n};
      cuda::Scratch scratch = memory.make();
      cuda::quantizeWeight(weight, staging, scratch, nullptr);
      at += m * n * 2;
    }
    best = std::min(best, now() - start);
  }
  std::printf("%-22s one 7B block %7.1f ms, %6.2f GB/s of checkpoint, 32 blocks %6.2f s\n", name, best * 1e3,
              static_cast<double>(file.size()) / best * 1e-9, 32 * best);
}

void searchAlone(const char* name, const QuantSpec& spec, int64_t rows, int64_t n) {
  const auto values = randomNormal(static_cast<size_t>(rows * n), 5, 0.02F);
  std::vector<uint16_t> bits(values.size());
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = bf16FromFloat(values[i]);
  const DeviceArray<uint16_t> device(bits);
  const DeviceArray<float> scale(static_cast<size_t>(rows * n / 16));
  const DeviceArray<cuda::RangeReport> report(1);
  const auto run = [&] {
    cuda::searchSegments(spec, {device.data(), DType::BF16, rows, n, 0}, scale.data(), report.data(), nullptr);
  };
  run();
  LRQAT_CUDA(cudaDeviceSynchronize());
  const double start = now();
  constexpr int runs = 5;
  for (int i = 0; i < runs; ++i) run();
  LRQAT_CUDA(cudaDeviceSynchronize());
  const double seconds = (now() - start) / runs;
  std::printf("%-22s search of %ldx%ld: %7.3f ms, %6.2f 10^12 candidates·weights/s, 7B %6.2f s\n", name,
              static_cast<long>(rows), static_cast<long>(n), seconds * 1e3,
              100.0 * static_cast<double>(rows * n) / seconds * 1e-12,
              seconds / static_cast<double>(rows * n) * 6.476e9);
}

}  // namespace

int main() {
  if (skippedWithoutGpu()) return 0;
  for (const auto& [name, method] : {std::pair{"lp-4", RangeMethod::Lp4},
                                     {"mse", RangeMethod::Mse},
                                     {"lp-2.4", RangeMethod::Lp24},
                                     {"lp-3.5", RangeMethod::Lp35}}) {
    searchAlone((std::string(name) + " channel").c_str(), specOf(method, Granularity::Channel), 4096, 4096);
  }
  searchAlone("lp-4 channel", specOf(RangeMethod::Lp4, Granularity::Channel), 1024, 4096);
  searchAlone("lp-4 channel", specOf(RangeMethod::Lp4, Granularity::Channel), 4096, 11008);
  searchAlone("lp-4 group 128", specOf(RangeMethod::Lp4, Granularity::Group), 4096, 4096);

  const std::string path = "/tmp/bench_quantize.bin";
  {
    const auto values = randomNormal(1 << 20, 1, 0.02F);
    std::vector<uint16_t> bits(values.size());
    for (size_t i = 0; i < bits.size(); ++i) bits[i] = bf16FromFloat(values[i]);
    int64_t elements = 0;
    for (const auto& [m, n] : kShapes) elements += m * n;
    std::FILE* file = std::fopen(path.c_str(), "wb");
    if (!file) throw std::runtime_error("cannot write " + path);
    for (int64_t done = 0; done < elements; done += static_cast<int64_t>(bits.size())) {
      std::fwrite(bits.data(), 2, std::min(bits.size(), static_cast<size_t>(elements - done)), file);
    }
    std::fclose(file);
  }
  const MappedFile file(path);
  wholeBlock(file, "min/max channel", specOf(RangeMethod::MinMax, Granularity::Channel));
  wholeBlock(file, "lp-4 channel", specOf(RangeMethod::Lp4, Granularity::Channel));
  wholeBlock(file, "lp-4 group 128", specOf(RangeMethod::Lp4, Granularity::Group));
  wholeBlock(file, "lp-4 tensor", specOf(RangeMethod::Lp4, Granularity::Tensor));
  std::remove(path.c_str());
  return 0;
}
