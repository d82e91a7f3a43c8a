#include "tokenizer/normalization.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <span>

#include "tokenizer/flat_map.h"

namespace lrqat::tokenizer {

namespace {

#include "tokenizer/normalization_tables.inc"

/// Hangul syllables are composed by arithmetic (The Unicode Standard, section 3.12).
constexpr char32_t kSyllable = 0xac00, kLeading = 0x1100, kVowel = 0x1161, kTrailing = 0x11a7;
constexpr char32_t kLeadings = 19, kVowels = 21, kTrailings = 28;
constexpr char32_t kSyllables = kLeadings * kVowels * kTrailings;

uint64_t pairKey(char32_t first, char32_t second) {
  return uint64_t{first} << 32 | second;
}

struct Tables {
  FlatMap<std::span<const char32_t>> decompositions{std::size(kDecompositions)};
  FlatMap<uint8_t> combiningClasses{std::size(kCombiningClasses)};
  FlatMap<char32_t> compositions{std::size(kCompositions)};

  Tables() {
    for (const auto& row : kDecompositions) {
      const auto end = std::find(row.begin() + 1, row.end(), U'\0');
      decompositions.insert(row[0], std::span(row.begin() + 1, end));
    }
    for (const auto& [mark, place] : kCombiningClasses) combiningClasses.insert(mark, static_cast<uint8_t>(place));
    for (const auto& [first, second, composed] : kCompositions) compositions.insert(pairKey(first, second), composed);
  }
};

const Tables& tables() {
  static const Tables instance;
  return instance;
}

/// What two code points compose to, or 0.
char32_t composed(char32_t first, char32_t second) {
  if (first - kLeading < kLeadings && second - kVowel < kVowels) {
    return kSyllable + ((first - kLeading) * kVowels + (second - kVowel)) * kTrailings;
  }
  const char32_t syllable = first - kSyllable;
  if (syllable < kSyllables && syllable % kTrailings == 0 && second > kTrailing && second - kTrailing < kTrailings) {
    return first + (second - kTrailing);
  }
  const char32_t* found = tables().compositions.find(pairKey(first, second));
  return found == nullptr ? 0 : *found;
}

}  // namespace

bool Composer::mayChange(std::string_view text) const {
  for (size_t at = 0; at < text.size();) {
    if (static_cast<uint8_t>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const CodePoint character = decodeAt(text, at);
    if ((classes_(character.value) & kMayChange) != 0) return true;
    at += character.bytes;
  }
  return false;
}

void Composer::compose(std::string_view text, std::string& out) {
  pending_.clear();
  for (size_t at = 0; at < text.size();) {
    const CodePoint character = decodeAt(text, at);
    at += character.bytes;
    // A code point that never changes begins anew: nothing after it can reach back over it.
    if ((classes_(character.value) & kMayChange) == 0) flush(out);
    decompose(character.value);
  }
  flush(out);
}

void Composer::decompose(char32_t codePoint) {
  const char32_t syllable = codePoint - kSyllable;
  if (syllable < kSyllables) {
    put(kLeading + syllable / (kVowels * kTrailings));
    put(kVowel + syllable / kTrailings % kVowels);
    if (syllable % kTrailings != 0) put(kTrailing + syllable % kTrailings);
    return;
  }
  const std::span<const char32_t>* parts = codePoint < 0x80 ? nullptr : tables().decompositions.find(codePoint);
  if (parts == nullptr) {
    put(codePoint);
  } else {
    for (const char32_t part : *parts) put(part);
  }
}

void Composer::put(char32_t codePoint) {
  const uint8_t* place = codePoint < 0x80 ? nullptr : tables().combiningClasses.find(codePoint);
  pending_.push_back({codePoint, place == nullptr ? uint8_t{0} : *place});
}

void Composer::flush(std::string& out) {
  // Canonical order: marks between two starters by class, those of one class as they stand.
  for (auto begin = pending_.begin(); begin != pending_.end();) {
    const auto isStarter = [](const Mark& mark) { return mark.combiningClass == 0; };
    const auto end = std::find_if(begin, pending_.end(), isStarter);
    std::stable_sort(begin, end, [](const Mark& a, const Mark& b) { return a.combiningClass < b.combiningClass; });
    begin = end == pending_.end() ? end : end + 1;
  }
  // A code point composes with the last starter unless one that stayed between them has its class or a higher one.
  size_t kept = 0;
  size_t starter = pending_.size();
  int lastClass = -1;
  for (const Mark mark : pending_) {
    const bool blocked = lastClass >= 0 && lastClass >= mark.combiningClass;
    if (starter < kept && !blocked) {
      if (const char32_t both = composed(pending_[starter].value, mark.value)) {
        pending_[starter].value = both;
        continue;
      }
    }
    if (mark.combiningClass == 0) {
      starter = kept;
      lastClass = -1;
    } else {
      lastClass = mark.combiningClass;
    }
    pending_[kept++] = mark;
  }
  for (size_t i = 0; i < kept; ++i) appendUtf8(out, pending_[i].value);
  pending_.clear();
}

}  // namespace lrqat::tokenizer
