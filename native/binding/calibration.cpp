// What this machine can do, measured: matrix products at given shapes and the bandwidth of plain copies. The planner
// turns these into the time of a step, and the benchmark divides by them.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "binding/register.h"
#include "binding/values.h"
#include "binding/worker_thread.h"
#include "core/half.h"
#include "cpu/cpu_backend.h"

namespace lrqat::binding {

namespace {

using Clock = std::chrono::steady_clock;

/// Measurements share one thread, as the engine has one: OpenMP keeps a team for each.
struct AddonData {
  std::unique_ptr<WorkerThread> worker;
};

WorkerThread& measuringThread(Napi::Env env) {
  auto* data = env.GetInstanceData<AddonData>();
  if (!data) {
    data = new AddonData;  // owned by the environment from here on
    env.SetInstanceData(data);
  }
  if (!data->worker) data->worker = std::make_unique<WorkerThread>(env);
  return *data->worker;
}

/// Median of at least three runs and 30 ms, after one to warm up.
double medianSeconds(const std::function<void()>& run) {
  run();
  std::vector<double> times;
  double total = 0;
  while (times.size() < 3 || (total < 0.03 && times.size() < 1000)) {
    const auto start = Clock::now();
    run();
    times.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    total += times.back();
  }
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
  return times[times.size() / 2];
}

/// A matrix in the backend's memory, filled with small varied numbers (zeros would flatter some kernels).
Matrix operand(cpu::CpuBackend& backend, int64_t rows, int64_t cols, DType type) {
  Matrix matrix{nullptr, type, rows, cols};
  matrix.data = backend.allocate(matrix.bytes(), "operand", MemoryPlace::Device);
  auto* const bytes = static_cast<std::byte*>(matrix.data);
  uint32_t state = 1;
  for (int64_t i = 0; i < matrix.elements(); ++i) {
    state = state * 1664525U + 1013904223U;
    const float value = static_cast<float>(state >> 8) * 0x1p-24F - 0.5F;
    const uint16_t half = bf16FromFloat(value);
    if (type == DType::F32) std::memcpy(bytes + i * 4, &value, 4);
    if (type == DType::BF16) std::memcpy(bytes + i * 2, &half, 2);
  }
  return matrix;
}

Napi::Value seconds(Napi::Env env, double value) {
  auto out = Napi::Object::New(env);
  out.Set("seconds", value);
  return out;
}

Napi::Value gemmCeiling(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Reader r(info[0], "options");
    const int64_t rows = r.integer("rows", 1, 1 << 24);
    const int64_t columns = r.integer("columns", 1, 1 << 24);
    const int64_t inner = r.integer("inner", 1, 1 << 24);
    const bool transposeB = r.boolean("transposeB");
    const auto element = [&](const char* key) {
      return r.choice<DType>(key, {{"float32", DType::F32}, {"bf16", DType::BF16}});
    };
    const DType type = element("compute");
    const DType result = r.isNull("result") ? type : element("result");
    const bool accumulate = !r.isNull("accumulate") && r.boolean("accumulate");
    const bool libraryAlone = !r.isNull("libraryAlone") && r.boolean("libraryAlone");
    const int threads = static_cast<int>(r.integer("threads", 1, 1024));
    const std::string library = r.isNull("oneDnn") ? "" : r.string("oneDnn");
    return measuringThread(info.Env()).run(info.Env(), [=]() -> WorkerThread::Finish {
      cpu::CpuBackend backend(
          {.threads = threads, .computeType = type, .oneDnnPath = library, .preferLibrary = libraryAlone});
      backend.allocateScratch(0, true);
      const Matrix a = operand(backend, rows, inner, type);
      const Matrix b = operand(backend, transposeB ? columns : inner, transposeB ? inner : columns, type);
      const Matrix c = operand(backend, rows, columns, result);
      const double time = medianSeconds([&] { backend.gemm(a, false, b, transposeB, c, accumulate); });
      return [time](Napi::Env env) { return seconds(env, time); };
    });
  });
}

Napi::Value copyTime(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Reader r(info[0], "options");
    const int64_t bytes = r.integer("bytes", 1, int64_t{1} << 34);
    const int threads = static_cast<int>(r.integer("threads", 1, 1024));
    return measuringThread(info.Env()).run(info.Env(), [=]() -> WorkerThread::Finish {
      const std::vector<std::byte> from(static_cast<size_t>(bytes), std::byte{1});
      std::vector<std::byte> to(static_cast<size_t>(bytes));
      const double time = medianSeconds([&] {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int part = 0; part < threads; ++part) {
          const int64_t first = bytes * part / threads;
          std::memcpy(to.data() + first, from.data() + first,
                      static_cast<size_t>(bytes * (part + 1) / threads - first));
        }
      });
      return [time](Napi::Env env) { return seconds(env, time); };
    });
  });
}

}  // namespace

void registerCalibration(Napi::Env env, Napi::Object exports) {
  exports.Set("gemmCeiling", Napi::Function::New(env, gemmCeiling, "gemmCeiling"));
  exports.Set("copyTime", Napi::Function::New(env, copyTime, "copyTime"));
}

}  // namespace lrqat::binding
