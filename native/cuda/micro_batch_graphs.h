// Forward and backward of a micro-batch as a CUDA graph: recorded once the same work has come again, then launched as a
// whole, so that a small micro-batch is not bound by the host's launches. Which kernels the low-rank gradient needs
// depends on how many entries of each weight are clipped, which plain work waits for; a graph assumes for every weight
// that none are, or no more than the sparse form takes, or more than that. After each launch the numbers that the graph
// has found are held against this: where one has left its form, the results are not those of the plain work, and it is
// done again as such.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "core/backend.h"
#include "cuda/kernels/clipped_count.h"

namespace lrqat::cuda {

class MicroBatchGraphs {
 public:
  /// `enabled` false: work is always done as it is. Throws OutOfMemory.
  explicit MicroBatchGraphs(bool enabled);
  ~MicroBatchGraphs();
  MicroBatchGraphs(const MicroBatchGraphs&) = delete;
  MicroBatchGraphs& operator=(const MicroBatchGraphs&) = delete;

  /// Backend::repeat. `work` puts all it does on `stream`.
  bool run(const WorkKey& key, const std::function<void()>& work, cudaStream_t stream);
  int64_t launches() const { return launches_; }
  bool recording() const { return recording_ != nullptr; }

  /// A weight whose clipped entries are counted, by its place in the work.
  struct Counted {
    size_t place = 0;
    ClippedReport report;
  };
  /// The next one of the work; each has a number of its own in pinned memory.
  Counted next();
  /// While recording: the number of entries that stands for the form of this weight, whose sparse form takes up to
  /// `capacity`.
  int64_t assume(size_t place, int64_t capacity);
  /// While not: what has been counted.
  void observe(size_t place, int64_t count, int64_t capacity);

 private:
  enum class Form : uint8_t { Unknown, None, Sparse, Dense };
  struct Assumption {
    size_t place;
    Form form;
    int64_t capacity;
  };
  struct Recording {
    WorkKey key;
    cudaGraphExec_t graph = nullptr;
    std::vector<Assumption> assumptions;
  };

  static Form formOf(int64_t count, int64_t capacity);
  /// False: it cannot be recorded here; nothing has been done.
  bool record(const WorkKey& key, const std::function<void()>& work, cudaStream_t stream);
  bool launch(const Recording& recording, cudaStream_t stream);
  void forget();

  static constexpr size_t mostCounted = 4096;
  static constexpr size_t mostRecordings = 4;
  static constexpr size_t mostSeen = 8;

  bool enabled_;
  uint64_t* numbers_ = nullptr;  // [mostCounted] pinned
  uint32_t sequence_ = 0;
  size_t next_ = 0;
  std::vector<Form> forms_;
  bool changed_ = false;       // a form, by plain work
  bool anySparse_ = false;     // so that its kernels have been loaded
  int surprises_ = 0;          // launches whose assumptions did not hold
  int plainRuns_ = 0;          // before the next recording
  std::vector<WorkKey> seen_;  // of plain work since a form has changed
  std::vector<Recording> recordings_;
  Recording* recording_ = nullptr;
  int64_t launches_ = 0;
};

}  // namespace lrqat::cuda
