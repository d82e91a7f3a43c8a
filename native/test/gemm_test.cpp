// Matrix products against double, our own and the library's: shapes with every kind of remainder, all transposes and
// element types.
#include <array>

#include "core/error.h"
#include "test/dense.h"
#include "test/product_reference.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

struct Shape {
  int64_t m, n, k;
};

struct Product {
  Shape shape;
  bool transposeA, transposeB, accumulate;
  DType a, b, c;
};

std::string describe(const Product& t, const std::string& library, int threads) {
  return library + ", " + std::to_string(threads) + " threads, " + std::to_string(t.shape.m) + "x" +
         std::to_string(t.shape.n) + "x" + std::to_string(t.shape.k) + (t.transposeA ? " A'" : " A") + typeName(t.a) +
         (t.transposeB ? " B'" : " B") + typeName(t.b) + " C" + typeName(t.c) + (t.accumulate ? " accumulate" : "");
}

std::vector<double> transposed(const Tensor& t) {
  const std::vector<double> values = t.doubles();
  const auto rows = static_cast<size_t>(t.rows());
  const auto cols = static_cast<size_t>(t.cols());
  std::vector<double> out(values.size());
  for (size_t i = 0; i < rows; ++i) {
    for (size_t j = 0; j < cols; ++j) out[j * rows + i] = values[i * cols + j];
  }
  return out;
}

void check(cpu::CpuBackend& backend, const Product& t, uint64_t seed, const std::string& label) {
  const auto [m, n, k] = t.shape;
  Random random(seed);
  Tensor a = Tensor::random(random, t.a, t.transposeA ? k : m, t.transposeA ? m : k);
  Tensor b = Tensor::random(random, t.b, t.transposeB ? n : k, t.transposeB ? k : n);
  Tensor c = Tensor::random(random, t.c, m, n);
  const Tensor before = c;
  const std::vector<double> left = t.transposeA ? transposed(a) : a.doubles();
  const std::vector<double> right = t.transposeB ? transposed(b) : b.doubles();
  std::vector<double> sum = t.accumulate ? before.doubles() : std::vector<double>(static_cast<size_t>(m * n));
  std::vector<double> magnitude = sum;
  for (double& value : magnitude) value = std::abs(value);
  addProduct(left.data(), right.data(), m, n, k, sum.data(), magnitude.data());
  backend.gemm(a.matrix(), t.transposeA, b.matrix(), t.transposeB, c.matrix(), t.accumulate);
  for (int64_t i = 0; i < m * n; ++i) {
    const auto at = static_cast<size_t>(i);
    // A sum of float32 products is off by at most (number of additions) half units of the sum of magnitudes; in
    // practice by the square root. The result is then rounded once to its type.
    const double tolerance =
        0x1p-24 * magnitude[at] * (4 + std::sqrt(static_cast<double>(k))) + roundOff(t.c) * std::abs(sum[at]) * 1.01;
    expectNear(c.at(i), sum[at], tolerance, label);
  }
  // Again with the same inputs: the same bits.
  Tensor again = before;
  backend.gemm(a.matrix(), t.transposeA, b.matrix(), t.transposeB, again.matrix(), t.accumulate);
  expect(again == c, label + ": not the same bits the second time");
}

