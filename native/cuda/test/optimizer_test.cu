// AdamW on a table of tensors, bit by bit against the same formulas in float32 on the host and near double, with
// moments on the device and in pinned host memory; squared norms against double.
#include "cuda/kernels/optimizer.h"

#include <memory>

#include "cuda/test/elementwise.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

struct HostState {
  std::vector<float> value;
  std::vector<float> gradient;
  std::vector<float> moment1;
  std::vector<float> moment2;
};

/// The formulas of the CPU backend, one number after the other.
void referenceStep(const AdamW& s, double learningRate, HostState& state) {
  const double correction1 = 1 - std::pow(s.beta1, static_cast<double>(s.step));
  const double correction2 = 1 - std::pow(s.beta2, static_cast<double>(s.step));
  const auto decay = static_cast<float>(1 - learningRate * s.weightDecay);
  const auto stepSize = static_cast<float>(learningRate / correction1);
  const auto root = static_cast<float>(std::sqrt(correction2));
  const auto weight1 = static_cast<float>(1 - s.beta1);
  const auto weight2 = static_cast<float>(1 - s.beta2);
  for (size_t i = 0; i < state.value.size(); ++i) {
    const float g = state.gradient[i] * s.gradientFactor;
    const float difference = g - state.moment1[i];
    const float scaled = weight1 * difference;
    state.moment1[i] = state.moment1[i] + scaled;
    const float kept = state.moment2[i] * static_cast<float>(s.beta2);
    const float weighted = weight2 * g;
    const float added = weighted * g;
    state.moment2[i] = kept + added;
    const float quotient = std::sqrt(state.moment2[i]) / root;
    const float denominator = quotient + static_cast<float>(s.epsilon);
    const float move = stepSize * (state.moment1[i] / denominator);
    state.value[i] = state.value[i] * decay - move;
  }
}

/// Four arrays of one tensor; moments on the device or in mapped host memory.
class Parameters {
 public:
  Parameters(const HostState& state, double learningRate, bool hostMoments, size_t offset)
      : count_(state.value.size()),
        value_(bytes(), offset),
        gradient_(bytes(), offset),
        moment1_(hostMoments ? 0 : bytes(), offset),
        moment2_(hostMoments ? 0 : bytes(), offset),
        learningRate_(learningRate) {
    if (hostMoments) LRQAT_CUDA(cudaHostAlloc(reinterpret_cast<void**>(&host_), 2 * bytes() + 64, cudaHostAllocMapped));
    write(state);
  }
  ~Parameters() {
    if (host_) cudaFreeHost(host_);
  }
  Parameters(const Parameters&) = delete;
  Parameters& operator=(const Parameters&) = delete;

  void write(const HostState& state) {
    if (count_ == 0) return;
    value_.write(state.value.data());
    gradient_.write(state.gradient.data());
    if (host_) {
      std::memcpy(host_, state.moment1.data(), bytes());
      std::memcpy(host_ + count_, state.moment2.data(), bytes());
    } else {
      moment1_.write(state.moment1.data());
      moment2_.write(state.moment2.data());
    }
  }
  cuda::DeviceAdamWTensor entry() const {
    float* mapped = nullptr;
    if (host_) LRQAT_CUDA(cudaHostGetDevicePointer(reinterpret_cast<void**>(&mapped), host_, 0));
    const auto floats = [](const DeviceMemory& memory) { return reinterpret_cast<float*>(memory.data()); };
    return {.value = floats(value_),
            .gradient = floats(gradient_),
            .moment1 = host_ ? mapped : floats(moment1_),
            .moment2 = host_ ? mapped + count_ : floats(moment2_),
            .count = static_cast<int64_t>(count_),
            .learningRate = learningRate_};
  }
  HostState read() const {
    HostState state;
    state.value = toFloats(value_.read());
    state.gradient = toFloats(gradient_.read());
    if (host_) {
      state.moment1.assign(host_, host_ + count_);
      state.moment2.assign(host_ + count_, host_ + 2 * count_);
    } else {
      state.moment1 = toFloats(moment1_.read());
      state.moment2 = toFloats(moment2_.read());
    }
    return state;
  }

