// Attention and its gradients against double: all head sizes' kernels, grouped heads, sliding windows, documents,
// branches, odd lengths, outputs poisoned and fenced. argv[1]: only cases whose name contains it.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "core/half.h"
#include "cuda/check.h"
#include "cuda/kernels/attention.h"
#include "test/check.h"
#include "test/random.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

/// Device memory between two fences of 256 bytes; everything begins as NaN.
class DeviceBytes {
 public:
  explicit DeviceBytes(int64_t bytes) : bytes_(bytes) {
    LRQAT_CUDA(cudaMalloc(&memory_, static_cast<size_t>(bytes + 2 * fence)));
    poison();
  }
  ~DeviceBytes() { cudaFree(memory_); }
  DeviceBytes(const DeviceBytes&) = delete;
  DeviceBytes& operator=(const DeviceBytes&) = delete;

  void* data() const { return static_cast<std::byte*>(memory_) + fence; }
  void poison() { LRQAT_CUDA(cudaMemset(memory_, 0xff, static_cast<size_t>(bytes_ + 2 * fence))); }
  void upload(const void* host) {
    LRQAT_CUDA(cudaMemcpy(data(), host, static_cast<size_t>(bytes_), cudaMemcpyHostToDevice));
  }
  std::vector<std::byte> download() const {
    std::vector<std::byte> all(static_cast<size_t>(bytes_ + 2 * fence));
    LRQAT_CUDA(cudaMemcpy(all.data(), memory_, all.size(), cudaMemcpyDeviceToHost));
    const auto untouched = [](std::byte b) { return b == std::byte{0xff}; };
    expect(std::all_of(all.begin(), all.begin() + fence, untouched) &&
               std::all_of(all.end() - fence, all.end(), untouched),
           "wrote outside its output");
    return {all.begin() + fence, all.end() - fence};
  }

 private:
  static constexpr int64_t fence = 256;
  void* memory_ = nullptr;
  int64_t bytes_;
};

struct DeviceMatrix {
  DeviceMatrix(DType type, int64_t rows, int64_t cols) : shape{nullptr, type, rows, cols}, memory(shape.bytes()) {
    shape.data = memory.data();
  }
  /// Uploads random numbers and returns them as the device holds them.
  std::vector<double> fill(Random& random, double scale) {
    std::vector<double> values(static_cast<size_t>(shape.elements()));
    std::vector<float> floats(values.size());
    std::vector<uint16_t> halves(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      floats[i] = static_cast<float>(random.uniform() * scale);
      halves[i] = bf16FromFloat(floats[i]);
      values[i] = shape.type == DType::F32 ? floats[i] : floatFromBf16(halves[i]);
    }
    memory.upload(shape.type == DType::F32 ? static_cast<const void*>(floats.data()) : halves.data());
    return values;
  }
  std::vector<double> values() const {
    const std::vector<std::byte> bytes = memory.download();
    std::vector<double> result(static_cast<size_t>(shape.elements()));
    for (size_t i = 0; i < result.size(); ++i) {
      if (shape.type == DType::F32) {
        float value;
        std::memcpy(&value, &bytes[i * 4], 4);
        result[i] = value;
      } else {
        uint16_t bits;
        std::memcpy(&bits, &bytes[i * 2], 2);
        result[i] = floatFromBf16(bits);
      }
    }
    return result;
  }

  Matrix shape;
  DeviceBytes memory;
};

enum class Visible { Causal, Window, Documents };

struct Setup {
  int64_t batch, length, heads, kvHeads, headDim;
  Visible visible;
  double scale = 2;    // of queries and keys
  bool hides = false;  // the forward alone, with keys in between that are not seen
};

std::vector<int32_t> firstKeys(const Setup& s, Random& random) {
  if (s.visible == Visible::Causal) return {};
  std::vector<int32_t> first(static_cast<size_t>(s.batch * s.length));
  const int64_t window = 1 + random.below(s.length / 2 + 1);
  const int64_t documentLength = 1 + random.below(100);
  for (int64_t b = 0; b < s.batch; ++b) {
    int64_t document = 0;
    for (int64_t i = 0; i < s.length; ++i) {
      if (random.below(documentLength) == 0) document = i;
      first[static_cast<size_t>(b * s.length + i)] =
          static_cast<int32_t>(s.visible == Visible::Window ? std::max<int64_t>(0, i - window + 1) : document);
    }
  }
  return first;
}

