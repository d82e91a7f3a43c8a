// Speed of the low-rank gradient at the shapes of a 7B decoder: microseconds for each group of linears that share an
// input, and milliseconds for all 32 blocks, with nothing clipped, with some fractions clipped, and in the dense form.
// Usage: bench_low_rank [tokens] [profile [fraction]]; with `profile` each case once, plainly, for a profiler
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/backend.h"
#include "cuda/check.h"
#include "cuda/kernels/element.cuh"
#include "cuda/kernels/low_rank_products.h"
#include "cuda/low_rank.h"

using namespace lrqat;
using namespace lrqat::cuda;

namespace {

constexpr int kSets = 3;  // of inputs, so that the cache does not serve the next run
constexpr int kBlocks = 32;
constexpr int kRank = 32;

__device__ uint32_t hashed(uint64_t x) {
  x *= 0x9e3779b97f4a7c15ULL;
  x ^= x >> 32;
  x *= 0xbf58476d1ce4e5b9ULL;
  return static_cast<uint32_t>(x >> 32);
}
__device__ float uniform(uint64_t x) {
  return static_cast<float>(hashed(x)) * 0x1p-31F - 1;
}
__global__ void fillBf16(bf16* out, int64_t count, uint64_t seed) {
  for (int64_t i = blockIdx.x * 256LL + threadIdx.x; i < count; i += gridDim.x * 256LL) {
    out[i] = __float2bfloat16_rn(uniform(seed + static_cast<uint64_t>(i)));
  }
}
__global__ void fillFloat(float* out, int64_t count, float size, uint64_t seed) {
  for (int64_t i = blockIdx.x * 256LL + threadIdx.x; i < count; i += gridDim.x * 256LL) {
    out[i] = size * uniform(seed + static_cast<uint64_t>(i));
  }
}
__global__ void fillMask(uint32_t* out, int64_t words, float fraction, uint64_t seed) {
  for (int64_t i = blockIdx.x * 256LL + threadIdx.x; i < words; i += gridDim.x * 256LL) {
    uint32_t word = 0;
    for (int b = 0; b < 32; ++b) {
      const bool set = static_cast<float>(hashed(seed + static_cast<uint64_t>(i) * 32 + b)) * 0x1p-32F < fraction;
      word |= set ? 1U << b : 0U;
    }
    out[i] = word;
  }
}

template <typename T>
T* allocate(int64_t count) {
  void* memory = nullptr;
  LRQAT_CUDA(cudaMalloc(&memory, static_cast<size_t>(count) * sizeof(T)));
  LRQAT_CUDA(cudaMemset(memory, 0, static_cast<size_t>(count) * sizeof(T)));
  return static_cast<T*>(memory);
}

/// Median microseconds of one call; the calls rotate through `variants` and run as graphs.
double microseconds(cudaStream_t stream, int repeats, const std::function<void(int)>& body) {
  if (repeats == 0) {
    body(0);
    LRQAT_CUDA(cudaStreamSynchronize(stream));
    return 1;
  }
  std::vector<cudaGraphExec_t> graphs(kSets);
  for (int v = 0; v < kSets; ++v) {
    body(v);
    LRQAT_CUDA(cudaStreamSynchronize(stream));
    LRQAT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    body(v);
    cudaGraph_t graph;
    LRQAT_CUDA(cudaStreamEndCapture(stream, &graph));
    LRQAT_CUDA(cudaGraphInstantiate(&graphs[static_cast<size_t>(v)], graph, 0));
    LRQAT_CUDA(cudaGraphDestroy(graph));
  }
  cudaEvent_t start, stop;
  LRQAT_CUDA(cudaEventCreate(&start));
  LRQAT_CUDA(cudaEventCreate(&stop));
  std::vector<double> times;
  for (int i = 0; i < repeats; ++i) {
    LRQAT_CUDA(cudaEventRecord(start, stream));
    for (int v = 0; v < kSets; ++v) LRQAT_CUDA(cudaGraphLaunch(graphs[static_cast<size_t>(v)], stream));
    LRQAT_CUDA(cudaEventRecord(stop, stream));
    LRQAT_CUDA(cudaEventSynchronize(stop));
    float ms = 0;
    LRQAT_CUDA(cudaEventElapsedTime(&ms, start, stop));
    if (i >= repeats / 4) times.push_back(static_cast<double>(ms) * 1000 / kSets);
  }
  for (const cudaGraphExec_t graph : graphs) LRQAT_CUDA(cudaGraphExecDestroy(graph));
  LRQAT_CUDA(cudaEventDestroy(start));
  LRQAT_CUDA(cudaEventDestroy(stop));
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

struct Group {
  const char* name;
  int64_t n;
  std::vector<int64_t> m;
};

/// The tasks of one group with random contents, kSets inputs of each kind.
class Problem {
 public:
  Problem(const Group& group, int64_t tokens, cudaStream_t stream) : group_(group), tokens_(tokens), stream_(stream) {
    for (int set = 0; set < kSets; ++set) {
      x_.push_back(random(tokens, group.n, 1 + static_cast<uint64_t>(set) * 77777777));
      for (size_t i = 0; i < group.m.size(); ++i) {
        dYs_.push_back(random(tokens, group.m[i], 1000000007 * (i + 2) + static_cast<uint64_t>(set) * 7777777));
      }
    }
    for (const int64_t m : group.m) {
      auto weight = std::make_unique<LinearWeight>();
      weight->m = m;
      weight->n = group.n;
      weight->spec.bits = 4;
      weight->spec.rank = kRank;
      weight->spec.storage = Storage::Integer;
      const int64_t codes = m * packedRowBytes(4, group.n) / 2;
      auto* phi0 = allocate<bf16>(codes);
      fillBf16<<<512, 256, 0, stream>>>(phi0, codes, 5);
      weight->phi0 = phi0;
      LowRankTask task;
      task.weight = weight.get();
      float* a = allocate<float>(m * kRank);
      float* b = allocate<float>(kRank * group.n);
      float* scale = allocate<float>(m * (group.n / 32));
      fillFloat<<<512, 256, 0, stream>>>(a, m * kRank, 1, 6);
      fillFloat<<<512, 256, 0, stream>>>(b, kRank * group.n, 1, 7);
      fillFloat<<<512, 256, 0, stream>>>(scale, m * (group.n / 32), 1, 8);
      task.lowRank = {a, b, scale};
      task.theta = scale;
      task.clipped.mask = allocate<uint32_t>(m * group.n / 32);
      task.gradient = {allocate<float>(m * kRank), allocate<float>(kRank * group.n), nullptr};
      scaleGradient_.push_back(allocate<float>(m * (group.n / 32)));
      weights_.push_back(std::move(weight));
      tasks_.push_back(task);
      counts_.push_back(0);
      rankSum_ += paddedRank(kRank);
    }
    const int64_t widest = *std::max_element(group.m.begin(), group.m.end());
    scratchBytes_ = LowRankGradient::scratchBytes(tokens, group.n, widest, rankSum_);
    scratch_ = allocate<char>(scratchBytes_);
  }
  Problem(const Problem&) = delete;
  Problem& operator=(const Problem&) = delete;
  ~Problem() {
    for (const Matrix& x : x_) cudaFree(x.data);
    for (const Matrix& dYs : dYs_) cudaFree(dYs.data);
    cudaFree(scratch_);
  }

  void clip(double fraction) {
    for (size_t i = 0; i < tasks_.size(); ++i) {
      const int64_t words = group_.m[i] * group_.n / 32;
      fillMask<<<512, 256, 0, stream_>>>(tasks_[i].clipped.mask, words, static_cast<float>(fraction), 99 + i);
      std::vector<uint32_t> host(static_cast<size_t>(words));
      LRQAT_CUDA(cudaStreamSynchronize(stream_));
      LRQAT_CUDA(cudaMemcpy(host.data(), tasks_[i].clipped.mask, host.size() * 4, cudaMemcpyDeviceToHost));
      counts_[i] = 0;
      for (const uint32_t word : host) counts_[i] += __builtin_popcount(word);
    }
  }
  void forceDense(int64_t groupSize) {
    for (size_t i = 0; i < tasks_.size(); ++i) {
      counts_[i] = group_.m[i] * group_.n;
      weights_[i]->spec.granularity = groupSize ? Granularity::Group : Granularity::Channel;
      weights_[i]->spec.groupSize = groupSize;
      tasks_[i].gradient.scale = groupSize ? scaleGradient_[i] : nullptr;
    }
  }
  double time(Gemm& gemm, int repeats) {
    LowRankGradient gradient(gemm);
    return microseconds(stream_, repeats, [&](int set) {
      for (size_t i = 0; i < tasks_.size(); ++i) tasks_[i].dYs = dYs_[static_cast<size_t>(set) * tasks_.size() + i];
      Scratch scratch(scratch_, scratchBytes_);
      gradient.run(x_[static_cast<size_t>(set)], tasks_, counts_, false, scratch, stream_);
    });
  }
  double timeGemm(Gemm& gemm, int repeats) {
    auto* out = allocate<float>(group_.n * *std::max_element(group_.m.begin(), group_.m.end()));
    const double time = microseconds(stream_, repeats, [&](int set) {
      for (size_t i = 0; i < tasks_.size(); ++i) {
        gemm.multiply(GemmOperand::of(dYs_[static_cast<size_t>(set) * tasks_.size() + i], true),
                      GemmOperand::of(x_[static_cast<size_t>(set)], false), {out, DType::F32, group_.n}, 1, 0, stream_);
      }
    });
    cudaFree(out);
    return time;
  }
  /// Of X and dYs, each read twice.
  double bytes() const {
    double columns = static_cast<double>(group_.n);
    for (const int64_t m : group_.m) columns += static_cast<double>(m);
    return columns * static_cast<double>(tokens_) * 4;
  }
  int64_t scratchBytes() const { return scratchBytes_; }

 private:
  Matrix random(int64_t rows, int64_t cols, uint64_t seed) {
    auto* data = allocate<bf16>(rows * cols);
    fillBf16<<<1024, 256, 0, stream_>>>(data, rows * cols, seed);
    LRQAT_CUDA(cudaGetLastError());
    return {data, DType::BF16, rows, cols};
  }

  Group group_;
  int64_t tokens_;
  cudaStream_t stream_;
  std::vector<Matrix> x_, dYs_;
  std::vector<std::unique_ptr<LinearWeight>> weights_;
  std::vector<LowRankTask> tasks_;
  std::vector<int64_t> counts_;
  std::vector<float*> scaleGradient_;
  int64_t rankSum_ = 0;
  int64_t scratchBytes_ = 0;
  char* scratch_ = nullptr;
};

double copyBandwidth(cudaStream_t stream) {
  constexpr int64_t bytes = int64_t{1} << 30;
  auto* from = allocate<char>(bytes);
  auto* to = allocate<char>(bytes);
  const double us = microseconds(stream, 8, [&](int) {
    LRQAT_CUDA(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice, stream));
  });
  cudaFree(from);
  cudaFree(to);
  return 2.0 * static_cast<double>(bytes) / us / 1e6;
}

std::unique_ptr<Gemm> openGemm() {
  const char* chosen = std::getenv("LRQAT_CUBLASLT");
  return std::make_unique<Gemm>(chosen ? chosen : "libcublasLt.so.13", allocate<char>(Gemm::workspaceBytes),
                                Gemm::workspaceBytes);
}

}  // namespace

