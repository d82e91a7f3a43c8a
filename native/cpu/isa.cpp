#include "cpu/isa.h"

#include <cstdlib>
#include <cstring>

namespace lrqat::cpu {

static Isa detect() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  Isa best = Isa::Baseline;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) best = Isa::Avx2;
  if (best == Isa::Avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd")) {
    best = Isa::Avx512;
  }
  if (const char* limit = std::getenv("LRQAT_ISA_LIMIT")) {
    if (std::strcmp(limit, "baseline") == 0) best = Isa::Baseline;
    if (std::strcmp(limit, "avx2") == 0 && best == Isa::Avx512) best = Isa::Avx2;
  }
  return best;
#else
  return Isa::Baseline;
#endif
}

Isa detectIsa() {
  static const Isa isa = detect();
  return isa;
}

bool hasFastBf16() {
#if defined(__x86_64__)
  static const bool fast =
      detectIsa() == Isa::Avx512 && __builtin_cpu_supports("avx512bf16") && std::getenv("LRQAT_ISA_LIMIT") == nullptr;
  return fast;
#else
  return false;
#endif
}

const char* name(Isa isa) {
  switch (isa) {
    case Isa::Avx512:
      return "avx512";
    case Isa::Avx2:
      return "avx2";
    case Isa::Baseline:
      return "baseline";
  }
  return "baseline";
}

}  // namespace lrqat::cpu
