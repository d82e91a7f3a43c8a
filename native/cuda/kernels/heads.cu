#include "cuda/kernels/heads.h"

#include <algorithm>
#include <bit>
#include <string>

#include "cuda/check.h"
#include "cuda/kernels/reduce.h"
#include "cuda/kernels/vector.cuh"

namespace lrqat::cuda {

namespace {

constexpr int64_t maximumHeadDim = 512;
constexpr int maximumThreads = 256;

/// A head belongs to `lanes` neighbouring threads of a warp (a power of two). A thread holds K times N elements of the
/// head's first half and their partners of the second half: it turns pairs without help, and norms need shuffles only.
/// A block spans many heads and walks down the rows of its tile: scales stay in registers, and the angles of a row are
/// read from the cache once for all its heads.
struct HeadShape {
  int heads;
  int headDim;
  int lanes;
  float normEpsilon;
  const float* normWeight;  // [headDim]
  const float* cosine;      // [length, headDim/2]
  const float* sine;
  uint32_t length;
  const int32_t* position;  // [rows], of the forward alone; null: row % length
};

/// Which elements of a row the thread holds.
template <int N, int K>
struct Place {
  int headStart;  // column of the head's first element
  int within[K];  // index in the half of the k-th vector
  bool inside[K];
  int half;