void checkLibrary(const std::string& library) {
  const Shape shapes[] = {{1, 1, 1},      {3, 5, 7},      {8, 32, 16},    {9, 33, 17},   {64, 64, 64},
                          {65, 31, 130},  {130, 96, 33},  {2, 200, 77},   {192, 1, 48},  {96, 80, 64},
                          {32, 70, 2500}, {70, 32, 4100}, {64, 33, 4096}, {5, 40, 9000}, {3, 35, 16400}};
  uint64_t seed = 0;
  for (const int threads : {1, 2}) {
    const auto backend = makeBackend(threads, DType::F32, library, 64, true);
    for (const Shape& shape : shapes) {
      for (int flags = 0; flags < 8; ++flags) {
        for (const auto& [a, b, c] :
             {std::array{DType::F32, DType::F32, DType::F32}, std::array{DType::BF16, DType::BF16, DType::F32},
              std::array{DType::BF16, DType::BF16, DType::BF16}, std::array{DType::F32, DType::BF16, DType::F32}}) {
          const Product t{shape, (flags & 1) != 0, (flags & 2) != 0, (flags & 4) != 0, a, b, c};
          if (shape.k > 1000 && flags % 3 != 1) continue;
          check(*backend, t, ++seed, describe(t, library.empty() ? "built-in" : "oneDNN", threads));
        }
      }
    }
    // No depth: the product is zero.
    Tensor none(DType::F32, 4, 0);
    Tensor c(DType::F32, 4, 4);
    c.set(5, 3);
    backend->gemm(none.matrix(), false, none.matrix(), true, c.matrix(), true);
    expectEqual(c.at(5), 3.0, "no depth, accumulated");
    backend->gemm(none.matrix(), false, none.matrix(), true, c.matrix(), false);
    expectEqual(c.at(5), 0.0, "no depth");
  }
}

/// Sums of products have the bits of products added one after the other, and those are near the truth (above).
void checkSums(const std::string& library) {
  struct Sum {
    int64_t m, n;
    std::vector<int64_t> depths;
  };
  // Whole blocks, remainders of rows, columns and depth, several groups of panels, and depths that no sum takes.
  const Sum sums[] = {{64, 64, {64, 32, 96}}, {96, 512, {512, 256, 256}}, {70, 200, {64, 96}}, {33, 40, {33, 7, 64}},
                      {64, 96, {64}},         {128, 512, {1408, 1408}},   {5, 3, {9, 1}},      {64, 64, {2080, 64}}};
  uint64_t seed = 100;
  for (const int threads : {1, 2}) {
    const auto backend = makeBackend(threads, DType::F32, library, 64, true);
    for (const Sum& sum : sums) {
      for (const DType type : {DType::BF16, DType::F32}) {
        Random random(++seed);
        std::vector<Tensor> operands;
        for (const int64_t depth : sum.depths) {
          operands.push_back(Tensor::random(random, type, sum.m, depth));
          operands.push_back(Tensor::random(random, type, depth, sum.n));
        }
        std::vector<GemmProduct> products;
        for (size_t i = 0; i < operands.size(); i += 2) {
          products.push_back({operands[i].matrix(), operands[i + 1].matrix()});
        }
        Tensor expected(DType::F32, sum.m, sum.n);
        for (size_t i = 0; i < products.size(); ++i) {
          backend->gemm(products[i].a, false, products[i].b, false, expected.matrix(), i > 0);
        }
        // What was there before does not count.
        Tensor c = Tensor::random(random, DType::F32, sum.m, sum.n);
        backend->gemmSum(products, c.matrix());
        expect(c == expected, "sum of " + std::to_string(products.size()) + " products, " + std::to_string(sum.m) +
                                  "x" + std::to_string(sum.n) + " " + typeName(type) + ": other bits than one by one");
      }
    }
  }
}

void missingLibrary() {
  const std::string message =
      expectThrows<Error>([] { makeBackend(1, DType::F32, "/nonexistent/liblrqat_onednn.so"); }, "missing library");
  expect(message.find("/nonexistent/liblrqat_onednn.so") != std::string::npos,
         "the message names the path: " + message);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<Case> cases{{"built-in product", [] { checkLibrary(""); }},
                          {"sum of products", [] { checkSums(""); }},
                          {"missing oneDNN library", missingLibrary}};
  if (!oneDnnPath().empty()) {
    cases.push_back({"oneDNN product", [] { checkLibrary(oneDnnPath()); }});
    cases.push_back({"sum of products with oneDNN", [] { checkSums(oneDnnPath()); }});
  }
  return run(cases, argc, argv);
}
