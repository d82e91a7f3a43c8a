// Speed of the dense operations at the shapes of a training step: GFLOP/s of products and attention, GB/s of the
// element-wise operations. Usage: bench_kernels [oneDNN glue library] [threads] [part of a name]; one thread is timed
// by its own clock.
#include <time.h>
#include <array>

#include <chrono>
#include <functional>

#include "test/dense.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

/// Seconds so far: of the clock on the wall, or of this thread alone, which other programs on the machine disturb less.
double now(bool threadTime) {
  if (!threadTime) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// FLOP of the causal half: two products forward, five backward.
double attentionFlops(const AttentionShape& s, int products) {
  const double pairs = 0.5 * static_cast<double>(s.length) * static_cast<double>(s.length + 1);
  return 2.0 * products * static_cast<double>(s.batch * s.heads * s.headDim) * pairs;
}

class Bench {
 public:
  Bench(int threads, const std::string& oneDnn, std::string filter)
      : threadTime_(threads == 1), filter_(std::move(filter)) {
    builtIn_ = makeBackend(threads, DType::BF16, {}, int64_t{256} << 20, true);
    if (!oneDnn.empty()) oneDnn_ = makeBackend(threads, DType::BF16, oneDnn, int64_t{256} << 20, true);
  }

  void gemm(const char* use, int64_t m, int64_t n, int64_t k, bool transposeA, bool transposeB, DType type, DType out,
            bool accumulate) {
    char name[120];
    std::snprintf(name, sizeof name, "gemm %-14s %5ld x %5ld x %5ld %s%s %s->%s%s", use, static_cast<long>(m),
                  static_cast<long>(n), static_cast<long>(k), transposeA ? "T" : "N", transposeB ? "T" : "N",
                  typeName(type), typeName(out), accumulate ? " +=" : "");
    if (skip(name)) return;
    Random random(1);
    Tensor a = Tensor::random(random, type, transposeA ? k : m, transposeA ? m : k);
    Tensor b = Tensor::random(random, type, transposeB ? n : k, transposeB ? k : n);
    Tensor c(out, m, n);
    const auto rate = [&](cpu::CpuBackend* backend) {
      if (!backend) return 0.0;
      return 2e-9 * static_cast<double>(m * n * k) /
             time([&] { backend->gemm(a.matrix(), transposeA, b.matrix(), transposeB, c.matrix(), accumulate); });
    };
    std::printf("%-62s oneDNN %7.1f  built-in %7.1f GFLOP/s\n", name, rate(oneDnn_.get()), rate(builtIn_.get()));
  }

  void gemms(const char* title, int64_t tokens, int64_t hidden, int64_t kv, int64_t mlp, int64_t vocab, int64_t rank,
             DType type) {
    std::printf("-- products of %s\n", title);
    for (const auto& [m, n] :
         {std::pair{hidden, hidden}, std::pair{kv, hidden}, std::pair{mlp, hidden}, std::pair{hidden, mlp}}) {
      gemm("forward", tokens, m, n, false, true, type, type, false);
      gemm("dX", tokens, n, m, false, false, type, type, false);
      gemm("dX float32", tokens, n, m, false, false, type, DType::F32, true);
    }
    const int64_t rows = std::min<int64_t>(tokens, (int64_t{1} << 24) / vocab);
    gemm("logits", rows, vocab, hidden, false, true, type, DType::F32, false);
    gemm("dLogits", rows, hidden, vocab, false, false, type, DType::F32, false);
    for (const int64_t r : {rank, 2 * rank, 3 * rank}) {
      gemm("U = X B'", tokens, r, hidden, false, true, type, DType::F32, false);
      gemm("V = dY A", tokens, r, mlp, false, false, type, DType::F32, false);
      gemm("dA = dY' U", mlp, r, tokens, true, false, type, DType::F32, true);
      gemm("dB = V' X", r, hidden, tokens, true, false, type, DType::F32, true);
    }
  }

  void attention(const AttentionShape& shape, DType type) {
    char name[120];
    std::snprintf(name, sizeof name, "attention %ld x %ld, %ld/%ld heads of %ld, %s", static_cast<long>(shape.batch),
                  static_cast<long>(shape.length), static_cast<long>(shape.heads), static_cast<long>(shape.kvHeads),
                  static_cast<long>(shape.headDim), typeName(type));
    if (skip(name)) return;
    Random random(2);
    const int64_t tokens = shape.batch * shape.length;
    Tensor q = Tensor::random(random, type, tokens, shape.heads * shape.headDim);
    Tensor k = Tensor::random(random, type, tokens, shape.kvHeads * shape.headDim);
    Tensor v = Tensor::random(random, type, tokens, shape.kvHeads * shape.headDim);
    Tensor o = q;
    Tensor dO = q;
    Tensor dQ = q;
    Tensor dK = k;
    Tensor dV = v;
    Tensor lse(DType::F32, shape.batch * shape.heads, shape.length);
    const double forward =
        time([&] { builtIn_->attention(shape, q.matrix(), k.matrix(), v.matrix(), o.matrix(), lse.floats()); });
    const double backward = time([&] {
      builtIn_->attentionBackward(shape, q.matrix(), k.matrix(), v.matrix(), o.matrix(), lse.floats(), dO.matrix(),
                                  dQ.matrix(), dK.matrix(), dV.matrix());
    });
    std::printf("%-62s forward %7.1f  backward %7.1f GFLOP/s  (%.2f ms, %.2f ms)\n", name,
                1e-9 * attentionFlops(shape, 2) / forward, 1e-9 * attentionFlops(shape, 5) / backward, 1e3 * forward,
                1e3 * backward);
  }

  /// `bytes`: what the operation must read and write.
  void elementwise(const char* operation, double bytes, const std::function<void()>& body) {
    if (skip(operation)) return;
    const double seconds = time(body);
    std::printf("%-62s %7.1f GB/s  (%.3f ms)\n", operation, 1e-9 * bytes / seconds, 1e3 * seconds);
  }

  void elementwises(DType type, int64_t tokens, int64_t hidden, int64_t mlp, int64_t vocab) {
    std::printf("-- element-wise, %s, %ld tokens\n", typeName(type), static_cast<long>(tokens));
    Random random(3);
    const auto e = static_cast<double>(byteSize(type));
    const double narrow = static_cast<double>(tokens * hidden);
    const double wide = static_cast<double>(tokens * mlp);
    cpu::CpuBackend& backend = *builtIn_;
    Tensor x = Tensor::random(random, DType::F32, tokens, hidden);
    Tensor y = Tensor::random(random, type, tokens, hidden);
    Tensor z = y;
    Tensor w = Tensor::random(random, DType::F32, 1, mlp);
    Tensor sums(DType::F32, 2, mlp);
    Tensor rstd(DType::F32, 1, tokens);
    elementwise("rmsNorm", narrow * (4 + e),
                [&] { backend.rmsNorm(x.matrix(), w.floats(), 1e-5F, y.matrix(), rstd.floats()); });
    Tensor dx = x;
    Tensor dy = x;
    elementwise("rmsNormBackward", narrow * 16,
                [&] { backend.rmsNormBackward(dy.matrix(), x.matrix(), w.floats(), rstd.floats(), dx.matrix()); });
    const RawOutput raw{y.matrix(), w.floats(), nullptr};
    elementwise("addResidual", narrow * (8 + e), [&] { backend.addResidual(x.matrix(), raw, dx.matrix()); });
    elementwise("addResidualBackward", narrow * (4 + 2 * e), [&] {
      backend.addResidualBackward(dy.matrix(), raw, {z.matrix(), sums.floats()});
    });
    Tensor cosine = Tensor::random(random, DType::F32, 512, 32);
    const HeadTransform transform{
        .heads = hidden / 64, .headDim = 64, .cosine = cosine.floats(), .sine = cosine.floats(), .length = 512};
    elementwise("projectHeads", narrow * 2 * e, [&] { backend.projectHeads(raw, transform, z.matrix()); });
    Tensor dOut = y;
    elementwise("projectHeadsBackward", narrow * 3 * e, [&] {
      backend.projectHeadsBackward(dOut.matrix(), raw, transform, {z.matrix(), sums.floats()});
    });
    Tensor gate = Tensor::random(random, type, tokens, mlp);
    Tensor up = gate;
    Tensor h = gate;
    Tensor dGate = gate;
    Tensor dUp = gate;
    const RawOutput rawGate{gate.matrix(), w.floats(), nullptr};
    const RawOutput rawUp{up.matrix(), w.floats(), nullptr};
    elementwise("swiglu", wide * 3 * e, [&] { backend.swiglu(rawGate, rawUp, h.matrix()); });
    elementwise("swigluBackward", wide * 5 * e, [&] {
      backend.swigluBackward(h.matrix(), rawGate, rawUp, {dGate.matrix(), sums.floats()},
                             {dUp.matrix(), sums.floats() + mlp}, {});
    });
    const int64_t rows = std::min<int64_t>(tokens, (int64_t{1} << 24) / vocab);
    Tensor logits = Tensor::random(random, DType::F32, rows, vocab);
    Tensor narrowLogits(type, rows, vocab);
    const std::vector<int32_t> targets(static_cast<size_t>(rows), 5);
    const auto entries = static_cast<double>(rows * vocab);
    double lossSum = 0;
    elementwise("crossEntropy without gradient", entries * 4,
                [&] { backend.crossEntropy(logits.matrix(), targets.data(), 1, {}, &lossSum); });
    elementwise("crossEntropy", entries * 12,
                [&] { backend.crossEntropy(logits.matrix(), targets.data(), 1, logits.matrix(), &lossSum); });
    elementwise("convert logits", entries * (4 + e), [&] { backend.convert(logits.matrix(), narrowLogits.matrix()); });
  }

  void optimizer(int64_t count) {
    Random random(4);
    Tensor value = Tensor::random(random, DType::F32, 1, count);
    Tensor gradient = value;
    Tensor moment1(DType::F32, 1, count);
    Tensor moment2(DType::F32, 1, count);
    elementwise("squaredNorm", 4.0 * static_cast<double>(count), [&] { builtIn_->squaredNorm(value.floats(), count); });
    elementwise("adamw", 28.0 * static_cast<double>(count), [&] {
      const AdamWTensor tensor{value.floats(), gradient.floats(), moment1.floats(), moment2.floats(), count, 1e-3};
      builtIn_->adamw({}, std::array{tensor});
    });
  }

 private:
  /// Best of several runs after one that warms up, in seconds.
  double time(const std::function<void()>& body) const {
    body();
    double best = 1e9;
    double spent = 0;
    for (int run = 0; run < 20 && (run < 3 || spent < 0.3); ++run) {
      const double start = now(threadTime_);
      body();
      const double seconds = now(threadTime_) - start;
      best = std::min(best, seconds);
      spent += seconds;
    }
    return best;
  }

  bool skip(const std::string& name) const { return name.find(filter_) == std::string::npos; }

  bool threadTime_;
  std::string filter_;
  std::unique_ptr<cpu::CpuBackend> builtIn_;
  std::unique_ptr<cpu::CpuBackend> oneDnn_;
};

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 2 ? std::atoi(argv[2]) : 2;
  Bench bench(threads, argc > 1 ? argv[1] : "", argc > 3 ? argv[3] : "");
  for (const DType type : {DType::BF16, DType::F32}) {
    bench.attention({8, 512, 8, 4, 64, nullptr}, type);
    bench.attention({4, 256, 6, 2, 32, nullptr}, type);
    bench.attention({1, 2048, 8, 2, 128, nullptr}, type);
    bench.elementwises(type, 4096, 512, 1408, 8192);
  }
  bench.optimizer(3 << 20);
  for (const DType type : {DType::BF16, DType::F32}) {
    bench.gemms("the 28M shape", 4096, 512, 256, 1408, 8192, 32, type);
    bench.gemms("the sample", 1024, 192, 64, 512, 4096, 32, type);
  }
}