  __device__ explicit Place(const HeadShape& shape) {
    const int unit = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    const int head = unit / shape.lanes;
    half = shape.headDim / 2;
    headStart = head * shape.headDim;
#pragma unroll
    for (int k = 0; k < K; ++k) {
      within[k] = (k * shape.lanes + unit % shape.lanes) * N;
      inside[k] = head < shape.heads && within[k] < half;
    }
  }
  __device__ int column(int k, int part) const {
    return headStart + part * half + within[k];
  }
};

/// Numbers that a thread keeps for its elements: [k][half][i].
template <int N, int K>
using HeadValues = float[K][2][N];
template <typename E, int N, int K>
using HeadBits = Bits<E, N>[K][2];

template <int N, int K, typename F>
__device__ __forceinline__ void eachPart(const Place<N, K>& place, F&& f) {
#pragma unroll
  for (int k = 0; k < K; ++k) {
    if (!place.inside[k]) continue;
    f(k, 0);
    f(k, 1);
  }
}

/// The parameters of the thread's columns; `absent` where there are none.
template <int N, int K>
__device__ __forceinline__ void loadHeadParameters(const Place<N, K>& place, const float* parameters, float absent,
                                                   HeadValues<N, K>& v) {
#pragma unroll
  for (int k = 0; k < K; ++k) {
#pragma unroll
    for (int part = 0; part < 2; ++part) {
#pragma unroll
      for (int i = 0; i < N; ++i) v[k][part][i] = absent;
      if (parameters && place.inside[k]) loadParameters(parameters + place.column(k, part), v[k][part]);
    }
  }
}

template <int N, int K>
__device__ __forceinline__ void loadNormWeight(const Place<N, K>& place, const float* weight, HeadValues<N, K>& v) {
#pragma unroll
  for (int k = 0; k < K; ++k) {
#pragma unroll
    for (int part = 0; part < 2; ++part) {
#pragma unroll
      for (int i = 0; i < N; ++i) v[k][part][i] = 0;
      if (place.inside[k]) loadParameters(weight + part * place.half + place.within[k], v[k][part]);
    }
  }
}

template <typename E, int N, int K>
__device__ __forceinline__ void loadHead(const Place<N, K>& place, const E* row, HeadBits<E, N, K>& bits) {
  eachPart(place, [&](int k, int part) { bits[k][part].load(row + place.column(k, part)); });
}

/// Zero outside of the head.
template <typename E, int N, int K>
__device__ __forceinline__ void unpackHead(const Place<N, K>& place, const HeadBits<E, N, K>& bits,
                                           HeadValues<N, K>& v) {
#pragma unroll
  for (int k = 0; k < K; ++k) {
#pragma unroll
    for (int part = 0; part < 2; ++part) {
#pragma unroll
      for (int i = 0; i < N; ++i) v[k][part][i] = 0;
      if (place.inside[k]) bits[k][part].unpack(v[k][part]);
    }
  }
}

template <typename E, int N, int K>
__device__ __forceinline__ void storeHead(const Place<N, K>& place, E* row, const HeadValues<N, K>& v) {
  eachPart(place, [&](int k, int part) { storeFloats(row + place.column(k, part), v[k][part]); });
}

/// v becomes s∘v + bias. The bias, which few models have, is read again for every row.
template <int N, int K>
__device__ __forceinline__ void applyColumns(const Place<N, K>& place, const HeadValues<N, K>& scale, const float* bias,
                                             HeadValues<N, K>& v) {
  eachPart(place, [&](int k, int part) {
#pragma unroll
    for (int i = 0; i < N; ++i) v[k][part][i] *= scale[k][part][i];
    if (!bias) return;
    float b[N];
    loadParameters(bias + place.column(k, part), b);
#pragma unroll
    for (int i = 0; i < N; ++i) v[k][part][i] += b[i];
  });
}

template <int N, int K>
__device__ __forceinline__ float dot(const HeadValues<N, K>& a, const HeadValues<N, K>& b) {
  float sum = 0;
#pragma unroll
  for (int k = 0; k < K; ++k) {
#pragma unroll
    for (int part = 0; part < 2; ++part) {
#pragma unroll
      for (int i = 0; i < N; ++i) sum = fmaf(a[k][part][i], b[k][part][i], sum);
    }
  }
  return sum;
}

__device__ __forceinline__ float headSum(const HeadShape& shape, float sum) {
  for (int offset = shape.lanes / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, offset);
  return sum;
}

__device__ __forceinline__ float inverseRoot(const HeadShape& shape, float squares) {
  return 1.0F / sqrtf(squares / static_cast<float>(shape.headDim) + shape.normEpsilon);
}

/// Rows whose angles a block holds in shared memory, for all its heads.
constexpr int64_t stagedRows = 8;

struct Angles {
  float cosine[stagedRows * maximumHeadDim / 2];  // [row, headDim/2]
  float sine[stagedRows * maximumHeadDim / 2];
};

/// Angles of `rows` rows from `first` on; the whole block.
template <int N>
__device__ __forceinline__ void stageAngles(const HeadShape& shape, int64_t first, int rows, Angles& angles) {
  const int half = shape.headDim / 2;
  const auto start = static_cast<uint32_t>(first);
  for (int i = static_cast<int>(threadIdx.x) * N; i < rows * half; i += static_cast<int>(blockDim.x) * N) {
    const uint32_t row = start + static_cast<uint32_t>(i / half);
    const uint32_t position = shape.position ? static_cast<uint32_t>(shape.position[row]) : row % shape.length;
    const int64_t from = static_cast<int64_t>(position) * half + i % half;
    float v[N];
    loadParameters(shape.cosine + from, v);
    storeFloats(angles.cosine + i, v);
    loadParameters(shape.sine + from, v);
    storeFloats(angles.sine + i, v);
  }
}

/// Turns pairs by the angles of a staged row, backwards for direction −1.
template <int N, int K>
__device__ __forceinline__ void rotate(const Place<N, K>& place, const Angles& angles, int row, float direction,
                                       HeadValues<N, K>& y) {
#pragma unroll
  for (int k = 0; k < K; ++k) {
    if (!place.inside[k]) continue;
    float c[N];
    float s[N];
    loadFloats(angles.cosine + row * place.half + place.within[k], c);
    loadFloats(angles.sine + row * place.half + place.within[k], s);
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

constexpr int64_t forwardTileRows = stagedRows;

/// Shared memory of the kernels that rotate.
template <bool Rotary>
__device__ __forceinline__ Angles* stagedAngles() {
  if constexpr (Rotary) {
    __shared__ alignas(16) Angles angles;
    return &angles;
  } else {
    return nullptr;
  }
}

// grid: (threads' columns, row tiles)
template <typename E, int N, int K, bool Norm, bool Rotary>
__global__ void __launch_bounds__(maximumThreads, 2)
    projectHeadsKernel(HeadShape shape, DeviceRaw<E> raw, E* out, int64_t rows, int64_t cols) {
  constexpr int unroll = K > 1 ? 1 : Norm ? 2 : 4;
  const Place<N, K> place(shape);
  const int64_t begin = blockIdx.y * forwardTileRows;
  const int64_t end = min(rows, begin + forwardTileRows);
  const auto angles = stagedAngles<Rotary>();
  HeadBits<E, N, K> bits[unroll];
  const auto load = [&](int64_t first) {
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      if (first + u < end) loadHead<E, N, K>(place, raw.p + (first + u) * cols, bits[u]);
    }
  };
  load(begin);
  HeadValues<N, K> scale;
  HeadValues<N, K> weight;
  loadHeadParameters<N, K>(place, raw.rowScale, 1, scale);
  if constexpr (Norm) loadNormWeight<N, K>(place, shape.normWeight, weight);
  if constexpr (Rotary) {
    stageAngles<N>(shape, begin, static_cast<int>(end - begin), *angles);
    __syncthreads();
  }
  for (int64_t first = begin; first < end; first += unroll) {
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      if (first + u >= end) break;
      HeadValues<N, K> y;
      unpackHead<E, N, K>(place, bits[u], y);
      applyColumns<N, K>(place, scale, raw.bias, y);
      if constexpr (Norm) {
        const float r = inverseRoot(shape, headSum(shape, dot<N, K>(y, y)));
        eachPart(place, [&](int k, int part) {
#pragma unroll
          for (int i = 0; i < N; ++i) y[k][part][i] = y[k][part][i] * r * weight[k][part][i];
        });
      }
      if constexpr (Rotary) {
        rotate<N, K>(place, *angles, static_cast<int>(first + u - begin), 1, y);
      }
      storeHead<E, N, K>(place, out + (first + u) * cols, y);
    }
    load(first + unroll);
  }
}

// grid: (threads' columns, row tiles); partial [tiles, cols] or null
template <typename E, int N, int K, bool Norm, bool Rotary>
__global__ void __launch_bounds__(maximumThreads, 2)
    projectHeadsBackwardKernel(HeadShape shape, const E* dOut, DeviceRaw<E> raw, E* dYs, float* partial, int64_t rows,
                               int64_t tileRows, int64_t cols) {
  constexpr int unroll = K == 1 ? 2 : 1;
  static_assert(stagedRows % unroll == 0);
  const Place<N, K> place(shape);
  const int64_t begin = blockIdx.y * tileRows;
  const int64_t end = min(rows, begin + tileRows);
  const bool needsP = Norm || partial;
  const auto angles = stagedAngles<Rotary>();
  HeadBits<E, N, K> gradientBits[unroll];
  HeadBits<E, N, K> pBits[unroll];
  const auto load = [&](int64_t first) {
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      if (first + u >= end) break;
      loadHead<E, N, K>(place, dOut + (first + u) * cols, gradientBits[u]);
      if (needsP) loadHead<E, N, K>(place, raw.p + (first + u) * cols, pBits[u]);
    }
  };
  load(begin);
  HeadValues<N, K> scale;
  HeadValues<N, K> weight;
  loadHeadParameters<N, K>(place, raw.rowScale, 1, scale);
  if constexpr (Norm) loadNormWeight<N, K>(place, shape.normWeight, weight);
  HeadValues<N, K> sums = {};
  for (int64_t first = begin; first < end; first += unroll) {
    if (Rotary && (first - begin) % stagedRows == 0) {
      if (first > begin) __syncthreads();
      stageAngles<N>(shape, first, static_cast<int>(min(stagedRows, end - first)), *angles);
      __syncthreads();
    }
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      if (first + u >= end) break;
      HeadValues<N, K> dy;
      HeadValues<N, K> p;
      unpackHead<E, N, K>(place, gradientBits[u], dy);
      if constexpr (Rotary) {
        rotate<N, K>(place, *angles, static_cast<int>((first + u - begin) % stagedRows), -1, dy);
      }
      if constexpr (Norm) {
        // dy becomes (dy∘w − y·(Σ dy·w·y)·r²/headDim)·r, the gradient of what the norm read.
        unpackHead<E, N, K>(place, pBits[u], p);
        applyColumns<N, K>(place, scale, raw.bias, p);
        eachPart(place, [&](int k, int part) {
#pragma unroll
          for (int i = 0; i < N; ++i) dy[k][part][i] *= weight[k][part][i];
        });
        const float r = inverseRoot(shape, headSum(shape, dot<N, K>(p, p)));
        const float factor = headSum(shape, dot<N, K>(dy, p)) * r * r / static_cast<float>(shape.headDim);
        eachPart(place, [&](int k, int part) {
#pragma unroll
          for (int i = 0; i < N; ++i) dy[k][part][i] = fmaf(-p[k][part][i], factor, dy[k][part][i]) * r;
        });
      }
      if (partial) {
        unpackHead<E, N, K>(place, pBits[u], p);
        eachPart(place, [&](int k, int part) {
#pragma unroll
          for (int i = 0; i < N; ++i) sums[k][part][i] = fmaf(dy[k][part][i], p[k][part][i], sums[k][part][i]);
        });
      }
      eachPart(place, [&](int k, int part) {
#pragma unroll
        for (int i = 0; i < N; ++i) dy[k][part][i] *= scale[k][part][i];
      });
      storeHead<E, N, K>(place, dYs + (first + u) * cols, dy);
    }
    load(first + unroll);
  }
  if (partial) storeHead<float, N, K>(place, partial + blockIdx.y * cols, sums);
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
          .length = static_cast<uint32_t>(transform.length),
          .position = transform.position};
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

