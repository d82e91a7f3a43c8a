#include "cuda/kernels/heads.h"

#include <bit>
#include <string>

#include "cuda/check.h"
#include "cuda/kernels/reduce.cuh"
#include "cuda/kernels/reduce.h"
#include "cuda/kernels/vector.cuh"

namespace lrqat::cuda {

namespace {

constexpr int64_t maximumHeadDim = 512;
constexpr int laneThreads = 32;
constexpr int rowThreads = 8;

/// A head belongs to `lanes` neighbouring threads of a warp (a power of two). A thread holds K times N elements of the
/// head's first half and their partners of the second half: it turns pairs without help, and norms need shuffles only.
struct HeadShape {
  int heads;
  int headDim;
  int lanes;
  float normEpsilon;
  const float* normWeight;  // [headDim] or null
  const float* cosine;      // [length, headDim/2] or null
  const float* sine;
  uint32_t length;
};

/// Which elements of a row the thread holds.
template <int N, int K>
struct Place {
  int head;
  int lane;
  bool insideHead;

  __device__ explicit Place(const HeadShape& shape) {
    const int unit = static_cast<int>(blockIdx.x) * laneThreads + static_cast<int>(threadIdx.x);
    head = unit / shape.lanes;
    lane = unit % shape.lanes;
    insideHead = head < shape.heads;
  }
  /// Index within the first half of the k-th vector.
  __device__ int within(const HeadShape& shape, int k) const { return (k * shape.lanes + lane) * N; }
  __device__ bool inside(const HeadShape& shape, int k) const {
    return insideHead && within(shape, k) < shape.headDim / 2;
  }
  __device__ int column(const HeadShape& shape, int k, int half) const {
    return head * shape.headDim + half * (shape.headDim / 2) + within(shape, k);
  }
};

__device__ __forceinline__ float headSum(float value, int lanes) {
  for (int offset = lanes / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffU, value, offset);
  return value;
}

template <int N, int K>
__device__ __forceinline__ float inverseRoot(const HeadShape& shape, const float (&y)[K][2][N]) {
  float squares = 0;
#pragma unroll
  for (int k = 0; k < K; ++k) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int i = 0; i < N; ++i) squares = fmaf(y[k][half][i], y[k][half][i], squares);
    }
  }
  return 1.0F / sqrtf(headSum(squares, shape.lanes) / static_cast<float>(shape.headDim) + shape.normEpsilon);
}

template <int N, int K>
__device__ __forceinline__ void rotate(const HeadShape& shape, const Place<N, K>& place, int64_t row, float direction,
                                       float (&y)[K][2][N]) {
  const int64_t start = static_cast<int64_t>(static_cast<uint32_t>(row) % shape.length) * (shape.headDim / 2);
#pragma unroll
  for (int k = 0; k < K; ++k) {
    if (!place.inside(shape, k)) continue;
    float c[N];
    float s[N];
    loadParameters(shape.cosine + start + place.within(shape, k), c);
    loadParameters(shape.sine + start + place.within(shape, k), s);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float first = y[k][0][i];
      const float second = y[k][1][i];
      const float turn = s[i] * direction;
      y[k][0][i] = first * c[i] - second * turn;
      y[k][1][i] = second * c[i] + first * turn;
    }
  }
}

template <typename E, int N, int K>
using HeadBits = Bits<E, N>[K][2];

template <typename E, int N, int K>
__device__ __forceinline__ void loadHead(const HeadShape& shape, const Place<N, K>& place, const E* row,
                                         HeadBits<E, N, K>& bits) {
#pragma unroll
  for (int k = 0; k < K; ++k) {
    if (!place.inside(shape, k)) continue;
    bits[k][0].load(row + place.column(shape, k, 0));
    bits[k][1].load(row + place.column(shape, k, 1));
  }
}

template <typename E, int N, int K>
__device__ __forceinline__ void unpackHead(const HeadShape& shape, const Place<N, K>& place,
                                           const HeadBits<E, N, K>& bits, float (&v)[K][2][N]) {
#pragma unroll
  for (int k = 0; k < K; ++k) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (place.inside(shape, k)) {
        bits[k][half].unpack(v[k][half]);
      } else {
#pragma unroll
        for (int i = 0; i < N; ++i) v[k][half][i] = 0;
      }
    }
  }
}

