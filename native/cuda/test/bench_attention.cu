// Speed of attention in bf16 at the shapes of training: milliseconds and TFLOP/s (4·headDim operations a visible pair
// and head forward, 10 backward, whatever the kernels recompute), medians. attention_torch.py runs this beside PyTorch.
//   cuda_bench_attention [batch length heads kvHeads headDim [window]]
#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

#include "cuda/check.h"
#include "cuda/kernels/attention.h"

using namespace lrqat;

namespace {

struct Setup {
  int64_t batch, length, heads, kvHeads, headDim, window;  // window 0: causal
};

class Event {
 public:
  Event() { LRQAT_CUDA(cudaEventCreate(&event_)); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record() { LRQAT_CUDA(cudaEventRecord(event_)); }
  float millisecondsSince(const Event& start) const {
    float value = 0;
    LRQAT_CUDA(cudaEventSynchronize(event_));
    LRQAT_CUDA(cudaEventElapsedTime(&value, start.event_, event_));
    return value;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

class Device {
 public:
  explicit Device(int64_t bytes) { LRQAT_CUDA(cudaMalloc(&data_, static_cast<size_t>(bytes))); }
  ~Device() { cudaFree(data_); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
};

float medianMilliseconds(const std::function<void()>& body) {
  constexpr int repeats = 10;  // calls between two events, so that the device does not wait for the host
  for (int i = 0; i < 3; ++i) body();
  LRQAT_CUDA(cudaDeviceSynchronize());
  std::vector<float> times;
  Event start, stop;
  while (times.size() < 9) {
    start.record();
    for (int i = 0; i < repeats; ++i) body();
    stop.record();
    times.push_back(stop.millisecondsSince(start) / repeats);
  }
  std::nth_element(times.begin(), times.begin() + 4, times.end());
  return times[4];
}

/// A prime number of them, so that rows of equal numbers are far apart where they repeat.
std::vector<__nv_bfloat16> normalNumbers() {
  std::mt19937 generator(7);
  std::normal_distribution<float> normal;
  std::vector<__nv_bfloat16> values(1000003);
  for (auto& value : values) value = __float2bfloat16(normal(generator));
  return values;
}

void measure(const Setup& s) {
  const int64_t tokens = s.batch * s.length;
  const int64_t width = s.heads * s.headDim;
  const int64_t kvWidth = s.kvHeads * s.headDim;
  const std::vector<__nv_bfloat16> pattern = normalNumbers();
  const auto filled = [&](const Device& device, int64_t count) {
    for (int64_t first = 0; first < count;) {
      const int64_t part = std::min<int64_t>(count - first, static_cast<int64_t>(pattern.size()));
      LRQAT_CUDA(cudaMemcpy(static_cast<__nv_bfloat16*>(device.data()) + first, pattern.data(),
                            static_cast<size_t>(part) * 2, cudaMemcpyHostToDevice));
      first += part;
    }
  };
  Device q(tokens * width * 2), o(tokens * width * 2), dO(tokens * width * 2), dQ(tokens * width * 2);
  Device k(tokens * kvWidth * 2), v(tokens * kvWidth * 2), dK(tokens * kvWidth * 2), dV(tokens * kvWidth * 2);
  Device lse(tokens * s.heads * 4), firstDevice(tokens * 4);
  filled(q, tokens * width);
  filled(dO, tokens * width);
  filled(k, tokens * kvWidth);
  filled(v, tokens * kvWidth);
  std::vector<int32_t> first(static_cast<size_t>(tokens));
  double pairs = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    const int64_t i = t % s.length;
    first[static_cast<size_t>(t)] = s.window == 0 ? 0 : static_cast<int32_t>(std::max<int64_t>(0, i - s.window + 1));
    pairs += static_cast<double>(i - first[static_cast<size_t>(t)] + 1);
  }
  LRQAT_CUDA(cudaMemcpy(firstDevice.data(), first.data(), first.size() * 4, cudaMemcpyHostToDevice));
  const auto matrix = [&](const Device& device, int64_t columns) {
    return Matrix{device.data(), DType::BF16, tokens, columns};
  };
  const AttentionShape shape{.batch = s.batch,
                             .length = s.length,
                             .heads = s.heads,
                             .kvHeads = s.kvHeads,
                             .headDim = s.headDim,
                             .firstKey = s.window == 0 ? nullptr : static_cast<const int32_t*>(firstDevice.data())};
  const int64_t scratchBytes = cuda::attentionBackwardScratchBytes(shape);
  Device scratchMemory(scratchBytes);
  const auto forward = [&] {
    cuda::attentionForward(shape, matrix(q, width), matrix(k, kvWidth), matrix(v, kvWidth), matrix(o, width),
                           static_cast<float*>(lse.data()), nullptr);
  };
  const auto backward = [&] {
    cuda::Scratch scratch(scratchMemory.data(), scratchBytes);
    cuda::attentionBackward(shape, matrix(q, width), matrix(k, kvWidth), matrix(v, kvWidth), matrix(o, width),
                            static_cast<const float*>(lse.data()), matrix(dO, width), matrix(dQ, width),
                            matrix(dK, kvWidth), matrix(dV, kvWidth), scratch, nullptr);
  };
  const float forwardTime = medianMilliseconds(forward);
  const float backwardTime = medianMilliseconds(backward);
  const double operations = 4.0 * static_cast<double>(s.headDim * s.heads) * pairs;
  std::printf("%lld %lld %lld %lld %lld %lld  %.4f %.4f  %.0f %.0f\n", static_cast<long long>(s.batch),
              static_cast<long long>(s.length), static_cast<long long>(s.heads), static_cast<long long>(s.kvHeads),
              static_cast<long long>(s.headDim), static_cast<long long>(s.window), forwardTime, backwardTime,
              operations / forwardTime * 1e-9, 2.5 * operations / backwardTime * 1e-9);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("skipped: no CUDA device\n");
    return 0;
  }
  std::printf("# batch length heads kvHeads headDim window  forward ms, backward ms  forward, backward TFLOP/s\n");
  if (argc >= 6) {
    const auto number = [&](int i) { return i < argc ? std::atoll(argv[i]) : 0; };
    measure({number(1), number(2), number(3), number(4), number(5), number(6)});
    return 0;
  }
  for (const Setup& setup : std::initializer_list<Setup>{{1, 1024, 32, 32, 128, 0},
                                                         {4, 1024, 32, 32, 128, 0},
                                                         {8, 1024, 32, 32, 128, 0},
                                                         {1, 4096, 32, 32, 128, 0},
                                                         {4, 4096, 32, 32, 128, 0},
                                                         {4, 1024, 32, 8, 128, 0},
                                                         {8, 1024, 32, 8, 64, 0},
                                                         {4, 1024, 32, 32, 80, 0},
                                                         {4, 1024, 32, 32, 96, 0},
                                                         {4, 1024, 8, 4, 256, 0},
                                                         {2, 4096, 32, 8, 128, 512}}) {
    measure(setup);
  }
}
