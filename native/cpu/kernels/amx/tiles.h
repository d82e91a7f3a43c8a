// AMX tiles: 16 rows of 64 bytes in a register. A tile of A is 16 rows × 32 bf16, a tile of B 16 pairs of rows × 16
// columns (pair by pair, column by column: what one instruction multiplies and adds), a tile of C 16 × 16 float32.
// Tiles in memory are 1 KiB each and lie side by side along the depth, so that a product streams them. For kernel files
// only.
//
// The instructions are written as assembly because gcc's intrinsics do not tell the compiler that tile loads read
// memory.
#pragma once

#include <cstdint>

namespace lrqat::cpu::LRQAT_ISA {
namespace {

constexpr int64_t tileEdge = 16;
constexpr int64_t tileDepth = 32;                      // bf16 elements along the depth
constexpr int64_t operandTile = tileEdge * tileDepth;  // bf16 elements
constexpr int64_t resultTile = tileEdge * tileEdge;    // float32 elements
constexpr int64_t blockEdge = 2 * tileEdge;            // of the 2 × 2 tiles of C that a product keeps in registers

struct alignas(64) TilePalette {
  uint8_t palette = 1;
  uint8_t startRow = 0;
  uint8_t reserved[14] = {};
  uint16_t rowBytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TilePalette) == 64);

/// Eight full tiles for this thread while the object lives, then what was configured before.
class TileRegisters {
 public:
  TileRegisters() {
    __asm__ volatile("sttilecfg %0" : "=m"(before_));
    const TilePalette full;
    __asm__ volatile("ldtilecfg %0" ::"m"(full));
  }
  ~TileRegisters() {
    if (before_.palette != 0) {
      __asm__ volatile("ldtilecfg %0" ::"m"(before_));
    } else {
      __asm__ volatile("tilerelease" ::: "memory");
    }
  }
  TileRegisters(const TileRegisters&) = delete;
  TileRegisters& operator=(const TileRegisters&) = delete;

 private:
  TilePalette before_;
};

template <int tile>
inline void clearTile() {
  __asm__ volatile("tilezero %%tmm%c0" ::"i"(tile));
}

template <int tile>
inline void loadTile(const void* memory, int64_t strideBytes) {
  __asm__ volatile("tileloadd (%1,%2,1), %%tmm%c0" ::"i"(tile), "r"(memory), "r"(strideBytes) : "memory");
}

template <int tile>
inline void storeTile(void* memory, int64_t strideBytes) {
  __asm__ volatile("tilestored %%tmm%c0, (%1,%2,1)" ::"i"(tile), "r"(memory), "r"(strideBytes) : "memory");
}

/// c += a·b, in float32; pairs of products first, each pair added to c in the order of the depth.
template <int c, int a, int b>
inline void addProduct() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(c), "i"(a), "i"(b));
}

/// Rows of tiles of A, or columns of tiles of B: the tiles of one are neighbours, `stride` tiles lie between two.
struct Operand {
  const uint16_t* tiles;
  int64_t stride;
};

/// Two rows of tiles of C: how far apart, in float32 elements, its tiles and the rows within a tile lie.
struct Result {
  float* memory;
  int64_t tileRow;
  int64_t tileColumn;
  int64_t row;
};

/// A block in a row-major matrix of `stride` columns.
inline Result blockAt(float* memory, int64_t stride) {
  return {memory, tileEdge * stride, tileEdge, stride};
}

/// Tiles 0 to 3 hold a block of C.
inline void clearResult() {
  clearTile<0>();
  clearTile<1>();
  clearTile<2>();
  clearTile<3>();
}

inline void loadResult(const Result& c) {
  const int64_t stride = c.row * static_cast<int64_t>(sizeof(float));
  loadTile<0>(c.memory, stride);
  loadTile<1>(c.memory + c.tileColumn, stride);
  loadTile<2>(c.memory + c.tileRow, stride);
  loadTile<3>(c.memory + c.tileRow + c.tileColumn, stride);
}

inline void storeResult(const Result& c) {
  const int64_t stride = c.row * static_cast<int64_t>(sizeof(float));
  storeTile<0>(c.memory, stride);
  storeTile<1>(c.memory + c.tileColumn, stride);
  storeTile<2>(c.memory + c.tileRow, stride);
  storeTile<3>(c.memory + c.tileRow + c.tileColumn, stride);
}

/// The block += two tiles of A, whose rows lie `leftBytes` apart, times two tiles of B.
inline void addBlockProduct(const uint16_t* upper, const uint16_t* lower, int64_t leftBytes, const uint16_t* first,
                            const uint16_t* second) {
  loadTile<4>(upper, leftBytes);
  loadTile<6>(first, 64);
  loadTile<7>(second, 64);
  addProduct<0, 4, 6>();
  addProduct<1, 4, 7>();
  loadTile<5>(lower, leftBytes);
  addProduct<2, 5, 6>();
  addProduct<3, 5, 7>();
}

/// c [32, 32] = a·b, or += where `add`, over `depth` tiles.
inline void multiplyTiles(Operand a, Operand b, int64_t depth, Result c, bool add) {
  if (add) {
    loadResult(c);
  } else {
    clearResult();
  }
  for (int64_t k = 0; k < depth; ++k) {
    const uint16_t* left = a.tiles + k * operandTile;
    const uint16_t* right = b.tiles + k * operandTile;
    addBlockProduct(left, left + a.stride * operandTile, 64, right, right + b.stride * operandTile);
  }
  storeResult(c);
}

/// 32 rows of A: where the tiles of the upper and the lower half begin, how far apart their rows lie, and how far, in
/// elements, the next tile of the depth.
struct LeftRows {
  const uint16_t* upper;
  const uint16_t* lower;
  int64_t rowBytes;
  int64_t step;
};

/// Of a row-major matrix.
inline LeftRows plainRows(const uint16_t* a, int64_t stride) {
  return {a, a + tileEdge * stride, 2 * stride, tileDepth};
}

/// Of packed tiles.
inline LeftRows packedRows(const uint16_t* tiles, int64_t depthTiles) {
  return {tiles, tiles + depthTiles * operandTile, 64, operandTile};
}

/// The block += rows times a panel whose two columns of tiles lie `depthTiles` tiles apart. between(k) runs once for
/// each tile of the depth, while the tiles multiply.
template <typename Between>
inline void addRowProducts(const LeftRows& a, const uint16_t* panel, int64_t depthTiles, Between between) {
  for (int64_t k = 0; k < depthTiles; ++k) {
    const uint16_t* right = panel + k * operandTile;
    addBlockProduct(a.upper + k * a.step, a.lower + k * a.step, a.rowBytes, right, right + depthTiles * operandTile);
    between(k);
  }
}

}  // namespace
}  // namespace lrqat::cpu::LRQAT_ISA
