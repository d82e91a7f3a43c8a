// Byte-pair merging of one word: of all adjacent pairs that the merge table knows, the one of lowest rank (the leftmost
// of equals) becomes one piece, until none is left.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "tokenizer/flat_map.h"

namespace lrqat::tokenizer {

/// A piece of the vocabulary; kNoPiece: a character outside of it.
using Piece = int32_t;
inline constexpr Piece kNoPiece = -1;

/// A piece and where it starts in the word (in initial pieces), so that an unknown character can be found again.
struct PlacedPiece {
  Piece piece;
  uint32_t start;
};

class MergeTable {
 public:
  explicit MergeTable(size_t expected) : merges_(expected) {}

  void add(Piece left, Piece right, uint32_t rank, Piece product) { merges_.insert(key(left, right), {rank, product}); }

  struct Merge {
    uint32_t rank;
    Piece product;
  };
  const Merge* find(Piece left, Piece right) const {
    return left == kNoPiece || right == kNoPiece ? nullptr : merges_.find(key(left, right));
  }

 private:
  static uint64_t key(Piece left, Piece right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  FlatMap<Merge> merges_;
};

/// Merges words; keeps its scratch memory between them. Not for use by two threads at a time.
class Merger {
 public:
  explicit Merger(const MergeTable& table) : table_(table) {}

  /// Merges `word` (its initial pieces) and returns what remains; valid until the next call.
  std::span<const PlacedPiece> merge(std::span<const Piece> word);

 private:
  void mergeShort(std::span<const Piece> word);
  void mergeLong(std::span<const Piece> word);

  struct Candidate {
    uint32_t rank;
    uint32_t left;
    Piece leftPiece;
    Piece rightPiece;
    Piece product;
  };
  struct Node {
    Piece piece;
    uint32_t previous;
    uint32_t next;
  };

  const MergeTable& table_;
  std::vector<PlacedPiece> result_;
  std::vector<const MergeTable::Merge*> pairs_;
  std::vector<Node> nodes_;
  std::vector<Candidate> heap_;
};

}  // namespace lrqat::tokenizer
