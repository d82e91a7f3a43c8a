#include "tokenizer/encoder.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "core/error.h"
#include "tokenizer/unicode.h"

namespace lrqat::tokenizer {

namespace {

// Longer segments of text without spaces (CJK, hashes, rules of hyphens) are cut at further safe places.
constexpr size_t kLongSegment = WordCache::kMaxWord;

[[noreturn]] void unsupported(const std::string& reason) {
  throw Error(ErrorCode::Unsupported, reason);
}

char32_t firstCodePoint(std::string_view text) {
  return text.empty() ? 0 : decodeAt(text, 0).value;
}
bool isSpace(char32_t codePoint) {
  return codePoint == ' ' || codePoint == kMetaspace;
}
char32_t asMetaspace(char32_t codePoint) {
  return codePoint == ' ' ? kMetaspace : codePoint;
}
uint64_t pairKey(char32_t left, char32_t right) {
  return uint64_t{left} << 32 | right;
}

/// Tokens as they look in normalized text.
std::vector<Token> marked(const TokenizerConfig& config) {
  std::vector<Token> tokens = config.normalizedTokens;
  for (Token& token : tokens) {
    if (config.metaspace->prefix == MetaspaceSplit::Prefix::kEverySection) token.content.insert(0, kMetaspaceUtf8);
  }
  return tokens;
}

}  // namespace

Encoder::Encoder(TokenizerConfig config)
    : config_(std::move(config)),
      vocabulary_(config_),
      addedTokens_(config_.addedTokens),
      normalizedTokens_(config_.normalizedTokens),
      markedTokens_(marked(config_)),
      merges_(config_.merges.size()),
      merger_(merges_),
      splitter_(config_.byteLevel.value_or(ByteLevelSplit{})) {
  if (config_.byteLevel && config_.byteFallback) unsupported("byte_fallback in a byte-level tokenizer");
  resolveSpecialTokens();
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const char value = static_cast<char>(byte);
    bytePieces_[byte] = config_.byteLevel ? vocabulary_.pieceOf({&value, 1}) : kNoPiece;
    constexpr std::string_view kHex = "0123456789ABCDEF";
    const std::string name = {'<', '0', 'x', kHex[byte >> 4], kHex[byte & 15], '>'};
    byteTokens_[byte] = vocabulary_.idOf(name).value_or(-1);
  }
  addMerges();
  if (config_.metaspace) prepareMetaspace();
  // Only the tables are needed from here on.
  config_.vocabulary = {};
  config_.merges = {};
}

void Encoder::addMerges() {
  for (size_t rank = 0; rank < config_.merges.size(); ++rank) {
    std::optional<std::string> left = config_.merges[rank].first;
    std::optional<std::string> right = config_.merges[rank].second;
    if (config_.byteLevel) {
      left = bytesOfByteLevel(*left);
      right = bytesOfByteLevel(*right);
      // Characters that no byte stands for never come up.
      if (!left || !right) continue;
    }
    const std::string product = *left + *right;
    const Piece pieces[] = {vocabulary_.pieceOf(*left), vocabulary_.pieceOf(*right), vocabulary_.pieceOf(product)};
    if (std::find(std::begin(pieces), std::end(pieces), kNoPiece) != std::end(pieces)) {
      unsupported("merge " + std::to_string(rank) + " has a part or product outside of the vocabulary");
    }
    merges_.add(pieces[0], pieces[1], static_cast<uint32_t>(rank), pieces[2]);
    if (!config_.metaspace) continue;
    char32_t previous = 0;
    for (size_t i = 0; i < product.size();) {
      const CodePoint character = decodeAt(product, i);
      if (i > 0) productPairs_.insert(pairKey(previous, character.value), true);
      if (i > 0 && character.value == kMetaspace && previous != kMetaspace) mergesIntoSpace_ = true;
      previous = character.value;
      i += character.bytes;
    }
  }
}

