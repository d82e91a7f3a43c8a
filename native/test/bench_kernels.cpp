// Speed of the dense operations at the shapes of a training step: GFLOP/s of products and attention, GB/s of the
// element-wise operations. Usage: bench_kernels [oneDNN glue library] [threads] [part of a name]
#include <chrono>
#include <functional>

#include "test/dense.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

/// Best of several runs after one that warms up, in seconds.
double time(const std::function<void()>& body) {
  using Clock = std::chrono::steady_clock;
  body();
  double best = 1e9;
  double spent = 0;
  for (int run = 0; run < 20 && (run < 3 || spent < 0.4); ++run) {
    const auto start = Clock::now();
    body();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, seconds);
    spent += seconds;
  }
  return best;
}

class Bench {
 public:
  Bench(int threads, const std::string& oneDnn, std::string filter) : filter_(std::move(filter)) {
    builtIn_ = makeBackend(threads, DType::BF16, {}, int64_t{256} << 20);
    if (!oneDnn.empty()) oneDnn_ = makeBackend(threads, DType::BF16, oneDnn, int64_t{256} << 20);
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

 private:
  bool skip(const std::string& name) const { return name.find(filter_) == std::string::npos; }

  std::string filter_;
  std::unique_ptr<cpu::CpuBackend> builtIn_;
  std::unique_ptr<cpu::CpuBackend> oneDnn_;
};

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 2 ? std::atoi(argv[2]) : 2;
  Bench bench(threads, argc > 1 ? argv[1] : "", argc > 3 ? argv[3] : "");
  for (const DType type : {DType::BF16, DType::F32}) {
    bench.gemms("the 28M shape", 4096, 512, 256, 1408, 8192, 32, type);
    bench.gemms("the sample", 1024, 192, 64, 512, 4096, 32, type);
  }
}
