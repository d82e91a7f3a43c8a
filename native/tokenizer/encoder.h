// tokenizer.json + UTF-8 text → ids, equal to those of @huggingface/tokenizers. One thread at a time.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/added_tokens.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/config.h"
#include "tokenizer/flat_map.h"
#include "tokenizer/merges.h"
#include "tokenizer/normalization.h"
#include "tokenizer/vocabulary.h"
#include "tokenizer/word_cache.h"

namespace lrqat::tokenizer {

class Encoder {
 public:
  /// Throws Error(InputFile) when this is no tokenizer.json and Error(Unsupported), with the reason, when it asks for
  /// something that this encoder does not do exactly.
  explicit Encoder(std::string_view json) : Encoder(parseConfig(json)) {}
  explicit Encoder(TokenizerConfig config);
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  const Vocabulary& vocabulary() const { return vocabulary_; }
  /// What the post-processor puts before and after a text.
  std::span<const int32_t> prefixIds() const { return prefixIds_; }
  std::span<const int32_t> suffixIds() const { return suffixIds_; }

  /// Appends the ids of a whole text, without prefix and suffix.
  void encode(std::string_view text, std::vector<int32_t>& ids) { encodePart(text, 0, text.size(), true, ids); }

  /// Appends the ids of text[begin, end), a part of a longer text. `begin` is the start of that text (`startsText`) or
  /// a split point; `end` is its end or a split point, and then the code point at `end` must be in `text`. Throws
  /// Error(InvalidArgument) when text[begin…] is not UTF-8.
  void encodePart(std::string_view text, size_t begin, size_t end, bool startsText, std::vector<int32_t>& ids);

  /// The last split point within `text` (a part of a longer text, cut at code points), or 0. See split_points.cpp.
  size_t lastSplit(std::string_view text) const;

 private:
  void addMerges();
  void prepareMetaspace();
  void resolveSpecialTokens();

  /// view[begin, end) is a section or a part of one; what stands after `end` belongs to the same section.
  void encodeByteLevel(std::string_view view, size_t begin, size_t end, bool startsSection, std::vector<int32_t>& ids);
  void encodeComposed(std::string_view view, size_t begin, size_t end, bool startsSection, std::vector<int32_t>& ids);
  void encodeMetaspace(std::string_view section, bool startsSection, bool startsText, bool endsSection,
                       std::vector<int32_t>& ids);
  /// A section in whose normalized form added tokens are found.
  void encodeMarked(std::string_view section, bool startsSection, bool endsSection, std::vector<int32_t>& ids);
  void encodeSegments(std::string_view text, bool addPrefix, std::vector<int32_t>& ids);
  void encodeSegment(std::string_view segment, std::vector<int32_t>& ids);
  /// A unit of merging: through the cache when short.
  void encodeWord(std::string_view word, std::vector<int32_t>& ids);
  void mergeWord(std::string_view word, std::vector<int32_t>& ids);
  void appendUnknown(std::string_view character, std::vector<int32_t>& ids) const;
  void append(std::span<const int32_t> found, std::vector<int32_t>& ids);

  bool isSplitPoint(char32_t left, char32_t right) const;
  /// Whether some product of a merge has these code points side by side; spaces count as U+2581.
  bool mergesAcross(char32_t left, char32_t right) const;
  Piece characterPiece(char32_t codePoint) const;

  TokenizerConfig config_;
  Vocabulary vocabulary_;
  AddedTokens addedTokens_;
  /// Added tokens that are found in normalized text: as written, and as they look there.
  AddedTokens normalizedTokens_;
  AddedTokens markedTokens_;
  MergeTable merges_;
  Merger merger_;
  WordCache cache_;
  WordSplitter splitter_;
  CharClasses classes_;
  Composer composer_;

  std::array<Piece, 256> bytePieces_{};
  /// Metaspace tokenizers: pieces of one code point, and pairs inside of merge products.
  FlatMap<Piece> characterPieces_;
  FlatMap<bool> productPairs_;
  bool mergesIntoSpace_ = false;
  /// <0x00> … <0xFF>; -1 where missing.
  std::array<int32_t, 256> byteTokens_{};
  int32_t unknownId_ = -1;
  char32_t unknownFirst_ = 0;
  std::vector<int32_t> prefixIds_;
  std::vector<int32_t> suffixIds_;

  // Scratch of one call.
  std::vector<Piece> word_;
  std::vector<uint32_t> characterStarts_;
  std::vector<int32_t> wordIds_;
  std::string prefixed_;
  std::string composed_;
  std::string marked_;
  bool lastWasUnknown_ = false;
};

}  // namespace lrqat::tokenizer