/// What each query does not see besides: of groups of a beginning and some branches behind it, for a query in a branch
/// what lies between the beginning and the branch. Groups see each other where `first` lets them.
struct Hidden {
  std::vector<int32_t> from, to;
  bool contains(int64_t t, int64_t key) const {
    const auto i = static_cast<size_t>(t);
    return !from.empty() && from[i] <= key && key < to[i];
  }
};

Hidden hiddenKeys(const Setup& s, const std::vector<int32_t>& first, Random& random) {
  Hidden hidden;
  const int64_t groupLength = 20 + random.below(s.length);
  for (int64_t t = 0, group = 0, beginning = 0, branch = 0; t < s.batch * s.length; ++t) {
    const int64_t i = t % s.length;
    if (i == 0 || random.below(groupLength) == 0) {
      group = i;
      beginning = branch = i + 1 + random.below(groupLength);
    }
    if (i > beginning && random.below(12) == 0) branch = i;
    const int64_t from = std::max<int64_t>(beginning, first.empty() ? 0 : first[static_cast<size_t>(t)]);
    const bool hides = i >= beginning && branch > from;
    hidden.from.push_back(static_cast<int32_t>(hides ? from : group));
    hidden.to.push_back(static_cast<int32_t>(hides ? branch : group));
  }
  return hidden;
}

using Doubles = std::vector<double>;

struct Reference {
  Doubles o, lse, dQ, dK, dV;
  // The same with |each summand|: what rounding errors are proportional to.
  Doubles oSize, dQSize, dKSize, dVSize;
};

Reference reference(const Setup& s, const int32_t* firstKey, const Hidden& hidden, const Doubles& q, const Doubles& k,
                    const Doubles& v, const Doubles& dO) {
  const int64_t d = s.headDim;
  const int64_t width = s.heads * d;
  const int64_t kvWidth = s.kvHeads * d;
  const auto tokens = static_cast<size_t>(s.batch * s.length);
  const auto size = [&](int64_t columns) { return Doubles(tokens * static_cast<size_t>(columns)); };
  Reference r{size(width), size(s.heads), size(width),   size(kvWidth), size(kvWidth),
              size(width), size(width),   size(kvWidth), size(kvWidth)};
  const double scale = 1 / std::sqrt(static_cast<double>(d));
  // A thread for each sequence and key-value head: its sums are its own.
  const auto item = [&](int64_t b, int64_t kvHead) {
    Doubles p(static_cast<size_t>(s.length));
    const int64_t group = s.heads / s.kvHeads;
    for (int64_t h = kvHead * group; h < (kvHead + 1) * group; ++h) {
      const int64_t kvColumn = kvHead * d;
      for (int64_t i = 0; i < s.length; ++i) {
        const int64_t t = b * s.length + i;
        const int64_t from = firstKey ? firstKey[t] : 0;
        const int64_t row = t * width + h * d;
        const auto keyRow = [&](int64_t j) { return (b * s.length + j) * kvWidth + kvColumn; };
        double top = -INFINITY;
        for (int64_t j = from; j <= i; ++j) {
          p[j] = -INFINITY;
          if (hidden.contains(t, j)) continue;
          double dot = 0;
          for (int64_t c = 0; c < d; ++c) dot += q[row + c] * k[keyRow(j) + c];
          p[j] = dot * scale;
          top = std::max(top, p[j]);
        }
        double sum = 0;
        for (int64_t j = from; j <= i; ++j) sum += std::exp(p[j] - top);
        r.lse[(b * s.heads + h) * s.length + i] = top + std::log(sum);
        for (int64_t j = from; j <= i; ++j) {
          p[j] = std::exp(p[j] - top) / sum;
          for (int64_t c = 0; c < d; ++c) {
            const double term = p[j] * v[keyRow(j) + c];
            r.o[row + c] += term;
            r.oSize[row + c] += std::abs(term);
          }
        }
        double delta = 0;
        double deltaSize = 0;
        for (int64_t c = 0; c < d; ++c) {
          delta += r.o[row + c] * dO[row + c];
          deltaSize += std::abs(r.o[row + c] * dO[row + c]);
        }
        for (int64_t j = from; j <= i; ++j) {
          const int64_t key = keyRow(j);
          double dP = 0;
          double dPSize = deltaSize;
          for (int64_t c = 0; c < d; ++c) {
            dP += dO[row + c] * v[key + c];
            dPSize += std::abs(dO[row + c] * v[key + c]);
          }
          const double dS = p[j] * (dP - delta) * scale;
          const double dSSize = p[j] * dPSize * scale;
          for (int64_t c = 0; c < d; ++c) {
            r.dQ[row + c] += dS * k[key + c];
            r.dQSize[row + c] += dSSize * std::abs(k[key + c]);
            r.dK[key + c] += dS * q[row + c];
            r.dKSize[key + c] += dSSize * std::abs(q[row + c]);
            r.dV[key + c] += p[j] * dO[row + c];
            r.dVSize[key + c] += p[j] * std::abs(dO[row + c]);
          }
        }
      }
    }
  };
  std::vector<std::thread> threads;
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t kvHead = 0; kvHead < s.kvHeads; ++kvHead) threads.emplace_back(item, b, kvHead);
  }
  for (std::thread& thread : threads) thread.join();
  return r;
}