 private:
  size_t bytes() const { return count_ * sizeof(float); }
  static std::vector<float> toFloats(const std::vector<std::byte>& bytes) {
    std::vector<float> values(bytes.size() / 4);
    if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  size_t count_;
  DeviceMemory value_;
  DeviceMemory gradient_;
  DeviceMemory moment1_;
  DeviceMemory moment2_;
  float* host_ = nullptr;
  double learningRate_;
};

struct Table {
  explicit Table(std::vector<cuda::DeviceAdamWTensor> entries)
      : count(static_cast<int>(entries.size())),
        chunks(cuda::numberAdamWChunks(entries)),
        memory(entries.size() * sizeof(cuda::DeviceAdamWTensor)) {
    memory.write(entries.data());
  }
  const cuda::DeviceAdamWTensor* data() const {
    return reinterpret_cast<const cuda::DeviceAdamWTensor*>(memory.data());
  }
  int count;
  int64_t chunks;
  DeviceMemory memory;
};

// Around chunk borders, without elements, smaller than a vector.
constexpr size_t counts[] = {0, 1, 3, 4096, 0, 4097, 4095, 20000, 50001, 7, 0};

std::vector<HostState> randomStates(Random& random) {
  std::vector<HostState> states;
  for (const size_t count : counts) {
    HostState state;
    for (size_t i = 0; i < count; ++i) {
      state.value.push_back(static_cast<float>(random.uniform()));
      state.gradient.push_back(static_cast<float>(random.uniform() * std::pow(10, random.uniform() * 6)));
      state.moment1.push_back(static_cast<float>(random.uniform()));
      state.moment2.push_back(static_cast<float>(std::abs(random.uniform())));
    }
    states.push_back(std::move(state));
  }
  return states;
}

void expectSame(const std::vector<float>& actual, const std::vector<float>& expected, const char* label) {
  expectEqual(actual.size(), expected.size(), label);
  for (size_t i = 0; i < expected.size(); ++i) expectEqual(actual[i], expected[i], label);
}

void adamw() {
  for (const bool hostMoments : {false, true}) {
    for (const size_t offset : {size_t{0}, size_t{4}}) {
      for (const double weightDecay : {0.0, 0.1}) {
        context = std::string(hostMoments ? "pinned moments" : "device moments") + ", offset " + std::to_string(offset);
        Random random(7);
        std::vector<HostState> states = randomStates(random);
        std::vector<std::unique_ptr<Parameters>> parameters;
        std::vector<cuda::DeviceAdamWTensor> entries;
        std::vector<double> rates;
        for (const HostState& state : states) {
          rates.push_back(1e-3 * static_cast<double>(1 + rates.size()));
          parameters.push_back(std::make_unique<Parameters>(state, rates.back(), hostMoments, offset));
          entries.push_back(parameters.back()->entry());
        }
        const Table table(entries);
        AdamW settings{.weightDecay = weightDecay, .gradientFactor = 0.7F};
        for (settings.step = 1; settings.step <= 3; ++settings.step) {
          cuda::adamw(table.data(), table.count, table.chunks, settings, nullptr);
          synchronize();
          for (size_t i = 0; i < states.size(); ++i) {
            referenceStep(settings, rates[i], states[i]);
            const HostState actual = parameters[i]->read();
            expectSame(actual.moment1, states[i].moment1, "moment1");
            expectSame(actual.moment2, states[i].moment2, "moment2");
            expectSame(actual.value, states[i].value, "value");
            expectSame(actual.gradient, states[i].gradient, "gradient unchanged");
          }
        }
      }
    }
  }
}

double readDouble(const DeviceMemory& memory) {
  double value;
  std::memcpy(&value, memory.read().data(), 8);
  return value;
}

void squaredNorm() {
  for (const size_t count : {size_t{0}, size_t{1}, size_t{5}, size_t{4096}, size_t{100003}, size_t{9000001}}) {
    for (const size_t offset : {size_t{0}, size_t{4}}) {
      context = std::to_string(count);
      std::vector<float> values(count);
      Random random(count);
      long double sum = 0;
      for (float& value : values) {
        value = static_cast<float>(random.uniform() * 1e20);
        sum += static_cast<long double>(value) * static_cast<long double>(value);
      }
      const auto expected = static_cast<double>(sum);
      DeviceMemory memory(count * 4, offset);
      if (count > 0) memory.write(values.data());
      DeviceMemory out(8);
      const ScratchMemory scratchMemory(cuda::squaredNormScratchBytes());
      double first = 0;
      for (int repeat = 0; repeat < 2; ++repeat) {
        out.poison();
        cuda::Scratch scratch = scratchMemory.scratch();
        cuda::squaredNorm(reinterpret_cast<const float*>(memory.data()), static_cast<int64_t>(count),
                          reinterpret_cast<double*>(out.data()), scratch, nullptr);
        const double actual = readDouble(out);
        // A double sum of at most 40 numbers a thread and of the threads; the squares overflow float32.
        expectNear(actual, expected, 1e-13 * expected, "squared norm");
        if (repeat == 0) first = actual;
        expectEqual(actual, first, "repeated");
      }
      scratchMemory.checkGuards();
    }
  }
}

void squaredNormOfTable() {
  for (const size_t offset : {size_t{0}, size_t{4}}) {
    Random random(11);
    const std::vector<HostState> states = randomStates(random);
    std::vector<std::unique_ptr<Parameters>> parameters;
    std::vector<cuda::DeviceAdamWTensor> entries;
    long double sum = 0;
    for (const HostState& state : states) {
      parameters.push_back(std::make_unique<Parameters>(state, 1, false, offset));
      entries.push_back(parameters.back()->entry());
      for (const float g : state.gradient) sum += static_cast<long double>(g) * static_cast<long double>(g);
    }
    const auto expected = static_cast<double>(sum);
    const Table table(entries);
    DeviceMemory out(8);
    const ScratchMemory scratchMemory(cuda::squaredNormScratchBytes());
    cuda::Scratch scratch = scratchMemory.scratch();
    cuda::squaredNorm(table.data(), table.count, table.chunks, reinterpret_cast<double*>(out.data()), scratch, nullptr);
    expectNear(readDouble(out), expected, 1e-13 * expected, "squared norm of all gradients");
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (skippedWithoutGpu()) return 0;
  return run({{"adamw", adamw}, {"squared norm", squaredNorm}, {"squared norm of a table", squaredNormOfTable}}, argc,
             argv);
}