void Encoder::prepareMetaspace() {
  for (const auto& [content, piece] : vocabulary_.pieces()) {
    const CodePoint first = decodeAt(content, 0);
    if (first.bytes == content.size()) characterPieces_.insert(first.value, piece);
  }
  if (characterPiece(kMetaspace) == kNoPiece) unsupported("U+2581 is not in the vocabulary");
  // A space in the text becomes U+2581, so a piece with a real space is out of reach, and the two may share a key.
  if (config_.unknownToken && firstCodePoint(*config_.unknownToken) == kMetaspace) {
    unsupported("the unknown token begins with U+2581");
  }
}

void Encoder::resolveSpecialTokens() {
  if (config_.unknownToken) {
    const std::string& content = *config_.unknownToken;
    const std::optional<int32_t> id = vocabulary_.idOf(content);
    // The library looks the unknown token up before the added tokens are known; where that makes a difference, it shall
    // decide.
    int32_t inVocabulary = -1;
    for (const Token& token : config_.vocabulary) {
      if (token.content == content) inVocabulary = token.id;
    }
    if (!id || *id != inVocabulary) unsupported("the unknown token is not in the vocabulary");
    const auto shares = [&](const Token& token) { return token.id == *id && token.content != content; };
    if (std::any_of(config_.vocabulary.begin(), config_.vocabulary.end(), shares) ||
        std::any_of(config_.addedTokens.begin(), config_.addedTokens.end(), shares) ||
        std::any_of(config_.normalizedTokens.begin(), config_.normalizedTokens.end(), shares)) {
      unsupported("the unknown token shares its id with another token");
    }
    unknownId_ = *id;
    unknownFirst_ = firstCodePoint(content);
  }
  const auto resolve = [&](const std::vector<std::string>& contents, std::vector<int32_t>& ids) {
    for (const std::string& content : contents) {
      const std::optional<int32_t> id = vocabulary_.idOf(content);
      if (!id) unsupported("the post-processor adds a token that is not in the vocabulary");
      ids.push_back(*id);
    }
  };
  resolve(config_.prefix, prefixIds_);
  resolve(config_.suffix, suffixIds_);
}

Piece Encoder::characterPiece(char32_t codePoint) const {
  const Piece* piece = characterPieces_.find(asMetaspace(codePoint));
  return piece == nullptr ? kNoPiece : *piece;
}

void Encoder::encodePart(std::string_view text, size_t begin, size_t end, bool startsText, std::vector<int32_t>& ids) {
  if (begin > end || end > text.size()) throw Error(ErrorCode::InvalidArgument, "the part lies outside of the text");
  if (const size_t error = firstInvalidUtf8(text.substr(begin)); error != std::string_view::npos) {
    throw Error(ErrorCode::InvalidArgument, "not valid UTF-8 at byte " + std::to_string(begin + error));
  }
  if (end < text.size() && isContinuation(text[end]))
    throw Error(ErrorCode::InvalidArgument, "the part ends inside a character");
  bool startsSection = startsText;
  for (size_t at = begin; at < end;) {
    const AddedTokens::Match token = addedTokens_.find(text, at, end);
    if (token.begin > at) {
      lastWasUnknown_ = false;
      if (config_.byteLevel) {
        // Up to a token the section is a text of its own; up to a split point the pattern may look beyond.
        const std::string_view view = text.substr(0, token.begin == end ? text.size() : token.begin);
        if (config_.byteLevel->compose) {
          encodeComposed(view, at, token.begin, startsSection, ids);
        } else {
          encodeByteLevel(view, at, token.begin, startsSection, ids);
        }
      } else {
        const bool endsSection = token.begin < end || end == text.size();
        encodeMetaspace(text.substr(at, token.begin - at), startsSection, startsText && at == begin, endsSection, ids);
      }
    }
    if (token.end > token.begin) ids.push_back(token.id);
    startsSection = true;
    at = token.end;
  }
}

