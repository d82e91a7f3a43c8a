#include "tokenizer/merges.h"

#include <algorithm>

namespace lrqat::tokenizer {

namespace {

// Below this a scan over all pairs for each merge is faster than a heap.
constexpr size_t kShortWord = 32;
constexpr uint32_t kNone = ~uint32_t{0};

}  // namespace

std::span<const PlacedPiece> Merger::merge(std::span<const Piece> word) {
  result_.clear();
  if (word.size() < 2) {
    for (const Piece piece : word) result_.push_back({piece, 0});
  } else if (word.size() <= kShortWord) {
    mergeShort(word);
  } else {
    mergeLong(word);
  }
  return result_;
}

void Merger::mergeShort(std::span<const Piece> word) {
  pairs_.clear();
  for (uint32_t i = 0; i < word.size(); ++i) {
    result_.push_back({word[i], i});
    pairs_.push_back(i + 1 < word.size() ? table_.find(word[i], word[i + 1]) : nullptr);
  }
  while (true) {
    size_t best = 0;
    uint32_t rank = kNone;
    for (size_t i = 0; i < pairs_.size(); ++i) {
      if (pairs_[i] != nullptr && pairs_[i]->rank < rank) {
        rank = pairs_[i]->rank;
        best = i;
      }
    }
    if (rank == kNone) return;
    result_[best].piece = pairs_[best]->product;
    result_.erase(result_.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    pairs_.erase(pairs_.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    const auto pairAt = [&](size_t i) {
      return i + 1 < result_.size() ? table_.find(result_[i].piece, result_[i + 1].piece) : nullptr;
    };
    pairs_[best] = pairAt(best);
    if (best > 0) pairs_[best - 1] = pairAt(best - 1);
  }
}

void Merger::mergeLong(std::span<const Piece> word) {
  const auto later = [](const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
  };
  const auto size = static_cast<uint32_t>(word.size());
  nodes_.clear();
  heap_.clear();
  for (uint32_t i = 0; i < size; ++i) nodes_.push_back({word[i], i == 0 ? kNone : i - 1, i + 1 < size ? i + 1 : kNone});
  const auto candidateAt = [&](uint32_t left) -> std::optional<Candidate> {
    const uint32_t right = nodes_[left].next;
    if (right == kNone) return std::nullopt;
    const MergeTable::Merge* merge = table_.find(nodes_[left].piece, nodes_[right].piece);
    if (merge == nullptr) return std::nullopt;
    return Candidate{merge->rank, left, nodes_[left].piece, nodes_[right].piece, merge->product};
  };
  for (uint32_t i = 0; i < size; ++i) {
    if (const auto candidate = candidateAt(i)) heap_.push_back(*candidate);
  }
  std::make_heap(heap_.begin(), heap_.end(), later);
  const auto push = [&](uint32_t left) {
    if (const auto candidate = candidateAt(left)) {
      heap_.push_back(*candidate);
      std::push_heap(heap_.begin(), heap_.end(), later);
    }
  };
  // A node that was merged into its left neighbour keeps this piece; no candidate carries it.
  constexpr Piece kGone = -2;
  while (!heap_.empty()) {
    const Candidate candidate = heap_.front();
    std::pop_heap(heap_.begin(), heap_.end(), later);
    heap_.pop_back();
    Node& left = nodes_[candidate.left];
    // Pieces only grow, so a pair that still reads the same is the pair that was pushed.
    if (left.piece != candidate.leftPiece || left.next == kNone || nodes_[left.next].piece != candidate.rightPiece)
      continue;
    Node& right = nodes_[left.next];
    left.piece = candidate.product;
    left.next = right.next;
    right.piece = kGone;
    if (left.next != kNone) nodes_[left.next].previous = candidate.left;
    push(candidate.left);
    if (left.previous != kNone) push(left.previous);
  }
  for (uint32_t i = 0; i != kNone; i = nodes_[i].next) result_.push_back({nodes_[i].piece, i});
}

}  // namespace lrqat::tokenizer
