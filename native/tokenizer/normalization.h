// Canonical composition (Unicode Normalization Form C), the normalizer of the Qwen tokenizers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/unicode.h"

namespace lrqat::tokenizer {

/// Keeps its scratch memory between calls. Not for use by two threads at a time.
class Composer {
 public:
  /// Whether composing may change the text: it has a code point with the class kMayChange. (The Quick_Check of the
  /// standard, made stricter by asking for every combining mark: text without one of these stays as it is.)
  bool mayChange(std::string_view text) const;
  /// NFC of `text` (valid UTF-8), appended to `out`.
  void compose(std::string_view text, std::string& out);

 private:
  struct Mark {
    char32_t value;
    uint8_t combiningClass;
  };
  void decompose(char32_t codePoint);
  void put(char32_t codePoint);
  /// Orders and composes what stands since the last place where a new composition can begin, and writes it.
  void flush(std::string& out);

  CharClasses classes_;
  std::vector<Mark> pending_;
};

}  // namespace lrqat::tokenizer
