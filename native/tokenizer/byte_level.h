// Words of byte-level tokenizers: the known splitting patterns as hand-written matchers.
#pragma once

#include <cstddef>
#include <string_view>

#include "tokenizer/config.h"
#include "tokenizer/unicode.h"

namespace lrqat::tokenizer {

class WordSplitter {
 public:
  explicit WordSplitter(const ByteLevelSplit& split) : split_(split) {}

  /// End of the piece that begins at `at`: the pattern sees every piece as a text of its own (the whole text, unless a
  /// Digits step comes first).
  size_t pieceEnd(std::string_view text, size_t at) const;
  /// End of the word that begins at `at` in a piece that ends where `text` ends. Words follow each other without gaps.
  size_t wordEnd(std::string_view text, size_t at) const;

 private:
  size_t gpt2(std::string_view text, size_t at) const;
  size_t cl100k(std::string_view text, size_t at) const;
  size_t whiteSpace(std::string_view text, size_t at, bool breakAfterNewline) const;

  uint8_t classOf(char32_t codePoint) const {
    return classes_(codePoint) & static_cast<uint8_t>(kLetter | kNumber | kWhiteSpace);
  }
  /// End of the run of code points of exactly this class (0: the rest) from `at`.
  size_t run(std::string_view text, size_t at, uint8_t wanted) const;

  ByteLevelSplit split_;
  CharClasses classes_;
};

}  // namespace lrqat::tokenizer
