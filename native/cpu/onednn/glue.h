// C interface of the oneDNN glue, a shared library of its own so that the engine also starts where oneDNN is absent.
// The engine opens it at run time (gemm.cpp) and checks the interface number before anything else.
#pragma once

#include <stdint.h>

#if defined(_WIN32)
#define LRQAT_ONEDNN_EXPORT extern "C" __declspec(dllexport)
#else
#define LRQAT_ONEDNN_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace lrqat::onednn {

inline constexpr int interfaceNumber = 2;

enum class Element : int32_t { F32, BF16 };
enum class Outcome : int32_t { Done, Unsupported, Failed };

/// c [m, n] = a·b (+ c), row-major; transposed operands are stored the other way round.
struct Product {
  int64_t m, n, k;
  Element a, b, c;
  int32_t transposeA, transposeB, accumulate;
};

using InterfaceFunction = int (*)();
/// Null where this oneDNN cannot share our OpenMP threads.
using OpenFunction = void* (*)(int threads);
using CloseFunction = void (*)(void* context);
/// Static text such as "oneDNN 2.6.3".
using VersionFunction = const char* (*)();
/// `scratch`, aligned to 64 bytes, is all the memory that the product works in; Unsupported where it needs more.
using MultiplyFunction = Outcome (*)(void* context, const Product* product, const void* a, const void* b, void* c,
                                     void* scratch, int64_t scratchBytes);

}  // namespace lrqat::onednn
