// A rebuilt weight with all that must agree with it: mask, counts, merged integers and statistics.
#pragma once

#include "cuda/kernels/merge.h"
#include "cuda/kernels/rebuild.h"
#include "cuda/kernels/statistics.h"
#include "cuda/test/device_linear.h"

namespace lrqat::test {

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

/// What the kernels make of one weight.
struct Results {
  std::vector<float> weight;
  std::vector<uint16_t> half;
  std::vector<uint32_t> mask, maskOfHalf;
  int64_t told = 0;
  std::vector<uint8_t> merged;
  WeightStatistics statistics;
};

inline Results onDevice(const TestLinear& host, bool exact, cuda::HostStaging& staging) {
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

inline bool masked(const Results& results, int64_t i, int64_t j, int64_t n) {
  return (results.mask[static_cast<size_t>(i * maskWords(n) + j / 32)] >> (j % 32) & 1U) != 0;
}

/// Integer of the merged codes, less its zero point.
inline int mergedInteger(const Results& results, const TestLinear& host, int64_t i, int64_t j) {
  const LinearWeight& w = host.weight;
  const uint8_t* row = results.merged.data() + i * packedRowBytes(w.spec.bits, w.n);
  return static_cast<int>(readCode(row, w.spec.bits, j)) + static_cast<int>(host.limits(i, j, host.zero).low);
}

/// What one form must agree on with itself.
inline void checkConsistent(const TestLinear& host, const Results& results) {
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

}  // namespace lrqat::test