/// How a kernel is launched over the columns of a head shape.
struct HeadLaunch {
  HeadShape shape;
  unsigned threads;
  unsigned blocks;
};

/// Calls launch.operator()<N, K, Norm, Rotary>(HeadLaunch), N being `width` where the shape allows it.
template <int width, typename Launch>
void chooseHeadShape(const HeadTransform& transform, bool wide, Launch&& launch) {
  static_assert(maximumHeadDim / 2 <= 32 * 8);
  const auto go = [&]<int N, int K>() {
    const HeadShape shape = shapeOf(transform, N);
    const int64_t units = (transform.heads * shape.lanes + 31) / 32 * 32;
    const auto threads = static_cast<unsigned>(std::min<int64_t>(units, maximumThreads));
    const HeadLaunch how{shape, threads, static_cast<unsigned>((units + threads - 1) / threads)};
    if (transform.normWeight) {
      if (transform.cosine) return launch.template operator()<N, K, true, true>(how);
      return launch.template operator()<N, K, true, false>(how);
    }
    if (transform.cosine) return launch.template operator()<N, K, false, true>(how);
    launch.template operator()<N, K, false, false>(how);
  };
  const int64_t half = transform.headDim / 2;
  for (const float* parameters : {transform.normWeight, transform.cosine, transform.sine}) {
    wide = wide && isAligned(parameters);
  }
  if (wide && half % width == 0 && half <= 32 * width) {
    go.template operator()<width, 1>();
  } else {
    go.template operator()<1, 8>();
  }
}

}  // namespace

