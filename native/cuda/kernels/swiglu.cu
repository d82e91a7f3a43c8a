#include "cuda/kernels/swiglu.h"

#include "cuda/kernels/reduce_columns.cuh"

namespace lrqat::cuda {

namespace {

/// In float32 within 2 units of the last place; on the way to bf16 the special-function unit's own exponential and
/// reciprocal do: their error, |x| units of 2^-24 for large |x|, is far below the 2^-9 of the rounding that follows,
/// and with accurate ones the arithmetic takes longer than the memory.
template <typename E>
__device__ __forceinline__ float sigmoid(float x) {
  if constexpr (sizeof(E) == 4) {
    return __frcp_rn(1.0F + expf(-x));
  } else {
    float power;
    float inverse;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x * -1.4426950408889634F));
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(1.0F + power));
    return inverse;
  }
}

template <int N>
struct GateColumns {
  RawColumns<N> gate;
  RawColumns<N> up;
};

template <typename E, int N>
struct Swiglu {
  static constexpr int width = N;
  static constexpr int sums = 0;
  static constexpr int unroll = 4;
  static constexpr int blocks = 2;
  using Columns = GateColumns<N>;
  struct Loaded {
    Bits<E, N> gate;
    Bits<E, N> up;
  };
  DeviceRaw<E> gate;
  DeviceRaw<E> up;
  E* h;  // [T, f]
  int64_t cols;

  __device__ void columns(int64_t column, Columns& columns) const {
    columns.gate.load(gate.rowScale, gate.bias, column);
    columns.up.load(up.rowScale, up.bias, column);
  }
  __device__ void load(int64_t row, int64_t column, Loaded& loaded) const {
    loaded.gate.load(gate.p + row * cols + column);
    loaded.up.load(up.p + row * cols + column);
  }
  __device__ void apply(int64_t row, int64_t column, const Columns& columns, const Loaded& loaded,
                        float (&)[1][N]) const {
    float g[N];
    float u[N];
    loaded.gate.unpack(g);
    loaded.up.unpack(u);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float x = columns.gate.value(g[i], i);
      g[i] = x * sigmoid<E>(x) * columns.up.value(u[i], i);
    }
    storeFloats(h + row * cols + column, g);
  }
};

template <typename E, int N, bool WantsH>
struct SwigluBackward {
  static constexpr int width = N;
  static constexpr int sums = 2;
  static constexpr int unroll = 2;
  static constexpr int blocks = sizeof(E) == 2 ? 4 : 2;
  using Columns = GateColumns<N>;
  struct Loaded {
    Bits<E, N> dH;
    Bits<E, N> gate;
    Bits<E, N> up;
  };
  const E* dH;  // [T, f]
  DeviceRaw<E> gate;
  DeviceRaw<E> up;
  E* dGate;  // [T, f]
  E* dUp;    // [T, f]
  E* h;      // [T, f]
  int64_t cols;

  __device__ void columns(int64_t column, Columns& columns) const {
    columns.gate.load(gate.rowScale, gate.bias, column);
    columns.up.load(up.rowScale, up.bias, column);
  }
  __device__ void load(int64_t row, int64_t column, Loaded& loaded) const {
    const int64_t place = row * cols + column;
    loaded.dH.load(dH + place);
    loaded.gate.load(gate.p + place);
    loaded.up.load(up.p + place);
  }
  __device__ void apply(int64_t row, int64_t column, const Columns& columns, const Loaded& loaded,
                        float (&sums)[2][N]) const {
    float gradient[N];
    float gateRaw[N];
    float upRaw[N];
    loaded.dH.unpack(gradient);
    loaded.gate.unpack(gateRaw);
    loaded.up.unpack(upRaw);
    float product[N];
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float g = columns.gate.value(gateRaw[i], i);
      const float u = columns.up.value(upRaw[i], i);
      const float s = sigmoid<E>(g);
      const float silu = g * s;
      // silu' = s·(1 + g·(1 − s)) = s + silu·(1 − s)
      const float dG = gradient[i] * u * fmaf(silu, 1.0F - s, s);
      const float dU = gradient[i] * silu;
      sums[0][i] = fmaf(dG, gateRaw[i], sums[0][i]);
      sums[1][i] = fmaf(dU, upRaw[i], sums[1][i]);
      gateRaw[i] = dG * columns.gate.scale[i];
      upRaw[i] = dU * columns.up.scale[i];
      product[i] = silu * u;
    }
    const int64_t place = row * cols + column;
    storeFloats(dGate + place, gateRaw);
    storeFloats(dUp + place, upRaw);
    if constexpr (WantsH) storeFloats(h + place, product);
  }
};

bool sameShape(const Matrix& a, const Matrix& b) {
  return a.type == b.type && a.rows == b.rows && a.cols == b.cols;
}

}  // namespace

void swiglu(const RawOutput& gate, const RawOutput& up, Matrix h, cudaStream_t stream) {
  LRQAT_CHECK(sameShape(gate.p, h) && sameShape(up.p, h));
  dispatchActivation(h.type, [&](auto element) {
    using E = decltype(element);
    constexpr int width = 16 / sizeof(E);
    const auto launch = [&]<int N>() {
      launchColumns(Swiglu<E, N>{DeviceRaw<E>::of(gate), DeviceRaw<E>::of(up), elements<E>(h), h.cols}, h.rows, h.cols,
                    nullptr, nullptr, nullptr, stream);
    };
    if (allowsWidth(h, width) && allowsWidth(gate.p, width) && allowsWidth(up.p, width) && allowsWidth(gate) &&
        allowsWidth(up)) {
      launch.template operator()<width>();
    } else {
      launch.template operator()<1>();
    }
  });
}

int64_t swigluBackwardScratchBytes(int64_t tokens, int64_t columns) {
  return columnSumsScratchBytes(tokens, columns, 2);
}

void swigluBackward(Matrix dH, const RawOutput& gate, const RawOutput& up, const RawOutputGradient& dGate,
                    const RawOutputGradient& dUp, Matrix h, Scratch& scratch, cudaStream_t stream) {
  for (const Matrix& matrix : {gate.p, up.p, dGate.dYs, dUp.dYs}) LRQAT_CHECK(sameShape(matrix, dH));
  LRQAT_CHECK(!h.data || sameShape(h, dH));
  dispatchActivation(dH.type, [&](auto element) {
    using E = decltype(element);
    constexpr int width = 4;  // also in bf16: with eight, the registers of two sums leave too few warps
    const auto launch = [&]<int N, bool WantsH>() {
      launchColumns(SwigluBackward<E, N, WantsH>{elements<E>(dH), DeviceRaw<E>::of(gate), DeviceRaw<E>::of(up),
                                                 elements<E>(dGate.dYs), elements<E>(dUp.dYs), elements<E>(h), dH.cols},
                    dH.rows, dH.cols, dGate.rowScaleGradient, dUp.rowScaleGradient, &scratch, stream);
    };
    const auto chooseH = [&]<int N>() {
      if (h.data) {
        launch.template operator()<N, true>();
      } else {
        launch.template operator()<N, false>();
      }
    };
    bool wide = (!h.data || allowsWidth(h, width)) && allowsWidth(gate) && allowsWidth(up);
    for (const Matrix& matrix : {dH, gate.p, up.p, dGate.dYs, dUp.dYs}) wide = wide && allowsWidth(matrix, width);
    if (wide) {
      chooseH.template operator()<width>();
    } else {
      chooseH.template operator()<1>();
    }
  });
}

}  // namespace lrqat::cuda