template <int N, int K>
struct HeadColumns {
  RawColumns<N> columns[K][2];

  __device__ void load(const HeadShape& shape, const Place<N, K>& place, const float* rowScale, const float* bias) {
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (!place.inside(shape, k)) continue;
      columns[k][0].load(rowScale, bias, place.column(shape, k, 0));
      columns[k][1].load(rowScale, bias, place.column(shape, k, 1));
    }
  }
  /// v becomes s∘v + bias.
  __device__ void apply(const HeadShape& shape, const Place<N, K>& place, float (&v)[K][2][N]) const {
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (!place.inside(shape, k)) continue;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int i = 0; i < N; ++i) v[k][half][i] = columns[k][half].value(v[k][half][i], i);
      }
    }
  }
};

constexpr int64_t forwardTileRows = 32;

// grid: (strips of 32 threads' columns, row tiles); block: (32, 8)
template <typename E, int N, int K>
__global__ void __launch_bounds__(laneThreads* rowThreads)
    projectHeadsKernel(HeadShape shape, DeviceRaw<E> raw, E* out, int64_t rows, int64_t cols) {
  constexpr int unroll = K == 1 ? 2 : 1;
  const Place<N, K> place(shape);
  HeadColumns<N, K> columns;
  columns.load(shape, place, raw.rowScale, raw.bias);
  const int64_t end = min(rows, (static_cast<int64_t>(blockIdx.y) + 1) * forwardTileRows);
  for (int64_t first = blockIdx.y * forwardTileRows + threadIdx.y; first < end; first += unroll * rowThreads) {
    HeadBits<E, N, K> bits[unroll];
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      const int64_t row = first + u * rowThreads;
      if (row < end) loadHead<E, N, K>(shape, place, raw.p + row * cols, bits[u]);
    }
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      const int64_t row = first + u * rowThreads;
      if (row >= end) continue;
      float y[K][2][N];
      unpackHead<E, N, K>(shape, place, bits[u], y);
      columns.apply(shape, place, y);
      if (shape.normWeight) {
        const float r = inverseRoot<N, K>(shape, y);
#pragma unroll
        for (int k = 0; k < K; ++k) {
          if (!place.inside(shape, k)) continue;
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            float w[N];
            loadParameters(shape.normWeight + half * (shape.headDim / 2) + place.within(shape, k), w);
#pragma unroll
            for (int i = 0; i < N; ++i) y[k][half][i] = y[k][half][i] * r * w[i];
          }
        }
      }
      if (shape.cosine) rotate<N, K>(shape, place, row, 1, y);
#pragma unroll
      for (int k = 0; k < K; ++k) {
        if (!place.inside(shape, k)) continue;
        storeFloats(out + row * cols + place.column(shape, k, 0), y[k][0]);
        storeFloats(out + row * cols + place.column(shape, k, 1), y[k][1]);
      }
    }
  }
}

/// dy becomes the gradient of y, what the norm read.
template <int N, int K>
__device__ __forceinline__ void normBackward(const HeadShape& shape, const Place<N, K>& place,
                                             const float (&y)[K][2][N], float (&dy)[K][2][N]) {
  const float r = inverseRoot<N, K>(shape, y);
  float dot = 0;
#pragma unroll
  for (int k = 0; k < K; ++k) {
    if (!place.inside(shape, k)) continue;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float w[N];
      loadParameters(shape.normWeight + half * (shape.headDim / 2) + place.within(shape, k), w);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        dy[k][half][i] *= w[i];
        dot = fmaf(dy[k][half][i], y[k][half][i], dot);
      }
    }
  }
  const float factor = headSum(dot, shape.lanes) * r * r / static_cast<float>(shape.headDim);
#pragma unroll
  for (int k = 0; k < K; ++k) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int i = 0; i < N; ++i) dy[k][half][i] = fmaf(-y[k][half][i], factor, dy[k][half][i]) * r;
    }
  }
}

