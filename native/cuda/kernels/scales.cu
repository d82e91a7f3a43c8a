#include "cuda/kernels/scales.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "core/grid.h"
#include "cuda/check.h"
#include "cuda/kernels/reduce.cuh"
#include "cuda/kernels/row_grids.cuh"

namespace lrqat::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kTensorThreads = 1024;
/// A launch has at most 4 KiB of parameters on every driver.
constexpr size_t kParameterBytes = 4000;

/// How a trained number becomes a scale. Integer storage trains the plain scale: neither floor nor log domain.
struct ScaleForm {
  bool log, floored;
  ScaleFormat format;

  static ScaleForm of(const QuantSpec& spec) {
    const bool free = spec.storage == Storage::Integer;
    return {!free && spec.scaleDomain == ScaleDomain::Log, !free && spec.scaleDomain == ScaleDomain::Linear,
            spec.scaleFormat};
  }
  /// scaleOnGrid of the CPU.
  __device__ float onGrid(float scale) const {
    if (format == ScaleFormat::BF16) return __bfloat162float(__float2bfloat16_rn(scale));
    if (format != ScaleFormat::F16) return scale;
    return __half2float(__float2half_rn(fminf(fmaxf(scale, kHalfScaleMin), kHalfScaleMax)));
  }
};

/// One linear as the kernels see it.
struct Scales {
  const float* theta;
  float* scale;
  float* rowScale;
  int64_t scales;
  int64_t rows;
  int rowStride;  // of the scales: 0 where all rows share one
  ScaleForm form;
  const float* zeroTheta;
  float* zero;
  float levels;
};

struct Gradients {
  const float* theta;
  const float* scale;
  float* gradient;
  int64_t scales;
  ScaleForm form;
};

template <typename Job>
struct Jobs {
  static constexpr int most = static_cast<int>(kParameterBytes / sizeof(Job));
  Job job[most];
};

/// blockIdx.y: linear; blockIdx.x: kThreads scales or rows of it.
__global__ void materialize(const __grid_constant__ Jobs<Scales> jobs) {
  const Scales& job = jobs.job[blockIdx.y];
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= job.scales && (!job.rowScale || i >= job.rows)) return;
  const auto scaleOf = [&](int64_t at) {
    if (!job.theta) return job.scale[at];
    const float value = job.theta[at];
    // Rounded from double, so that it is the float32 exponential of the CPU but for rare last bits.
    return job.form.onGrid(job.form.log       ? static_cast<float>(exp(static_cast<double>(value)))
                           : job.form.floored ? fmaxf(value, kScaleFloor)
                                              : value);
  };
  if (job.theta && i < job.scales) job.scale[i] = scaleOf(i);
  if (job.zeroTheta && i < job.scales) job.zero[i] = zeroPointOn(job.zeroTheta[i], job.levels);
  if (job.rowScale && i < job.rows) job.rowScale[i] = scaleOf(i * job.rowStride);
}

__global__ void finish(const __grid_constant__ Jobs<Gradients> jobs) {
  const Gradients& job = jobs.job[blockIdx.y];
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= job.scales) return;
  if (job.form.log) {
    job.gradient[i] *= job.scale[i];
  } else if (job.form.floored && job.theta[i] < kScaleFloor) {
    job.gradient[i] = 0.0F;
  }
}

/// One block.
__global__ void addSum(const float* values, int64_t count, float* target) {
  __shared__ double shared[32];
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kTensorThreads) sum += static_cast<double>(values[i]);
  sum = blockSum(sum, shared);
  if (threadIdx.x == 0) *target += static_cast<float>(sum);
}

/// launch(jobs, number of them, elements of the longest) for as many tasks at a time as fit.
template <typename Job, typename Task, typename Convert, typename Launch>
void forBatches(std::span<const Task> tasks, Convert convert, Launch launch) {
  constexpr auto most = static_cast<size_t>(Jobs<Job>::most);
  for (size_t first = 0; first < tasks.size(); first += most) {
    const auto batch = tasks.subspan(first, std::min(most, tasks.size() - first));
    Jobs<Job> jobs{};
    int64_t longest = 0;
    for (size_t i = 0; i < batch.size(); ++i) {
      jobs.job[i] = convert(batch[i]);
      const LinearWeight& weight = *batch[i].weight;
      longest = std::max({longest, weight.spec.scaleCount(weight.m, weight.n), weight.m});
    }
    const dim3 grid(static_cast<unsigned>((longest + kThreads - 1) / kThreads), static_cast<unsigned>(batch.size()));
    launch(jobs, grid);
    LRQAT_CUDA(cudaGetLastError());
  }
}

}  // namespace

void materializeScales(std::span<const ScaleTask> tasks, cudaStream_t stream) {
  const auto convert = [](const ScaleTask& task) -> Scales {
    const LinearWeight& weight = *task.weight;
    LRQAT_CHECK(task.scale && (!task.rowScale || weight.spec.granularity != Granularity::Group));
    LRQAT_CHECK(!task.zeroTheta || (task.zero && !weight.spec.symmetric));
    return {task.theta,
            task.scale,
            task.rowScale,
            weight.spec.scaleCount(weight.m, weight.n),
            weight.m,
            weight.spec.granularity == Granularity::Tensor ? 0 : 1,
            ScaleForm::of(weight.spec),
            task.zeroTheta,
            task.zero,
            static_cast<float>(weight.spec.levels())};
  };
  forBatches<Scales>(tasks, convert,
                     [&](const Jobs<Scales>& jobs, dim3 grid) { materialize<<<grid, kThreads, 0, stream>>>(jobs); });
}

void sumRowScaleGradient(int64_t m, const float* rowScaleGradient, float* scaleGradient, cudaStream_t stream) {
  LRQAT_CHECK(m > 0 && rowScaleGradient && scaleGradient);
  addSum<<<1, kTensorThreads, 0, stream>>>(rowScaleGradient, m, scaleGradient);
  LRQAT_CUDA(cudaGetLastError());
}

void finishScaleGradients(std::span<const ScaleGradientTask> tasks, cudaStream_t stream) {
  const auto convert = [](const ScaleGradientTask& task) -> Gradients {
    const LinearWeight& weight = *task.weight;
    LRQAT_CHECK(weight.spec.granularity != Granularity::Group && task.theta && task.scale && task.gradient);
    return {task.theta, task.scale, task.gradient, weight.spec.scaleCount(weight.m, weight.n),
            ScaleForm::of(weight.spec)};
  };
  forBatches<Gradients>(tasks, convert,
                        [&](const Jobs<Gradients>& jobs, dim3 grid) { finish<<<grid, kThreads, 0, stream>>>(jobs); });
}

}  // namespace lrqat::cuda
