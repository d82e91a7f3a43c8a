#include "cuda/kernels/norm.h"

#include "cuda/check.h"
#include "cuda/kernels/norm_rows.cuh"
#include "cuda/kernels/reduce.cuh"
#include "cuda/kernels/vector.cuh"

namespace lrqat::cuda {

namespace {

/// Where the norm's input comes from: memory,
template <typename X, int N>
struct Stream {
  using Loaded = Bits<X, N>;
  const X* x;  // [T, d]

  __device__ void load(int64_t place, Loaded& loaded) const { loaded.load(x + place); }
  __device__ void value(int64_t, int64_t, const Loaded& loaded, float (&v)[N]) const { loaded.unpack(v); }
};

/// or a residual sum that is written down on the way.
template <typename X, typename E, int N>
struct ResidualSum {
  struct Loaded {
    Bits<X, N> x;
    Bits<E, N> p;
  };
  const X* x;  // [T, d]
  DeviceRaw<E> raw;
  X* out;  // [T, d]

  __device__ void load(int64_t place, Loaded& loaded) const {
    loaded.x.load(x + place);
    loaded.p.load(raw.p + place);
  }
  __device__ void value(int64_t place, int64_t column, const Loaded& loaded, float (&v)[N]) const {
    RawColumns<N> columns;
    columns.load(raw.rowScale, raw.bias, column);
    float p[N];
    loaded.x.unpack(v);
    loaded.p.unpack(p);
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] += columns.value(p[i], i);
    Bits<X, N> rounded;
    rounded.pack(v);
    rounded.store(out + place);
    rounded.unpack(v);
  }
};

// One block a row; a thread holds K vectors of N elements of it in registers.
template <typename Source, typename Y, int N, int K>
__global__ void __launch_bounds__(maximumRowThreads<N>)
    rmsNormKernel(Source source, const float* weight, float epsilon, Y* y, float* rstd, int64_t cols) {
  __shared__ float shared[warpSize32];
  const int64_t start = static_cast<int64_t>(blockIdx.x) * cols;
  typename Source::Loaded loaded[K];
#pragma unroll
  for (int k = 0; k < K; ++k) {
    const int64_t column = static_cast<int64_t>(k * blockDim.x + threadIdx.x) * N;
    if (column < cols) source.load(start + column, loaded[k]);
  }
  float v[K][N] = {};
  float squares = 0;
#pragma unroll
  for (int k = 0; k < K; ++k) {
    const int64_t column = static_cast<int64_t>(k * blockDim.x + threadIdx.x) * N;
    if (column < cols) source.value(start + column, column, loaded[k], v[k]);
#pragma unroll
    for (int i = 0; i < N; ++i) squares = fmaf(v[k][i], v[k][i], squares);
  }
  const float r = 1.0F / sqrtf(blockSum(squares, shared) / static_cast<float>(cols) + epsilon);
  if (threadIdx.x == 0) rstd[blockIdx.x] = r;
#pragma unroll
  for (int k = 0; k < K; ++k) {
    const int64_t column = static_cast<int64_t>(k * blockDim.x + threadIdx.x) * N;
    if (column >= cols) continue;
    float w[N];
    loadParameters(weight + column, w);
#pragma unroll
    for (int i = 0; i < N; ++i) v[k][i] = v[k][i] * r * w[i];
    storeFloats(y + start + column, v[k]);
  }
}

// dx += (dy∘w − x·(Σ dy·w·x)·rstd²/d)·rstd, one block a row.
template <typename Dy, typename X, int N, int K>
__global__ void __launch_bounds__(maximumRowThreads<N>)
    rmsNormBackwardKernel(const Dy* dy, const X* x, const float* weight, const float* rstd, float* dx, int64_t cols) {
  __shared__ float shared[warpSize32];
  const int64_t start = static_cast<int64_t>(blockIdx.x) * cols;
  Bits<Dy, N> dyBits[K];
  Bits<X, N> xBits[K];
  Bits<float, N> before[K];
#pragma unroll
  for (int k = 0; k < K; ++k) {
    const int64_t column = static_cast<int64_t>(k * blockDim.x + threadIdx.x) * N;
    if (column >= cols) continue;
    dyBits[k].load(dy + start + column);
    xBits[k].load(x + start + column);
    before[k].load(dx + start + column);
  }
  const float r = rstd[blockIdx.x];
  float dot = 0;
  float weighted[K][N];
#pragma unroll
  for (int k = 0; k < K; ++k) {
    const int64_t column = static_cast<int64_t>(k * blockDim.x + threadIdx.x) * N;
    if (column >= cols) continue;
    float w[N];
    float values[N];
    loadParameters(weight + column, w);
    dyBits[k].unpack(weighted[k]);
    xBits[k].unpack(values);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      weighted[k][i] *= w[i];
      dot = fmaf(weighted[k][i], values[i], dot);
    }
  }
  const float factor = blockSum(dot, shared) * r * r / static_cast<float>(cols);
#pragma unroll
  for (int k = 0; k < K; ++k) {
    const int64_t column = static_cast<int64_t>(k * blockDim.x + threadIdx.x) * N;
    if (column >= cols) continue;
    float values[N];
    float sum[N];
    xBits[k].unpack(values);
    before[k].unpack(sum);
#pragma unroll
    for (int i = 0; i < N; ++i) sum[i] = fmaf(fmaf(-values[i], factor, weighted[k][i]), r, sum[i]);
    storeFloats(dx + start + column, sum);
  }
}

