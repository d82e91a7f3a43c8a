// The plain product of matrices that tests of products compare with.
#pragma once

#include <cstdint>

namespace lrqat::test {

/// sum += left · right in double, one after the other in the order of the depth, and magnitude += |left| · |right|,
/// what rounding errors are proportional to.
/// @param left [m, k], right [k, n], sum and magnitude [m, n], all row by row
void addProduct(const double* left, const double* right, int64_t m, int64_t n, int64_t k, double* sum,
                double* magnitude);

}  // namespace lrqat::test