struct Kernels {
  DType type;
  cuda::AttentionPath path;
};
constexpr Kernels variants[] = {{DType::F32, cuda::AttentionPath::Automatic},
                                {DType::BF16, cuda::AttentionPath::Automatic},
                                {DType::BF16, cuda::AttentionPath::TensorCores},
                                {DType::BF16, cuda::AttentionPath::Plain}};

const char* nameOf(Kernels kernels) {
  if (kernels.type == DType::F32) return "float32";
  if (kernels.path == cuda::AttentionPath::Automatic) return "bf16";
  return kernels.path == cuda::AttentionPath::TensorCores ? "bf16-portable" : "bf16-plain";
}

struct Worst {
  double f32 = 0;
  double bf16 = 0;
};
Worst worst;

void compare(DType type, double scale, const Doubles& actual, const Doubles& expected, const Doubles& size,
             const char* label) {
  // float32: scores grow with scale², are off by some units, and e^x makes that relative. bf16: P and dS are rounded to
  // 8 bits before their products and the results after them; delta comes from the rounded o.
  const double growth = std::max(1.0, scale * scale / 4);
  const double unit = type == DType::F32 ? 4e-6 * growth : 3 * 0x1p-8;
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    expectNear(actual[i], expected[i], unit * size[i] + 1e-30, label);
    difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  // Errors of single elements are independent, so that the whole is far nearer. Gradients of one visible key are
  // rounding alone, hence the size in the denominator.
  double sizeNorm = 0;
  for (const double value : size) sizeNorm += value * value;
  const double relative = std::sqrt(difference / std::max(norm, 1e-4 * sizeNorm));
  expectNear(relative, 0, type == DType::F32 ? 1e-5 * growth : 1e-2, label);
  double& most = type == DType::F32 ? worst.f32 : worst.bf16;
  most = std::max(most, relative);
}

