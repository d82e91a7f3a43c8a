#include "cuda/kernels/residual.h"

#include "cuda/kernels/reduce_columns.cuh"

namespace lrqat::cuda {

namespace {

template <typename X, typename E, typename Out, int N>
struct AddResidual {
  static constexpr int width = N;
  static constexpr int sums = 0;
  static constexpr int unroll = 4;
  static constexpr int blocks = 2;
  using Columns = RawColumns<N>;
  struct Loaded {
    Bits<X, N> x;
    Bits<E, N> p;
  };
  const X* x;  // [T, m]
  DeviceRaw<E> raw;
  Out* out;  // [T, m]
  int64_t cols;

  __device__ void columns(int64_t column, Columns& columns) const { columns.load(raw.rowScale, raw.bias, column); }
  __device__ void load(int64_t row, int64_t column, Loaded& loaded) const {
    loaded.x.load(x + row * cols + column);
    loaded.p.load(raw.p + row * cols + column);
  }
  __device__ void apply(int64_t row, int64_t column, const Columns& columns, const Loaded& loaded,
                        float (&)[1][N]) const {
    float a[N];
    float p[N];
    loaded.x.unpack(a);
    loaded.p.unpack(p);
#pragma unroll
    for (int i = 0; i < N; ++i) a[i] += columns.value(p[i], i);
    storeFloats(out + row * cols + column, a);
  }
};

template <typename E, int N>
struct AddResidualBackward {
  static constexpr int width = N;
  static constexpr int sums = 1;
  static constexpr int unroll = 4;
  static constexpr int blocks = 2;
  using Columns = RawColumns<N>;
  struct Loaded {
    Bits<float, N> dY;
    Bits<E, N> p;
  };
  const float* dY;  // [T, m]
  DeviceRaw<E> raw;
  E* dYs;  // [T, m]
  int64_t cols;
  bool wantsSums;

  __device__ void columns(int64_t column, Columns& columns) const { columns.load(raw.rowScale, nullptr, column); }
  __device__ void load(int64_t row, int64_t column, Loaded& loaded) const {
    loaded.dY.load(dY + row * cols + column);
    if (wantsSums) loaded.p.load(raw.p + row * cols + column);
  }
  __device__ void apply(int64_t row, int64_t column, const Columns& columns, const Loaded& loaded,
                        float (&sums)[1][N]) const {
    float gradient[N];
    loaded.dY.unpack(gradient);
    if (wantsSums) {
      float p[N];
      loaded.p.unpack(p);
#pragma unroll
      for (int i = 0; i < N; ++i) sums[0][i] = fmaf(gradient[i], p[i], sums[0][i]);
    }
#pragma unroll
    for (int i = 0; i < N; ++i) gradient[i] *= columns.scale[i];
    storeFloats(dYs + row * cols + column, gradient);
  }
};

}  // namespace

void addResidual(Matrix x, const RawOutput& raw, Matrix out, cudaStream_t stream) {
  LRQAT_CHECK(x.rows == out.rows && x.cols == out.cols && raw.p.rows == out.rows && raw.p.cols == out.cols);
  dispatchActivation(x.type, [&](auto xElement) {
    dispatchActivation(raw.p.type, [&](auto element) {
      dispatchActivation(out.type, [&](auto outElement) {
        using X = decltype(xElement);
        using E = decltype(element);
        using Out = decltype(outElement);
        constexpr int width = sizeof(X) + sizeof(E) + sizeof(Out) == 6 ? 8 : 4;
        const auto launch = [&]<int N>() {
          launchColumns(AddResidual<X, E, Out, N>{elements<X>(x), DeviceRaw<E>::of(raw), elements<Out>(out), out.cols},
                        out.rows, out.cols, nullptr, nullptr, nullptr, stream);
        };
        if (allowsWidth(x, width) && allowsWidth(raw.p, width) && allowsWidth(out, width) && allowsWidth(raw)) {
          launch.template operator()<width>();
        } else {
          launch.template operator()<1>();
        }
      });
    });
  });
}

int64_t addResidualBackwardScratchBytes(int64_t tokens, int64_t columns) {
  return columnSumsScratchBytes(tokens, columns, 1);
}

void addResidualBackward(Matrix dY, const RawOutput& raw, const RawOutputGradient& gradient, Scratch& scratch,
                         cudaStream_t stream) {
  const Matrix& dYs = gradient.dYs;
  LRQAT_CHECK(dY.type == DType::F32 && dY.rows == raw.p.rows && dY.cols == raw.p.cols);
  LRQAT_CHECK(dYs.type == raw.p.type && dYs.rows == dY.rows && dYs.cols == dY.cols);
  dispatchActivation(raw.p.type, [&](auto element) {
    using E = decltype(element);
    const auto launch = [&]<int N>() {
      launchColumns(AddResidualBackward<E, N>{elements<float>(dY), DeviceRaw<E>::of(raw), elements<E>(dYs), dY.cols,
                                              gradient.rowScaleGradient != nullptr},
                    dY.rows, dY.cols, gradient.rowScaleGradient, nullptr, &scratch, stream);
    };
    if (allowsWidth(dY, 4) && allowsWidth(raw.p, 4) && allowsWidth(dYs, 4) && allowsWidth(raw)) {
      launch.template operator()<4>();
    } else {
      launch.template operator()<1>();
    }
  });
}

}  // namespace lrqat::cuda