// grid: (strips, row tiles); block: (32, 8); partial [tiles, cols] or null
template <typename E, int N, int K>
__global__ void __launch_bounds__(laneThreads* rowThreads)
    projectHeadsBackwardKernel(HeadShape shape, const E* dOut, DeviceRaw<E> raw, E* dYs, float* partial, int64_t rows,
                               int64_t cols) {
  constexpr int unroll = K == 1 ? 2 : 1;
  const Place<N, K> place(shape);
  HeadColumns<N, K> columns;
  columns.load(shape, place, raw.rowScale, raw.bias);
  float sums[K][2][N] = {};
  const bool needsP = partial || shape.normWeight;
  const int64_t end = min(rows, (static_cast<int64_t>(blockIdx.y) + 1) * sumTileRows);
  for (int64_t first = blockIdx.y * sumTileRows + threadIdx.y; first < end; first += unroll * rowThreads) {
    HeadBits<E, N, K> gradientBits[unroll];
    HeadBits<E, N, K> pBits[unroll];
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      const int64_t row = first + u * rowThreads;
      if (row >= end) continue;
      loadHead<E, N, K>(shape, place, dOut + row * cols, gradientBits[u]);
      if (needsP) loadHead<E, N, K>(shape, place, raw.p + row * cols, pBits[u]);
    }
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      const int64_t row = first + u * rowThreads;
      if (row >= end) continue;
      float dy[K][2][N];
      float p[K][2][N];
      unpackHead<E, N, K>(shape, place, gradientBits[u], dy);
      if (shape.cosine) rotate<N, K>(shape, place, row, -1, dy);
      if (shape.normWeight) {
        unpackHead<E, N, K>(shape, place, pBits[u], p);
        columns.apply(shape, place, p);
        normBackward<N, K>(shape, place, p, dy);
      }
      if (partial) {
        unpackHead<E, N, K>(shape, place, pBits[u], p);
#pragma unroll
        for (int k = 0; k < K; ++k) {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
#pragma unroll
            for (int i = 0; i < N; ++i) sums[k][half][i] = fmaf(dy[k][half][i], p[k][half][i], sums[k][half][i]);
          }
        }
      }
#pragma unroll
      for (int k = 0; k < K; ++k) {
        if (!place.inside(shape, k)) continue;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
#pragma unroll
          for (int i = 0; i < N; ++i) dy[k][half][i] *= columns.columns[k][half].scale[i];
          storeFloats(dYs + row * cols + place.column(shape, k, half), dy[k][half]);
        }
      }
    }
  }
  if (!partial) return;
  // [element of a thread][thread]: written without bank conflicts, read column by column.
  __shared__ float shared[rowThreads][2 * K * N * laneThreads];
#pragma unroll
  for (int k = 0; k < K; ++k) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        shared[threadIdx.y][((k * 2 + half) * N + i) * laneThreads + threadIdx.x] = sums[k][half][i];
      }
    }
  }
  __syncthreads();
  const int half = shape.headDim / 2;
  const int stripColumns = laneThreads / shape.lanes * shape.headDim;
  for (int j = static_cast<int>(threadIdx.y * laneThreads + threadIdx.x); j < stripColumns;
       j += laneThreads * rowThreads) {
    const int64_t column = static_cast<int64_t>(blockIdx.x) * stripColumns + j;
    if (column >= cols) break;
    const int inHead = j % shape.headDim;
    const int inHalf = inHead % half;
    const int vector = inHalf / N;
    const int thread = j / shape.headDim * shape.lanes + vector % shape.lanes;
    const int element = (vector / shape.lanes * 2 + inHead / half) * N + inHalf % N;
    float total = 0;
#pragma unroll
    for (int r = 0; r < rowThreads; ++r) total += shared[r][element * laneThreads + thread];
    partial[blockIdx.y * cols + column] = total;
  }
}

HeadShape shapeOf(const HeadTransform& transform, int width) {
  const auto vectors = static_cast<unsigned>((transform.headDim / 2 + width - 1) / width);
  return {.heads = static_cast<int>(transform.heads),
          .headDim = static_cast<int>(transform.headDim),
          .lanes = static_cast<int>(std::bit_ceil(std::min(vectors, 32U))),
          .normEpsilon = transform.normEpsilon,
          .normWeight = transform.normWeight,
          .cosine = transform.cosine,
          .sine = transform.sine,
          .length = static_cast<uint32_t>(transform.length)};
}

