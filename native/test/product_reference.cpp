// Billions of additions that no sanitizer has anything to find in: compiled without them and with full optimization
// (CMakeLists.txt), or the tests under sanitizers would spend most of their time here.
#include "test/product_reference.h"

#include <cmath>

namespace lrqat::test {

void addProduct(const double* left, const double* right, int64_t m, int64_t n, int64_t k, double* sum,
                double* magnitude) {
  for (int64_t i = 0; i < m; ++i) {
    double* const sums = sum + i * n;
    double* const magnitudes = magnitude + i * n;
    for (int64_t l = 0; l < k; ++l) {
      const double factor = left[i * k + l];
      const double* const row = right + l * n;
      for (int64_t j = 0; j < n; ++j) {
        const double product = factor * row[j];
        sums[j] += product;
        magnitudes[j] += std::abs(product);
      }
    }
  }
}

}  // namespace lrqat::test
