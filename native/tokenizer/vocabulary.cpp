#include "tokenizer/vocabulary.h"

#include <algorithm>
#include <array>

#include "tokenizer/unicode.h"

namespace lrqat::tokenizer {

namespace {

/// Bytes that print as themselves stand for themselves; the others take the code points from 256 on, in order.
constexpr bool printsAsItself(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
}

constexpr size_t kAlphabetEnd = 256 + 68;

constexpr std::array<int16_t, kAlphabetEnd> kByteOfCharacter = [] {
  std::array<int16_t, kAlphabetEnd> table{};
  table.fill(-1);
  size_t next = 256;
  for (uint32_t byte = 0; byte < 256; ++byte) table[printsAsItself(byte) ? byte : next++] = static_cast<int16_t>(byte);
  return table;
}();

}  // namespace

std::optional<std::string> bytesOfByteLevel(std::string_view content) {
  std::string bytes;
  for (size_t i = 0; i < content.size();) {
    const CodePoint character = decodeAt(content, i);
    i += character.bytes;
    if (character.value >= kAlphabetEnd || kByteOfCharacter[character.value] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kByteOfCharacter[character.value]));
  }
  return bytes;
}

Vocabulary::Vocabulary(const TokenizerConfig& config) {
  const auto add = [&](const Token& token) {
    contents_.insert_or_assign(token.content, token.id);
    size_ = std::max(size_, token.id + 1);
    const std::optional<std::string> bytes = config.byteLevel ? bytesOfByteLevel(token.content) : token.content;
    if (!bytes || bytes->empty()) return;
    const auto [entry, isNew] = pieces_.try_emplace(*bytes, static_cast<Piece>(ids_.size()));
    if (isNew) {
      ids_.push_back(token.id);
    } else {
      ids_[static_cast<size_t>(entry->second)] = token.id;
    }
  };
  pieces_.reserve(config.vocabulary.size());
  contents_.reserve(config.vocabulary.size());
  for (const Token& token : config.vocabulary) add(token);
  for (const Token& token : config.addedTokens) add(token);
  for (const Token& token : config.normalizedTokens) add(token);
}

std::optional<int32_t> Vocabulary::idOf(std::string_view content) const {
  const auto found = contents_.find(std::string(content));
  return found == contents_.end() ? std::nullopt : std::optional(found->second);
}

Piece Vocabulary::pieceOf(std::string_view bytes) const {
  const auto found = pieces_.find(std::string(bytes));
  return found == pieces_.end() ? kNoPiece : found->second;
}

}  // namespace lrqat::tokenizer
