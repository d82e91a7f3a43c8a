#include "cuda/kernels/residual_norm.h"

#include "cuda/check.h"
#include "cuda/kernels/norm_rows.cuh"
#include "cuda/kernels/reduce.cuh"
#include "cuda/kernels/reduce.h"
#include "cuda/kernels/vector.cuh"

namespace lrqat::cuda {

namespace {

// A block walks over its rows; a thread holds K vectors of N elements of a row, and the sums of those columns.
// partial: [tiles, cols] or null
template <typename Dy, typename X, typename E, int N, int K>
__global__ void __launch_bounds__(maximumRowThreads<N>)
    addResidualNormBackwardKernel(const Dy* dy, const X* x, const float* weight, const float* rstd, float* dx,
                                  DeviceRaw<E> raw, E* dYs, float* partial, int64_t rows, int64_t tileRows,
                                  int64_t cols) {
  __shared__ float shared[2][warpSize32];
  float sums[K][N] = {};
  const int64_t first = static_cast<int64_t>(blockIdx.x) * tileRows;
  const int64_t end = min(rows, first + tileRows);
  // The next row is on its way while this one waits for its sum, where registers suffice for two.
  constexpr bool ahead = K <= 2 && N > 1;
  struct RowBits {
    Bits<Dy, N> dy[K];
    Bits<X, N> x[K];
    Bits<float, N> before[K];
    Bits<E, N> p[K];
  };
  RowBits next;
  const auto fetch = [&](int64_t row) {
    const int64_t start = row * cols;
#pragma unroll
    for (int k = 0; k < K; ++k) {
      const int64_t column = static_cast<int64_t>(k * blockDim.x + threadIdx.x) * N;
      if (column >= cols) continue;
      next.dy[k].load(dy + start + column);
      next.x[k].load(x + start + column);
      next.before[k].load(dx + start + column);
      if (partial) next.p[k].load(raw.p + start + column);
    }
  };
  if (ahead) fetch(first);
  for (int64_t row = first; row < end; ++row) {
    const int64_t start = row * cols;
    if (!ahead) fetch(row);
    const RowBits bits = next;
    if (ahead && row + 1 < end) fetch(row + 1);
    const float r = rstd[row];
    float dot = 0;
    float weighted[K][N];
#pragma unroll
    for (int k = 0; k < K; ++k) {
      const int64_t column = static_cast<int64_t>(k * blockDim.x + threadIdx.x) * N;
      if (column >= cols) continue;
      float w[N];
      float values[N];
      loadParameters(weight + column, w);
      bits.dy[k].unpack(weighted[k]);
      bits.x[k].unpack(values);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        weighted[k][i] *= w[i];
        dot = fmaf(weighted[k][i], values[i], dot);
      }
    }
    // Two sets of places: a fast warp may be a row ahead of the slowest reader.
    const float factor = blockSum(dot, shared[row % 2]) * r * r / static_cast<float>(cols);
#pragma unroll
    for (int k = 0; k < K; ++k) {
      const int64_t column = static_cast<int64_t>(k * blockDim.x + threadIdx.x) * N;
      if (column >= cols) continue;
      float values[N];
      float sum[N];
      bits.x[k].unpack(values);
      bits.before[k].unpack(sum);
#pragma unroll
      for (int i = 0; i < N; ++i) sum[i] = fmaf(fmaf(-values[i], factor, weighted[k][i]), r, sum[i]);
      storeFloats(dx + start + column, sum);
      if (partial) {
        bits.p[k].unpack(values);
#pragma unroll
        for (int i = 0; i < N; ++i) sums[k][i] = fmaf(sum[i], values[i], sums[k][i]);
      }
      RawColumns<N> columns;
      columns.load(raw.rowScale, nullptr, column);
#pragma unroll
      for (int i = 0; i < N; ++i) sum[i] *= columns.scale[i];
      storeFloats(dYs + start + column, sum);
    }
  }
  if (!partial) return;
#pragma unroll
  for (int k = 0; k < K; ++k) {
    const int64_t column = static_cast<int64_t>(k * blockDim.x + threadIdx.x) * N;
    if (column < cols) storeFloats(partial + blockIdx.x * cols + column, sums[k]);
  }
}

}  // namespace

int64_t addResidualNormBackwardScratchBytes(int64_t tokens, int64_t columns) {
  return rowTileSumsScratchBytes(tokens, columns);
}

void addResidualNormBackward(Matrix dy, Matrix x, const float* weight, const float* rstd, Matrix dx,
                             const RawOutput& raw, const RawOutputGradient& gradient, Scratch& scratch,
                             cudaStream_t stream) {
  const Matrix& dYs = gradient.dYs;
  for (const Matrix& matrix : {dy, x, raw.p, dYs}) LRQAT_CHECK(matrix.rows == dx.rows && matrix.cols == dx.cols);
  LRQAT_CHECK(dx.type == DType::F32 && dYs.type == raw.p.type);
  if (dx.rows == 0) return;
  const RowTiles tiles(dx.rows);
  float* const partial = gradient.rowScaleGradient ? scratch.take<float>(tiles.count * dx.cols) : nullptr;
  bool wide = allowsWidth(raw) && isAligned(weight);
  for (const Matrix& matrix : {dy, x, dx, raw.p, dYs}) wide = wide && allowsWidth(matrix, 4);
  dispatchActivation(dy.type, [&](auto dyElement) {
    dispatchActivation(x.type, [&](auto xElement) {
      dispatchActivation(raw.p.type, [&](auto element) {
        using Dy = decltype(dyElement);
        using X = decltype(xElement);
        using E = decltype(element);
        const auto launch = [&]<int N>() {
          chooseRowShape<N>(dx.cols, [&]<int K>(unsigned threads) {
            addResidualNormBackwardKernel<Dy, X, E, N, K><<<static_cast<unsigned>(tiles.count), threads, 0, stream>>>(
                elements<Dy>(dy), elements<X>(x), weight, rstd, elements<float>(dx), DeviceRaw<E>::of(raw),
                elements<E>(dYs), partial, dx.rows, tiles.size, dx.cols);
          });
        };
        if (wide) {
          launch.template operator()<4>();
        } else {
          launch.template operator()<1>();
        }
      });
    });
  });
  LRQAT_CUDA(cudaGetLastError());
  addColumnSums(tiles.count, dx.cols, {partial, gradient.rowScaleGradient}, {}, stream);
}

}  // namespace lrqat::cuda
