#include "cpu/kernels/heads.h"

#include "cpu/kernels/raw_values.h"

namespace lrqat::cpu::LRQAT_ISA {

namespace {

/// Pairs (i, i + headDim/2) turned by their angle, backwards when `direction` is -1.
void rotate(const HeadRow& row, float direction, float* y) {
  const int64_t half = row.headDim / 2;
  forEachVector(half, [&](int64_t i, auto part) {
    const Vec c = load(row.cosine + i, part);
    const Vec s = load(row.sine + i, part) * direction;
    const Vec first = load(y + i, part);
    const Vec second = load(y + half + i, part);
    store(y + i, first * c - second * s, part);
    store(y + half + i, second * c + first * s, part);
  });
}

float inverseRoot(const HeadRow& row, const float* y) {
  const float squares = sumOver(row.headDim, [&](int64_t i, auto part) {
    const Vec v = load(y + i, part);
    return v * v;
  });
  return 1.0F / __builtin_sqrtf(squares / static_cast<float>(row.headDim) + row.normEpsilon);
}

/// Heads that nothing normalizes, and whose halves are whole vectors, need no memory in between.
inline bool inRegisters(const HeadRow& row) {
  return !row.normWeight && row.headDim % (2 * lanes) == 0;
}

/// turned(i, j, cosine, sine) for vectors at places i and j of a row that are turned with each other, or plain(i) for
/// each where nothing turns.
template <typename Turned, typename Plain>
inline void forHeadVectors(const HeadRow& row, Turned turned, Plain plain) {
  const int64_t width = row.heads * row.headDim;
  const int64_t half = row.headDim / 2;
  if (!row.cosine) {
    for (int64_t i = 0; i < width; i += lanes) plain(i);
    return;
  }
  for (int64_t start = 0; start < width; start += row.headDim) {
    for (int64_t i = 0; i < half; i += lanes) {
      turned(start + i, start + half + i, load(row.cosine + i), load(row.sine + i));
    }
  }
}

template <typename T>
void forwardOf(const HeadRow& row, const T* p, const RawColumns& columns, T* out) {
  const int64_t d = row.headDim;
  if (inRegisters(row)) {
    const auto valueAt = [&](int64_t i) { return valueOf(load(p + i), columns, i, Whole{}); };
    return forHeadVectors(
        row,
        [&](int64_t i, int64_t j, Vec c, Vec s) {
          const Vec first = valueAt(i);
          const Vec second = valueAt(j);
          store(out + i, first * c - second * s);
          store(out + j, second * c + first * s);
        },
        [&](int64_t i) { store(out + i, valueAt(i)); });
  }
  alignas(64) float y[maximumHeadDim];
  for (int64_t start = 0; start < row.heads * d; start += d) {
    forEachVector(d, [&](int64_t i, auto part) {
      store(y + i, valueOf(load(p + start + i, part), columns, start + i, part), part);
    });
    if (row.normWeight) {
      const float r = inverseRoot(row, y);
      forEachVector(
          d, [&](int64_t i, auto part) { store(y + i, load(y + i, part) * r * load(row.normWeight + i, part), part); });
    }
    if (row.cosine) rotate(row, 1, y);
    forEachVector(d, [&](int64_t i, auto part) { store(out + start + i, load(y + i, part), part); });
  }
}

/// dy becomes the gradient of what the norm read, y.
void normBackward(const HeadRow& row, const float* y, float* dy) {
  const float r = inverseRoot(row, y);
  const float dot = sumOver(row.headDim, [&](int64_t i, auto part) {
    return load(dy + i, part) * load(row.normWeight + i, part) * load(y + i, part);
  });
  const float factor = dot * r * r / static_cast<float>(row.headDim);
  forEachVector(row.headDim, [&](int64_t i, auto part) {
    const Vec inner = load(dy + i, part) * load(row.normWeight + i, part) - load(y + i, part) * factor;
    store(dy + i, inner * r, part);
  });
}

template <typename T>
void backwardOf(const HeadRow& row, const T* dOut, const T* p, const RawColumns& columns, T* dYs, float* sums) {
  const int64_t d = row.headDim;
  if (inRegisters(row)) {
    const auto put = [&](int64_t i, Vec gradient) {
      store(dYs + i, gradient * scaleAt(columns, i, Whole{}));
      if (sums) addTo(sums, i, gradient * load(p + i), Whole{});
    };
    return forHeadVectors(
        row,
        [&](int64_t i, int64_t j, Vec c, Vec s) {
          const Vec first = load(dOut + i);
          const Vec second = load(dOut + j);
          put(i, first * c + second * s);
          put(j, second * c - first * s);
        },
        [&](int64_t i) { put(i, load(dOut + i)); });
  }
  alignas(64) float y[maximumHeadDim];
  alignas(64) float dy[maximumHeadDim];
  for (int64_t start = 0; start < row.heads * d; start += d) {
    forEachVector(d, [&](int64_t i, auto part) { store(dy + i, load(dOut + start + i, part), part); });
    if (row.cosine) rotate(row, -1, dy);
    if (row.normWeight) {
      forEachVector(d, [&](int64_t i, auto part) {
        store(y + i, valueOf(load(p + start + i, part), columns, start + i, part), part);
      });
      normBackward(row, y, dy);
    }
    forEachVector(d, [&](int64_t i, auto part) {
      const Vec gradient = load(dy + i, part);
      store(dYs + start + i, gradient * scaleAt(columns, start + i, part), part);
      if (sums) addTo(sums, start + i, gradient * load(p + start + i, part), part);
    });
  }
}

void forward(const HeadRow& row, const void* p, bool isBf16, const RawColumns& columns, void* out) {
  if (isBf16) {
    forwardOf(row, static_cast<const bf16*>(p), columns, static_cast<bf16*>(out));
  } else {
    forwardOf(row, static_cast<const float*>(p), columns, static_cast<float*>(out));
  }
}

void backward(const HeadRow& row, const void* dOut, const void* p, bool isBf16, const RawColumns& columns, void* dYs,
              float* sums) {
  if (isBf16) {
    backwardOf(row, static_cast<const bf16*>(dOut), static_cast<const bf16*>(p), columns, static_cast<bf16*>(dYs),
               sums);
  } else {
    backwardOf(row, static_cast<const float*>(dOut), static_cast<const float*>(p), columns, static_cast<float*>(dYs),
               sums);
  }
}

}  // namespace

extern const HeadKernels headKernels = {forward, backward};

}  // namespace lrqat::cpu::LRQAT_ISA
