// What a tokenizer.json asks for, reduced to what this encoder does exactly as @huggingface/tokenizers does it.
// Everything else is declined: parseConfig throws Error(Unsupported) whose message is the reason, and the caller uses
// that library instead.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lrqat::tokenizer {

/// The splitting patterns, known by their text.
enum class SplitPattern {
  /// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  kGpt2,
  /// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,d}|
  /// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
  kCl100k,
};

enum class DigitSplit { kNone, kRuns, kSingle };

/// Text → words of raw bytes (byte-level BPE).
struct ByteLevelSplit {
  SplitPattern pattern = SplitPattern::kGpt2;
  /// d of the cl100k pattern: 3 for Llama 3, 1 for Qwen 2.
  int maxDigits = 3;
  /// A Digits pre-tokenizer before the pattern: ASCII digits are words of their own.
  DigitSplit digits = DigitSplit::kNone;
  /// A space is put before a section that does not begin with one.
  bool prefixSpace = false;
  /// The normalizer NFC: sections are composed canonically first.
  bool compose = false;
};

/// Text → one word of code points, spaces as U+2581 (BPE as SentencePiece writes it).
struct MetaspaceSplit {
  enum class Prefix {
    kNever,
    /// The normalizer's Prepend: before every section.
    kEverySection,
    /// The Metaspace pre-tokenizer: before sections that do not begin with U+2581; `kFirst…`: only before the first.
    kUnlessThere,
    kFirstUnlessThere,
  };
  Prefix prefix = Prefix::kNever;
};

struct Token {
  std::string content;
  int32_t id;
};

struct TokenizerConfig {
  /// Exactly one of the two is set.
  std::optional<ByteLevelSplit> byteLevel;
  std::optional<MetaspaceSplit> metaspace;
  std::vector<Token> vocabulary;
  /// By rank.
  std::vector<std::pair<std::string, std::string>> merges;
  /// Found in the text before anything else, longest first.
  std::vector<Token> addedTokens;
  /// Metaspace tokenizers with a normalizer: found in the normalized text, after the others, in normalized form.
  std::vector<Token> normalizedTokens;
  std::optional<std::string> unknownToken;
  bool fuseUnknown = false;
  bool byteFallback = false;
  bool ignoreMerges = false;
  /// Contents of the tokens that the post-processor puts before and after a text.
  std::vector<std::string> prefix;
  std::vector<std::string> suffix;
};

/// U+2581, what SentencePiece writes for a space.
inline constexpr char32_t kMetaspace = 0x2581;
inline constexpr std::string_view kMetaspaceUtf8 = "\xe2\x96\x81";

TokenizerConfig parseConfig(std::string_view json);

}  // namespace lrqat::tokenizer
