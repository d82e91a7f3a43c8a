// Lanes: backends of one thread each, and the threads that they run on.
#include <algorithm>
#include <exception>

#include "core/error.h"
#include "core/memory_plan.h"
#include "cpu/cpu_backend.h"
#include "cpu/row_blocks.h"

namespace lrqat::cpu {

int64_t CpuBackend::laneScratchBytes(const EngineShape& shape) const {
  return (scratchBytes(shape.lane()) + 255) / 256 * 256;
}

std::vector<std::unique_ptr<Backend>> CpuBackend::laneBackends(const EngineShape& shape) {
  const int64_t bytes = laneScratchBytes(shape);
  const int64_t count = shape.lanesAtOnce();
  LRQAT_CHECK(count <= threads_ && count * bytes <= static_cast<int64_t>(wholeScratch_.size()));
  CpuOptions options = options_;
  options.threads = 1;
  std::vector<std::unique_ptr<Backend>> lanes;
  for (int64_t lane = 0; lane < count; ++lane) {
    lanes.push_back(std::make_unique<CpuBackend>(options));
    lanes.back()->setScratch(wholeScratch_.data() + lane * bytes, bytes);
  }
  return lanes;
}

void CpuBackend::runLanes(int64_t count, const std::function<void(int64_t)>& work) {
  std::vector<std::exception_ptr> failures(static_cast<size_t>(count));
  // The operations inside open parallel regions of their own, of one thread each.
#pragma omp parallel for num_threads(static_cast <int>(std::min <int64_t>(count, threads_))) schedule(static, 1)
  for (int64_t lane = 0; lane < count; ++lane) {
    try {
      work(lane);
    } catch (...) {
      failures[static_cast<size_t>(lane)] = std::current_exception();
    }
  }
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

void CpuBackend::addTerms(std::span<const float* const> terms, float* values, int64_t count) {
  constexpr int64_t piece = 4096;
#pragma omp parallel for num_threads(threads_) schedule(static) if (worthWaking(count))
  for (int64_t first = 0; first < count; first += piece) {
    const int64_t end = std::min(count, first + piece);
    for (const float* term : terms) {
      for (int64_t i = first; i < end; ++i) values[i] += term[i];
    }
  }
}

}  // namespace lrqat::cpu
