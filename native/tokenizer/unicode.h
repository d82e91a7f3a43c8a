// UTF-8 and the Unicode classes that splitting patterns ask for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lrqat::tokenizer {

/// Classes of a code point, as bits. White space is Unicode's (U+0085 is, U+FEFF is not), as the regular expressions of
/// Hugging Face tokenizers and llama.cpp have it, not JavaScript's.
/// kMayChange: canonical composition may change a text because of this code point (see normalization.h).
enum CharClass : uint8_t { kLetter = 1, kNumber = 2, kWhiteSpace = 4, kMayChange = 8 };

namespace detail {
/// One byte per code point, filled once from unicode_ranges.inc.
const uint8_t* classTable();
}  // namespace detail

/// Classes of code points; cheap to copy.
class CharClasses {
 public:
  CharClasses() : table_(detail::classTable()) {}
  uint8_t operator()(char32_t codePoint) const { return table_[codePoint]; }

 private:
  const uint8_t* table_;
};

struct CodePoint {
  char32_t value;
  uint32_t bytes;
};

/// The code point at text[at]; the text must be valid UTF-8 and `at` the start of a code point.
inline CodePoint decodeAt(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[at + i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xe0) return {static_cast<char32_t>((lead & 0x1f) << 6 | (byte(1) & 0x3f)), 2};
  if (lead < 0xf0) return {static_cast<char32_t>((lead & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f)), 3};
  return {
      static_cast<char32_t>((lead & 0x07) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f)),
      4};
}

inline bool isContinuation(char byte) {
  return (static_cast<uint8_t>(byte) & 0xc0) == 0x80;
}

/// Byte offset of the first error in a text that should be UTF-8 (no surrogates, no overlong forms), or npos.
size_t firstInvalidUtf8(std::string_view text);

/// UTF-8 of a code point, appended.
void appendUtf8(std::string& out, char32_t codePoint);

}  // namespace lrqat::tokenizer
