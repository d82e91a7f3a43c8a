// The tokenizer without JavaScript: its parts against plain references, and hostile files under the sanitizers. That
// its ids are those of @huggingface/tokenizers is shown in test/text.
#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/error.h"
#include "test/check.h"
#include "tokenizer/encoder.h"
#include "tokenizer/json.h"
#include "tokenizer/merges.h"
#include "tokenizer/unicode.h"

namespace {

using namespace lrqat;
using namespace lrqat::tokenizer;
using test::expect;
using test::expectEqual;
using test::expectThrows;

/// Every optional part of the format is there once.
const std::string kByteLevel = R"({
  "version": "1.0",
  "added_tokens": [
    {"id": 9, "content": "<s>", "special": true, "normalized": false, "lstrip": false, "rstrip": false, "single_word": false},
    {"id": 10, "content": "<s><s>", "special": false, "normalized": true}
  ],
  "normalizer": null,
  "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
    {"type": "Digits", "individual_digits": true},
    {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
  ]},
  "post_processor": {"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]},
  "decoder": {"type": "ByteLevel"},
  "model": {"type": "BPE", "dropout": null, "unk_token": "?", "fuse_unk": false, "byte_fallback": false,
    "ignore_merges": false, "continuing_subword_prefix": "", "end_of_word_suffix": null,
    "vocab": {"?": 0, "a": 1, "b": 2, "ab": 3, "\u0120": 4, "\u0120a": 5, "c": 6, "abc": 7, "\u00c3\u00a9": 8},
    "merges": [["a", "b"], ["\u0120", "a"], ["ab", "c"]]}
})";

const std::string kMetaspaceJson = R"({
  "added_tokens": [{"id": 1, "content": "<s>", "special": true, "normalized": false}],
  "normalizer": {"type": "Sequence", "normalizers": [
    {"type": "Prepend", "prepend": "\u2581"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
  "pre_tokenizer": null,
  "post_processor": {"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]},
  "decoder": null,
  "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
    "vocab": {"<unk>": 0, "<s>": 1, "\u2581": 2, "a": 3, "b": 4, "\u2581a": 5, "ab": 6, "<0xC3>": 7, "<0xA9>": 8, "\u65e5": 9},
    "merges": ["\u2581 a", "a b"]}
})";

std::vector<int32_t> encode(Encoder& encoder, std::string_view text) {
  std::vector<int32_t> ids;
  encoder.encode(text, ids);
  return ids;
}

void expectIds(Encoder& encoder, std::string_view text, const std::vector<int32_t>& expected,
               std::source_location where = std::source_location::current()) {
  const std::vector<int32_t> ids = encode(encoder, text);
  if (ids == expected) return;
  std::string shown;
  for (const int32_t id : ids) shown += std::to_string(id) + " ";
  test::fail("\"" + std::string(text) + "\" gives " + shown, where);
}

/// The code with which `body` fails; Internal and anything else than Error are failures of the test.
std::string codeOf(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return name(error.code());
  }
  return "none";
}

std::string replaced(const std::string& json, std::string_view from, std::string_view to) {
  std::string result = json;
  const size_t at = result.find(from);
  if (at == std::string::npos) {
    test::fail("the test file has no " + std::string(from));
    return result;
  }
  return result.replace(at, from.size(), to);
}

void encodesByteLevel() {
  Encoder encoder(kByteLevel);
  expectIds(encoder, "", {});
  expectIds(encoder, "ab abc", {3, 4, 7});
  expectIds(encoder, "abc\xc3\xa9", {7, 0, 0});  // no merge makes é, and its two bytes are unknown
  expectIds(encoder, "a<s>b<s><s>", {1, 9, 2, 10});
  expectIds(encoder, "zzz1", {0, 0, 0, 0});
  expectEqual(encoder.vocabulary().size(), 11, "vocabulary size");
  expectEqual(encoder.prefixIds().size(), size_t{1}, "prefix");
  expectEqual(encoder.lastSplit("ab ab"), size_t{2}, "split before the space");
  expectEqual(encoder.lastSplit("<s> a"), size_t{0}, "no split at the end of an added token");

  Encoder fusing(replaced(kByteLevel, "\"fuse_unk\": false", "\"fuse_unk\": true"));
  expectIds(fusing, "zzz1a", {0, 1});
  expectEqual(fusing.lastSplit("ab ab"), size_t{0}, "unknown bytes would fuse over any split");
}

