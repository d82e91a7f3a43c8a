// Ids of words seen before. Most words of a text are repeats of a few thousand, and finding one costs a hash and a
// comparison.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace lrqat::tokenizer {

class WordCache {
 public:
  /// Longer words are rare and seldom repeat.
  static constexpr size_t kMaxWord = 64;

  WordCache() { clear(); }

  /// Ids of `word`, valid until the next insert.
  std::optional<std::span<const int32_t>> find(std::string_view word) const {
    const uint64_t hash = hashOf(word);
    for (size_t at = hash & mask(); slots_[at].used; at = (at + 1) & mask()) {
      const Slot& slot = slots_[at];
      if (slot.hash == hash && slot.wordSize == word.size() &&
          std::memcmp(&words_[slot.word], word.data(), word.size()) == 0) {
        return std::span(ids_).subspan(slot.ids, slot.idCount);
      }
    }
    return std::nullopt;
  }

  void insert(std::string_view word, std::span<const int32_t> ids) {
    // Starting again bounds the memory; what is common comes back at once.
    if (words_.size() > kMaxBytes || ids_.size() > kMaxBytes / sizeof(int32_t)) clear();
    if ((used_ + 1) * 2 > slots_.size()) grow();
    const uint64_t hash = hashOf(word);
    const Slot slot{hash,
                    static_cast<uint32_t>(words_.size()),
                    static_cast<uint32_t>(ids_.size()),
                    static_cast<uint16_t>(word.size()),
                    static_cast<uint16_t>(ids.size()),
                    true};
    words_.insert(words_.end(), word.begin(), word.end());
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    place(slot);
    ++used_;
  }

 private:
  static constexpr size_t kMaxBytes = size_t{8} << 20;

  struct Slot {
    uint64_t hash;
    uint32_t word;
    uint32_t ids;
    uint16_t wordSize;
    uint16_t idCount;
    bool used;
  };

  size_t mask() const { return slots_.size() - 1; }

  static uint64_t hashOf(std::string_view word) {
    constexpr uint64_t kMultiplier = 0x9fb21c651e98df25u;
    uint64_t hash = word.size() * kMultiplier;
    const char* at = word.data();
    size_t left = word.size();
    const auto mix = [&](uint64_t value) {
      hash = (hash ^ value) * kMultiplier;
      hash ^= hash >> 32;
    };
    for (; left >= 8; left -= 8, at += 8) {
      uint64_t value;
      std::memcpy(&value, at, 8);
      mix(value);
    }
    uint64_t rest = 0;
    std::memcpy(&rest, at, left);
    mix(rest);
    return hash;
  }

  void place(const Slot& slot) {
    size_t at = slot.hash & mask();
    while (slots_[at].used) at = (at + 1) & mask();
    slots_[at] = slot;
  }

  void grow() {
    const std::vector<Slot> old = std::move(slots_);
    slots_.assign(old.size() * 2, Slot{});
    for (const Slot& slot : old) {
      if (slot.used) place(slot);
    }
  }

  void clear() {
    slots_.assign(size_t{1} << 12, Slot{});
    words_.clear();
    ids_.clear();
    used_ = 0;
  }

  std::vector<Slot> slots_;
  std::vector<char> words_;
  std::vector<int32_t> ids_;
  size_t used_ = 0;
};

}  // namespace lrqat::tokenizer