void Encoder::encodeComposed(std::string_view view, size_t begin, size_t end, bool startsSection,
                             std::vector<int32_t>& ids) {
  const std::string_view section = view.substr(begin, end - begin);
  if (!composer_.mayChange(section)) {
    encodeByteLevel(view, begin, end, startsSection, ids);
    return;
  }
  composed_.clear();
  composer_.compose(section, composed_);
  // The library asks of every section, once it is normalized, whether it is an added token as a whole.
  if (startsSection && end == view.size()) {
    if (const int32_t id = addedTokens_.whole(composed_); id >= 0) {
      ids.push_back(id);
      return;
    }
  }
  const size_t composedEnd = composed_.size();
  composed_.append(view, end);
  encodeByteLevel(composed_, 0, composedEnd, startsSection, ids);
}

void Encoder::encodeByteLevel(std::string_view view, size_t begin, size_t end, bool startsSection,
                              std::vector<int32_t>& ids) {
  if (config_.byteLevel->prefixSpace && startsSection && view[begin] != ' ') {
    prefixed_.assign(" ").append(view, begin);
    end = end - begin + 1;
    begin = 0;
    view = prefixed_;
  }
  for (size_t at = begin; at < end;) {
    const std::string_view piece = view.substr(0, splitter_.pieceEnd(view, at));
    while (at < std::min(end, piece.size())) {
      const size_t wordEnd = splitter_.wordEnd(piece, at);
      if (wordEnd > end) throw Error(ErrorCode::InvalidArgument, "the part does not end at a split point");
      encodeWord(view.substr(at, wordEnd - at), ids);
      at = wordEnd;
    }
  }
}

void Encoder::encodeMetaspace(std::string_view section, bool startsSection, bool startsText, bool endsSection,
                              std::vector<int32_t>& ids) {
  if (!config_.normalizedTokens.empty()) {
    encodeMarked(section, startsSection, endsSection, ids);
    return;
  }
  using Prefix = MetaspaceSplit::Prefix;
  const Prefix prefix = config_.metaspace->prefix;
  const bool wanted = prefix == Prefix::kEverySection ||
                      (!isSpace(firstCodePoint(section)) &&
                       (prefix == Prefix::kUnlessThere || (prefix == Prefix::kFirstUnlessThere && startsText)));
  encodeSegments(section, startsSection && wanted, ids);
}

void Encoder::encodeMarked(std::string_view section, bool startsSection, bool endsSection, std::vector<int32_t>& ids) {
  // The library asks three times whether a text as a whole is an added token, written either way: of a section, and of
  // what is left between the tokens found in it.
  if (startsSection && endsSection) {
    const int32_t id = std::max(normalizedTokens_.whole(section), markedTokens_.whole(section));
    if (id >= 0) {
      ids.push_back(id);
      return;
    }
  }
  marked_.clear();
  if (startsSection && config_.metaspace->prefix == MetaspaceSplit::Prefix::kEverySection) marked_ = kMetaspaceUtf8;
  for (const char byte : section) {
    if (byte == ' ') {
      marked_ += kMetaspaceUtf8;
    } else {
      marked_ += byte;
    }
  }
  const std::string_view text = marked_;
  for (size_t at = 0; at < text.size();) {
    const AddedTokens::Match token = markedTokens_.find(text, at, text.size());
    if (token.begin > at) {
      const std::string_view between = text.substr(at, token.begin - at);
      lastWasUnknown_ = false;
      if (const int32_t id = normalizedTokens_.whole(between); id >= 0) {
        ids.push_back(id);
      } else {
        encodeSegments(between, false, ids);
      }
    }
    if (token.end > token.begin) ids.push_back(token.id);
    at = token.end;
  }
}