void encodesMetaspace() {
  Encoder encoder(kMetaspaceJson);
  expectIds(encoder, "", {});
  expectIds(encoder, "ab a", {5, 4, 5});
  expectIds(encoder, "\xc3\xa9", {2, 7, 8});
  expectIds(encoder, "zz\xe6\x97\xa5", {2, 0, 9});
  expectIds(encoder, "<s>a", {1, 5});
}

/// Merging as it is defined: over and over, the leftmost pair of lowest rank.
std::vector<Piece> mergePlainly(const MergeTable& table, std::vector<Piece> word) {
  while (true) {
    size_t best = word.size();
    uint32_t rank = ~uint32_t{0};
    for (size_t i = 0; i + 1 < word.size(); ++i) {
      const MergeTable::Merge* merge = table.find(word[i], word[i + 1]);
      if (merge != nullptr && merge->rank < rank) {
        rank = merge->rank;
        best = i;
      }
    }
    if (best == word.size()) return word;
    word[best] = table.find(word[best], word[best + 1])->product;
    word.erase(word.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

void mergesAsDefined() {
  std::mt19937 random(1);
  for (int round = 0; round < 400; ++round) {
    // Random merges over 4 characters; a product may come from several pairs.
    const int merges = 1 + static_cast<int>(random() % 40);
    MergeTable table(static_cast<size_t>(merges));
    for (int rank = 0; rank < merges; ++rank) {
      const auto known = static_cast<uint32_t>(4 + rank);
      table.add(static_cast<Piece>(random() % known), static_cast<Piece>(random() % known), static_cast<uint32_t>(rank),
                4 + rank);
    }
    Merger merger(table);
    for (const size_t length : {size_t{0}, size_t{1}, size_t{2}, size_t{9}, size_t{32}, size_t{33}, size_t{200}}) {
      std::vector<Piece> word(length);
      for (Piece& piece : word) piece = static_cast<Piece>(random() % 5) - 1;
      std::vector<Piece> merged;
      size_t previous = 0;
      for (const PlacedPiece& placed : merger.merge(word)) {
        merged.push_back(placed.piece);
        expect(merged.size() == 1 || placed.start > previous, "places grow");
        previous = placed.start;
        expect(placed.piece != kNoPiece || word[placed.start] == kNoPiece, "an unknown piece stands where it stood");
      }
      expect(merged == mergePlainly(table, word), "merged pieces");
    }
  }
}

void checksUtf8() {
  const auto invalidAt = [](std::string_view text) { return firstInvalidUtf8(text); };
  constexpr size_t kValid = std::string_view::npos;
  expectEqual(invalidAt("plain text, longer than eight bytes"), kValid, "ASCII");
  for (const std::string_view bad : {"\x80", "\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
                                     "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xe2\x96", "\xff"}) {
    expectEqual(invalidAt(bad), size_t{0}, "invalid");
    expectEqual(invalidAt("12345678" + std::string(bad)), size_t{8}, "invalid after eight bytes");
  }
  for (char32_t codePoint = 0; codePoint <= 0x10ffff; ++codePoint) {
    if (codePoint >= 0xd800 && codePoint < 0xe000) continue;
    std::string text;
    appendUtf8(text, codePoint);
    const CodePoint decoded = decodeAt(text, 0);
    if (decoded.value != codePoint || decoded.bytes != text.size() || invalidAt(text) != kValid) {
      test::fail("U+" + std::to_string(codePoint) + " does not come back");
    }
  }
}

void parsesJson() {
  const Json value = parseJson(" {\"a\": [1, -2.5e1, true, null, \"\\u00e9\\ud83d\\ude00\\n\"], \"a\": {}} ");
  expect(value.find("a") != nullptr && value.find("a")->object() != nullptr, "the last of a repeated key counts");
  const Json::Array& items = *(*value.object())[0].second.array();
  expectEqual(*items[1].number(), -25.0, "number");
  expect(*items[4].string() == "\xc3\xa9\xf0\x9f\x98\x80\n", "escapes");
  for (const std::string_view bad :
       {"",       " ",          "{",    "[1,]",    "{\"a\" 1}",   "{a:1}",   "01",    "1.",         "-",
        "1e",     "\"",         "\"\\", "\"\\u12", "\"\\ud800\"", "\"\\x\"", "tru",   "nulL",       "[1] 2",
        "\"\n\"", "{\"a\":1,}", "[",    "1e999",   "\xff",        "+1",      "[1 2]", "\"\\u+123\""}) {
    expect(codeOf([&] { parseJson(bad); }) == "InputFile", "accepted: " + std::string(bad));
  }
  // Nesting is bounded, not the stack's.
  expect(codeOf([] { parseJson(std::string(1'000'000, '[')); }) == "InputFile", "a million brackets");
  expect(codeOf([] {
           std::string deep;
           for (int i = 0; i < 100'000; ++i) deep += "{\"a\":";
           parseJson(deep);
         }) == "InputFile",
         "a hundred thousand objects");
}

/// A hostile file is refused with a reason or works; nothing else (the sanitizers see what else there is).
void tryFile(const std::string& json) {
  try {
    Encoder encoder(json);
    for (const std::string_view text : {"", "ab abc 12 <s><s>", " a\n\nb \xc3\xa9\xe6\x97\xa5 zz", "\n",
                                        "e\xcc\xa3\xcc\x81 \xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab"}) {
      encode(encoder, text);
      const size_t split = encoder.lastSplit(text);
      std::vector<int32_t> ids;
      encoder.encodePart(text, 0, split, true, ids);
      encoder.encodePart(text, split, text.size(), split == 0, ids);
      expect(ids == encode(encoder, text), "parts and whole differ for " + json);
    }
  } catch (const Error& error) {
    expect(error.code() == ErrorCode::InputFile || error.code() == ErrorCode::Unsupported,
           std::string(error.what()) + " for " + json);
    expect(std::string_view(error.what()).size() > 5, "a reason");
  }
}

void survivesHostileFiles() {
  const std::string composing =
      replaced(replaced(kByteLevel, "\"normalizer\": null", "\"normalizer\": {\"type\": \"NFC\"}"),
               "\"normalized\": true", "\"normalized\": false");
  expectIds(*std::make_unique<Encoder>(composing), "abce\xcc\x81", {7, 0, 0});
  for (const std::string& json : {kByteLevel, kMetaspaceJson, composing}) {
    for (size_t length = 0; length < json.size(); ++length) {
      expect(codeOf([&] { Encoder encoder(json.substr(0, length)); }) == "InputFile", "truncated");
    }
    std::mt19937 random(7);
    const std::string_view values[] = {"null", "true",  "-1", "1e9", "2147483648", "0.5",
                                       "\"\"", "\"a\"", "[]", "{}",  "[[[]]]"};
    for (int round = 0; round < 4000; ++round) {
      std::string damaged = json;
      for (unsigned change = 0; change <= random() % 3; ++change) {
        const size_t at = random() % damaged.size();
        switch (random() % 3) {
          case 0:
            damaged[at] = static_cast<char>(random());
            break;
          case 1:
            damaged.erase(at, random() % 20);
            break;
          default: {
            // Another value after the next colon.
            const size_t colon = damaged.find(':', at);
            if (colon == std::string::npos) break;
            const size_t end = damaged.find_first_of(",}]", colon);
            if (end == std::string::npos) break;
            damaged.replace(colon + 1, end - colon - 1, values[random() % std::size(values)]);
          }
        }
      }
      tryFile(damaged);
    }
  }
}

void refusesByName() {
  const auto refuses = [](const std::string& json, const char* code, std::string_view reason,
                          std::source_location where = std::source_location::current()) {
    try {
      Encoder encoder(json);
      test::fail("accepted, but should name " + std::string(reason), where);
    } catch (const Error& error) {
      const bool named = std::string_view(error.what()).find(reason) != std::string_view::npos;
      expect(named && std::string(name(error.code())) == code, std::string(name(error.code())) + ": " + error.what(),
             where);
    }
  };
  const auto change = [](std::string_view from, std::string_view to) { return replaced(kByteLevel, from, to); };
  refuses(change("\"id\": 9", "\"id\": 4294967296"), "InputFile", "the id of \"<s>\"");
  refuses(change("\"ab\": 3", "\"ab\": -3"), "InputFile", "the id of \"ab\"");
  refuses(change("\"ab\": 3", "\"ab\": 3.5"), "InputFile", "the id of \"ab\"");
  refuses(change("\"ab\": 3", "\"ab\": \"3\""), "InputFile", "the id of \"ab\"");
  refuses(change("[\"a\", \"b\"]", "[\"a\"]"), "InputFile", "merge 0");
  refuses(change("[\"a\", \"b\"]", "\"a b\""), "InputFile", "merge 1");
  refuses(change("[\"a\", \"b\"]", "[\"a\", \"x\"]"), "Unsupported", "outside of the vocabulary");
  refuses(change("\"type\": \"BPE\"", "\"type\": \"Unigram\""), "Unsupported", "model Unigram");
  refuses(change("\"dropout\": null", "\"dropout\": 0.1"), "Unsupported", "dropout");
  refuses(change("\"end_of_word_suffix\": null", "\"end_of_word_suffix\": \"</w>\""), "Unsupported",
          "end_of_word_suffix");
  refuses(change("\"byte_fallback\": false", "\"byte_fallback\": true"), "Unsupported", "byte_fallback");
  refuses(change("\"lstrip\": false", "\"lstrip\": true"), "Unsupported", "strips white space");
  refuses(change("\"single_word\": false", "\"single_word\": true"), "Unsupported", "whole words");
  refuses(change("\"unk_token\": \"?\"", "\"unk_token\": \"!\""), "Unsupported", "unknown token");
  refuses(change("\"normalizer\": null", "\"normalizer\": {\"type\": \"NFKC\"}"), "Unsupported", "normalizer NFKC");
  refuses(change("\"type\": \"Digits\"", "\"type\": \"Punctuation\""), "Unsupported", "pre-tokenizer Punctuation");
  refuses(change("\"use_regex\": true", "\"use_regex\": false"), "Unsupported", "without a splitting pattern");
  refuses(change("\"type\": \"TemplateProcessing\"", "\"type\": \"BertProcessing\""), "Unsupported", "BertProcessing");
  refuses(change("\"content\": \"<s>\"", "\"content\": \"\""), "InputFile", "added token");
  refuses("[]", "InputFile", "expected an object");
}

void refusesTextThatIsNotUtf8() {
  Encoder encoder(kByteLevel);
  for (const std::string_view text : {"a\xff", "ab\xc3", "\xe2\x28\xa1"}) {
    expect(codeOf([&] { encode(encoder, text); }) == "InvalidArgument", "accepted");
  }
  std::vector<int32_t> ids;
  expect(codeOf([&] { encoder.encodePart("abc", 2, 1, true, ids); }) == "InvalidArgument", "begin after end");
  expect(codeOf([&] { encoder.encodePart("abc", 0, 4, true, ids); }) == "InvalidArgument", "end after the text");
  expect(codeOf([&] { encoder.encodePart("\xc3\xa9", 0, 1, true, ids); }) == "InvalidArgument",
         "end inside a character");
}

}  // namespace

int main(int argc, char** argv) {
  return test::run({{"encodes byte-level", encodesByteLevel},
                    {"encodes metaspace", encodesMetaspace},
                    {"merges as defined", mergesAsDefined},
                    {"checks UTF-8", checksUtf8},
                    {"parses JSON", parsesJson},
                    {"survives hostile files", survivesHostileFiles},
                    {"refuses by name", refusesByName},
                    {"refuses text that is not UTF-8", refusesTextThatIsNotUtf8}},
                   argc, argv);
}
