// The rebuilt weight, its mask, the merged integers and the statistics: in exact form against the CPU backend, to the
// bit; in split-bf16 form against formulas in double; and all of them against each other, to the bit.
#include "cuda/kernels/rebuild.h"

#include "cuda/kernels/hopper.h"
#include "cuda/kernels/merge.h"
#include "cuda/kernels/rebuild_hopper.cuh"
#include "cuda/kernels/rebuild_hopper_ranks_panel.cuh"
#include "cuda/kernels/scales.h"
#include "cuda/kernels/statistics.h"
#include "cuda/test/device_linear.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

const std::vector<WeightShape> kShapes = {{7, 172, 43},   {9, 96, 4},     {130, 64, 32}, {3, 1032, 86}, {33, 40, 8},
                                          {141, 300, 12}, {260, 520, 40}, {70, 96, 48},  {150, 528, 16}};
const std::vector<int> kRanks = {0, 3, 4, 32, 7, 16, 31, 33};

/// Where a rebuild with a mask counts, and what it has told.
class Counts {
 public:
  Counts() { LRQAT_CUDA(cudaHostAlloc(reinterpret_cast<void**>(&published_), 8, cudaHostAllocDefault)); }
  ~Counts() { cudaFreeHost(published_); }
  Counts(const Counts&) = delete;
  Counts& operator=(const Counts&) = delete;

  ClippedSet set(uint32_t* mask) const { return {.mask = mask, .counters = counters_.data()}; }
  /// Of the next call.
  cuda::ClippedReport next() { return {published_, ++sequence_}; }
  /// What the last call has told.
  int64_t told() const {
    LRQAT_CUDA(cudaDeviceSynchronize());
    expectEqual(static_cast<uint32_t>(*published_ >> 32), sequence_, "sequence of a count");
    expect(counters_.read() == std::vector<uint32_t>{0, 0}, "counters are zero again");
    return static_cast<int64_t>(*published_ & UINT32_MAX);
  }

 private:
  DeviceArray<uint32_t> counters_{std::vector<uint32_t>{0, 0}};
  uint64_t* published_ = nullptr;
  uint32_t sequence_ = 0;
};

struct Results {
  std::vector<float> weight;
  std::vector<uint16_t> half;
  std::vector<uint32_t> mask, maskOfHalf;
  int64_t told = 0;
  std::vector<uint8_t> merged;
  WeightStatistics statistics;
};

Results onDevice(const TestLinear& host, bool exact, cuda::HostStaging& staging) {
  const DeviceLinear linear(host);
  const int64_t m = host.weight.m;
  const int64_t n = host.weight.n;
  const auto size = static_cast<size_t>(m * n);
  DeviceArray<float> weight(size);
  DeviceArray<uint16_t> half(size);
  DeviceArray<uint32_t> mask(static_cast<size_t>(m * maskWords(n))), maskOfHalf(static_cast<size_t>(m * maskWords(n)));
  Counts counts;
  const ClippedSet clipped = counts.set(mask.data());
  const ClippedSet clippedOfHalf = counts.set(maskOfHalf.data());
  cuda::Scratch none;
  Results results;
  cuda::rebuildWeight(linear.weight, linear.lowRank(), WeightForm::Trained, {weight.data(), DType::F32, m, n}, &clipped,
                      counts.next(), exact, cuda::Start::InOrder, staging, none, nullptr);
  results.told = counts.told();
  cuda::rebuildWeight(linear.weight, linear.lowRank(), WeightForm::Trained, {half.data(), DType::BF16, m, n},
                      &clippedOfHalf, counts.next(), exact, cuda::Start::InOrder, staging, none, nullptr);
  expectEqual(counts.told(), results.told, "count of both output types");
  results.merged.assign(static_cast<size_t>(m * packedRowBytes(host.weight.spec.bits, n)), 0xff);
  const DeviceScratch mergeScratch(cuda::mergeScratchBytes());
  cuda::Scratch scratch = mergeScratch.make();
  cuda::mergeWeight(linear.weight, linear.lowRank(), results.merged.data(), exact, scratch, nullptr);
  const DeviceScratch statisticsScratch(cuda::statisticsScratchBytes(false));
  scratch = statisticsScratch.make();
  results.statistics = cuda::weightStatistics(linear.weight, linear.lowRank(), exact, staging, scratch, nullptr);
  results.weight = weight.read();
  results.half = half.read();
  results.mask = mask.read();
  results.maskOfHalf = maskOfHalf.read();
  mergeScratch.check();
  statisticsScratch.check();

  // Again, without a mask: the same bits.
  half.poison();
  cuda::rebuildWeight(linear.weight, linear.lowRank(), WeightForm::Trained, {half.data(), DType::BF16, m, n}, nullptr,
                      {}, exact, cuda::Start::InOrder, staging, none, nullptr);
  expect(half.read() == results.half, "a second rebuild gives the same bits");
  return results;
}

bool masked(const Results& results, int64_t i, int64_t j, int64_t n) {
  return (results.mask[static_cast<size_t>(i * maskWords(n) + j / 32)] >> (j % 32) & 1U) != 0;
}

/// Integer of the merged codes, less its zero point.
int mergedInteger(const Results& results, const TestLinear& host, int64_t i, int64_t j) {
  const LinearWeight& w = host.weight;
  const uint8_t* row = results.merged.data() + i * packedRowBytes(w.spec.bits, w.n);
  return static_cast<int>(readCode(row, w.spec.bits, j)) + static_cast<int>(host.limits(i, j, host.zero).low);
}

