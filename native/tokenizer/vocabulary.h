// Tokens by content, twice: as written in tokenizer.json (ids of special tokens) and as the bytes that merging sees
// (pieces).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizer/config.h"
#include "tokenizer/merges.h"

namespace lrqat::tokenizer {

/// Byte-level tokens are written with one printable character for each byte (GPT-2's table). Returns the bytes, or
/// nothing when the content has a character outside of that table: such a token is never the result of merging.
std::optional<std::string> bytesOfByteLevel(std::string_view content);

class Vocabulary {
 public:
  /// Later entries and added tokens take the place of earlier ones of the same content.
  explicit Vocabulary(const TokenizerConfig& config);

  /// Id of a token by its content in tokenizer.json.
  std::optional<int32_t> idOf(std::string_view content) const;
  /// Piece by its bytes: UTF-8, or raw bytes for byte-level tokenizers; kNoPiece when there is none.
  Piece pieceOf(std::string_view bytes) const;
  int32_t idOfPiece(Piece piece) const { return ids_[static_cast<size_t>(piece)]; }
  /// Highest id plus one.
  int32_t size() const { return size_; }
  const std::unordered_map<std::string, Piece>& pieces() const { return pieces_; }

 private:
  std::unordered_map<std::string, int32_t> contents_;
  std::unordered_map<std::string, Piece> pieces_;
  std::vector<int32_t> ids_;
  int32_t size_ = 0;
};

}  // namespace lrqat::tokenizer
