// Range search on rows of the pretrained weight in device memory: the scales that the CPU finds, to the bit.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "core/types.h"

namespace lrqat::cuda {

/// What a search reports besides scales.
struct RangeReport {
  long long notFiniteRow;  // smallest row with NaN or infinity; large when there is none
  float tensorRange;       // max|x| of the tensor
  float below, above;      // of the tensor: max −x and max x, 0 included
};

/// A grid for every candidate scale: −zero … levels − zero.
struct CandidateGrids {
  float zero[100] = {};
  float levels = 0;  // 0: the symmetric grid for all
};

/// Rows firstRow … of a weight with n columns, on the device in the checkpoint's type.
struct WeightRows {
  const void* data = nullptr;  // [rows, n]
  DType type = DType::F32;
  int64_t rows = 0;
  int64_t n = 0;
  int64_t firstRow = 0;
};

/// Channel and group scales: scale [rows · n / segment].
void searchSegments(const QuantSpec& spec, const WeightRows& rows, float* scale, RangeReport* report,
                    cudaStream_t stream);

/// The same around zero points [rows · n / segment], by the search of the CPU (cpu/range.h).
void searchSegmentPairs(const QuantSpec& spec, const WeightRows& rows, float* scale, float* zero, RangeReport* report,
                        cudaStream_t stream);

/// Tensor scale, for all panels first the range, then the losses, then the choice.
void growTensorRange(const WeightRows& rows, RangeReport* report, cudaStream_t stream);
/// blockLosses [ceil(m / 64), 100] += the losses of these rows, row after row; rowLosses: [rows, 100] to work in.
void addTensorLosses(const QuantSpec& spec, const WeightRows& rows, const CandidateGrids& grids,
                     const RangeReport* report, double* rowLosses, double* blockLosses, cudaStream_t stream);
/// totals [100] = sums of the blocks' losses, in host memory; waits for them.
void tensorTotals(int64_t m, const double* blockLosses, double* deviceTotals, double* totals, cudaStream_t stream);
void chooseTensorScale(const QuantSpec& spec, int64_t m, const RangeReport* report, const double* blockLosses,
                       float* scale, cudaStream_t stream);

constexpr int64_t kTensorBlockRows = 64;

}  // namespace lrqat::cuda
