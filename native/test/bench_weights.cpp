// Rates of the quantized-weight operations at the shape of a 7B model's projections: bench_weights [threads] [m] [n]
// [low-rank | range].
#include <algorithm>
#include <cstdlib>
#include <ctime>

#include "core/memory_plan.h"
#include "cpu/isa.h"
#include "test/test_linear.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

/// Best of several runs, in seconds of one core: processor time, so that a busy machine spoils it less than wall time.
template <typename Body>
double seconds(Body body, int runs = 5) {
  double best = 1e30;
  for (int i = 0; i < runs; ++i) {
    const std::clock_t start = std::clock();
    body();
    best = std::min(best, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
  return best;
}

struct Bench {
  int threads;
  int64_t m, n;

  QuantSpec spec(int bits, Storage storage, Granularity granularity, int rank) const {
    QuantSpec s;
    s.bits = bits;
    s.storage = storage;
    s.fractionBits = 8 - bits;
    s.granularity = granularity;
    s.groupSize = 128;
    s.rank = rank;
    return s;
  }

  void rebuild() const {
    const double weights = static_cast<double>(m * n);
    std::printf("rebuild of %ld x %ld           10^9 weights/s   GB/s written   GFLOP/s of A·B\n", static_cast<long>(m),
                static_cast<long>(n));
    for (const int rank : {0, 8, 32, 128}) {
      for (const auto& [storage, bits, granularity, type, name] :
           {std::tuple{Storage::FixedPoint, 4, Granularity::Channel, DType::F32, "fixed-point 4.4, float32"},
            std::tuple{Storage::FixedPoint, 4, Granularity::Channel, DType::BF16, "fixed-point 4.4, bf16"},
            std::tuple{Storage::Integer, 4, Granularity::Channel, DType::BF16, "integer 4, bf16"},
            std::tuple{Storage::Integer, 3, Granularity::Group, DType::BF16, "integer 3 g128, bf16"}}) {
        TestLinear linear(spec(bits, storage, granularity, rank), m, n, 1, 0.5F);
        const auto backend = makeBackend(threads, cpu::CpuBackend::rebuildScratchBytes(m, n, rank));
        backend->quantize(linear.weight);
        linear.scale = linear.scale0;
        std::vector<float> memory(static_cast<size_t>(m * n));
        std::vector<int64_t> rowStart(static_cast<size_t>(m) + 1);
        std::vector<int32_t> columns(static_cast<size_t>(clippedCapacity(m, n)));
        ClippedSet clipped{
            .rowStart = rowStart.data(), .column = columns.data(), .capacity = static_cast<int64_t>(columns.size())};
        const Matrix out{memory.data(), type, m, n};
        const double plain = seconds(
            [&] { backend->rebuildWeight(linear.weight, linear.lowRank(), WeightForm::Trained, out, nullptr); });
        const double listed = seconds(
            [&] { backend->rebuildWeight(linear.weight, linear.lowRank(), WeightForm::Trained, out, &clipped); });
        std::printf("  rank %3d %-26s %8.2f %14.2f %14.1f   with clipped list %.2f (%.2f %% clipped)\n", rank, name,
                    weights / plain * 1e-9, static_cast<double>(out.bytes()) / plain * 1e-9,
                    2 * weights * rank / plain * 1e-9, weights / listed * 1e-9,
                    100 * static_cast<double>(rowStart.back()) / weights);
      }
    }
  }

  void rangeSearch() const {
    std::printf("range search, 100 candidates      10^6 weights/s   GB/s of float32\n");
    const double weights = static_cast<double>(m * n);
    for (const auto& [granularity, granularityName] :
         {std::pair{Granularity::Channel, "channel"}, std::pair{Granularity::Group, "g128"},
          std::pair{Granularity::Tensor, "tensor"}}) {
      for (const auto& [method, name] : {std::pair{RangeMethod::MinMax, "minmax"}, std::pair{RangeMethod::Mse, "mse"},
                                         std::pair{RangeMethod::Lp24, "lp-2.4"}, std::pair{RangeMethod::Lp35, "lp-3.5"},
                                         std::pair{RangeMethod::Lp4, "lp-4"}}) {
        for (const int bits : {4, 2}) {
          double time[2] = {};
          for (const bool symmetric : {true, false}) {
            QuantSpec s = spec(bits, Storage::FixedPoint, granularity, 0);
            s.range = method;
            s.symmetric = symmetric;
            TestLinear linear(s, m, n, 1);
            const auto backend = makeBackend(threads, 64);
            time[symmetric] = seconds([&] { backend->quantize(linear.weight); }, 1);
          }
          std::printf("  %-8s %-8s %d bits %9.1f %16.3f   with zero points %.1f\n", granularityName, name, bits,
                      weights / time[1] * 1e-6, 4 * weights / time[1] * 1e-9, weights / time[0] * 1e-6);
        }
      }
    }
  }

  void lowRankGradient(DType type) const {
    constexpr int64_t tokens = 4096;
    std::printf("low-rank gradient, %s, %ld tokens, rank 32, share clipped: milliseconds (thin products alone first)\n",
                type == DType::BF16 ? "bf16" : "float32", static_cast<long>(tokens));
    const QuantSpec s = spec(4, Storage::FixedPoint, Granularity::Channel, 32);
    TestLinear linear(s, m, n, 1, 0.5F);
    const auto backend =
        makeBackend(threads, cpu::CpuBackend::lowRankScratchBytes(tokens, n, m, 32, type, threads), type, true);
    backend->quantize(linear.weight);
    linear.scale = linear.scale0;
    auto x = randomNormal(static_cast<size_t>(tokens * n), 2);
    auto dY = randomNormal(static_cast<size_t>(tokens * m), 3);
    std::vector<uint16_t> xNarrow(x.size()), dYNarrow(dY.size());
    for (size_t i = 0; i < x.size(); ++i) xNarrow[i] = bf16FromFloat(x[i]);
    for (size_t i = 0; i < dY.size(); ++i) dYNarrow[i] = bf16FromFloat(dY[i]);
    const auto matrix = [&](std::vector<float>& wide, std::vector<uint16_t>& narrow, int64_t columns) {
      return Matrix{type == DType::BF16 ? static_cast<void*>(narrow.data()) : wide.data(), type, tokens, columns};
    };
    std::vector<float> dA(linear.a.size()), dB(linear.b.size());
    std::vector<int64_t> rowStart(static_cast<size_t>(m) + 1);
    std::vector<int32_t> columns;
    for (const double share : {0.0, 0.0001, 0.001, 0.01, 0.03, 0.04}) {
      columns.clear();
      std::mt19937 generator(4);
      std::bernoulli_distribution isClipped(share);
      for (int64_t i = 0; i < m; ++i) {
        rowStart[static_cast<size_t>(i)] = static_cast<int64_t>(columns.size());
        for (int64_t j = 0; j < n; ++j) {
          if (isClipped(generator)) columns.push_back(static_cast<int32_t>(j));
        }
      }
      rowStart[static_cast<size_t>(m)] = static_cast<int64_t>(columns.size());
      const LowRankTask task{.weight = &linear.weight,
                             .lowRank = linear.lowRank(),
                             .theta = linear.scale.data(),
                             .dYs = matrix(dY, dYNarrow, m),
                             .clipped = {.rowStart = rowStart.data(),
                                         .column = columns.data(),
                                         .capacity = static_cast<int64_t>(columns.size())},
                             .gradient = {dA.data(), dB.data(), nullptr}};
      const Matrix input = matrix(x, xNarrow, n);
      std::printf("  %6.2f %%  %8.1f\n", share * 100,
                  seconds([&] { backend->lowRankGradient(input, std::span(&task, 1)); }) * 1e3);
    }
  }
};

}  // namespace

int main(int argc, char** argv) {
  const auto argument = [&](int i, int64_t otherwise) { return argc > i ? std::atoll(argv[i]) : otherwise; };
  const Bench bench{static_cast<int>(argument(1, 1)), argument(2, 2048), argument(3, 4096)};
  std::printf("%s, %d threads\n", cpu::name(cpu::detectIsa()), bench.threads);
  const bool all = argc < 5 || std::string(argv[4]) == "all";
  if (all) bench.rebuild();
  if (all || std::string(argv[4]) == "range") bench.rangeSearch();
  if (!all && std::string(argv[4]) == "range") return 0;
  for (const DType type : {DType::BF16, DType::F32}) bench.lowRankGradient(type);
  return 0;
}