/// What one form must agree on with itself.
void checkConsistent(const TestLinear& host, const Results& results) {
  const LinearWeight& w = host.weight;
  const bool group = w.spec.granularity == Granularity::Group;
  int64_t clipped = 0;
  int64_t flipped = 0;
  expect(results.mask == results.maskOfHalf, "mask of both output types");
  for (int64_t i = 0; i < w.m; ++i) {
    for (int64_t j = 0; j < w.n; ++j) {
      const auto at = static_cast<size_t>(i * w.n + j);
      const float scale = group ? host.scale[host.scaleIndex(i, j)] : 1.0F;
      const int q = mergedInteger(results, host, i, j);
      expectEqual(results.weight[at], static_cast<float>(q) * scale, "weight equals merged integer");
      // −0 and 0 are the same weight.
      expectEqual(floatFromBf16(results.half[at]), floatFromBf16(bf16FromFloat(results.weight[at])), "bf16 weight");
      clipped += masked(results, i, j, w.n);
      const auto [low, high] = host.limits(i, j, host.zero0);
      const double start = std::min<double>(std::max<double>(std::nearbyint(host.phi(i, j)), low), high);
      flipped += (w.spec.rank > 0 || !w.spec.symmetric) && q != static_cast<int>(start);
    }
    for (int64_t j = w.n; j < maskWords(w.n) * 32; ++j) expect(!masked(results, i, j, w.n), "mask beyond the row");
  }
  expectEqual(results.statistics.clipped, clipped, "clipped");
  expectEqual(results.told, clipped, "clipped entries told");
  expectEqual(results.statistics.flipped, flipped, "flipped");
}

void exactEqualsCpu(float lowRankSize, bool symmetric = true) {
  cuda::HostStaging staging;
  forAllSpecs(kShapes, kRanks, symmetric, [&](const QuantSpec& spec, const WeightShape& shape, uint32_t seed) {
    const auto backend = cpuFor(spec, shape.m, shape.n);
    TestLinear host(spec, shape.m, shape.n, seed, lowRankSize);
    backend->quantize(host.weight);
    host.moveScales(seed);
    const auto size = static_cast<size_t>(shape.m * shape.n);
    std::vector<float> weight(size);
    std::vector<int64_t> rowStart(static_cast<size_t>(shape.m) + 1);
    std::vector<int32_t> columns(size);
    ClippedSet clipped{.rowStart = rowStart.data(), .column = columns.data(), .capacity = static_cast<int64_t>(size)};
    backend->rebuildWeight(host.weight, host.lowRank(), WeightForm::Trained,
                           {weight.data(), DType::F32, shape.m, shape.n}, &clipped);
    std::vector<uint8_t> merged(static_cast<size_t>(shape.m * packedRowBytes(spec.bits, shape.n)));
    backend->merge(host.weight, host.lowRank(), merged.data());
    const WeightStatistics statistics = backend->weightStatistics(host.weight, host.lowRank());

    const Results results = onDevice(host, true, staging);
    checkConsistent(host, results);
    expect(results.weight == weight, "weight of the CPU");
    expect(results.merged == merged, "merged integers of the CPU, padding included");
    std::vector<uint32_t> mask(results.mask.size(), 0);
    for (int64_t i = 0; i < shape.m; ++i) {
      for (int64_t e = rowStart[static_cast<size_t>(i)]; e < rowStart[static_cast<size_t>(i) + 1]; ++e) {
        const int32_t j = columns[static_cast<size_t>(e)];
        mask[static_cast<size_t>(i * maskWords(shape.n) + j / 32)] |= 1U << (j % 32);
      }
    }
    expect(results.mask == mask, "mask of the CPU");
    expectEqual(results.statistics.clipped, statistics.clipped, "clipped of the CPU");
    expectEqual(results.statistics.flipped, statistics.flipped, "flipped of the CPU");
    expectNear(results.statistics.scaleDrift, statistics.scaleDrift, 1e-12, "drift of the CPU");
    expectNear(results.statistics.zeroPointDrift, statistics.zeroPointDrift, 1e-12, "drift of zero points of the CPU");
  });
}

/// Split bf16 leaves out lo·lo (2^−16 of |a·b| at most, 2^−18 on average) and accumulates in float32; Z itself is
/// rounded at 2^−24 of up to 2^8. An integer may differ from the formula only where Z is closer to a tie than that.
void checkSplit(const QuantSpec& spec, const WeightShape& shape, uint32_t seed, float lowRankSize,
                cuda::HostStaging& staging) {
  const auto backend = cpuFor(spec, shape.m, shape.n);
  TestLinear host(spec, shape.m, shape.n, seed, lowRankSize);
  backend->quantize(host.weight);
  host.moveScales(seed);
  const Results results = onDevice(host, false, staging);
  checkConsistent(host, results);
  int64_t undecided = 0;
  for (int64_t i = 0; i < shape.m; ++i) {
    for (int64_t j = 0; j < shape.n; ++j) {
      double magnitude = 0;
      for (int64_t k = 0; k < spec.rank; ++k) {
        magnitude += std::abs(static_cast<double>(host.a[static_cast<size_t>(i * spec.rank + k)]) *
                              static_cast<double>(host.b[static_cast<size_t>(k * shape.n + j)]));
      }
      const auto expected = host.rounded(i, j);
      const double tolerance = kTieTolerance + 0x1p-16 * magnitude * static_cast<double>(spec.gamma());
      if (expected.tieDistance <= tolerance) {
        ++undecided;
        continue;
      }
      expectEqual(mergedInteger(results, host, i, j), static_cast<int>(expected.q), "integer");
      expectEqual(masked(results, i, j, shape.n), !expected.inside, "mask");
    }
  }
  // Φ0 in few bits without a low-rank term lies on ties often.
  if (spec.rank > 0) expect(undecided < 10 + shape.m * shape.n / 20, "few entries are near a tie");
}

