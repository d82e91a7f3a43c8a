#include "cuda/kernels/parameter_gradients.h"

#include "cuda/kernels/reduce.cuh"
#include "cuda/kernels/reduce_columns.cuh"

namespace lrqat::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

template <typename X, int N>
struct NormWeightGradient {
  static constexpr int width = N;
  static constexpr int sums = 1;
  static constexpr int unroll = 4;
  static constexpr int blocks = 2;
  struct Columns {};
  struct Loaded {
    Bits<float, N> dy;
    Bits<X, N> x;
    float rstd;
  };
  const float* dy;    // [T, d]
  const X* x;         // [T, d]
  const float* rstd;  // [T]
  int64_t cols;

  __device__ void columns(int64_t, Columns&) const {}
  __device__ void load(int64_t row, int64_t column, Loaded& loaded) const {
    loaded.dy.load(dy + row * cols + column);
    loaded.x.load(x + row * cols + column);
    loaded.rstd = __ldg(rstd + row);
  }
  __device__ void apply(int64_t, int64_t, const Columns&, const Loaded& loaded, float (&sums)[1][N]) const {
    float gradient[N];
    float value[N];
    loaded.dy.unpack(gradient);
    loaded.x.unpack(value);
#pragma unroll
    for (int i = 0; i < N; ++i) sums[0][i] = fmaf(gradient[i], value[i] * loaded.rstd, sums[0][i]);
  }
};

constexpr int kMostHeadDim = 512;
/// Pairs (i, i + headDim/2) of a lane.
constexpr int kPairs = kMostHeadDim / 2 / 32;

struct Heads {
  int heads;
  int headDim;
  float epsilon;
  const float* cosine;  // [length, headDim/2]; null: no rotation
  const float* sine;
  int64_t length;
};

/// A block a tile of rows, a warp a head of a row: partial[tile] [headDim].
template <typename E>
__global__ void __launch_bounds__(kThreads)
    headNormWeights(const E* dOut, const E* p, const float* scale, const float* bias, Heads heads, int64_t rows,
                    int64_t tileRows, float* partial) {
  __shared__ float shared[kWarps][kMostHeadDim];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int half = heads.headDim / 2;
  const int64_t first = blockIdx.x * tileRows;
  const int64_t count = min(tileRows, rows - first) * heads.heads;
  float sums[kPairs][2] = {};
  for (int64_t at = warp; at < count; at += kWarps) {
    const int64_t row = first + at / heads.heads;
    const int64_t column = at % heads.heads * heads.headDim;
    const int64_t start = row * heads.heads * heads.headDim + column;
    float y[kPairs][2] = {};
    float squares = 0;
#pragma unroll
    for (int k = 0; k < kPairs; ++k) {
      const int i = k * 32 + lane;
      if (i >= half) break;
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        const int64_t j = i + part * half;
        float value = toFloat(p[start + j]);
        if (scale) value *= scale[column + j];
        if (bias) value += bias[column + j];
        y[k][part] = value;
        squares = fmaf(value, value, squares);
      }
    }
    const float r = 1.0F / sqrtf(warpSum(squares) / static_cast<float>(heads.headDim) + heads.epsilon);
#pragma unroll
    for (int k = 0; k < kPairs; ++k) {
      const int i = k * 32 + lane;
      if (i >= half) break;
      float g0 = toFloat(dOut[start + i]);
      float g1 = toFloat(dOut[start + half + i]);
      if (heads.cosine) {
        const int64_t angle = row % heads.length * half + i;
        const float c = heads.cosine[angle];
        const float s = heads.sine[angle];
        const float turned = fmaf(g0, c, g1 * s);
        g1 = fmaf(g1, c, -(g0 * s));
        g0 = turned;
      }
      sums[k][0] = fmaf(g0, y[k][0] * r, sums[k][0]);
      sums[k][1] = fmaf(g1, y[k][1] * r, sums[k][1]);
    }
  }
#pragma unroll
  for (int k = 0; k < kPairs; ++k) {
    const int i = k * 32 + lane;
    if (i >= half) break;
    shared[warp][i] = sums[k][0];
    shared[warp][half + i] = sums[k][1];
  }
  __syncthreads();
  for (int j = static_cast<int>(threadIdx.x); j < heads.headDim; j += kThreads) {
    float total = 0;
    for (int w = 0; w < kWarps; ++w) total += shared[w][j];
    partial[static_cast<int64_t>(blockIdx.x) * heads.headDim + j] = total;
  }
}

