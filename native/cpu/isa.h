// Inner loops are compiled once per instruction set into a namespace of that name (LRQAT_ISA: baseline, avx2, avx512)
// and chosen once at start. A kernel file defines, inside `namespace lrqat::cpu::LRQAT_ISA`, one constant table of
// function pointers that its header declares with LRQAT_DECLARE_KERNELS. Kernel files include no library header with
// inline code beyond <cmath>, <cstdint> and <cstring>, so that no AVX-512 copy of a shared inline function reaches the
// linker.
#pragma once

namespace lrqat::cpu {

enum class Isa { Baseline, Avx2, Avx512 };

/// Best instruction set of this CPU, or the one that LRQAT_ISA_LIMIT (baseline | avx2 | avx512 | avx512bf16) in the
/// environment allows. avx512 also forbids products of bf16 pairs, avx512bf16 tiles only; oneDNN has a limit of its
/// own.
Isa detectIsa();
/// Products of bf16 pairs in one instruction (AVX512-BF16), which every CPU with bf16 tiles (AMX) has too: where it is
/// missing, computing in bf16 saves memory but no time.
bool hasFastBf16();
/// AMX tiles of bf16, if the processor has them and the system lets this process use them.
bool hasTiles();
const char* name(Isa isa);

}  // namespace lrqat::cpu

#if defined(__x86_64__)
#define LRQAT_DECLARE_KERNELS(Type, variable) \
  namespace baseline {                        \
  extern const Type variable;                 \
  }                                           \
  namespace avx2 {                            \
  extern const Type variable;                 \
  }                                           \
  namespace avx512 {                          \
  extern const Type variable;                 \
  }
#define LRQAT_SELECT_KERNELS(variable) \
  (detectIsa() == Isa::Avx512 ? avx512::variable : (detectIsa() == Isa::Avx2 ? avx2::variable : baseline::variable))
/// Kernel files that CMakeLists.txt names are compiled once more for bf16 pair products; check hasFastBf16() before
/// use.
#define LRQAT_DECLARE_BF16_KERNELS(Type, variable) \
  namespace avx512bf16 {                           \
  extern const Type variable;                      \
  }
#define LRQAT_SELECT_BF16_KERNELS(variable) (hasFastBf16() ? &avx512bf16::variable : nullptr)
/// For kernels that only round to bf16 faster there.
#define LRQAT_SELECT_ROUNDING_KERNELS(variable) (hasFastBf16() ? avx512bf16::variable : LRQAT_SELECT_KERNELS(variable))
/// Kernel files in kernels/amx.
#define LRQAT_DECLARE_TILE_KERNELS(Type, variable) \
  namespace amx {                                  \
  extern const Type variable;                      \
  }
#else
#define LRQAT_DECLARE_KERNELS(Type, variable) \
  namespace baseline {                        \
  extern const Type variable;                 \
  }
#define LRQAT_DECLARE_BF16_KERNELS(Type, variable)
#define LRQAT_DECLARE_TILE_KERNELS(Type, variable)
#define LRQAT_SELECT_BF16_KERNELS(variable) nullptr
#define LRQAT_SELECT_KERNELS(variable) (baseline::variable)
#define LRQAT_SELECT_ROUNDING_KERNELS(variable) (baseline::variable)
#endif
#if defined(LRQAT_TILES)
#define LRQAT_SELECT_TILE_KERNELS(variable) (hasTiles() ? &amx::variable : nullptr)
#else
#define LRQAT_SELECT_TILE_KERNELS(variable) nullptr
#endif
