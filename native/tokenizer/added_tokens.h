// Tokens that are looked for in the text itself: at every place the longest that matches, from left to right.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "tokenizer/config.h"
#include "tokenizer/flat_map.h"

namespace lrqat::tokenizer {

class AddedTokens {
 public:
  explicit AddedTokens(std::span<const Token> tokens);

  struct Match {
    /// Start and end in the text; start == end: no match before `end` of the search.
    size_t begin;
    size_t end;
    int32_t id;
  };
  /// The first match that lies within [begin, end).
  Match find(std::string_view text, size_t begin, size_t end) const;

  /// Id of the token that is the whole text, or -1.
  int32_t whole(std::string_view text) const {
    const Match match = find(text, 0, text.size());
    return match.begin == 0 && match.end == text.size() ? match.id : -1;
  }

  /// Whether some token has these two code points side by side, ends with or starts with this one.
  bool hasPair(char32_t left, char32_t right) const { return pairs_.find(pairKey(left, right)) != nullptr; }
  bool endsWith(char32_t codePoint) const { return last_.find(codePoint) != nullptr; }
  bool startsWith(char32_t codePoint) const { return first_.find(codePoint) != nullptr; }

 private:
  static uint64_t pairKey(char32_t left, char32_t right) { return uint64_t{left} << 32 | right; }

  struct Node {
    int32_t id = -1;  // of the token that ends here
  };
  std::array<bool, 256> firstByte_{};
  std::vector<Node> nodes_;
  /// (node, byte) → node.
  FlatMap<uint32_t> children_;
  FlatMap<bool> pairs_;
  FlatMap<bool> first_;
  FlatMap<bool> last_;
};

}  // namespace lrqat::tokenizer