/// A block a row of dX; the first row of an id adds all of them, in their order.
__global__ void __launch_bounds__(kThreads)
    addRowsOfIds(const float* dX, const int32_t* ids, int64_t rows, int64_t cols, float* gradient) {
  __shared__ int32_t matches[kThreads];
  __shared__ int warpMatches[kWarps];
  const int64_t row = blockIdx.x;
  const int32_t id = ids[row];
  bool earlier = false;
  for (int64_t other = threadIdx.x; other < row; other += kThreads) earlier = earlier || ids[other] == id;
  if (__syncthreads_or(earlier)) return;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  float* target = gradient + id * cols;
  for (int64_t start = row; start < rows; start += kThreads) {
    const int64_t other = start + threadIdx.x;
    const bool match = other < rows && ids[other] == id;
    const unsigned ballot = __ballot_sync(0xffffffffU, match);
    if (lane == 0) warpMatches[warp] = __popc(ballot);
    __syncthreads();
    int place = 0;
    int total = 0;
    for (int w = 0; w < kWarps; ++w) {
      if (w < warp) place += warpMatches[w];
      total += warpMatches[w];
    }
    if (match) matches[place + __popc(ballot & ((1U << lane) - 1U))] = static_cast<int32_t>(threadIdx.x);
    __syncthreads();
    for (int64_t column = threadIdx.x; total > 0 && column < cols; column += kThreads) {
      float sum = target[column];
#pragma unroll 4
      for (int i = 0; i < total; ++i) sum += dX[(start + matches[i]) * cols + column];
      target[column] = sum;
    }
    __syncthreads();
  }
}

}  // namespace

int64_t rmsNormWeightGradientScratchBytes(int64_t tokens, int64_t columns) {
  return columnSumsScratchBytes(tokens, columns, 1);
}

void rmsNormWeightGradient(Matrix dy, Matrix x, const float* rstd, float* gradient, Scratch& scratch,
                           cudaStream_t stream) {
  LRQAT_CHECK(dy.type == DType::F32 && dy.rows == x.rows && dy.cols == x.cols);
  dispatchActivation(x.type, [&](auto e) {
    using X = decltype(e);
    const auto launch = [&]<int N>() {
      launchColumns(NormWeightGradient<X, N>{elements<float>(dy), elements<X>(x), rstd, dy.cols}, dy.rows, dy.cols,
                    gradient, nullptr, &scratch, stream);
    };
    if (allowsWidth(dy, 4) && allowsWidth(x, 4)) {
      launch.template operator()<4>();
    } else {
      launch.template operator()<1>();
    }
  });
}

int64_t headNormWeightGradientScratchBytes(int64_t tokens, int64_t headDim) {
  return rowTileSumsScratchBytes(tokens, headDim);
}

void headNormWeightGradient(Matrix dOut, const RawOutput& raw, const HeadTransform& transform, float* gradient,
                            Scratch& scratch, cudaStream_t stream) {
  LRQAT_CHECK(dOut.cols == transform.heads * transform.headDim && transform.headDim % 2 == 0);
  LRQAT_CHECK(transform.headDim <= kMostHeadDim && (!transform.cosine || transform.length > 0));
  LRQAT_CHECK(raw.p.cols == dOut.cols && raw.p.rows == dOut.rows && raw.p.type == dOut.type);
  if (dOut.rows == 0) return;
  const RowTiles tiles(dOut.rows);
  auto* partial = scratch.take<float>(tiles.count * transform.headDim);
  const Heads heads{static_cast<int>(transform.heads),
                    static_cast<int>(transform.headDim),
                    transform.normEpsilon,
                    transform.cosine,
                    transform.sine,
                    transform.length};
  dispatchActivation(dOut.type, [&](auto e) {
    using E = decltype(e);
    headNormWeights<E><<<static_cast<unsigned>(tiles.count), kThreads, 0, stream>>>(
        elements<E>(dOut), elements<E>(raw.p), raw.rowScale, raw.bias, heads, dOut.rows, tiles.size, partial);
  });
  LRQAT_CUDA(cudaGetLastError());
  addColumnSums(tiles.count, transform.headDim, {partial, gradient}, {}, stream);
}

void embedGradient(Matrix dX, const int32_t* ids, Matrix gradient, cudaStream_t stream) {
  LRQAT_CHECK(dX.type == DType::F32 && gradient.type == DType::F32 && dX.cols == gradient.cols);
  LRQAT_CHECK(dX.rows <= INT32_MAX);
  if (dX.elements() == 0) return;
  addRowsOfIds<<<static_cast<unsigned>(dX.rows), kThreads, 0, stream>>>(elements<float>(dX), ids, dX.rows, dX.cols,
                                                                        elements<float>(gradient));
  LRQAT_CUDA(cudaGetLastError());
}

}  // namespace lrqat::cuda