void check(const Setup& s, Kernels kernels, uint64_t seed) {
  const auto [type, path] = kernels;
  char text[160];
  std::snprintf(text, sizeof text, "%s batch %d length %d heads %d/%d x %d %s%s seed %d", nameOf(kernels),
                static_cast<int>(s.batch), static_cast<int>(s.length), static_cast<int>(s.heads),
                static_cast<int>(s.kvHeads), static_cast<int>(s.headDim),
                s.visible == Visible::Causal   ? "causal"
                : s.visible == Visible::Window ? "window"
                                               : "documents",
                s.hides ? ", branches" : "", static_cast<int>(seed));
  context = text;
  Random random(seed);
  const int64_t tokens = s.batch * s.length;
  const int64_t width = s.heads * s.headDim;
  const int64_t kvWidth = s.kvHeads * s.headDim;
  DeviceMatrix q(type, tokens, width), o(type, tokens, width), dO(type, tokens, width), dQ(type, tokens, width);
  DeviceMatrix k(type, tokens, kvWidth), v(type, tokens, kvWidth), dK(type, tokens, kvWidth), dV(type, tokens, kvWidth);
  DeviceMatrix lse(DType::F32, s.batch * s.heads, s.length);
  const Doubles qValues = q.fill(random, s.scale);
  const Doubles kValues = k.fill(random, s.scale);
  const Doubles vValues = v.fill(random, 1);
  const Doubles dOValues = dO.fill(random, 1);
  const std::vector<int32_t> first = firstKeys(s, random);
  const Hidden hidden = s.hides ? hiddenKeys(s, first, random) : Hidden{};
  const auto onDevice = [](const std::vector<int32_t>& values) {
    auto memory = std::make_unique<DeviceBytes>(static_cast<int64_t>(values.size() * sizeof(int32_t)));
    if (!values.empty()) memory->upload(values.data());
    return memory;
  };
  const auto firstDevice = onDevice(first);
  const auto fromDevice = onDevice(hidden.from);
  const auto toDevice = onDevice(hidden.to);
  const auto pointer = [](const std::vector<int32_t>& values, const DeviceBytes& memory) {
    return values.empty() ? nullptr : static_cast<const int32_t*>(memory.data());
  };
  const AttentionShape shape{
      .batch = s.batch,
      .length = s.length,
      .heads = s.heads,
      .kvHeads = s.kvHeads,
      .headDim = s.headDim,
      .firstKey = pointer(first, *firstDevice),
      .hiddenFrom = pointer(hidden.from, *fromDevice),
      .hiddenTo = pointer(hidden.to, *toDevice),
  };
  const int64_t scratchBytes = cuda::attentionBackwardScratchBytes(shape);
  DeviceBytes scratchMemory(scratchBytes);
  const auto once = [&] {
    cuda::Scratch scratch(scratchMemory.data(), scratchBytes);
    auto* lseData = static_cast<float*>(lse.shape.data);
    cuda::attentionForward(shape, q.shape, k.shape, v.shape, o.shape, lseData, path, nullptr);
    if (!s.hides) {
      cuda::attentionBackward(shape, q.shape, k.shape, v.shape, o.shape, lseData, dO.shape, dQ.shape, dK.shape,
                              dV.shape, scratch, path, nullptr);
    }
    LRQAT_CUDA(cudaDeviceSynchronize());
    if (s.hides) return std::vector<Doubles>{lse.values(), o.values()};
    scratchMemory.download();
    return std::vector<Doubles>{lse.values(), o.values(), dQ.values(), dK.values(), dV.values()};
  };
  const std::vector<Doubles> actual = once();
  const Reference r = reference(s, first.empty() ? nullptr : first.data(), hidden, qValues, kValues, vValues, dOValues);
  for (size_t i = 0; i < r.lse.size(); ++i) {
    expectNear(actual[0][i], r.lse[i], 2e-6 * (1 + std::abs(r.lse[i])) + 3e-7 * s.scale * s.scale * s.headDim, "lse");
  }
  compare(type, s.scale, actual[1], r.o, r.oSize, "o");
  if (!s.hides) {
    compare(type, s.scale, actual[2], r.dQ, r.dQSize, "dQ");
    compare(type, s.scale, actual[3], r.dK, r.dKSize, "dK");
    compare(type, s.scale, actual[4], r.dV, r.dVSize, "dV");
  }

  for (DeviceMatrix* output : {&o, &dQ, &dK, &dV, &lse}) output->memory.poison();
  scratchMemory.poison();
  expect(once() == actual, "not the same bits the second time");
}

