// The frame of all element-wise operations whose columns have parameters (scale, bias) and perhaps sums over the rows:
// a thread keeps the parameters of N columns in registers and walks down its rows of a tile, several loads in flight.
//
// An Op gives
//   static constexpr int width   N, columns of a thread
//   static constexpr int sums    sets of column sums, 0…2
//   static constexpr int unroll  rows whose loads are in flight together
//   static constexpr int blocks  of a multiprocessor at least: bounds the registers
//   struct Columns               registers of a column
//   struct Loaded                bits of N elements of one row of every input
//   void columns(int64_t column, Columns&)
//   void load(int64_t row, int64_t column, Loaded&)
//   void apply(int64_t row, int64_t column, const Columns&, const Loaded&, float (&sums)[max(1, Op::sums)][N])
// Outputs may lie over inputs of the same size: all inputs of a place are read before it is written.
#pragma once

#include <algorithm>

#include "cuda/check.h"
#include "cuda/kernels/reduce.h"
#include "cuda/kernels/vector.cuh"

namespace lrqat::cuda {

inline constexpr int stripThreads = 32;
inline constexpr int stripRows = 8;

/// Rows of a tile: without sums small tiles keep more blocks busy.
template <typename Op>
constexpr int64_t tileRowsOf = Op::sums > 0 ? sumTileRows : sumTileRows / 2;

// grid: (strips of 32·N columns, row tiles); block: (32, 8)
template <typename Op>
__global__ void __launch_bounds__(stripThreads* stripRows, Op::blocks)
    columnKernel(Op op, int64_t rows, int64_t cols, float* partial0, float* partial1) {
  constexpr int N = Op::width;
  constexpr int sets = Op::sums > 0 ? Op::sums : 1;
  constexpr int unroll = Op::unroll;
  const int64_t column = (static_cast<int64_t>(blockIdx.x) * stripThreads + threadIdx.x) * N;
  const int64_t end = min(rows, (static_cast<int64_t>(blockIdx.y) + 1) * tileRowsOf<Op>);
  float sums[sets][N] = {};
  if (column < cols) {
    typename Op::Loaded loaded[unroll];
    const auto load = [&](int64_t row) {
#pragma unroll
      for (int u = 0; u < unroll; ++u) {
        if (row + u * stripRows < end) op.load(row + u * stripRows, column, loaded[u]);
      }
    };
    int64_t row = blockIdx.y * tileRowsOf<Op> + threadIdx.y;
    load(row);
    typename Op::Columns columns;
    op.columns(column, columns);
    while (row < end) {
#pragma unroll
      for (int u = 0; u < unroll; ++u) {
        if (row + u * stripRows < end) op.apply(row + u * stripRows, column, columns, loaded[u], sums);
      }
      row += unroll * stripRows;
      load(row);
    }
  }
  if constexpr (Op::sums > 0) {
    __shared__ float shared[stripRows][stripThreads * N];
    float* const partials[2] = {partial0, partial1};
#pragma unroll
    for (int set = 0; set < sets; ++set) {
      if (!partials[set]) continue;
      if (set > 0) __syncthreads();
#pragma unroll
      for (int i = 0; i < N; ++i) shared[threadIdx.y][i * stripThreads + threadIdx.x] = sums[set][i];
      __syncthreads();
      // Neighbouring threads now take neighbouring columns, so that the partial sums leave in whole lines.
      for (int j = static_cast<int>(threadIdx.y * stripThreads + threadIdx.x); j < stripThreads * N;
           j += stripThreads * stripRows) {
        const int64_t target = static_cast<int64_t>(blockIdx.x) * stripThreads * N + j;
        if (target >= cols) break;
        float total = 0;
#pragma unroll
        for (int r = 0; r < stripRows; ++r) total += shared[r][j % N * stripThreads + j / N];
        partials[set][blockIdx.y * cols + target] = total;
      }
    }
  }
}

/// Runs Op over [rows, cols]; targets: where the column sums are added, null if not wanted.
template <typename Op>
void launchColumns(const Op& op, int64_t rows, int64_t cols, float* target0, float* target1, Scratch* scratch,
                   cudaStream_t stream) {
  if (rows == 0 || cols == 0) return;
  const int64_t tiles = (rows + tileRowsOf<Op> - 1) / tileRowsOf<Op>;
  float* const partial0 = target0 ? scratch->take<float>(tiles * cols) : nullptr;
  float* const partial1 = target1 ? scratch->take<float>(tiles * cols) : nullptr;
  constexpr int64_t strip = int64_t{stripThreads} * Op::width;
  const dim3 grid(static_cast<unsigned>((cols + strip - 1) / strip), static_cast<unsigned>(tiles));
  columnKernel<<<grid, dim3(stripThreads, stripRows), 0, stream>>>(op, rows, cols, partial0, partial1);
  LRQAT_CUDA(cudaGetLastError());
  addColumnSums(tiles, cols, {partial0, target0}, {partial1, target1}, stream);
}

}  // namespace lrqat::cuda
