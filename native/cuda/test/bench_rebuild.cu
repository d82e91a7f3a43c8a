// Speed of the weight rebuild at the shapes of a 7B model beside the copy bandwidth of the same run, that of a large
// copy and that of one that moves as much as the rebuild; one behind the other, each free to begin early, as nothing
// writes what they read. Usage: bench_rebuild [substring of a case]
#include <algorithm>
#include <cstdio>

#include "cuda/kernels/rebuild.h"
#include "cuda/test/device_linear.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

/// Median over rounds of the time of one call on a stream, as part of a graph, in seconds; calls rotate through `sets`
/// so that caches do not help.
template <typename Body>
double secondsPerCall(Body body, int sets) {
  cudaEvent_t start, stop;
  LRQAT_CUDA(cudaEventCreate(&start));
  LRQAT_CUDA(cudaEventCreate(&stop));
  cudaStream_t stream;
  LRQAT_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  const int calls = 4 * sets;
  LRQAT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < calls; ++i) body(i % sets, stream);
  cudaGraph_t graph;
  LRQAT_CUDA(cudaStreamEndCapture(stream, &graph));
  cudaGraphExec_t ready;
  LRQAT_CUDA(cudaGraphInstantiate(&ready, graph, 0));
  std::vector<double> times;
  for (int round = 0; round < 12; ++round) {
    LRQAT_CUDA(cudaEventRecord(start, stream));
    LRQAT_CUDA(cudaGraphLaunch(ready, stream));
    LRQAT_CUDA(cudaEventRecord(stop, stream));
    LRQAT_CUDA(cudaEventSynchronize(stop));
    float milliseconds = 0;
    LRQAT_CUDA(cudaEventElapsedTime(&milliseconds, start, stop));
    if (round > 1) times.push_back(static_cast<double>(milliseconds) * 1e-3 / calls);
  }
  LRQAT_CUDA(cudaGraphExecDestroy(ready));
  LRQAT_CUDA(cudaGraphDestroy(graph));
  LRQAT_CUDA(cudaStreamDestroy(stream));
  LRQAT_CUDA(cudaEventDestroy(start));
  LRQAT_CUDA(cudaEventDestroy(stop));
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

/// Bytes a second, read and written, of copies of `bytes`.
double copyRate(size_t bytes) {
  const int sets = std::max<int>(1, static_cast<int>((size_t{512} << 20) / bytes));
  DeviceMemory from(bytes * static_cast<size_t>(sets)), to(bytes * static_cast<size_t>(sets));
  const double seconds = secondsPerCall(
      [&](int set, cudaStream_t stream) {
        const size_t at = static_cast<size_t>(set) * bytes;
        LRQAT_CUDA(cudaMemcpyAsync(to.data() + at, from.data() + at, bytes, cudaMemcpyDeviceToDevice, stream));
      },
      sets);
  return 2 * static_cast<double>(bytes) / seconds;
}

struct BenchCase {
  const char* name;
  Storage storage;
  int bits;
  int fractionBits;
  int rank;
  int64_t group;  // 0: channel
  bool mask;
  bool symmetric = true;
};

constexpr BenchCase kCases[] = {
    {"integer 4", Storage::Integer, 4, 0, 32, 0, false},
    {"integer 4, mask", Storage::Integer, 4, 0, 32, 0, true},
    {"integer 4, group 128", Storage::Integer, 4, 0, 32, 128, false},
    {"integer 4, rank 0", Storage::Integer, 4, 0, 0, 0, false},
    {"integer 4, rank 16", Storage::Integer, 4, 0, 16, 0, false},
    {"integer 4, rank 64", Storage::Integer, 4, 0, 64, 0, false},
    {"integer 4, rank 128", Storage::Integer, 4, 0, 128, 0, false},
    {"integer 4, rank 64, mask", Storage::Integer, 4, 0, 64, 0, true},
    {"integer 4, rank 128, mask", Storage::Integer, 4, 0, 128, 0, true},
    {"integer 4, rank 128, group 128", Storage::Integer, 4, 0, 128, 128, false},
    {"fixed-point 4.4", Storage::FixedPoint, 4, 4, 32, 0, false},
    {"fixed-point 4.4, mask", Storage::FixedPoint, 4, 4, 32, 0, true},
    {"fixed-point 4.4, rank 0", Storage::FixedPoint, 4, 4, 0, 0, false},
    {"integer 2", Storage::Integer, 2, 0, 32, 0, false},
    {"integer 3", Storage::Integer, 3, 0, 32, 0, false},
    {"fixed-point 3.2", Storage::FixedPoint, 3, 2, 32, 0, false},
    {"fixed-point 3.3", Storage::FixedPoint, 3, 3, 32, 0, false},
    {"fixed-point 4.3", Storage::FixedPoint, 4, 3, 32, 0, false},
    {"integer 4, zero points", Storage::Integer, 4, 0, 32, 0, false, false},
    {"integer 4, zero points, mask", Storage::Integer, 4, 0, 32, 0, true, false},
    {"integer 4, group 128, zero points", Storage::Integer, 4, 0, 32, 128, false, false},
    {"integer 8", Storage::Integer, 8, 0, 32, 0, false},
    {"bf16", Storage::BF16, 4, 0, 32, 0, false},
};