void splitAgainstDouble(float lowRankSize, bool symmetric = true) {
  cuda::HostStaging staging;
  forAllSpecs(kShapes, kRanks, symmetric, [&](const QuantSpec& spec, const WeightShape& shape, uint32_t seed) {
    checkSplit(spec, shape, seed, lowRankSize, staging);
  });
}

/// All ranks that the product treats differently, several blocks of columns, on the storages of the training path.
void highRanks() {
  cuda::HostStaging staging;
  for (const int rank : {1, 31, 32, 48, 64, 65, 100, 128, 129, 256}) {
    for (const Storage storage : {Storage::FixedPoint, Storage::Integer, Storage::BF16}) {
      for (const bool symmetric : {true, false}) {
        QuantSpec spec;
        spec.storage = storage;
        spec.symmetric = symmetric;
        spec.rank = rank;
        context = describe(spec, 300, 600);
        checkSplit(spec, {300, 600, 0}, static_cast<uint32_t>(rank), 1.0F, staging);
      }
    }
  }
}

/// Forms that read host memory, against the CPU; in one panel and in several, aligned and not.
void otherForms(bool symmetric) {
  cuda::HostStaging staging;
  const DeviceScratch memory(cuda::rebuildScratchBytes(WeightForm::Merged));
  const auto check = [&](const QuantSpec& spec, const WeightShape& shape, uint32_t seed, DType sourceType,
                         size_t offset) {
    const auto backend = cpuFor(spec, shape.m, shape.n);
    TestLinear host(spec, shape.m, shape.n, seed);
    std::vector<std::byte> file(offset + host.w.size() * static_cast<size_t>(byteSize(sourceType)));
    for (size_t i = 0; i < host.w.size(); ++i) {
      const uint16_t bits = sourceType == DType::BF16 ? bf16FromFloat(host.w[i]) : f16FromFloat(host.w[i]);
      if (sourceType == DType::F32) {
        std::memcpy(file.data() + offset + i * 4, &host.w[i], 4);
      } else {
        std::memcpy(file.data() + offset + i * 2, &bits, 2);
      }
    }
    host.weight.source = {file.data() + offset, sourceType, shape.m, shape.n};
    backend->quantize(host.weight);
    host.moveScales(seed);
    std::vector<uint8_t> merged(static_cast<size_t>(shape.m * packedRowBytes(spec.bits, shape.n)));
    backend->merge(host.weight, host.lowRank(), merged.data());
    host.weight.merged = merged.data();
    const DeviceLinear linear(host);
    const auto size = static_cast<size_t>(shape.m * shape.n);
    std::vector<float> expected(size);
    for (const WeightForm form : {WeightForm::Merged, WeightForm::RoundToNearest, WeightForm::Float}) {
      backend->rebuildWeight(host.weight, host.lowRank(), form, {expected.data(), DType::F32, shape.m, shape.n},
                             nullptr);
      DeviceArray<float> weight(size);
      DeviceArray<uint16_t> half(size);
      DeviceArray<uint32_t> mask(static_cast<size_t>(shape.m * maskWords(shape.n)));
      Counts counts;
      const ClippedSet clipped = counts.set(mask.data());
      for (const bool exact : {false, true}) {
        cuda::Scratch scratch = memory.make();
        cuda::rebuildWeight(linear.weight, linear.lowRank(), form, {weight.data(), DType::F32, shape.m, shape.n},
                            &clipped, counts.next(), exact, cuda::Start::InOrder, staging, scratch, nullptr);
        scratch = memory.make();
        cuda::rebuildWeight(linear.weight, linear.lowRank(), form, {half.data(), DType::BF16, shape.m, shape.n},
                            nullptr, {}, exact, cuda::Start::InOrder, staging, scratch, nullptr);
        const std::string name = "form " + std::to_string(static_cast<int>(form));
        expect(weight.read() == expected, name + " float32");
        const std::vector<uint16_t> halves = half.read();
        for (size_t i = 0; i < size; ++i) {
          expectEqual(floatFromBf16(halves[i]), floatFromBf16(bf16FromFloat(expected[i])), name + " bf16");
        }
        expect(mask.read() == std::vector<uint32_t>(static_cast<size_t>(shape.m * maskWords(shape.n)), 0), "no mask");
        expectEqual(counts.told(), int64_t{0}, "nothing clipped");
      }
    }
  };
  int turn = 0;
  forAllSpecs(kShapes, {0}, symmetric, [&](const QuantSpec& spec, const WeightShape& shape, uint32_t seed) {
    ++turn;
    check(spec, shape, seed,
          turn % 3 == 0   ? DType::F32
          : turn % 3 == 1 ? DType::BF16
                          : DType::F16,
          static_cast<size_t>(turn % 2));
  });
  QuantSpec large;
  large.symmetric = symmetric;
  large.granularity = Granularity::Group;
  large.groupSize = 500;
  context = "several panels";
  check(large, {3001, 1500, 500}, 5, DType::F32, 1);
  check(large, {6500, 1500, 500}, 6, DType::BF16, 0);
  memory.check();
}

