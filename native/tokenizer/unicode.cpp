#include "tokenizer/unicode.h"

#include <cstring>
#include <vector>

namespace lrqat::tokenizer {

namespace {

struct Range {
  uint32_t first;
  uint32_t last;
  uint8_t classes;
};

constexpr Range kRanges[] = {
#include "tokenizer/unicode_ranges.inc"
};

}  // namespace

const uint8_t* detail::classTable() {
  static const std::vector<uint8_t> table = [] {
    std::vector<uint8_t> classes(0x110000, 0);
    for (const Range& range : kRanges) std::memset(&classes[range.first], range.classes, range.last - range.first + 1);
    return classes;
  }();
  return table.data();
}

size_t firstInvalidUtf8(std::string_view text) {
  const size_t size = text.size();
  size_t i = 0;
  while (i < size) {
    // Eight ASCII bytes at a time: most of most texts.
    if (i + 8 <= size) {
      uint64_t word;
      std::memcpy(&word, text.data() + i, 8);
      if ((word & 0x8080808080808080u) == 0) {
        i += 8;
        continue;
      }
    }
    const auto lead = static_cast<uint8_t>(text[i]);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const size_t length = lead >= 0xc2 && lead < 0xe0   ? 2
                          : lead >= 0xe0 && lead < 0xf0 ? 3
                          : lead >= 0xf0 && lead < 0xf5 ? 4
                                                        : 0;
    if (length == 0 || i + length > size) return i;
    for (size_t k = 1; k < length; ++k) {
      if (!isContinuation(text[i + k])) return i;
    }
    const auto second = static_cast<uint8_t>(text[i + 1]);
    const bool overlong = (lead == 0xe0 && second < 0xa0) || (lead == 0xf0 && second < 0x90);
    const bool surrogate = lead == 0xed && second >= 0xa0;
    const bool beyond = lead == 0xf4 && second >= 0x90;
    if (overlong || surrogate || beyond) return i;
    i += length;
  }
  return std::string_view::npos;
}

void appendUtf8(std::string& out, char32_t codePoint) {
  const auto push = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (codePoint < 0x80) {
    push(codePoint);
  } else if (codePoint < 0x800) {
    push(0xc0 | codePoint >> 6);
    push(0x80 | (codePoint & 0x3f));
  } else if (codePoint < 0x10000) {
    push(0xe0 | codePoint >> 12);
    push(0x80 | (codePoint >> 6 & 0x3f));
    push(0x80 | (codePoint & 0x3f));
  } else {
    push(0xf0 | codePoint >> 18);
    push(0x80 | (codePoint >> 12 & 0x3f));
    push(0x80 | (codePoint >> 6 & 0x3f));
    push(0x80 | (codePoint & 0x3f));
  }
}

}  // namespace lrqat::tokenizer