void bench(const BenchCase& one, int64_t m, int64_t n, double copy) {
  QuantSpec spec;
  spec.storage = one.storage;
  spec.bits = one.bits;
  spec.fractionBits = one.fractionBits;
  spec.rank = one.rank;
  spec.symmetric = one.symmetric;
  if (one.group > 0) {
    spec.granularity = Granularity::Group;
    spec.groupSize = one.group;
  }
  // Enough sets that none of them stays in the second-level cache.
  constexpr int sets = 6;
  const auto codeBytes = static_cast<size_t>(m * packedRowBytes(spec.codeBits(), n));
  const auto size = static_cast<size_t>(m * n);
  const auto words = static_cast<size_t>(m * maskWords(n));
  DeviceMemory codes(codeBytes * sets), out(size * 2 * sets), mask(words * 4 * sets);
  std::vector<std::byte> random(codeBytes);
  Random generator(1);
  for (size_t i = 0; i + 8 <= codeBytes; i += 8) {
    // A bf16 Φ0 lies in the grid as well.
    uint64_t bits = generator.bits();
    if (one.storage == Storage::BF16) bits = (bits & 0x80ff80ff80ff80ffU) | 0x4000400040004000U;
    std::memcpy(random.data() + i, &bits, 8);
  }
  for (int set = 0; set < sets; ++set) {
    LRQAT_CUDA(cudaMemcpy(codes.data() + static_cast<size_t>(set) * codeBytes, random.data(), codeBytes,
                          cudaMemcpyHostToDevice));
  }
  const DeviceArray<float> a(randomNormal(static_cast<size_t>(m * spec.rank), 2, 0.02F));
  const DeviceArray<float> b(randomNormal(static_cast<size_t>(spec.rank * n), 3, 0.02F));
  const DeviceArray<float> scale(std::vector<float>(static_cast<size_t>(spec.scaleCount(m, n)), 0.01F));
  const DeviceArray<float> zero(std::vector<float>(static_cast<size_t>(spec.scaleCount(m, n)), 7.0F));
  const DeviceArray<uint32_t> counters(std::vector<uint32_t>{0, 0});
  uint64_t* published = nullptr;
  LRQAT_CUDA(cudaHostAlloc(reinterpret_cast<void**>(&published), 8, cudaHostAllocDefault));
  cuda::HostStaging staging;
  cuda::Scratch none;
  LinearWeight weight;
  weight.m = m;
  weight.n = n;
  weight.spec = spec;
  weight.scale0 = scale.data();
  weight.zero0 = spec.symmetric ? nullptr : zero.data();
  const double seconds = secondsPerCall(
      [&](int set, cudaStream_t stream) {
        weight.phi0 = codes.data() + static_cast<size_t>(set) * codeBytes;
        const ClippedSet clipped{.mask = reinterpret_cast<uint32_t*>(mask.data()) + static_cast<size_t>(set) * words,
                                 .counters = counters.data()};
        cuda::rebuildWeight(weight, {a.data(), b.data(), scale.data(), weight.zero0}, WeightForm::Trained,
                            {out.data() + static_cast<size_t>(set) * size * 2, DType::BF16, m, n},
                            one.mask ? &clipped : nullptr, {published, 1}, false, cuda::Start::Early, staging, none,
                            stream);
      },
      sets);
  cudaFreeHost(published);
  const double bytes = static_cast<double>(codeBytes + size * 2 + (one.mask ? words * 4 : 0)) +
                       4.0 * static_cast<double>(spec.rank * (m + n));
  const double sameSize = copyRate(static_cast<size_t>(bytes / 2) / 256 * 256);
  std::printf("%6ldx%-6ld %-34s %8.1f us %8.0f GB/s %5.1f %% of copy %5.1f %% of one as large\n", static_cast<long>(m),
              static_cast<long>(n), one.name, seconds * 1e6, bytes / seconds * 1e-9, 100 * bytes / seconds / copy,
              100 * bytes / seconds / sameSize);
}

}  // namespace

int main(int argc, char** argv) {
  if (skippedWithoutGpu()) return 0;
  const double copy = copyRate(size_t{256} << 20);
  std::printf("device-to-device copy of 256 MiB: %.0f GB/s\n", copy * 1e-9);
  for (const BenchCase& one : kCases) {
    if (argc > 1 && std::string(one.name).find(argv[1]) == std::string::npos) continue;
    bench(one, 4096, 4096, copy);
    bench(one, 11008, 4096, copy);
  }
  return 0;
}