/// A·B [64, 256] of 32 ranks by mma.sync and by wgmma.
__global__ void productsBothWays(cuda::Factors factors, float* portable, float* hopper) {
#ifdef LRQAT_HOPPER_CODE
  extern __shared__ uint4 memory[];
  const auto start = static_cast<uint32_t>(__cvta_generic_to_shared(memory));
  const uint32_t aligned = (start + 1023U) & ~1023U;
  uint4* panelMemory = memory + (aligned - start) / 16;
  const cuda::HopperPanel<256> hopperPanel{panelMemory};
  const cuda::SplitPanel<256> panel{panelMemory + 2048};
  hopperPanel.fill<128>(factors, 0);
  panel.fill<128>(factors, 0);
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = static_cast<int>(threadIdx.x) / 32 * 16;
  cuda::SplitRows rows;
  rows.load(factors, row, 0);
  for (int step = 0; step < 4; ++step) {
    cuda::HopperTile d;
    cuda::beginStep<256>(rows, aligned, step, d);
    cuda::awaitStep<0>(d);
    for (int i = 0; i < 32; ++i) {
      const int column = step * 64 + i / 16 * 32 + lane % 4 * 8 + i / 4 % 4 * 2 + i % 2;
      hopper[(row + lane / 4 + i / 2 % 2 * 8) * 256 + column] = d[i / 4][i % 4];
    }
  }
  for (int group = 0; group < 8; ++group) {
    cuda::ProductTile tile;
    tile.clear();
    cuda::multiplySplit(rows, panel, 0, group * 32, tile);
    for (int i = 0; i < 16; ++i) {
      const int column = group * 32 + lane % 4 * 8 + i / 4 * 2 + i % 2;
      portable[(row + lane / 4 + i / 2 % 2 * 8) * 256 + column] = tile.value[0][i / 4][i % 4];
    }
  }
#endif
}