void checkSame(const Matrix& a, const Matrix& b) {
  LRQAT_CHECK(a.rows == b.rows && a.cols == b.cols);
}

template <typename MakeSource, typename Y>
void launchNorm(const MakeSource& makeSource, bool wide, Matrix out, Y, const float* weight, float epsilon, float* rstd,
                cudaStream_t stream) {
  if (out.rows == 0) return;
  const auto launch = [&]<int N>() {
    const auto source = makeSource.template operator()<N>();
    chooseRowShape<N>(out.cols, [&]<int K>(unsigned threads) {
      rmsNormKernel<decltype(source), Y, N, K><<<static_cast<unsigned>(out.rows), threads, 0, stream>>>(
          source, weight, epsilon, elements<Y>(out), rstd, out.cols);
    });
  };
  if (wide) {
    launch.template operator()<MakeSource::width>();
  } else {
    launch.template operator()<1>();
  }
  LRQAT_CUDA(cudaGetLastError());
}

template <typename X, typename Y>
struct MakeStream {
  static constexpr int width = sizeof(X) + sizeof(Y) == 4 ? 8 : 4;
  Matrix x;
  template <int N>
  Stream<X, N> operator()() const {
    return {elements<X>(x)};
  }
};

template <typename X, typename E, typename Y>
struct MakeResidualSum {
  static constexpr int width = sizeof(X) + sizeof(E) + sizeof(Y) == 6 ? 8 : 4;
  Matrix x;
  RawOutput raw;
  Matrix out;
  template <int N>
  ResidualSum<X, E, N> operator()() const {
    return {elements<X>(x), DeviceRaw<E>::of(raw), elements<X>(out)};
  }
};

}  // namespace

void rmsNorm(Matrix x, const float* weight, float epsilon, Matrix y, float* rstd, cudaStream_t stream) {
  checkSame(x, y);
  dispatchActivation(x.type, [&](auto xElement) {
    dispatchActivation(y.type, [&](auto yElement) {
      using Make = MakeStream<decltype(xElement), decltype(yElement)>;
      const bool wide = allowsWidth(x, Make::width) && allowsWidth(y, Make::width) && isAligned(weight);
      launchNorm(Make{x}, wide, y, yElement, weight, epsilon, rstd, stream);
    });
  });
}

void addResidualNorm(Matrix x, const RawOutput& raw, Matrix out, const float* weight, float epsilon, Matrix y,
                     float* rstd, cudaStream_t stream) {
  checkSame(x, out);
  checkSame(raw.p, out);
  checkSame(y, out);
  LRQAT_CHECK(x.type == out.type && raw.p.type == y.type);
  dispatchActivation(x.type, [&](auto xElement) {
    dispatchActivation(y.type, [&](auto yElement) {
      using Make = MakeResidualSum<decltype(xElement), decltype(yElement), decltype(yElement)>;
      bool wide = allowsWidth(raw) && isAligned(weight);
      for (const Matrix& matrix : {x, raw.p, out, y}) wide = wide && allowsWidth(matrix, Make::width);
      launchNorm(Make{x, raw, out}, wide, y, yElement, weight, epsilon, rstd, stream);
    });
  });
}

void rmsNormBackward(Matrix dy, Matrix x, const float* weight, const float* rstd, Matrix dx, cudaStream_t stream) {
  checkSame(dy, dx);
  checkSame(x, dx);
  LRQAT_CHECK(dx.type == DType::F32);
  if (dx.rows == 0) return;
  dispatchActivation(dy.type, [&](auto dyElement) {
    dispatchActivation(x.type, [&](auto xElement) {
      using Dy = decltype(dyElement);
      using X = decltype(xElement);
      const auto launch = [&]<int N>() {
        // Measured on an H200: short operands want more of them in flight in a thread.
        constexpr int pairThreads = sizeof(Dy) + sizeof(X) == 4 ? 256 : 512;
        chooseRowShape<N, pairThreads>(dx.cols, [&]<int K>(unsigned threads) {
          rmsNormBackwardKernel<Dy, X, N, K><<<static_cast<unsigned>(dx.rows), threads, 0, stream>>>(
              elements<Dy>(dy), elements<X>(x), weight, rstd, elements<float>(dx), dx.cols);
        });
      };
      if (allowsWidth(dy, 4) && allowsWidth(x, 4) && allowsWidth(dx, 4) && isAligned(weight)) {
        launch.template operator()<4>();
      } else {
        launch.template operator()<1>();
      }
    });
  });
  LRQAT_CUDA(cudaGetLastError());
}

}  // namespace lrqat::cuda
