#include "tokenizer/added_tokens.h"

#include "tokenizer/unicode.h"

namespace lrqat::tokenizer {

namespace {

uint64_t childKey(uint32_t node, char byte) {
  return uint64_t{node} << 8 | static_cast<uint8_t>(byte);
}

}  // namespace

AddedTokens::AddedTokens(std::span<const Token> tokens) : nodes_(1) {
  for (const Token& token : tokens) {
    const std::string_view content = token.content;
    uint32_t node = 0;
    for (const char byte : content) {
      const uint32_t* child = children_.find(childKey(node, byte));
      if (child == nullptr) {
        const auto created = static_cast<uint32_t>(nodes_.size());
        nodes_.emplace_back();
        children_.insert(childKey(node, byte), created);
        node = created;
      } else {
        node = *child;
      }
    }
    nodes_[node].id = token.id;
    firstByte_[static_cast<uint8_t>(content[0])] = true;
    char32_t previous = 0;
    for (size_t i = 0; i < content.size();) {
      const CodePoint character = decodeAt(content, i);
      if (i == 0) {
        first_.insert(character.value, true);
      } else {
        pairs_.insert(pairKey(previous, character.value), true);
      }
      previous = character.value;
      i += character.bytes;
    }
    last_.insert(previous, true);
  }
}

AddedTokens::Match AddedTokens::find(std::string_view text, size_t begin, size_t end) const {
  for (size_t i = begin; i < end; ++i) {
    if (!firstByte_[static_cast<uint8_t>(text[i])]) continue;
    uint32_t node = 0;
    Match match{i, i, -1};
    for (size_t j = i; j < end; ++j) {
      const uint32_t* child = children_.find(childKey(node, text[j]));
      if (child == nullptr) break;
      node = *child;
      if (nodes_[node].id >= 0) {
        match.end = j + 1;
        match.id = nodes_[node].id;
      }
    }
    if (match.end > i) return match;
  }
  return {end, end, -1};
}

}  // namespace lrqat::tokenizer
