#include "cpu/isa.h"

#if defined(LRQAT_TILES)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

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

#if defined(__x86_64__)
/// LRQAT_ISA_LIMIT is unset or `level`.
static bool limitAllows(const char* level) {
  const char* limit = std::getenv("LRQAT_ISA_LIMIT");
  return limit == nullptr || std::strcmp(limit, level) == 0;
}
#endif

bool hasFastBf16() {
#if defined(__x86_64__)
  static const bool fast =
      detectIsa() == Isa::Avx512 && __builtin_cpu_supports("avx512bf16") && limitAllows("avx512bf16");
  return fast;
#else
  return false;
#endif
}

#if defined(LRQAT_TILES)
static bool detectTiles() {
  if (!hasFastBf16() || !limitAllows("amx")) return false;
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  constexpr unsigned amxBf16 = 1U << 22;
  constexpr unsigned amxTile = 1U << 24;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & amxBf16) == 0 || (d & amxTile) == 0) return false;
  // Registers of 8 KiB that the kernel saves only for processes that have asked (Linux, Documentation/arch/x86/xstate).
  constexpr long requestPermission = 0x1023;
  constexpr long tileData = 18;
  return syscall(SYS_arch_prctl, requestPermission, tileData) == 0;
}
#endif

bool hasTiles() {
#if defined(LRQAT_TILES)
  static const bool tiles = detectTiles();
  return tiles;
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
