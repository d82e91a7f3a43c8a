// The rebuild on Hopper: its products against those of mma.sync, to the bit, and weights of its own forms and sizes
// against the kernels that every GPU has.
#include "cuda/kernels/hopper.h"
#include "cuda/kernels/rebuild_hopper.cuh"
#include "cuda/kernels/rebuild_hopper_ranks_panel.cuh"
#include "cuda/test/rebuild_results.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

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
#ifdef LRQAT_HOPPER_CODE
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

}  // namespace

int main(int argc, char** argv) {
  if (skippedWithoutGpu()) return 0;
  return run({{"products on Hopper are those of every GPU", hopperProducts},
              {"products of many ranks on Hopper are those of every GPU", hopperRankProducts},
              {"weights of many rows", manyRows},
              {"weights of many columns", wideWeights}},
             argc, argv);
}