void projectHeads(const RawOutput& raw, const HeadTransform& transform, Matrix out, cudaStream_t stream) {
  check(transform, out, raw.p);
  if (out.rows == 0) return;
  const auto tiles = static_cast<unsigned>((out.rows + forwardTileRows - 1) / forwardTileRows);
  dispatchActivation(out.type, [&](auto element) {
    using E = decltype(element);
    chooseHeadShape<4>(transform, isAligned(raw.p.data) && isAligned(out.data) && allowsWidth(raw),
                       [&]<int N, int K, bool Norm, bool Rotary>(const HeadLaunch& how) {
                         projectHeadsKernel<E, N, K, Norm, Rotary><<<dim3(how.blocks, tiles), how.threads, 0, stream>>>(
                             how.shape, DeviceRaw<E>::of(raw), elements<E>(out), out.rows, out.cols);
                       });
  });
  LRQAT_CUDA(cudaGetLastError());
}

int64_t projectHeadsBackwardScratchBytes(int64_t tokens, int64_t columns) {
  return rowTileSumsScratchBytes(tokens, columns);
}

void projectHeadsBackward(Matrix dOut, const RawOutput& raw, const HeadTransform& transform,
                          const RawOutputGradient& gradient, Scratch& scratch, cudaStream_t stream) {
  check(transform, dOut, raw.p);
  LRQAT_CHECK(!transform.position);
  const Matrix& dYs = gradient.dYs;
  LRQAT_CHECK(dYs.type == dOut.type && dYs.rows == dOut.rows && dYs.cols == dOut.cols);
  if (dOut.rows == 0) return;
  const RowTiles tiles(dOut.rows);
  float* const partial = gradient.rowScaleGradient ? scratch.take<float>(tiles.count * dOut.cols) : nullptr;
  const bool wide = isAligned(raw.p.data) && isAligned(dOut.data) && isAligned(dYs.data) && allowsWidth(raw);
  dispatchActivation(dOut.type, [&](auto element) {
    using E = decltype(element);
    chooseHeadShape<16 / sizeof(E)>(transform, wide, [&]<int N, int K, bool Norm, bool Rotary>(const HeadLaunch& how) {
      const dim3 grid(how.blocks, static_cast<unsigned>(tiles.count));
      projectHeadsBackwardKernel<E, N, K, Norm, Rotary>
          <<<grid, how.threads, 0, stream>>>(how.shape, elements<E>(dOut), DeviceRaw<E>::of(raw), elements<E>(dYs),
                                             partial, dOut.rows, tiles.size, dOut.cols);
    });
  });
  LRQAT_CUDA(cudaGetLastError());
  addColumnSums(tiles.count, dOut.cols, {partial, gradient.rowScaleGradient}, {}, stream);
}

}  // namespace lrqat::cuda
