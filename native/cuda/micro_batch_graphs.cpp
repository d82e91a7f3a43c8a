#include "cuda/micro_batch_graphs.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "cuda/check.h"

namespace lrqat::cuda {

MicroBatchGraphs::MicroBatchGraphs(bool enabled) : enabled_(enabled) {
  constexpr size_t bytes = mostCounted * sizeof(uint64_t);
  LRQAT_CUDA(cudaHostAlloc(reinterpret_cast<void**>(&numbers_), bytes, cudaHostAllocDefault));
  std::memset(numbers_, 0, bytes);
}

MicroBatchGraphs::~MicroBatchGraphs() {
  forget();
  cudaFreeHost(numbers_);
}

void MicroBatchGraphs::forget() {
  for (const Recording& recording : recordings_) cudaGraphExecDestroy(recording.graph);
  recordings_.clear();
}

MicroBatchGraphs::Form MicroBatchGraphs::formOf(int64_t count, int64_t capacity) {
  return count == 0 ? Form::None : count <= capacity ? Form::Sparse : Form::Dense;
}

MicroBatchGraphs::Counted MicroBatchGraphs::next() {
  const size_t place = next_++;
  return {place, {.published = numbers_ + place % mostCounted, .sequence = ++sequence_}};
}

void MicroBatchGraphs::observe(size_t place, int64_t count, int64_t capacity) {
  if (place >= forms_.size()) forms_.resize(place + 1, Form::Unknown);
  const Form form = formOf(count, capacity);
  anySparse_ = anySparse_ || form == Form::Sparse;
  // The sparse form serves where nothing is clipped as well; a weight that has once had clipped entries keeps it.
  if (form == forms_[place] || (form == Form::None && forms_[place] == Form::Sparse)) return;
  forms_[place] = form;
  changed_ = true;
}

int64_t MicroBatchGraphs::assume(size_t place, int64_t capacity) {
  LRQAT_CHECK(recording_ && place < mostCounted);
  Form form = place < forms_.size() ? forms_[place] : Form::Unknown;
  LRQAT_CHECK(form != Form::Unknown);
  // Weights begin to clip one after the other; each costs a step done twice. After a few, all are taken to clip.
  constexpr int fewSurprises = 3;
  if (form == Form::None && surprises_ > fewSurprises && anySparse_) form = Form::Sparse;
  recording_->assumptions.push_back({place, form, capacity});
  return form == Form::None ? 0 : form == Form::Sparse ? capacity : capacity + 1;
}

bool MicroBatchGraphs::run(const WorkKey& key, const std::function<void()>& work, cudaStream_t stream) {
  const auto found =
      std::find_if(recordings_.begin(), recordings_.end(), [&](const Recording& r) { return r.key == key; });
  if (found != recordings_.end()) return launch(*found, stream);
  const bool seen = std::find(seen_.begin(), seen_.end(), key) != seen_.end();
  const bool recordable = enabled_ && plainRuns_ == 0 && recordings_.size() < mostRecordings;
  if (seen && recordable && record(key, work, stream)) return launch(recordings_.back(), stream);
  if (plainRuns_ > 0) --plainRuns_;
  next_ = 0;
  work();
  if (changed_) {
    seen_.clear();
    changed_ = false;
  } else if (!seen) {
    if (seen_.size() == mostSeen) seen_.erase(seen_.begin());
    seen_.push_back(key);
  }
  if (next_ > mostCounted) enabled_ = false;
  return true;
}

bool MicroBatchGraphs::record(const WorkKey& key, const std::function<void()>& work, cudaStream_t stream) {
  Recording recording;
  recording.key = key;
  cudaGraph_t graph = nullptr;
  next_ = 0;
  LRQAT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  recording_ = &recording;
  try {
    work();
  } catch (const Error& error) {
    recording_ = nullptr;
    cudaStreamEndCapture(stream, &graph);
    if (graph) cudaGraphDestroy(graph);
    (void)cudaGetLastError();
    if (error.code() == ErrorCode::Cancelled) throw;
    // What is wrong with more than the recording shows itself when the work is done as it is.
    enabled_ = false;
    return false;
  }
  recording_ = nullptr;
  cudaError_t status = cudaStreamEndCapture(stream, &graph);
  if (status == cudaSuccess) status = cudaGraphInstantiate(&recording.graph, graph, 0);
  if (graph) cudaGraphDestroy(graph);
  if (status != cudaSuccess) {
    // Such as no memory left for it, which is no part of the plan: the work does without.
    (void)cudaGetLastError();
    enabled_ = false;
    return false;
  }
  recordings_.push_back(std::move(recording));
  return true;
}

bool MicroBatchGraphs::launch(const Recording& recording, cudaStream_t stream) {
  LRQAT_CUDA(cudaGraphLaunch(recording.graph, stream));
  LRQAT_CUDA(cudaStreamSynchronize(stream));
  ++launches_;
  bool holds = true;
  for (const Assumption& assumption : recording.assumptions) {
    const auto count = static_cast<int64_t>(numbers_[assumption.place] & UINT32_MAX);
    const Form form = formOf(count, assumption.capacity);
    if (form == assumption.form || (form == Form::None && assumption.form == Form::Sparse)) continue;
    holds = false;
  }
  if (holds) return true;
  forget();
  // Where the forms change often, recording costs more than it gives.
  constexpr int mostPlainRuns = 64;
  plainRuns_ = std::min(mostPlainRuns, 1 << std::min(++surprises_, 16));
  return false;
}

}  // namespace lrqat::cuda
