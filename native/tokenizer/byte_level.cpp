#include "tokenizer/byte_level.h"

#include <algorithm>
#include <array>

namespace lrqat::tokenizer {

namespace {

bool isNewline(char byte) {
  return byte == '\n' || byte == '\r';
}
bool isDigit(char byte) {
  return byte >= '0' && byte <= '9';
}

/// Length of 's 't 're 've 'm 'll 'd at `at`, or 0.
size_t contraction(std::string_view text, size_t at, bool ignoreCase) {
  static constexpr std::array<std::string_view, 7> kEndings = {"s", "t", "re", "ve", "m", "ll", "d"};
  for (const std::string_view ending : kEndings) {
    const std::string_view found = text.substr(at + 1, ending.size());
    const bool equal = std::equal(
        found.begin(), found.end(), ending.begin(), ending.end(),
        [&](char have, char wanted) { return have == wanted || (ignoreCase && have == wanted - 'a' + 'A'); });
    if (equal) return 1 + ending.size();
  }
  return 0;
}

}  // namespace

size_t WordSplitter::run(std::string_view text, size_t at, uint8_t wanted) const {
  while (at < text.size()) {
    const CodePoint character = decodeAt(text, at);
    if (classOf(character.value) != wanted) break;
    at += character.bytes;
  }
  return at;
}

size_t WordSplitter::pieceEnd(std::string_view text, size_t at) const {
  if (split_.digits == DigitSplit::kNone) return text.size();
  size_t end = at;
  if (isDigit(text[at])) {
    ++end;
    while (split_.digits == DigitSplit::kRuns && end < text.size() && isDigit(text[end])) ++end;
  } else {
    while (end < text.size() && !isDigit(text[end])) ++end;
  }
  return end;
}

size_t WordSplitter::wordEnd(std::string_view text, size_t at) const {
  return split_.pattern == SplitPattern::kGpt2 ? gpt2(text, at) : cl100k(text, at);
}

size_t WordSplitter::gpt2(std::string_view text, size_t at) const {
  if (text[at] == '\'') {
    if (const size_t length = contraction(text, at, false)) return at + length;
  }
  const size_t start = text[at] == ' ' && at + 1 < text.size() ? at + 1 : at;
  const uint8_t first = classOf(decodeAt(text, start).value);
  if (first != kWhiteSpace) return run(text, start, first);
  return whiteSpace(text, at, false);
}

size_t WordSplitter::cl100k(std::string_view text, size_t at) const {
  if (text[at] == '\'') {
    if (const size_t length = contraction(text, at, true)) return at + length;
  }
  const CodePoint first = decodeAt(text, at);
  const uint8_t firstClass = classOf(first.value);
  const size_t second = at + first.bytes;
  if (firstClass == kLetter) return run(text, second, kLetter);
  if (firstClass == kNumber) {
    size_t end = second;
    for (int digits = 1; digits < split_.maxDigits && end < text.size(); ++digits) {
      const CodePoint next = decodeAt(text, end);
      if (classOf(next.value) != kNumber) break;
      end += next.bytes;
    }
    return end;
  }
  const uint8_t secondClass = second < text.size() ? classOf(decodeAt(text, second).value) : uint8_t{kWhiteSpace};
  if (secondClass == kLetter && !isNewline(text[at])) return run(text, second, kLetter);
  if (firstClass == 0 || (text[at] == ' ' && secondClass == 0)) {
    size_t end = run(text, second, 0);
    while (end < text.size() && isNewline(text[end])) ++end;
    return end;
  }
  return whiteSpace(text, at, true);
}

/// \s*[\r\n]+ (if asked for), \s+(?!\S), \s+: up to the last line break; else all at the end of the text; else all but
/// the last, which begins the next word; else the only one.
size_t WordSplitter::whiteSpace(std::string_view text, size_t at, bool breakAfterNewline) const {
  size_t end = at;
  size_t last = at;
  size_t afterNewline = at;
  while (end < text.size()) {
    const CodePoint character = decodeAt(text, end);
    if (classOf(character.value) != kWhiteSpace) break;
    last = end;
    end += character.bytes;
    if (isNewline(text[last])) afterNewline = end;
  }
  if (breakAfterNewline && afterNewline > at) return afterNewline;
  return end == text.size() || last == at ? end : last;
}

}  // namespace lrqat::tokenizer