void headSizes(Kernels kernels) {
  uint64_t seed = 100;
  for (const int64_t headDim : {2, 10, 16, 26, 32, 36, 40, 64, 72, 80, 88, 96, 104, 128, 136, 160, 172, 192, 256}) {
    check({1, 150, 2, 1, headDim, Visible::Causal}, kernels, ++seed);
    check({2, 97, 2, 2, headDim, Visible::Documents}, kernels, ++seed);
  }
}

void lengths(Kernels kernels) {
  uint64_t seed = 200;
  for (const int64_t length : {1, 2, 7, 15, 31, 32, 33, 63, 64, 65, 95, 127, 128, 129, 191, 257, 300}) {
    check({2, length, 2, 1, 128, Visible::Causal}, kernels, ++seed);
    check({1, length, 2, 2, 64, Visible::Window}, kernels, ++seed);
  }
}

void groups(Kernels kernels) {
  uint64_t seed = 300;
  for (const int64_t kvHeads : {1, 2, 3, 6}) {
    check({2, 130, 6, kvHeads, 64, Visible::Causal}, kernels, ++seed);
    check({1, 333, 6, kvHeads, 128, Visible::Window}, kernels, ++seed);
  }
}

void longer(Kernels kernels) {
  uint64_t seed = 400;
  for (const int64_t headDim : {64, 128}) {
    for (const Visible visible : {Visible::Causal, Visible::Window, Visible::Documents}) {
      check({1, 1024, 4, 2, headDim, visible}, kernels, ++seed);
    }
    check({1, 1500, 1, 1, headDim, Visible::Window}, kernels, ++seed);
  }
}

/// Nearly one-hot softmax: e^x of large scores must neither overflow nor lose the row.
void largeScores(Kernels kernels) {
  check({1, 260, 2, 2, 128, Visible::Causal, 6}, kernels, 500);
  check({1, 260, 2, 1, 64, Visible::Window, 6}, kernels, 501);
}

void branches(Kernels kernels) {
  uint64_t seed = 700;
  for (const int64_t headDim : {2, 26, 40, 64, 80, 96, 128, 172, 192, 256}) {
    check({2, 150, 4, 2, headDim, Visible::Causal, 2, true}, kernels, ++seed);
    check({1, 333, 2, 1, headDim, Visible::Documents, 2, true}, kernels, ++seed);
    check({1, 301, 3, 3, headDim, Visible::Window, 2, true}, kernels, ++seed);
  }
  for (const int64_t length : {1, 63, 64, 65, 127, 128, 129, 1024}) {
    check({2, length, 2, 1, 128, Visible::Causal, 2, true}, kernels, ++seed);
    check({2, length, 2, 1, 64, Visible::Documents, 2, true}, kernels, ++seed);
  }
}

void randomShapes(Kernels kernels) {
  Random random(600);
  for (uint64_t i = 0; i < 30; ++i) {
    const int64_t kvHeads = 1 + random.below(3);
    const Setup setup{.batch = 1 + random.below(3),
                      .length = 1 + random.below(400),
                      .heads = kvHeads * (1 + random.below(3)),
                      .kvHeads = kvHeads,
                      .headDim = 8 * (1 + random.below(20)),
                      .visible = static_cast<Visible>(random.below(3))};
    check(setup, kernels, 601 + i);
  }
}

}  // namespace

int main(int argc, char** argv) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("skipped: no CUDA device\n");
    return 0;
  }
  std::vector<Case> cases;
  std::deque<std::string> names;  // that the cases point at
  const auto add = [&](Kernels kernels, const char* name, void (*body)(Kernels)) {
    names.push_back(std::string(nameOf(kernels)) + " " + name);
    cases.push_back({names.back().c_str(), [=] { body(kernels); }});
  };
  for (const Kernels& kernels : variants) {
    add(kernels, "head sizes", headSizes);
    add(kernels, "lengths", lengths);
    add(kernels, "grouped heads", groups);
    add(kernels, "longer sequences", longer);
    add(kernels, "large scores", largeScores);
    add(kernels, "random shapes", randomShapes);
    add(kernels, "branches", branches);
  }
  const int status = run(cases, argc, argv);
  std::printf("largest relative error of an output (norms): float32 %.2e, bf16 %.2e\n", worst.f32, worst.bf16);
  return status;
}
