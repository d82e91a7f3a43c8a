// Gradients of trained weights with their scales and zero points: LSQ (lr-qat.md §2.2). The product D = dYsᵀX has been
// summed over the step in the memory of dW; a pass over it gives everything else, since weights and scales stay as they
// are within a step.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/grid.h"
#include "cpu/cpu_backend.h"
#include "cpu/rounded_rows.h"
#include "cpu/row_blocks.h"

namespace lrqat::cpu {

namespace {

/// Sums over the weights that share a scale.
struct ScaleSums {
  double scale = 0;    // Σ G∘(V − M∘x)
  double outside = 0;  // Σ G∘(1 − M)
};

class WeightGradient {
 public:
  explicit WeightGradient(const WeightGradientTask& task)
      : task_(task),
        weight_(*task.weight),
        spec_(weight_.spec),
        perChannel_(spec_.granularity != Granularity::Group),
        rounded_(weight_, task.lowRank, WeightForm::Trained, nullptr),
        kernels_(LRQAT_SELECT_KERNELS(weightKernels)) {}

  void finish(int threads) const {
    const int64_t m = weight_.m;
    const int64_t groups = perChannel_ ? 1 : weight_.n / spec_.groupSize;
    const int64_t blocks = (m + kRowBlock - 1) / kRowBlock;
    const bool tensor = spec_.granularity == Granularity::Tensor;
    std::vector<ScaleSums> rowSums(tensor ? static_cast<size_t>(m) : 0);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t first = block * kRowBlock;
      for (int64_t row = first; row < std::min(m, first + kRowBlock); ++row) {
        if (tensor) {
          rowSums[static_cast<size_t>(row)] = pass(row, 0, weight_.n, 0);
          continue;
        }
        for (int64_t group = 0; group < groups; ++group) {
          const int64_t columns = weight_.n / groups;
          const int64_t index = row * groups + group;
          store(index, pass(row, group * columns, columns, index));
        }
      }
    }
    if (!tensor) return;
    ScaleSums total;
    for (const ScaleSums& sums : rowSums) {
      total.scale += sums.scale;
      total.outside += sums.outside;
    }
    store(0, total);
  }

 private:
  /// `columns` columns of a row from `first` on, all with the scale `index`: D becomes dW.
  ScaleSums pass(int64_t row, int64_t first, int64_t columns, int64_t index) const {
    ScaleSums sums;
    const float scale = task_.lowRank.scale[index];
    const float* values = task_.lowRank.weight + row * weight_.n;
    float* gradient = task_.gradient.weight + row * weight_.n;
    constexpr float unlimited = std::numeric_limits<float>::infinity();
    const int64_t end = first + columns;
    alignas(64) float r[kChunkColumns];
    alignas(64) float excess[kChunkColumns];  // V − M∘x
    for (int64_t from = first; from < end; from += kChunkColumns) {
      const auto count = static_cast<int>(std::min<int64_t>(kChunkColumns, end - from));
      rounded_.compute(row, 1, from, count, r);
      rounded_.grids().forParts(row, from, count, [&](int offset, int part, float low, float high) {
        const int64_t column = from + offset;
        const float* rounded = r + offset;
        float* g = gradient + column;
        for (int j = 0; j < part; ++j) {
          const float x = values[column + j] / scale;
          excess[j] = rounded[j] < low ? low : rounded[j] > high ? high : rounded[j] - x;
        }
        // Column scales outside of the product: D is s·G.
        if (perChannel_) {
          for (int j = 0; j < part; ++j) g[j] /= scale;
        }
        sums.scale += static_cast<double>(kernels_.gradientProduct(g, excess, part, -unlimited, unlimited));
        sums.outside += static_cast<double>(kernels_.outsideSum(g, rounded, part, low, high));
        kernels_.maskGradient(g, rounded, nullptr, part, low, high, g);
      });
    }
    return sums;
  }

  void store(int64_t index, const ScaleSums& sums) const {
    const double scale = task_.lowRank.scale[index];
    if (task_.gradient.scale) {
      const bool log = spec_.scaleDomain == ScaleDomain::Log;
      const bool stopped = !log && task_.theta[index] < kScaleFloor;
      task_.gradient.scale[index] = stopped ? 0 : static_cast<float>(factor() * sums.scale * (log ? scale : 1));
    }
    if (task_.gradient.zero) {
      const bool passes = zeroPointPasses(task_.zeroTheta[index], spec_.levels());
      task_.gradient.zero[index] = passes ? static_cast<float>(-factor() * scale * sums.outside) : 0;
    }
  }

  /// 1/√(qmax·N) with gradient scaling (Esser et al., Learned Step Size Quantization, §2.2).
  double factor() const {
    if (!spec_.gradientScaling) return 1;
    const double perScale =
        static_cast<double>(weight_.m * weight_.n) / static_cast<double>(spec_.scaleCount(weight_.m, weight_.n));
    return 1 / std::sqrt(static_cast<double>(spec_.symmetric ? spec_.qmax() : spec_.levels()) * perScale);
  }

  const WeightGradientTask& task_;
  const LinearWeight& weight_;
  const QuantSpec& spec_;
  bool perChannel_;  // or per tensor
  RoundedRows rounded_;
  const WeightKernels& kernels_;
};

}  // namespace

void CpuBackend::finishWeightGradients(std::span<const WeightGradientTask> tasks) {
  for (const WeightGradientTask& task : tasks) WeightGradient(task).finish(threads_);
}

}  // namespace lrqat::cpu
