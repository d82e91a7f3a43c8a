#include "tokenizer/config.h"

#include <cmath>
#include <limits>
#include <unordered_set>

#include "core/error.h"
#include "tokenizer/json.h"
#include "tokenizer/unicode.h"

namespace lrqat::tokenizer {

namespace {

constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

[[noreturn]] void unsupported(const std::string& reason) {
  throw Error(ErrorCode::Unsupported, reason);
}
[[noreturn]] void invalid(const std::string& what) {
  throw Error(ErrorCode::InputFile, "not a usable tokenizer.json: " + what);
}

/// Absent and null mean the same everywhere in the format.
const Json* member(const Json& object, std::string_view key) {
  const Json* found = object.find(key);
  return found == nullptr || found->isNull() ? nullptr : found;
}

std::string quoted(std::string_view text) {
  return "\"" + std::string(text.substr(0, 80)) + "\"";
}

bool flag(const Json& object, std::string_view key, bool otherwise) {
  const Json* found = member(object, key);
  if (found == nullptr) return otherwise;
  if (found->boolean() == nullptr) invalid(std::string(key) + " must be true or false");
  return *found->boolean();
}

const std::string& text(const Json& object, std::string_view key, std::string_view where) {
  const Json* found = member(object, key);
  if (found == nullptr || found->string() == nullptr)
    invalid(std::string(where) + "." + std::string(key) + " must be a string");
  return *found->string();
}

const Json::Array& list(const Json& object, std::string_view key, std::string_view where) {
  const Json* found = member(object, key);
  if (found == nullptr || found->array() == nullptr)
    invalid(std::string(where) + "." + std::string(key) + " must be an array");
  return *found->array();
}

int32_t tokenId(const Json& value, std::string_view token) {
  const double* number = value.number();
  // Half of the range leaves room for "highest id plus one" and signals a broken file long before memory does.
  constexpr double kMaxId = std::numeric_limits<int32_t>::max() / 2;
  if (number == nullptr || *number < 0 || *number > kMaxId || *number != std::floor(*number)) {
    invalid("the id of " + quoted(token) + " must be an integer from 0 to " +
            std::to_string(static_cast<int32_t>(kMaxId)));
  }
  return static_cast<int32_t>(*number);
}

/// The steps of a normalizer or pre-tokenizer: null has none, a Sequence its own, anything else is one step.
std::vector<const Json*> steps(const Json* value, std::string_view key, std::string_view where) {
  if (value == nullptr) return {};
  if (text(*value, "type", where) != "Sequence") return {value};
  std::vector<const Json*> result;
  for (const Json& step : list(*value, key, where)) {
    if (step.isNull()) continue;
    const std::string& type = text(step, "type", where);
    if (type == "Sequence") unsupported("nested " + std::string(where) + " sequences");
    result.push_back(&step);
  }
  return result;
}

/// Prepend "▁" and Replace " " by "▁", in this order; both optional. Returns what they mean for the metaspace split.
struct Normalizer {
  bool present = false;
  bool prepend = false;
  bool replaceSpaces = false;
  bool compose = false;
};

Normalizer parseNormalizer(const Json* value) {
  Normalizer result;
  for (const Json* step : steps(value, "normalizers", "normalizer")) {
    result.present = true;
    const std::string& type = text(*step, "type", "normalizer");
    if (type == "Prepend") {
      if (result.prepend || result.replaceSpaces) unsupported("normalizer Prepend in an unusual place");
      if (text(*step, "prepend", "normalizer") != kMetaspaceUtf8)
        unsupported("normalizer Prepend of another text than U+2581");
      result.prepend = true;
    } else if (type == "Replace") {
      const Json* pattern = member(*step, "pattern");
      const Json* literal = pattern == nullptr ? nullptr : member(*pattern, "String");
      const bool spaces = literal != nullptr && member(*pattern, "Regex") == nullptr && literal->string() != nullptr &&
                          *literal->string() == " " && text(*step, "content", "normalizer") == kMetaspaceUtf8;
      if (!spaces || result.replaceSpaces) unsupported("normalizer Replace of other than spaces by U+2581");
      result.replaceSpaces = true;
    } else if (type == "NFC") {
      result.compose = true;
    } else {
      unsupported("normalizer " + type);
    }
  }
  return result;
}

ByteLevelSplit parseSplitPattern(const Json& step) {
  const Json* pattern = member(step, "pattern");
  const Json* regex = pattern == nullptr ? nullptr : member(*pattern, "Regex");
  if (regex == nullptr || regex->string() == nullptr) unsupported("pre-tokenizer Split by a literal text");
  // The known patterns match every character, so what lies between matches (Isolated) or is dropped (Removed, inverted)
  // is empty.
  const Json* behavior = member(step, "behavior");
  const std::string name = behavior != nullptr && behavior->string() != nullptr ? *behavior->string() : "";
  const bool invert = flag(step, "invert", false);
  if (!((name == "Isolated" && !invert) || (name == "Removed" && invert))) {
    unsupported("pre-tokenizer Split with behavior " + quoted(name));
  }
  ByteLevelSplit split;
  const std::string& source = *regex->string();
  if (source == kGpt2Pattern) {
    split.pattern = SplitPattern::kGpt2;
  } else if (source == kLlama3Pattern) {
    split.pattern = SplitPattern::kCl100k;
    split.maxDigits = 3;
  } else if (source == kQwen2Pattern) {
    split.pattern = SplitPattern::kCl100k;
    split.maxDigits = 1;
  } else {
    unsupported("pre-tokenizer Split by the pattern " + quoted(source));
  }
  return split;
}

MetaspaceSplit parseMetaspace(const Json& step) {
  const auto isMetaspace = [&](std::string_view key) {
    const Json* value = member(step, key);
    return value == nullptr || (value->string() != nullptr && *value->string() == kMetaspaceUtf8);
  };
  if (!isMetaspace("replacement") || !isMetaspace("str_rep"))
    unsupported("Metaspace with another character than U+2581");
  const Json* scheme = member(step, "prepend_scheme");
  const std::string name = scheme == nullptr ? "always" : scheme->string() != nullptr ? *scheme->string() : "";
  // `split` and `add_prefix_space` are not looked at by @huggingface/tokenizers either.
  using Prefix = MetaspaceSplit::Prefix;
  if (name == "always") return {Prefix::kUnlessThere};
  if (name == "first") return {Prefix::kFirstUnlessThere};
  if (name == "never") return {Prefix::kNever};
  unsupported("Metaspace with prepend_scheme " + quoted(name));
}

void parseSplitting(const Json& root, TokenizerConfig& config) {
  const Normalizer normalizer = parseNormalizer(member(root, "normalizer"));
  const std::vector<const Json*> stages = steps(member(root, "pre_tokenizer"), "pretokenizers", "pre_tokenizer");
  if (stages.empty()) {
    if (normalizer.compose) unsupported("normalizer NFC without a splitting pattern");
    if (!normalizer.replaceSpaces) unsupported("neither a pre-tokenizer nor a normalizer that marks spaces");
    using Prefix = MetaspaceSplit::Prefix;
    config.metaspace = MetaspaceSplit{normalizer.prepend ? Prefix::kEverySection : Prefix::kNever};
    return;
  }
  if (normalizer.prepend || normalizer.replaceSpaces)
    unsupported("a normalizer that marks spaces with a pre-tokenizer");

  std::optional<ByteLevelSplit> split;
  DigitSplit digits = DigitSplit::kNone;
  for (size_t i = 0; i < stages.size(); ++i) {
    const Json& step = *stages[i];
    const bool last = i + 1 == stages.size();
    const std::string& type = text(step, "type", "pre_tokenizer");
    if (type == "Metaspace" && stages.size() == 1) {
      if (normalizer.compose) unsupported("normalizer NFC with Metaspace");
      config.metaspace = parseMetaspace(step);
      return;
    }
    if (type == "Split" && !last && !split && digits == DigitSplit::kNone) {
      split = parseSplitPattern(step);
    } else if (type == "Digits" && i == 0 && !last) {
      digits = flag(step, "individual_digits", false) ? DigitSplit::kSingle : DigitSplit::kRuns;
    } else if (type == "ByteLevel" && last) {
      const bool usePattern = flag(step, "use_regex", true);
      if (usePattern == split.has_value()) {
        unsupported(usePattern ? "two splitting patterns" : "ByteLevel without a splitting pattern");
      }
      if (usePattern) split = ByteLevelSplit{};
      split->digits = digits;
      split->compose = normalizer.compose;
      split->prefixSpace = flag(step, "add_prefix_space", false);
      // After another step the space would be put before every piece of it.
      if (split->prefixSpace && stages.size() > 1) unsupported("add_prefix_space after another pre-tokenizer");
      config.byteLevel = split;
    } else {
      unsupported("pre-tokenizer " + type + " in this place");
    }
  }
}

void parseMerges(const Json& model, TokenizerConfig& config) {
  bool pairs = false;
  for (const Json& entry : list(model, "merges", "model")) {
    const size_t rank = config.merges.size();
    const auto bad = [&] { invalid("merge " + std::to_string(rank) + " must be two tokens"); };
    if (const Json::Array* parts = entry.array()) {
      if (rank == 0) pairs = true;
      if (!pairs || parts->size() != 2 || (*parts)[0].string() == nullptr || (*parts)[1].string() == nullptr) bad();
      config.merges.emplace_back(*(*parts)[0].string(), *(*parts)[1].string());
    } else if (const std::string* line = entry.string()) {
      const size_t space = line->find(' ');
      if (pairs || space == std::string::npos || line->find(' ', space + 1) != std::string::npos) bad();
      config.merges.emplace_back(line->substr(0, space), line->substr(space + 1));
    } else {
      bad();
    }
    if (config.merges.back().first.empty() || config.merges.back().second.empty()) bad();
  }
}

void parseModel(const Json& root, TokenizerConfig& config) {
  const Json* model = member(root, "model");
  if (model == nullptr || model->object() == nullptr) invalid("model must be an object");
  if (member(*model, "type") == nullptr) unsupported("a model without a type");
  const std::string& type = text(*model, "type", "model");
  if (type != "BPE") unsupported("model " + type);

  const Json* vocabulary = member(*model, "vocab");
  if (vocabulary == nullptr || vocabulary->object() == nullptr) invalid("model.vocab must be an object");
  for (const auto& [content, id] : *vocabulary->object()) config.vocabulary.push_back({content, tokenId(id, content)});
  parseMerges(*model, config);

  if (const Json* dropout = member(*model, "dropout");
      dropout != nullptr && (dropout->number() == nullptr || *dropout->number() != 0)) {
    unsupported("BPE dropout");
  }
  for (const std::string_view key : {"continuing_subword_prefix", "continuing_subword_suffix", "end_of_word_suffix"}) {
    const Json* affix = member(*model, key);
    if (affix != nullptr && (affix->string() == nullptr || !affix->string()->empty())) unsupported(std::string(key));
  }
  if (member(*model, "unk_token") != nullptr) config.unknownToken = text(*model, "unk_token", "model");
  config.fuseUnknown = flag(*model, "fuse_unk", false);
  config.byteFallback = flag(*model, "byte_fallback", false);
  config.ignoreMerges = flag(*model, "ignore_merges", false);
}

void parseAddedTokens(const Json& root, TokenizerConfig& config) {
  const bool normalizes = member(root, "normalizer") != nullptr;
  std::unordered_set<std::string> seen;
  for (const Json& entry : list(root, "added_tokens", "tokenizer")) {
    const std::string& content = text(entry, "content", "added_tokens");
    const Json* id = member(entry, "id");
    if (content.empty() || id == nullptr) invalid("an added token needs content and id");
    const std::string name = "added token " + quoted(content);
    if (flag(entry, "lstrip", false) || flag(entry, "rstrip", false))
      unsupported(name + " strips white space around it");
    if (flag(entry, "single_word", false)) unsupported(name + " matches whole words only");
    const bool special = flag(entry, "special", false);
    const bool normalized = normalizes && flag(entry, "normalized", !special);
    if (!seen.insert(content).second) unsupported(name + " is listed twice");
    if (config.metaspace && normalizes && content.find(kMetaspaceUtf8) != std::string::npos) {
      unsupported(name + " contains U+2581");
    }
    if (normalized) {
      if (!config.metaspace || content.find(' ') != std::string::npos)
        unsupported(name + " is matched in normalized text");
      config.normalizedTokens.push_back({content, tokenId(*id, content)});
      continue;
    }
    // A section that composing makes equal to an added token is that token (encoder.cpp); without these two characters
    // in it no split point lies within such a section.
    if (config.byteLevel && config.byteLevel->compose && content.find_first_of(" \n") != std::string::npos) {
      unsupported(name + " contains white space");
    }
    config.addedTokens.push_back({content, tokenId(*id, content)});
  }
}

void parseTemplate(const Json& step, TokenizerConfig& config) {
  bool afterText = false;
  for (const Json& item : list(step, "single", "post_processor")) {
    if (const Json* token = member(item, "SpecialToken")) {
      (afterText ? config.suffix : config.prefix).push_back(text(*token, "id", "post_processor.single"));
    } else if (const Json* sequence = member(item, "Sequence")) {
      if (afterText || text(*sequence, "id", "post_processor.single") != "A")
        unsupported("an unusual post-processor template");
      afterText = true;
    } else {
      unsupported("an unusual post-processor template");
    }
  }
  if (!afterText) unsupported("a post-processor template without the text");
}

void parsePostProcessor(const Json& root, TokenizerConfig& config) {
  bool templated = false;
  for (const Json* step : steps(member(root, "post_processor"), "processors", "post_processor")) {
    const std::string& type = text(*step, "type", "post_processor");
    if (type == "ByteLevel") continue;
    if (type != "TemplateProcessing") unsupported("post-processor " + type);
    if (templated) unsupported("two post-processor templates");
    templated = true;
    parseTemplate(*step, config);
  }
}

}  // namespace

TokenizerConfig parseConfig(std::string_view json) {
  const Json root = parseJson(json);
  if (root.object() == nullptr) invalid("expected an object");
  TokenizerConfig config;
  parseSplitting(root, config);
  parseModel(root, config);
  parseAddedTokens(root, config);
  parsePostProcessor(root, config);
  if (config.metaspace && config.ignoreMerges) unsupported("ignore_merges without a splitting pattern");
  return config;
}

}  // namespace lrqat::tokenizer
