// Dense products of a training step at the shapes of a model, one by one: what cuBLASLt reaches in each of them, and
// for the head how that depends on the rows of logits in memory at once.
//   bench_products [tokens 4096] [hidden 2048] [intermediate 8192] [width of keys and values 512] [vocabulary 128256]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "core/backend.h"
#include "core/half.h"
#include "cuda/test/library_path.h"

using namespace lrqat;

namespace {

class Products {
 public:
  explicit Products(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {
    constexpr int64_t scratch = int64_t{64} << 20;
    backend_->setScratch(backend_->allocate(scratch, "scratch", MemoryPlace::Device), scratch);
  }

  /// A matrix of random numbers, or of zeros where it is only written.
  Matrix matrix(DType type, int64_t rows, int64_t cols, bool random = true) {
    Matrix m{nullptr, type, rows, cols};
    m.data = backend_->allocate(m.bytes(), "matrix", MemoryPlace::Device);
    if (!random) return m;
    std::vector<uint16_t> noise(size_t{1} << 22);
    uint32_t state = 1;
    for (uint16_t& value : noise) {
      state = state * 1664525U + 1013904223U;
      value = bf16FromFloat(static_cast<float>(state >> 8) * 0x1p-24F - 0.5F);
    }
    const auto pool = static_cast<int64_t>(noise.size() * 2);
    for (int64_t done = 0; done < m.bytes(); done += pool) {
      backend_->upload(static_cast<std::byte*>(m.data) + done, noise.data(), std::min(pool, m.bytes() - done));
    }
    return m;
  }

  /// Prints and returns the seconds that `chunks` of them take.
  double time(const char* what, Matrix a, bool transposeA, Matrix b, bool transposeB, Matrix c, bool accumulate,
              int64_t chunks = 1) {
    using Clock = std::chrono::steady_clock;
    const auto once = [&] { backend_->gemm(a, transposeA, b, transposeB, c, accumulate); };
    for (int i = 0; i < 2; ++i) once();
    backend_->synchronize();
    constexpr int repeats = 10;
    const auto start = Clock::now();
    for (int i = 0; i < repeats; ++i) once();
    backend_->synchronize();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count() / repeats;
    const int64_t inner = transposeA ? a.rows : a.cols;
    const double flops = 2.0 * static_cast<double>(c.rows * c.cols * inner);
    std::printf("%-36s %7lld x %6lld x %6lld  %8.1f us  %6.1f TFLOP/s", what, static_cast<long long>(c.rows),
                static_cast<long long>(c.cols), static_cast<long long>(inner), seconds * 1e6, flops / seconds / 1e12);
    const double all = seconds * static_cast<double>(chunks);
    if (chunks > 1) std::printf("  %lld of them %6.2f ms", static_cast<long long>(chunks), all * 1e3);
    std::printf("\n");
    return all;
  }

 private:
  std::unique_ptr<Backend> backend_;
};

}  // namespace

int main(int argc, char** argv) {
  const auto argument = [&](int i, int64_t otherwise) { return argc > i ? std::atoll(argv[i]) : otherwise; };
  const int64_t tokens = argument(1, 4096);
  const int64_t hidden = argument(2, 2048);
  const int64_t intermediate = argument(3, 8192);
  const int64_t narrow = argument(4, 512);
  const int64_t vocab = argument(5, 128256);
  const auto library = test::openLibrary();
  if (!library) return 0;
  Products products(library->createBackend({.library = {}, .cublasLt = test::cublasLtPath()}));
  const DType half = DType::BF16;
  const Matrix in = products.matrix(half, tokens, std::max(hidden, intermediate));
  const Matrix out = products.matrix(half, tokens, std::max(hidden, intermediate));
  const Matrix wide = products.matrix(DType::F32, tokens, std::max(hidden, intermediate), false);
  const Matrix weight = products.matrix(half, hidden, intermediate);
  const Matrix gradient = products.matrix(DType::F32, hidden, intermediate, false);
  struct Shape {
    const char* name;
    int64_t m, n;
  };
  for (const auto& [name, m, n] : {Shape{"q, o", hidden, hidden}, Shape{"k, v", narrow, hidden},
                                   Shape{"gate, up", intermediate, hidden}, Shape{"down", hidden, intermediate}}) {
    std::printf("%s\n", name);
    const Matrix x{in.data, half, tokens, n};
    const Matrix w{weight.data, half, m, n};
    const Matrix y{out.data, half, tokens, m};
    products.time("  forward", x, false, w, true, y, false);
    products.time("  backward to bf16", y, false, w, false, x, false);
    products.time("  backward added to float32", y, false, w, false, {wide.data, DType::F32, tokens, n}, true);
    products.time("  weight gradient added", y, true, x, false, {gradient.data, DType::F32, m, n}, true);
    products.time("  weight gradient written", y, true, x, false, {gradient.data, DType::F32, m, n}, false);
  }
  const Matrix head = products.matrix(half, vocab, hidden);
  const Matrix headGradient = products.matrix(DType::F32, vocab, hidden, false);
  for (const int64_t rows : {int64_t{130}, int64_t{128}, int64_t{256}, int64_t{512}, int64_t{1024}, int64_t{2048}}) {
    if (rows > tokens) continue;
    const int64_t chunks = (tokens + rows - 1) / rows;
    Products own(library->createBackend({.library = {}, .cublasLt = test::cublasLtPath()}));
    const Matrix logits = own.matrix(DType::F32, rows, vocab, false);
    const Matrix dLogits = own.matrix(half, rows, vocab);
    const Matrix normed{in.data, half, rows, hidden};
    std::printf("head, %lld rows at once\n", static_cast<long long>(rows));
    double all = own.time("  forward", normed, false, head, true, logits, false, chunks);
    all += own.time("  backward", dLogits, false, head, false, {wide.data, DType::F32, rows, hidden}, false, chunks);
    std::printf("  forward and backward of all tokens %.2f ms\n", all * 1e3);
    own.time("  weight gradient added", dLogits, true, normed, false, headGradient, true, chunks);
  }
  return 0;
}