int main(int argc, char** argv) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("skipped: no CUDA device\n");
    return 0;
  }
  const int64_t tokens = argc > 1 ? std::atoll(argv[1]) : 4096;
  const bool profile = argc > 2;
  cudaDeviceProp properties;
  LRQAT_CUDA(cudaGetDeviceProperties(&properties, 0));
  cudaStream_t stream;
  LRQAT_CUDA(cudaStreamCreate(&stream));
  const auto gemm = openGemm();
  if (!profile)
    std::printf("%s, %d multiprocessors, copy %.2f TB/s\n", properties.name, properties.multiProcessorCount,
                copyBandwidth(stream));
  const std::vector<Group> groups = {{"q k v", 4096, {4096, 4096, 4096}},
                                     {"o", 4096, {4096}},
                                     {"gate up", 4096, {11008, 11008}},
                                     {"down", 11008, {4096}}};
  const int repeats = profile ? 0 : 24;
  const std::vector<double> fractions = profile ? std::vector<double>{argc > 3 ? std::atof(argv[3]) : 0.001}
                                                : std::vector<double>{0.00001, 0.0001, 0.001, 0.003, 0.007, 0.03};
  std::printf("%lld tokens, rank %d, microseconds (clipped and dense: the whole gradient)\n%-9s%9s%7s",
              static_cast<long long>(tokens), kRank, "group", "none", "TB/s");
  for (const double fraction : fractions) std::printf("%8g%%", fraction * 100);
  std::printf("%9s%9s%9s%12s\n", "dense", "g128", "dY'X", "scratch MiB");
  std::vector<double> totals(3 + fractions.size() + 1);
  for (const Group& group : groups) {
    Problem problem(group, tokens, stream);
    std::vector<double> times;
    times.push_back(problem.time(*gemm, repeats));
    std::printf("%-9s%9.1f%7.2f", group.name, times[0], problem.bytes() / times[0] / 1e6);
    for (const double fraction : fractions) {
      problem.clip(fraction);
      times.push_back(problem.time(*gemm, repeats));
      std::printf("%9.1f", times.back());
    }
    for (const int64_t groupSize : {int64_t{0}, int64_t{128}}) {
      problem.forceDense(groupSize);
      times.push_back(problem.time(*gemm, repeats));
      std::printf("%9.1f", times.back());
    }
    times.push_back(problem.timeGemm(*gemm, repeats));
    std::printf("%9.1f%12.1f\n", times.back(), static_cast<double>(problem.scratchBytes()) / (1 << 20));
    for (size_t i = 0; i < times.size(); ++i) totals[i] += times[i];
  }
  std::printf("%-9s%9.2f%7s", "32 · ms", totals[0] * kBlocks / 1000, "");
  for (size_t i = 1; i < totals.size(); ++i) std::printf("%9.2f", totals[i] * kBlocks / 1000);
  std::printf("\n");
  return 0;
}
