// Achieved bandwidth of the element-wise operations at the 7B shape (d 4096, f 11008, vocabulary 32000), beside a copy
// of the same run. Bytes are the fewest that the operation must move: every input read once, every output written once.
//   bench_elementwise [tokens, default 4096] [part of a name]
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "core/backend.h"
#include "cuda/check.h"
#include "cuda/kernels/activations.h"
#include "cuda/kernels/convert.h"
#include "cuda/kernels/distillation.h"
#include "cuda/kernels/embed.h"
#include "cuda/kernels/heads.h"
#include "cuda/kernels/loss.h"
#include "cuda/kernels/norm.h"
#include "cuda/kernels/optimizer.h"
#include "cuda/kernels/residual.h"
#include "cuda/kernels/residual_norm.h"
#include "cuda/kernels/swiglu.h"

using namespace lrqat;

namespace {

/// All memory of the benchmark: random bytes that read as small numbers in float32 and in bf16.
class Arena {
 public:
  explicit Arena(int64_t bytes) : bytes_(bytes) {
    LRQAT_CUDA(cudaMalloc(reinterpret_cast<void**>(&base_), static_cast<size_t>(bytes)));
    std::vector<uint32_t> host(1 << 22);
    uint64_t state = 1;
    for (uint32_t& word : host) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      const auto bits = static_cast<uint32_t>(state >> 32);
      // Two positive bf16 around 1/4 (second moments are positive).
      word = (bits & 0x00ff00ffU) | 0x3e003e00U;
    }
    for (int64_t at = 0; at < bytes; at += static_cast<int64_t>(host.size()) * 4) {
      const auto part = std::min<int64_t>(bytes - at, static_cast<int64_t>(host.size()) * 4);
      LRQAT_CUDA(cudaMemcpy(base_ + at, host.data(), static_cast<size_t>(part), cudaMemcpyHostToDevice));
    }
  }
  ~Arena() { cudaFree(base_); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  void rewind() { used_ = 0; }
  /// Walks on through all memory, so that no operation finds its inputs in the cache.
  void* take(int64_t bytes) {
    const int64_t padded = (bytes + 255) / 256 * 256;
    if (used_ + padded > bytes_) used_ = 0;
    void* place = base_ + used_;
    used_ += padded;
    return place;
  }
  Matrix matrix(DType type, int64_t rows, int64_t cols) {
    return {take(rows * cols * byteSize(type)), type, rows, cols};
  }
  float* floats(int64_t count) { return static_cast<float*>(take(count * 4)); }

 private:
  std::byte* base_ = nullptr;
  int64_t bytes_;
  int64_t used_ = 0;
};

struct Bench {
  std::string name;
  double bytes;  // of one call
  /// Takes operands from the arena; returns what launches the operation on a stream.
  std::function<std::function<void(cudaStream_t)>(Arena&)> prepare;
};

/// Median seconds of one call, from replays of a graph of calls on different memory.
double secondsOf(Arena& arena, const Bench& bench, cudaStream_t stream) {
  constexpr int calls = 12;
  constexpr int replays = 15;
  arena.rewind();
  std::vector<std::function<void(cudaStream_t)>> bodies;
  for (int i = 0; i < calls; ++i) bodies.push_back(bench.prepare(arena));
  bodies[0](stream);
  LRQAT_CUDA(cudaStreamSynchronize(stream));
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  LRQAT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (const auto& body : bodies) body(stream);
  LRQAT_CUDA(cudaStreamEndCapture(stream, &graph));
  LRQAT_CUDA(cudaGraphInstantiate(&executable, graph, 0));
  cudaEvent_t begin;
  cudaEvent_t end;
  LRQAT_CUDA(cudaEventCreate(&begin));
  LRQAT_CUDA(cudaEventCreate(&end));
  std::vector<double> times;
  for (int i = 0; i < replays; ++i) {
    LRQAT_CUDA(cudaEventRecord(begin, stream));
    LRQAT_CUDA(cudaGraphLaunch(executable, stream));
    LRQAT_CUDA(cudaEventRecord(end, stream));
    LRQAT_CUDA(cudaEventSynchronize(end));
    float milliseconds = 0;
    LRQAT_CUDA(cudaEventElapsedTime(&milliseconds, begin, end));
    if (i >= 3) times.push_back(milliseconds / 1e3 / calls);
  }
  LRQAT_CUDA(cudaEventDestroy(begin));
  LRQAT_CUDA(cudaEventDestroy(end));
  LRQAT_CUDA(cudaGraphExecDestroy(executable));
  LRQAT_CUDA(cudaGraphDestroy(graph));
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
  return times[times.size() / 2];
}

// 4 times 16 bytes a thread.
__global__ void __launch_bounds__(256) copyKernel(uint4* to, const uint4* from) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * 1024 + threadIdx.x;
  uint4 v[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) v[i] = from[first + i * 256];
#pragma unroll
  for (int i = 0; i < 4; ++i) to[first + i * 256] = v[i];
}