/// The kernels of the training path and the others must round the same Z.
void hopperProducts() {
  if (!cuda::usesHopper()) return;
  for (const int rank : {4, 16, 32}) {
    for (uint32_t seed = 1; seed <= 20; ++seed) {
      context = "rank " + std::to_string(rank) + ", seed " + std::to_string(seed);
      std::vector<float> a = randomNormal(static_cast<size_t>(64 * rank), seed);
      std::vector<float> b = randomNormal(static_cast<size_t>(rank * 256), 100 + seed);
      // Of many sizes, so that sums lose bits.
      for (size_t i = 0; i < b.size(); ++i) b[i] = std::ldexp(b[i], static_cast<int>(i * 7 % 13) - 6);
      const DeviceArray<float> deviceA(a), deviceB(b), portable(64 * 256), hopper(64 * 256);
      constexpr int bytes = 1024 + 2 * 32768;
      LRQAT_CUDA(cudaFuncSetAttribute(productsBothWays, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
      productsBothWays<<<1, 128, bytes>>>({deviceA.data(), deviceB.data(), rank, 64, 256, true, true}, portable.data(),
                                          hopper.data());
      LRQAT_CUDA(cudaGetLastError());
      const std::vector<float> first = portable.read();
      const std::vector<float> second = hopper.read();
      int different = 0;
      double largest = 0;
      for (int i = 0; i < 64; ++i) {
        for (int j = 0; j < 256; ++j) {
          double sum = 0;
          double size = 0;
          for (int k = 0; k < rank; ++k) {
            const double product = static_cast<double>(a[static_cast<size_t>(i * rank + k)]) *
                                   static_cast<double>(b[static_cast<size_t>(k * 256 + j)]);
            sum += product;
            size += std::abs(product);
          }
          const auto at = static_cast<size_t>(i * 256 + j);
          different += std::memcmp(&first[at], &second[at], 4) != 0;
          largest = std::max(largest, std::abs(static_cast<double>(second[at]) - sum) / size);
        }
      }
      expect(largest < std::ldexp(1.0, -15), "products against double: " + std::to_string(largest));
      expectEqual(different, 0, "products of wgmma that are not those of mma.sync");
    }
  }
}

/// A·B [64, 256] of up to 32 · kChunks ranks by mma.sync, 64 columns at a time, and by wgmma.
template <int kChunks>
__global__ void rankProductsBothWays(cuda::Factors factors, float* portable, float* hopper) {
#ifdef LRQAT_HOPPER_RANKS
  extern __shared__ uint4 memory[];
  const auto start = static_cast<uint32_t>(__cvta_generic_to_shared(memory));
  const uint32_t aligned = (start + 1023U) & ~1023U;
  uint4* panelMemory = memory + (aligned - start) / 16;
  const cuda::ranks::Panel<kChunks> hopperPanel{panelMemory};
  const cuda::SplitPanel<64> panel{panelMemory + cuda::ranks::Panel<kChunks>::bytes / 16};
  hopperPanel.template fill<128>(factors, 0);
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = static_cast<int>(threadIdx.x) / 32 * 16;
  cuda::ranks::Rows<kChunks> rows;
  rows.load(factors, row);
  rows.splitLoaded();
  for (int tile = 0; tile < 2; ++tile) {
    cuda::ranks::Tile d;
    cuda::ranks::multiply<kChunks>(rows, aligned, tile, d);
    for (int i = 0; i < 64; ++i) {
      const int column = tile * 128 + i / 32 * 64 + lane % 4 * 16 + i / 4 % 8 * 2 + i % 2;
      hopper[(row + lane / 4 + i / 2 % 2 * 8) * 256 + column] = d[i / 32][i / 4 % 8][i % 4];
    }
  }
  for (int step = 0; step < 4; ++step) {
    __syncthreads();
    panel.fill<128>(factors, step * 64);
    __syncthreads();
    for (int group = 0; group < 2; ++group) {
      cuda::ProductTile tile;
      tile.clear();
      for (int chunk = 0; chunk < (factors.rank + 31) / 32; ++chunk) {
        cuda::SplitRows ofChunk;
        ofChunk.load(factors, row, chunk);
        cuda::multiplySplit(ofChunk, panel, chunk, group * 32, tile);
      }
      for (int i = 0; i < 16; ++i) {
        const int column = step * 64 + group * 32 + lane % 4 * 8 + i / 4 * 2 + i % 2;
        portable[(row + lane / 4 + i / 2 % 2 * 8) * 256 + column] = tile.value[0][i / 4][i % 4];
      }
    }
  }
#endif
}

/// As hopperProducts, for the kernel of many ranks.
void hopperRankProducts() {
  if (!cuda::usesHopper()) return;
  const auto check = [&]<int kChunks>(int rank, uint32_t seed) {
    context = "rank " + std::to_string(rank) + ", seed " + std::to_string(seed);
    const std::vector<float> a = randomNormal(static_cast<size_t>(64 * rank), seed);
    std::vector<float> b = randomNormal(static_cast<size_t>(rank * 256), 100 + seed);
    for (size_t i = 0; i < b.size(); ++i) b[i] = std::ldexp(b[i], static_cast<int>(i * 7 % 13) - 6);
    const DeviceArray<float> deviceA(a), deviceB(b), portable(64 * 256), hopper(64 * 256);
    constexpr int bytes = 1024 + cuda::ranks::Panel<kChunks>::bytes + kChunks * 32 * 64 * 4;
    const auto kernel = rankProductsBothWays<kChunks>;
    LRQAT_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
    kernel<<<1, 128, bytes>>>({deviceA.data(), deviceB.data(), rank, 64, 256, true, true}, portable.data(),
                              hopper.data());
    LRQAT_CUDA(cudaGetLastError());
    const std::vector<float> first = portable.read();
    const std::vector<float> second = hopper.read();
    int different = 0;
    for (size_t i = 0; i < first.size(); ++i) different += std::memcmp(&first[i], &second[i], 4) != 0;
    expectEqual(different, 0, "products of wgmma that are not those of mma.sync");
    // highRanks compares with double through the rebuild; here one column of each step.
    for (int i = 0; i < 64; ++i) {
      for (int j = 5; j < 256; j += 64) {
        double sum = 0;
        double size = 0;
        for (int k = 0; k < rank; ++k) {
          const double product = static_cast<double>(a[static_cast<size_t>(i * rank + k)]) *
                                 static_cast<double>(b[static_cast<size_t>(k * 256 + j)]);
          sum += product;
          size += std::abs(product);
        }
        expectNear(static_cast<double>(second[static_cast<size_t>(i * 256 + j)]), sum, 0x1p-15 * size, "product");
      }
    }
  };
  for (uint32_t seed = 1; seed <= 10; ++seed) {
    check.template operator()<2>(36, seed);
    check.template operator()<2>(64, seed);
    check.template operator()<4>(68, seed);
    check.template operator()<4>(96, seed);
    check.template operator()<4>(128, seed);
  }
}

/// Weights with more rows than blocks have warps for: the kernels of the training path against those of float32
/// results, which are on mma.sync everywhere.
void manyRows() {
  cuda::HostStaging staging;
  cuda::Scratch none;
  uint32_t seed = 1;
  for (const int rank : {32, 36, 64, 128}) {
    for (const Storage storage : {Storage::Integer, Storage::FixedPoint}) {
      for (const bool symmetric : {true, false}) {
        QuantSpec spec;
        spec.storage = storage;
        spec.bits = seed % 2 == 0 ? 4 : 3;
        spec.fractionBits = storage == Storage::FixedPoint ? 4 : 0;
        spec.symmetric = symmetric;
        spec.rank = rank;
        const bool groups = seed % 3 == 0;
        spec.granularity = groups ? Granularity::Group : Granularity::Channel;
        spec.groupSize = groups ? 80 : 0;
        const int64_t m = 9001;
        const int64_t n = groups ? 640 : 600;
        const auto elements = static_cast<size_t>(m * n);
        const auto words = static_cast<size_t>(m * maskWords(n));
        context = describe(spec, m, n);
        std::vector<uint32_t> codes(static_cast<size_t>(m * packedRowBytes(spec.codeBits(), n) / 4));
        Random random(++seed);
        for (uint32_t& word : codes) word = static_cast<uint32_t>(random.bits());
        const auto count = static_cast<size_t>(spec.scaleCount(m, n));
        std::vector<float> scaleValues(count), zeroValues(count);
        for (size_t i = 0; i < count; ++i) {
          scaleValues[i] = 0.01F + 0.001F * static_cast<float>(i % 17);
          zeroValues[i] = static_cast<float>(i % static_cast<size_t>((1 << spec.bits) - 1));
        }
        const DeviceArray<uint32_t> phi0(codes);
        // γ·A·B of a few integers.
        const float size = std::sqrt(1.0F / (std::sqrt(static_cast<float>(rank)) * spec.gamma()));
        const DeviceArray<float> a(randomNormal(static_cast<size_t>(m * rank), seed, size));
        const DeviceArray<float> b(randomNormal(static_cast<size_t>(rank * n), seed + 1, size));
        const DeviceArray<float> scale(scaleValues), zero(zeroValues);
        LinearWeight weight;
        weight.m = m;
        weight.n = n;
        weight.spec = spec;
        weight.phi0 = phi0.data();
        weight.scale0 = scale.data();
        weight.zero0 = symmetric ? nullptr : zero.data();
        const LowRank lowRank{a.data(), b.data(), scale.data(), weight.zero0};
        DeviceArray<float> whole(elements);
        DeviceArray<uint16_t> half(elements), unmasked(elements);
        DeviceArray<uint32_t> mask(words), maskOfHalf(words);
        Counts counts;
        const ClippedSet clipped = counts.set(mask.data());
        const ClippedSet clippedOfHalf = counts.set(maskOfHalf.data());
        const auto rebuild = [&](Matrix out, const ClippedSet* set) {
          cuda::rebuildWeight(weight, lowRank, WeightForm::Trained, out, set,
                              set ? counts.next() : cuda::ClippedReport{}, false, cuda::Start::InOrder, staging, none,
                              nullptr);
          return set ? counts.told() : 0;
        };
        const int64_t told = rebuild({whole.data(), DType::F32, m, n}, &clipped);
        expectEqual(rebuild({half.data(), DType::BF16, m, n}, &clippedOfHalf), told, "clipped entries told");
        rebuild({unmasked.data(), DType::BF16, m, n}, nullptr);
        expect(told > 0 && told < static_cast<int64_t>(elements), "some are clipped");
        expect(mask.read() == maskOfHalf.read(), "masks");
        const std::vector<uint16_t> halves = half.read();
        expect(unmasked.read() == halves, "with and without a mask");
        const std::vector<float> wholes = whole.read();
        int64_t different = 0;
        // −0 and 0 are the same weight.
        for (size_t i = 0; i < elements; ++i) {
          different += floatFromBf16(halves[i]) != floatFromBf16(bf16FromFloat(wholes[i]));
        }
        expectEqual(different, int64_t{0}, "weights that are not those of float32");
      }
    }
  }
}

/// Every warp of the training path's kernel goes through several units of rows, and begins and ends within one; weights
/// and mask of the kernels of other output types, which share only the rounding with it.
void wideWeights() {
  struct Case {
    Storage storage;
    int bits, fractionBits;
    bool symmetric;
    int64_t group, n;
  };
  // Some rows are not of whole pieces of 16 bytes.
  constexpr Case kCases[] = {{Storage::Integer, 4, 0, true, 0, 16936},    {Storage::Integer, 8, 0, true, 0, 16936},
                             {Storage::FixedPoint, 4, 4, true, 0, 16928}, {Storage::FixedPoint, 3, 2, false, 0, 16920},
                             {Storage::Integer, 3, 0, true, 0, 17024},    {Storage::Integer, 4, 0, false, 64, 17024},
                             {Storage::Integer, 8, 0, false, 0, 16936},   {Storage::Integer, 6, 0, true, 40, 16920},
                             {Storage::Integer, 2, 0, true, 0, 16960},    {Storage::Integer, 7, 0, true, 0, 16936},
                             {Storage::BF16, 4, 0, false, 0, 16936}};
  uint32_t seed = 1;
  for (const Case& one : kCases) {
    QuantSpec spec;
    spec.storage = one.storage;
    spec.bits = one.bits;
    spec.fractionBits = one.fractionBits;
    spec.symmetric = one.symmetric;
    spec.rank = ++seed % 3 == 0 ? 28 : 32;
    spec.granularity = one.group > 0 ? Granularity::Group : Granularity::Channel;
    spec.groupSize = one.group;
    const int64_t m = 700;
    context = describe(spec, m, one.n);
    TestLinear host(spec, m, one.n, seed, 2.0F);
    std::mt19937 generator(seed);
    for (std::byte& byte : host.phi0) byte = static_cast<std::byte>(generator());
    // A bf16 Φ0 lies in the grid as well.
    if (spec.storage == Storage::BF16) {
      for (size_t i = 1; i < host.phi0.size(); i += 2)
        host.phi0[i] = (host.phi0[i] & std::byte{0x80}) | std::byte{0x40};
    }
    std::fill(host.scale0.begin(), host.scale0.end(), 0.01F);
    std::uniform_real_distribution<float> zero(0.0F, static_cast<float>(spec.levels()));
    for (float& value : host.zero0) value = zero(generator);
    host.moveScales(seed);
    const DeviceLinear linear(host);
    const auto size = static_cast<size_t>(m * one.n);
    DeviceArray<float> whole(size);
    DeviceArray<uint16_t> half(size);
    DeviceArray<uint32_t> mask(static_cast<size_t>(m * maskWords(one.n)));
    DeviceArray<uint32_t> maskOfHalf(static_cast<size_t>(m * maskWords(one.n)));
    cuda::HostStaging staging;
    cuda::Scratch none;
    Counts counts;
    const auto rebuild = [&](Matrix out, DeviceArray<uint32_t>* to) {
      const ClippedSet set = counts.set(to ? to->data() : nullptr);
      cuda::rebuildWeight(linear.weight, linear.lowRank(), WeightForm::Trained, out, to ? &set : nullptr,
                          to ? counts.next() : cuda::ClippedReport{}, false, cuda::Start::InOrder, staging, none,
                          nullptr);
    };
    rebuild({whole.data(), DType::F32, m, one.n}, &mask);
    const int64_t told = counts.told();
    rebuild({half.data(), DType::BF16, m, one.n}, &maskOfHalf);
    expectEqual(counts.told(), told, "count of both output types");
    expect(mask.read() == maskOfHalf.read(), "mask of both output types");
    const std::vector<float> expected = whole.read();
    const auto compare = [&] {
      const std::vector<uint16_t> found = half.read();
      int64_t different = 0;
      for (size_t i = 0; i < size; ++i) {
        different += floatFromBf16(found[i]) != floatFromBf16(bf16FromFloat(expected[i]));
      }
      expectEqual(different, int64_t{0}, "weights of both output types");
    };
    compare();
    half.poison();
    rebuild({half.data(), DType::BF16, m, one.n}, nullptr);
    compare();
    expect(told > 0 && told < static_cast<int64_t>(size), "some are clipped");
  }
}

/// Without a low-rank term a fixed-point Φ0 lies on ties often: half to even of the integer less its zero point, as on
/// the CPU, in both forms, on both sides of a grid.
void ties() {
  cuda::HostStaging staging;
  uint32_t seed = 1;
  for (const bool symmetric : {true, false}) {
    for (const int bits : {2, 3, 4, 5, 6, 7}) {
      for (const Granularity granularity : {Granularity::Channel, Granularity::Group}) {
        QuantSpec spec;
        spec.storage = Storage::FixedPoint;
        spec.bits = bits;
        spec.fractionBits = std::min(8 - bits, 2);
        spec.code = FixedPointCode::Reference;
        spec.symmetric = symmetric;
        spec.granularity = granularity;
        spec.groupSize = granularity == Granularity::Group ? 40 : 0;
        spec.rank = 4;
        const int64_t m = 130, n = 200;
        context = describe(spec, m, n);
        TestLinear host(spec, m, n, ++seed, 0.0F);
        const auto backend = cpuFor(spec, m, n);
        backend->quantize(host.weight);
        host.keepScales();
        std::vector<uint8_t> merged(static_cast<size_t>(m * packedRowBytes(spec.bits, n)));
        backend->merge(host.weight, host.lowRank(), merged.data());
        const Results results = onDevice(host, false, staging);
        checkConsistent(host, results);
        expect(results.merged == merged, "merged integers of the CPU");
      }
    }
  }
}

/// Values that are not finite are clipped somewhere and masked; nothing else is touched by them.
void notFiniteFactors() {
  cuda::HostStaging staging;
  QuantSpec spec;
  spec.rank = 8;
  constexpr int64_t m = 40;
  for (const int64_t n : {100, 104}) {
    for (const int bits : {4, 8}) {
      spec.storage = bits == 8 ? Storage::Integer : Storage::FixedPoint;
      spec.bits = bits;
      TestLinear host(spec, m, n, 3);
      const auto backend = cpuFor(spec, m, n);
      backend->quantize(host.weight);
      host.scale = host.scale0;
      for (const bool exact : {true, false}) {
        const Results before = onDevice(host, exact, staging);
        TestLinear broken = host;
        broken.weight.phi0 = broken.phi0.data();
        broken.a[3 * 8 + 2] = std::nanf("");
        broken.a[7 * 8] = HUGE_VALF;
        const Results after = onDevice(broken, exact, staging);
        expect(after.mask == after.maskOfHalf, "mask of both output types");
        for (int64_t i = 0; i < m; ++i) {
          for (int64_t j = 0; j < n; ++j) {
            const auto at = static_cast<size_t>(i * n + j);
            expectEqual(floatFromBf16(after.half[at]), after.weight[at], "weight of both output types");
            if (i == 3 || i == 7) {
              expect(masked(after, i, j, n), "masked");
            } else {
              expectEqual(mergedInteger(after, host, i, j), mergedInteger(before, host, i, j), "other rows");
            }
          }
        }
      }
    }
  }
}

void scales() {
  uint32_t seed = 1;
  for (const Storage storage : {Storage::FixedPoint, Storage::Integer}) {
    for (const ScaleDomain domain : {ScaleDomain::Linear, ScaleDomain::Log}) {
      for (const Granularity granularity : {Granularity::Tensor, Granularity::Channel, Granularity::Group}) {
        for (const int64_t m : {1, 300, 5000}) {
          QuantSpec spec;
          spec.storage = storage;
          spec.scaleDomain = domain;
          spec.granularity = granularity;
          spec.groupSize = 4;
          // In the log domain the last bit of an exponential, which may differ, decides on the side of a tie.
          constexpr ScaleFormat kFormats[] = {ScaleFormat::F32, ScaleFormat::BF16, ScaleFormat::F16};
          if (domain == ScaleDomain::Linear) spec.scaleFormat = kFormats[m % 3];
          context = describe(spec, m, 12) + (domain == ScaleDomain::Log ? " log" : " linear");
          LinearWeight weight;
          weight.m = m;
          weight.n = 12;
          weight.spec = spec;
          const auto count = static_cast<size_t>(spec.scaleCount(m, 12));
          std::vector<float> theta = randomNormal(count, ++seed, 0.01F);
          theta[0] = 3e-9F;
          if (count > 1) theta[1] = 1e-8F;
          std::vector<float> scale(count);
          const auto backend = makeBackend(2, 64);
          std::vector<float> rowScale(static_cast<size_t>(m));
          const bool group = granularity == Granularity::Group;
          const DeviceArray<float> deviceTheta(theta);
          const DeviceArray<float> deviceScale(count);
          const DeviceArray<float> deviceRowScale(rowScale);
          // More linears than one launch takes; all the same, and the last one with its row scales.
          std::vector<ScaleTask> tasks(100, {&weight, deviceTheta.data(), deviceScale.data(), nullptr});
          if (!group) tasks.back().rowScale = deviceRowScale.data();
          cuda::materializeScales(tasks, nullptr);
          const ScaleTask task{&weight, theta.data(), scale.data(), nullptr};
          backend->materializeScales(std::span(&task, 1));
          const std::vector<float> found = deviceScale.read();
          // Rounded from a double exponential; the C library's float one is within an ulp.
          for (size_t i = 0; i < count; ++i) {
            expectNear(found[i], scale[i],
                       domain == ScaleDomain::Log ? 2e-7 * std::abs(static_cast<double>(scale[i])) : 0, "scale");
          }
          if (group) continue;
          std::vector<float> given = found;
          const ScaleTask expansion{&weight, nullptr, given.data(), rowScale.data()};
          backend->materializeScales(std::span(&expansion, 1));
          expect(deviceRowScale.read() == rowScale, "row scales");
          const DeviceArray<float> onlyRows(static_cast<size_t>(m));
          const ScaleTask deviceExpansion{&weight, nullptr, deviceScale.data(), onlyRows.data()};
          cuda::materializeScales(std::span(&deviceExpansion, 1), nullptr);
          expect(onlyRows.read() == rowScale && deviceScale.read() == found, "row scales alone");

          const std::vector<float> rowGradient = randomNormal(static_cast<size_t>(m), ++seed);
          std::vector<float> gradient = randomNormal(count, ++seed);
          const DeviceArray<float> deviceRowGradient(rowGradient);
          const DeviceArray<float> deviceGradient(gradient);
          if (granularity == Granularity::Tensor) {
            backend->sumRowScaleGradient(m, rowGradient.data(), gradient.data());
            cuda::sumRowScaleGradient(m, deviceRowGradient.data(), deviceGradient.data(), nullptr);
          }
          const ScaleGradientTask finish{&weight, theta.data(), found.data(), gradient.data()};
          backend->finishScaleGradients(std::span(&finish, 1));
          // Others in front of it, so that it is one of the second launch; theirs is memory of their own.
          const DeviceArray<float> other(count);
          std::vector<ScaleGradientTask> finishes(120, {&weight, deviceTheta.data(), deviceScale.data(), other.data()});
          finishes.back().gradient = deviceGradient.data();
          cuda::finishScaleGradients(finishes, nullptr);
          const std::vector<float> reduced = deviceGradient.read();
          // Tensor: double sums in another order, rounded to float32 once.
          for (size_t i = 0; i < count; ++i) {
            expectNear(reduced[i], gradient[i], granularity == Granularity::Tensor ? 1e-5 : 0, "gradient of a scale");
          }
        }
      }
    }
  }
}

/// Zero points beside scales, in more linears than one launch takes.
void zeroPoints() {
  for (const Granularity granularity : {Granularity::Tensor, Granularity::Channel, Granularity::Group}) {
    QuantSpec spec;
    spec.bits = 3;
    spec.symmetric = false;
    spec.granularity = granularity;
    spec.groupSize = 4;
    context = describe(spec, 300, 12);
    LinearWeight weight;
    weight.m = 300;
    weight.n = 12;
    weight.spec = spec;
    const auto count = static_cast<size_t>(spec.scaleCount(300, 12));
    const std::vector<float> theta = randomNormal(count, 5, 0.01F);
    std::vector<float> zeroTheta = randomNormal(count, 6, 6.0F);
    const float special[] = {std::nanf(""), 2.5F, 7.5F, -0.5F, 1e30F, 0.5F};
    for (size_t i = 0; i < count && i < std::size(special); ++i) zeroTheta[i] = special[i];
    std::vector<float> scale(count), zero(count);
    const ScaleTask task{&weight, theta.data(), scale.data(), nullptr, zeroTheta.data(), zero.data()};
    makeBackend(2, 64)->materializeScales(std::span(&task, 1));
    const DeviceArray<float> deviceTheta(theta), deviceScale(count), deviceZeroTheta(zeroTheta), deviceZero(count);
    const DeviceArray<float> unused(count);
    std::vector<ScaleTask> tasks(100, {&weight, deviceTheta.data(), unused.data(), nullptr});
    tasks.back() = {&weight, deviceTheta.data(),     deviceScale.data(),
                    nullptr, deviceZeroTheta.data(), deviceZero.data()};
    cuda::materializeScales(tasks, nullptr);
    expect(deviceScale.read() == scale && deviceZero.read() == zero, "scales and zero points of the CPU");
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (skippedWithoutGpu()) return 0;
  return run({{"exact rebuild equals the CPU, little clipped", [] { exactEqualsCpu(0.3F); }},
              {"exact rebuild equals the CPU, much clipped", [] { exactEqualsCpu(3.0F); }},
              {"split-bf16 rebuild against double, little clipped", [] { splitAgainstDouble(0.3F); }},
              {"split-bf16 rebuild against double, much clipped", [] { splitAgainstDouble(3.0F); }},
              {"ranks up to 256", highRanks},
              {"products on Hopper are those of every GPU", hopperProducts},
              {"products of many ranks on Hopper are those of every GPU", hopperRankProducts},
              {"weights of many rows", manyRows},
              {"merged, round-to-nearest and float weights", [] { otherForms(true); }},
              {"exact rebuild around zero points equals the CPU, little clipped", [] { exactEqualsCpu(0.3F, false); }},
              {"exact rebuild around zero points equals the CPU, much clipped", [] { exactEqualsCpu(3.0F, false); }},
              {"split-bf16 rebuild around zero points against double", [] { splitAgainstDouble(1.0F, false); }},
              {"merged, round-to-nearest and float weights around zero points", [] { otherForms(false); }},
              {"zero points", zeroPoints},
              {"weights of many columns", wideWeights},
              {"ties", ties},
              {"factors that are not finite", notFiniteFactors},
              {"scales", scales}},
             argc, argv);
}