void Encoder::encodeSegments(std::string_view section, bool addPrefix, std::vector<int32_t>& ids) {
  // A segment ends before a space that no merge can join to what stands before it.
  size_t start = 0;
  char32_t previous = firstCodePoint(section);
  for (size_t at = decodeAt(section, 0).bytes;;) {
    const bool atEnd = at >= section.size();
    const CodePoint character = atEnd ? CodePoint{0, 0} : decodeAt(section, at);
    const bool boundary = atEnd || (isSpace(character.value) && !isSpace(previous) &&
                                    !(mergesIntoSpace_ && mergesAcross(previous, character.value)));
    if (boundary) {
      const std::string_view segment = section.substr(start, at - start);
      if (addPrefix) {
        prefixed_.assign(" ").append(segment);
        encodeSegment(prefixed_, ids);
        addPrefix = false;
      } else {
        encodeSegment(segment, ids);
      }
      if (atEnd) return;
      start = at;
    }
    previous = character.value;
    at += character.bytes;
  }
}

void Encoder::encodeSegment(std::string_view segment, std::vector<int32_t>& ids) {
  if (segment.size() <= kLongSegment) {
    encodeWord(segment, ids);
    return;
  }
  size_t start = 0;
  char32_t previous = firstCodePoint(segment);
  for (size_t at = decodeAt(segment, 0).bytes; at < segment.size();) {
    const CodePoint character = decodeAt(segment, at);
    if (!mergesAcross(previous, character.value)) {
      encodeWord(segment.substr(start, at - start), ids);
      start = at;
    }
    previous = character.value;
    at += character.bytes;
  }
  encodeWord(segment.substr(start), ids);
}

void Encoder::encodeWord(std::string_view word, std::vector<int32_t>& ids) {
  if (word.size() > WordCache::kMaxWord) {
    wordIds_.clear();
    mergeWord(word, wordIds_);
    append(wordIds_, ids);
    return;
  }
  if (const auto known = cache_.find(word)) {
    append(*known, ids);
    return;
  }
  wordIds_.clear();
  mergeWord(word, wordIds_);
  cache_.insert(word, wordIds_);
  append(wordIds_, ids);
}

void Encoder::mergeWord(std::string_view word, std::vector<int32_t>& ids) {
  if (config_.ignoreMerges) {
    if (const Piece whole = vocabulary_.pieceOf(word); whole != kNoPiece) {
      ids.push_back(vocabulary_.idOfPiece(whole));
      return;
    }
  }
  word_.clear();
  characterStarts_.clear();
  for (size_t at = 0; at < word.size();) {
    characterStarts_.push_back(static_cast<uint32_t>(at));
    if (config_.byteLevel) {
      word_.push_back(bytePieces_[static_cast<uint8_t>(word[at++])]);
    } else {
      const CodePoint character = decodeAt(word, at);
      word_.push_back(characterPiece(character.value));
      at += character.bytes;
    }
  }
  characterStarts_.push_back(static_cast<uint32_t>(word.size()));
  for (const PlacedPiece& placed : merger_.merge(word_)) {
    if (placed.piece != kNoPiece) {
      ids.push_back(vocabulary_.idOfPiece(placed.piece));
      continue;
    }
    const uint32_t begin = characterStarts_[placed.start];
    appendUnknown(word.substr(begin, characterStarts_[placed.start + 1] - begin), ids);
  }
}

void Encoder::appendUnknown(std::string_view character, std::vector<int32_t>& ids) const {
  if (config_.byteFallback) {
    const auto tokenOf = [&](char byte) { return byteTokens_[static_cast<uint8_t>(byte)]; };
    if (std::all_of(character.begin(), character.end(), [&](char byte) { return tokenOf(byte) >= 0; })) {
      for (const char byte : character) ids.push_back(tokenOf(byte));
      return;
    }
  }
  // Without an unknown token the library drops the character.
  if (unknownId_ >= 0) ids.push_back(unknownId_);
}

void Encoder::append(std::span<const int32_t> found, std::vector<int32_t>& ids) {
  if (!config_.fuseUnknown || unknownId_ < 0) {
    ids.insert(ids.end(), found.begin(), found.end());
    return;
  }
  for (const int32_t id : found) {
    const bool unknown = id == unknownId_;
    if (!unknown || !lastWasUnknown_) ids.push_back(id);
    lastWasUnknown_ = unknown;
  }
}

}  // namespace lrqat::tokenizer