Bench copyKernelBench(const char* name, int64_t bytes) {
  return {name, 2.0 * static_cast<double>(bytes), [bytes](Arena& arena) {
            auto* to = static_cast<uint4*>(arena.take(bytes));
            const auto* from = static_cast<const uint4*>(arena.take(bytes));
            return [=](cudaStream_t stream) {
              copyKernel<<<static_cast<unsigned>(bytes / 16384), 256, 0, stream>>>(to, from);
            };
          }};
}

Bench copyBench(const char* name, int64_t bytes) {
  return {name, 2.0 * static_cast<double>(bytes), [bytes](Arena& arena) {
            void* to = arena.take(bytes);
            void* from = arena.take(bytes);
            return [=](cudaStream_t stream) {
              LRQAT_CUDA(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice, stream));
            };
          }};
}

}  // namespace

int main(int argc, char** argv) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("skipped: no CUDA device\n");
    return 0;
  }
  const int64_t tokens = argc > 1 ? std::atoll(argv[1]) : 4096;
  const std::string filter = argc > 2 ? argv[2] : "";
  const int64_t d = 4096;
  const int64_t f = 11008;
  const int64_t vocab = 32000;
  const int64_t length = 1024;
  const int64_t lossRows = std::min<int64_t>(tokens, 1024);
  const DType half = DType::BF16;
  const DType full = DType::F32;
  const auto td = static_cast<double>(tokens * d);
  const auto tf = static_cast<double>(tokens * f);
  const auto lv = static_cast<double>(lossRows * vocab);

  Arena arena(int64_t{12} << 30);
  std::byte* scratchMemory = nullptr;
  const int64_t scratchBytes = int64_t{64} << 20;
  LRQAT_CUDA(cudaMalloc(reinterpret_cast<void**>(&scratchMemory), static_cast<size_t>(scratchBytes)));
  const auto scratch = [=] { return cuda::Scratch(scratchMemory, scratchBytes); };
  float* parameters = nullptr;  // columns' scales, norm weights, angles
  LRQAT_CUDA(cudaMalloc(reinterpret_cast<void**>(&parameters), size_t{64} << 20));
  LRQAT_CUDA(cudaMemset(parameters, 0x3e, size_t{64} << 20));
  float* const sums = parameters + (8 << 20);
  auto* const total = reinterpret_cast<double*>(parameters + (12 << 20));
  auto* const rstd = parameters + (13 << 20);
  std::vector<int32_t> ids(static_cast<size_t>(tokens));
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>((i * 7919) % static_cast<size_t>(vocab));
  int32_t* deviceIds = nullptr;
  LRQAT_CUDA(cudaMalloc(reinterpret_cast<void**>(&deviceIds), ids.size() * 4));
  LRQAT_CUDA(cudaMemcpy(deviceIds, ids.data(), ids.size() * 4, cudaMemcpyHostToDevice));

  const HeadTransform rotated{
      .heads = 32, .headDim = 128, .cosine = parameters, .sine = parameters + length * 64, .length = length};
  HeadTransform normed = rotated;
  normed.normWeight = parameters;
  normed.normEpsilon = 1e-5F;
  const HeadTransform values{.heads = 32, .headDim = 128, .length = length};
  const auto raw = [=](Matrix p) { return RawOutput{p, parameters, nullptr}; };

  std::vector<Bench> benches = {
      copyBench("copy 1 GiB (runtime)", int64_t{1} << 30), copyKernelBench("copy 1 GiB (kernel)", int64_t{1} << 30),
      copyBench("copy of T·d bf16", tokens * d * 2), copyBench("copy of T·f bf16", tokens * f * 2)};
  benches.push_back({"embed bf16 -> bf16", td * 4, [=](Arena& a) {
                       const Matrix table = a.matrix(half, vocab, d);
                       const Matrix x = a.matrix(half, tokens, d);
                       return [=](cudaStream_t s) { cuda::embed(table, deviceIds, x, s); };
                     }});
  for (const DType stream : {half, full}) {
    const std::string name = stream == half ? " bf16 stream" : " f32 stream";
    const double e = static_cast<double>(byteSize(stream));
    benches.push_back({"rmsNorm" + name, td * (e + 2), [=](Arena& a) {
                         const Matrix x = a.matrix(stream, tokens, d);
                         const Matrix y = a.matrix(half, tokens, d);
                         return [=](cudaStream_t s) { cuda::rmsNorm(x, parameters, 1e-5F, y, rstd, s); };
                       }});
    benches.push_back({"addResidual" + name, td * (2 * e + 2), [=](Arena& a) {
                         const Matrix x = a.matrix(stream, tokens, d);
                         const Matrix p = a.matrix(half, tokens, d);
                         const Matrix out = a.matrix(stream, tokens, d);
                         return [=](cudaStream_t s) { cuda::addResidual(x, raw(p), out, s); };
                       }});
    benches.push_back({"addResidualNorm" + name, td * (2 * e + 4), [=](Arena& a) {
                         const Matrix x = a.matrix(stream, tokens, d);
                         const Matrix p = a.matrix(half, tokens, d);
                         const Matrix out = a.matrix(stream, tokens, d);
                         const Matrix y = a.matrix(half, tokens, d);
                         return [=](cudaStream_t s) {
                           cuda::addResidualNorm(x, raw(p), out, parameters, 1e-5F, y, rstd, s);
                         };
                       }});
    for (const DType dyType : {half, full}) {
      benches.push_back({"rmsNormBackward" + name + (dyType == half ? " dy bf16" : " dy f32"),
                         td * (8 + e + static_cast<double>(byteSize(dyType))), [=](Arena& a) {
                           const Matrix dy = a.matrix(dyType, tokens, d);
                           const Matrix x = a.matrix(stream, tokens, d);
                           const Matrix dx = a.matrix(full, tokens, d);
                           return [=](cudaStream_t s) { cuda::rmsNormBackward(dy, x, parameters, rstd, dx, s); };
                         }});
    }
    benches.push_back({"addResidualNormBackward" + name + " dy f32", td * (16 + e), [=](Arena& a) {
                         const Matrix dy = a.matrix(full, tokens, d);
                         const Matrix x = a.matrix(stream, tokens, d);
                         const Matrix dx = a.matrix(full, tokens, d);
                         const Matrix p = a.matrix(half, tokens, d);
                         const Matrix dYs = a.matrix(half, tokens, d);
                         return [=](cudaStream_t s) {
                           cuda::Scratch memory = scratch();
                           cuda::addResidualNormBackward(dy, x, parameters, rstd, dx, raw(p), {dYs, sums}, memory, s);
                         };
                       }});
  }
  benches.push_back({"addResidualBackward", td * 8, [=](Arena& a) {
                       const Matrix dY = a.matrix(full, tokens, d);
                       const Matrix p = a.matrix(half, tokens, d);
                       const Matrix dYs = a.matrix(half, tokens, d);
                       return [=](cudaStream_t s) {
                         cuda::Scratch memory = scratch();
                         cuda::addResidualBackward(dY, raw(p), {dYs, sums}, memory, s);
                       };
                     }});
  for (const auto& [name, transform] :
       {std::pair{"rotary", rotated}, {"norm and rotary", normed}, {"values", values}}) {
    benches.push_back({std::string("projectHeads ") + name, td * 4, [=, t = transform](Arena& a) {
                         const Matrix p = a.matrix(half, tokens, d);
                         const Matrix out = a.matrix(half, tokens, d);
                         return [=](cudaStream_t s) { cuda::projectHeads(raw(p), t, out, s); };
                       }});
    benches.push_back({std::string("projectHeadsBackward ") + name, td * 6, [=, t = transform](Arena& a) {
                         const Matrix p = a.matrix(half, tokens, d);
                         const Matrix dOut = a.matrix(half, tokens, d);
                         const Matrix dYs = a.matrix(half, tokens, d);
                         return [=](cudaStream_t s) {
                           cuda::Scratch memory = scratch();
                           cuda::projectHeadsBackward(dOut, raw(p), t, {dYs, sums}, memory, s);
                         };
                       }});
  }
  benches.push_back({"swiglu", tf * 6, [=](Arena& a) {
                       const Matrix gate = a.matrix(half, tokens, f);
                       const Matrix up = a.matrix(half, tokens, f);
                       const Matrix h = a.matrix(half, tokens, f);
                       return [=](cudaStream_t s) { cuda::swiglu(raw(gate), raw(up), h, s); };
                     }});
  for (const bool wantsH : {false, true}) {
    benches.push_back({wantsH ? "swigluBackward and h" : "swigluBackward", tf * (wantsH ? 12 : 10), [=](Arena& a) {
                         const Matrix gate = a.matrix(half, tokens, f);
                         const Matrix up = a.matrix(half, tokens, f);
                         const Matrix dH = a.matrix(half, tokens, f);
                         const Matrix dGate = a.matrix(half, tokens, f);
                         const Matrix dUp = a.matrix(half, tokens, f);
                         const Matrix h = wantsH ? a.matrix(half, tokens, f) : Matrix{};
                         return [=](cudaStream_t s) {
                           cuda::Scratch memory = scratch();
                           cuda::swigluBackward(dH, raw(gate), raw(up), {dGate, sums}, {dUp, sums + f}, h, memory, s);
                         };
                       }});
  }
  for (const int64_t v : {vocab, int64_t{128256}}) {
    const double scale = static_cast<double>(v) / static_cast<double>(vocab);
    for (const int kind : {0, 1, 2}) {
      const char* const names[] = {"loss only", "gradient in place", "gradient bf16"};
      const double bytes[] = {4, 8, 6};
      benches.push_back({std::string("crossEntropy ") + names[kind] + " " + std::to_string(v), lv * scale * bytes[kind],
                         [=](Arena& a) {
                           const Matrix logits = a.matrix(full, lossRows, v);
                           const Matrix own = kind == 2 ? a.matrix(half, lossRows, v) : logits;
                           const Matrix gradient = kind == 0 ? Matrix{} : own;
                           return [=](cudaStream_t s) {
                             cuda::Scratch memory = scratch();
                             cuda::crossEntropy(logits, deviceIds, 0.5F, gradient, total, memory, s);
                           };
                         }});
    }
  }
  // The loss above with what follows the float model, whose k classes are taken out of the row and put back.
  constexpr int64_t k = 64;
  std::vector<int32_t> likeliest(static_cast<size_t>(lossRows * k));
  for (size_t i = 0; i < likeliest.size(); ++i) {
    likeliest[i] = static_cast<int32_t>((i % k) * 499 + i / k % 499);
  }
  int32_t* deviceClasses = nullptr;
  LRQAT_CUDA(cudaMalloc(reinterpret_cast<void**>(&deviceClasses), likeliest.size() * 4));
  LRQAT_CUDA(cudaMemcpy(deviceClasses, likeliest.data(), likeliest.size() * 4, cudaMemcpyHostToDevice));
  for (const int64_t v : {vocab, int64_t{128256}}) {
    const double scale = static_cast<double>(v) / static_cast<double>(vocab);
    benches.push_back({"teacherRows " + std::to_string(v), lv * scale * 4, [=](Arena& a) {
                         const Matrix logits = a.matrix(full, lossRows, v);
                         auto* classes = reinterpret_cast<int32_t*>(a.floats(lossRows * k));
                         float* logs = a.floats(lossRows * (k + 1));
                         return [=](cudaStream_t s) { cuda::teacherRows(logits, 1, {classes, logs, k}, s); };
                       }});
    for (const float temperature : {1.0F, 2.0F}) {
      const std::string name = temperature == 1 ? " bf16 " : " bf16, T = 2, ";
      benches.push_back({"distillationLoss" + name + std::to_string(v), lv * scale * 6, [=](Arena& a) {
                           const Matrix logits = a.matrix(full, lossRows, v);
                           const Matrix gradient = a.matrix(half, lossRows, v);
                           float* logs = a.floats(lossRows * (k + 1));
                           return [=](cudaStream_t s) {
                             cuda::Scratch memory = scratch();
                             cuda::distillationLoss(logits, deviceIds, {deviceClasses, logs, k}, {k, 0.5F, temperature},
                                                    0.5F, gradient, total, memory, s);
                           };
                         }});
    }
  }
  benches.push_back({"convert f32 -> bf16", td * 6, [=](Arena& a) {
                       const Matrix from = a.matrix(full, tokens, d);
                       const Matrix to = a.matrix(half, tokens, d);
                       return [=](cudaStream_t s) { cuda::convert(from, to, s); };
                     }});
  // The trained tensors of a 7B model at rank 32: A [m, 32], B [32, n] and the scales [m] of 224 linears.
  const int64_t trained = 79953920 + 1359872;
  benches.push_back({"squaredNorm of all gradients", static_cast<double>(trained) * 4, [=](Arena& a) {
                       const float* gradients = a.floats(trained);
                       return [=](cudaStream_t s) {
                         cuda::Scratch memory = scratch();
                         cuda::squaredNorm(gradients, trained, total, memory, s);
                       };
                     }});
  const StaticGrid grid{0.01F, 40, 0, 255};
  void* gridMemory = nullptr;
  LRQAT_CUDA(cudaMalloc(&gridMemory, sizeof grid));
  LRQAT_CUDA(cudaMemcpy(gridMemory, &grid, sizeof grid, cudaMemcpyHostToDevice));
  const ActivationGrid shared{8, false, f, static_cast<const StaticGrid*>(gridMemory)};
  benches.push_back({"activations on a static grid, f", static_cast<double>(tokens * f) * 4, [&](Arena& a) {
                       const Matrix x = a.matrix(DType::BF16, tokens, f);
                       const Matrix y = a.matrix(DType::BF16, tokens, f);
                       return [=](cudaStream_t s) { cuda::quantizeActivations(x, shared, y, nullptr, s); };
                     }});
  benches.push_back({"static grid learned, f", static_cast<double>(tokens * f) * 6, [&](Arena& a) {
                       const Matrix x = a.matrix(DType::BF16, tokens, f);
                       const Matrix gradient = a.matrix(DType::BF16, tokens, f);
                       float* sums = a.floats(2);
                       return [=](cudaStream_t s) {
                         cuda::Scratch memory = scratch();
                         cuda::learnGrid(x, shared, gradient, sums, sums + 1, memory, s);
                       };
                     }});
  std::vector<void*> tables;
  benches.push_back(
      {"adamw of 672 tensors", static_cast<double>(trained) * 28, [&](Arena& a) {
         std::vector<cuda::DeviceAdamWTensor> entries;
         const auto add = [&](int64_t count) {
           entries.push_back({.value = a.floats(count),
                              .gradient = a.floats(count),
                              .moment1 = a.floats(count),
                              .moment2 = a.floats(count),
                              .count = count,
                              .learningRate = 1e-3});
         };
         for (int layer = 0; layer < 32; ++layer) {
           for (const auto& [m, n] : {std::pair{d, d}, {d, d}, {d, d}, {d, d}, {f, d}, {f, d}, {d, f}}) {
             add(m * 32);
             add(32 * n);
             add(m);
           }
         }
         const int64_t chunks = cuda::numberAdamWChunks(entries);
         void* table = nullptr;
         LRQAT_CUDA(cudaMalloc(&table, entries.size() * sizeof(entries[0])));
         LRQAT_CUDA(cudaMemcpy(table, entries.data(), entries.size() * sizeof(entries[0]), cudaMemcpyHostToDevice));
         tables.push_back(table);
         const auto count = static_cast<int>(entries.size());
         return [=](cudaStream_t s) {
           cuda::adamw(static_cast<const cuda::DeviceAdamWTensor*>(table), count, chunks, AdamW{}, s);
         };
       }});

  cudaStream_t stream;
  LRQAT_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  cudaDeviceProp properties;
  LRQAT_CUDA(cudaGetDeviceProperties(&properties, 0));
  std::printf("%s, T = %lld, loss rows %lld\n", properties.name, static_cast<long long>(tokens),
              static_cast<long long>(lossRows));
  // The ceiling is the fastest copy of this run.
  double copySpeed = 0;
  for (const Bench& bench : benches) {
    const bool isCopy = bench.name.starts_with("copy");
    if (!isCopy && bench.name.find(filter) == std::string::npos) continue;
    const double seconds = secondsOf(arena, bench, stream);
    const double speed = bench.bytes / seconds;
    if (isCopy) copySpeed = std::max(copySpeed, speed);
    std::printf("%-42s %9.1f us %8.0f GB/s %6.1f %% of copy\n", bench.name.c_str(), seconds * 1e6, speed / 1e9,
                speed / copySpeed * 100);
  }
  for (void* table : tables) cudaFree(table);
  LRQAT_CUDA(cudaStreamDestroy(stream));
  cudaFree(gridMemory);
  cudaFree(parameters);
  cudaFree(scratchMemory);
  cudaFree(deviceIds);
  return 0;
}
