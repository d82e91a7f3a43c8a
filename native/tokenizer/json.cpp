#include "tokenizer/json.h"

#include <charconv>
#include <cstdint>

#include "core/error.h"
#include "tokenizer/unicode.h"

namespace lrqat::tokenizer {

namespace {

// Deeper than any tokenizer.json, shallow enough for the smallest thread stack.
constexpr int kMaxDepth = 64;

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Json parse() {
    if (text_.substr(0, 3) == "\xef\xbb\xbf") at_ = 3;
    Json value = parseValue(0);
    skipSpace();
    if (at_ != text_.size()) fail("text after the end of the JSON value");
    return value;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::InputFile, "not valid JSON at byte " + std::to_string(at_) + ": " + what,
                "The file may be truncated; fetch it again.");
  }

  void skipSpace() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t'))
      ++at_;
  }

  char peek() const {
    if (at_ >= text_.size()) fail("unexpected end");
    return text_[at_];
  }

  void expect(char wanted) {
    if (peek() != wanted) fail(std::string("expected '") + wanted + "'");
    ++at_;
  }

  Json literal(std::string_view word, Json value) {
    if (text_.substr(at_, word.size()) != word) fail("unexpected character");
    at_ += word.size();
    return value;
  }

  Json parseValue(int depth) {
    if (depth > kMaxDepth) fail("nested too deeply");
    skipSpace();
    switch (peek()) {
      case '{':
        return parseObject(depth);
      case '[':
        return parseArray(depth);
      case '"':
        return Json(parseString());
      case 't':
        return literal("true", Json(true));
      case 'f':
        return literal("false", Json(false));
      case 'n':
        return literal("null", Json());
      default:
        return Json(parseNumber());
    }
  }

  Json parseObject(int depth) {
    expect('{');
    Json::Object members;
    skipSpace();
    if (peek() != '}') {
      while (true) {
        skipSpace();
        std::string key = parseString();
        skipSpace();
        expect(':');
        members.emplace_back(std::move(key), parseValue(depth + 1));
        skipSpace();
        if (peek() != ',') break;
        ++at_;
      }
    }
    expect('}');
    return Json(std::move(members));
  }

  Json parseArray(int depth) {
    expect('[');
    Json::Array items;
    skipSpace();
    if (peek() != ']') {
      while (true) {
        items.push_back(parseValue(depth + 1));
        skipSpace();
        if (peek() != ',') break;
        ++at_;
      }
    }
    expect(']');
    return Json(std::move(items));
  }

  double parseNumber() {
    const size_t start = at_;
    const auto digits = [&] {
      const size_t first = at_;
      while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
      if (at_ == first) fail("unexpected character");
    };
    if (peek() == '-') ++at_;
    if (peek() == '0') {
      ++at_;
    } else {
      digits();
    }
    if (at_ < text_.size() && text_[at_] == '.') {
      ++at_;
      digits();
    }
    if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
      ++at_;
      if (at_ < text_.size() && (text_[at_] == '+' || text_[at_] == '-')) ++at_;
      digits();
    }
    double value = 0;
    const auto [end, error] = std::from_chars(text_.data() + start, text_.data() + at_, value);
    if (error != std::errc() || end != text_.data() + at_) fail("number out of range");
    return value;
  }

  uint32_t parseHex4() {
    if (at_ + 4 > text_.size()) fail("truncated \\u escape");
    uint32_t value = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + at_ + 4, value, 16);
    if (error != std::errc() || end != text_.data() + at_ + 4) fail("malformed \\u escape");
    at_ += 4;
    return value;
  }

  void parseEscape(std::string& out) {
    const char kind = peek();
    ++at_;
    switch (kind) {
      case '"':
      case '\\':
      case '/':
        out.push_back(kind);
        return;
      case 'b':
        out.push_back('\b');
        return;
      case 'f':
        out.push_back('\f');
        return;
      case 'n':
        out.push_back('\n');
        return;
      case 'r':
        out.push_back('\r');
        return;
      case 't':
        out.push_back('\t');
        return;
      case 'u':
        break;
      default:
        fail("unknown escape");
    }
    const uint32_t unit = parseHex4();
    if (unit < 0xd800 || unit > 0xdfff) {
      appendUtf8(out, unit);
      return;
    }
    if (unit < 0xdc00 && text_.substr(at_, 2) == "\\u") {
      at_ += 2;
      const uint32_t low = parseHex4();
      if (low >= 0xdc00 && low <= 0xdfff) {
        appendUtf8(out, 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00));
        return;
      }
    }
    fail("a lone surrogate has no UTF-8 form");
  }

  std::string parseString() {
    expect('"');
    std::string out;
    while (true) {
      const size_t start = at_;
      while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' && static_cast<uint8_t>(text_[at_]) >= 0x20)
        ++at_;
      out.append(text_, start, at_ - start);
      const char stop = peek();
      if (stop == '"') {
        ++at_;
        return out;
      }
      if (stop != '\\') fail("control character in a string");
      ++at_;
      parseEscape(out);
    }
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

const Json* Json::find(std::string_view key) const {
  const Object* members = object();
  if (members == nullptr) return nullptr;
  const Json* found = nullptr;
  for (const auto& [name, value] : *members) {
    if (name == key) found = &value;
  }
  return found;
}

Json parseJson(std::string_view text) {
  const size_t invalid = firstInvalidUtf8(text);
  if (invalid != std::string_view::npos) {
    throw Error(ErrorCode::InputFile, "not valid UTF-8 at byte " + std::to_string(invalid));
  }
  return Parser(text).parse();
}

}  // namespace lrqat::tokenizer
