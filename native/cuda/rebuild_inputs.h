// Whether a rebuild may begin early (kernels/early_launch.h): read codes, A, B, scales and zero points while work in
// front of it still runs. It may when every operation since the last rebuild that was launched in order has said what
// it writes, and none of it lies in memory from which rebuilds read. An operation that says nothing (the optimiser,
// uploads, range search) counts as one that writes everything, so that the rebuild behind it waits for it.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

namespace lrqat::cuda {

class RebuildInputs {
 public:
  /// A piece of memory: what one allocation holds is an input as a whole or not at all.
  void allocated(const void* memory, int64_t bytes) {
    const auto first = reinterpret_cast<uintptr_t>(memory);
    pieces_.push_back({first, first + static_cast<uintptr_t>(bytes), false});
  }

  /// An operation that may write anything.
  void wrote() { settled_ = false; }

  /// An operation that writes the tensors at these places (null: none) and scratch, nothing else.
  void wrote(std::initializer_list<const void*> places) {
    for (const void* place : places) {
      if (!place) continue;
      const Piece* piece = find(place);
      if (!piece || piece->read) settled_ = false;
    }
  }

  /// A rebuild that reads the tensors at these places (null: none) comes next; whether it may begin early. Where it may
  /// not it has to be launched in order.
  bool mayBeginEarly(std::initializer_list<const void*> places) {
    bool early = settled_;
    bool known = true;
    for (const void* place : places) {
      if (!place) continue;
      Piece* piece = find(place);
      known = known && piece;
      // Somebody may have written there before it was known as an input.
      early = early && piece && piece->read;
      if (piece) piece->read = true;
    }
    settled_ = known;
    return early;
  }

 private:
  struct Piece {
    uintptr_t first, end;
    bool read;  // by rebuilds so far
  };

  /// Null: none of the pieces.
  Piece* find(const void* place) {
    const auto at = reinterpret_cast<uintptr_t>(place);
    for (Piece& piece : pieces_) {
      if (at >= piece.first && at < piece.end) return &piece;
    }
    return nullptr;
  }

  std::vector<Piece> pieces_;
  bool settled_ = false;
};

}  // namespace lrqat::cuda