void check(const HeadTransform& transform, const Matrix& heads, const Matrix& p) {
  LRQAT_CHECK(heads.cols == transform.heads * transform.headDim && transform.headDim % 2 == 0);
  LRQAT_CHECK(p.cols == heads.cols && p.rows == heads.rows && p.type == heads.type);
  LRQAT_CHECK(heads.rows < (int64_t{1} << 31) && heads.cols < (int64_t{1} << 31));
  LRQAT_CHECK(!transform.cosine || transform.length > 0);
  if (transform.headDim > maximumHeadDim) {
    throw Error(ErrorCode::Unsupported,
                "head dimension " + std::to_string(transform.headDim) + " is above " + std::to_string(maximumHeadDim));
  }
}

/// Calls launch.operator()<N, K>(shape, strips). Four elements at a time also in bf16: with eight, the registers of
/// scales, angles and sums leave too few warps to hide the memory behind.
template <typename Launch>
void chooseHeadShape(const HeadTransform& transform, bool wide, Launch&& launch) {
  const int64_t half = transform.headDim / 2;
  const auto go = [&]<int N, int K>() {
    const HeadShape shape = shapeOf(transform, N);
    const int64_t units = transform.heads * shape.lanes;
    launch.template operator()<N, K>(shape, static_cast<unsigned>((units + laneThreads - 1) / laneThreads));
  };
  static_assert(maximumHeadDim / 2 <= 32 * 8);
  if (!wide || half % 4 != 0) {
    if (half <= 32) {
      go.template operator()<1, 1>();
    } else {
      go.template operator()<1, 8>();
    }
  } else if (half <= 32 * 4) {
    go.template operator()<4, 1>();
  } else {
    go.template operator()<4, 2>();
  }
}

}  // namespace

void projectHeads(const RawOutput& raw, const HeadTransform& transform, Matrix out, cudaStream_t stream) {
  check(transform, out, raw.p);
  if (out.rows == 0) return;
  dispatchActivation(out.type, [&](auto element) {
    using E = decltype(element);
    chooseHeadShape(transform, isAligned(raw.p.data) && isAligned(out.data),
                    [&]<int N, int K>(const HeadShape& shape, unsigned strips) {
                      const dim3 grid(strips,
                                      static_cast<unsigned>((out.rows + forwardTileRows - 1) / forwardTileRows));
                      projectHeadsKernel<E, N, K><<<grid, dim3(laneThreads, rowThreads), 0, stream>>>(
                          shape, DeviceRaw<E>::of(raw), elements<E>(out), out.rows, out.cols);
                    });
  });
  LRQAT_CUDA(cudaGetLastError());
}

int64_t projectHeadsBackwardScratchBytes(int64_t tokens, int64_t columns) {
  return columnSumsScratchBytes(tokens, columns, 1);
}

void projectHeadsBackward(Matrix dOut, const RawOutput& raw, const HeadTransform& transform,
                          const RawOutputGradient& gradient, Scratch& scratch, cudaStream_t stream) {
  check(transform, dOut, raw.p);
  const Matrix& dYs = gradient.dYs;
  LRQAT_CHECK(dYs.type == dOut.type && dYs.rows == dOut.rows && dYs.cols == dOut.cols);
  if (dOut.rows == 0) return;
  const int64_t tiles = sumTiles(dOut.rows);
  float* const partial = gradient.rowScaleGradient ? scratch.take<float>(tiles * dOut.cols) : nullptr;
  dispatchActivation(dOut.type, [&](auto element) {
    using E = decltype(element);
    chooseHeadShape(transform, isAligned(raw.p.data) && isAligned(dOut.data) && isAligned(dYs.data),
                    [&]<int N, int K>(const HeadShape& shape, unsigned strips) {
                      const dim3 grid(strips, static_cast<unsigned>(tiles));
                      projectHeadsBackwardKernel<E, N, K><<<grid, dim3(laneThreads, rowThreads), 0, stream>>>(
                          shape, elements<E>(dOut), DeviceRaw<E>::of(raw), elements<E>(dYs), partial, dOut.rows,
                          dOut.cols);
                    });
  });
  LRQAT_CUDA(cudaGetLastError());
  addColumnSums(tiles, dOut.cols, {partial, gradient.rowScaleGradient}, {}, stream);
}

}  // namespace lrqat::cuda
