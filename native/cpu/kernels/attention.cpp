#include "cpu/kernels/attention.h"

#include <type_traits>

#include "cpu/kernels/attention_rows.h"

namespace lrqat::cpu::LRQAT_ISA {

namespace {

constexpr int64_t queryBlock = attentionBlock;
constexpr int64_t keyStep = 128;  // keys of one forward step
constexpr int64_t elementsPerUnit = dotPairs ? 2 : 1;
constexpr float none = -1e30F;  // below every score, and finite: none - none is 0

/// What P and dS are stored as: the type that the products read.
using Factor = std::conditional_t<dotPairs, bf16, float>;

/// Sizes in which every instruction set's padding fits.
constexpr int64_t padRows(int64_t count) {
  return roundUp(count, 8);
}
constexpr int64_t padColumns(int64_t count) {
  return roundUp(count, 32);
}
constexpr int64_t padPart(int64_t floats) {
  return roundUp(floats, 16);
}

int64_t keysFloats(int64_t length, int64_t headDim) {
  return padPart(padColumns(length) * headDim);
}
int64_t valuesFloats(int64_t length, int64_t headDim) {
  return padPart(padColumns(headDim) * length);
}

int64_t packedFloats(int64_t length, int64_t headDim) {
  return keysFloats(length, headDim) + valuesFloats(length, headDim);
}

int64_t forwardFloats(int64_t headDim) {
  return padPart(queryBlock * headDim) + 2 * queryBlock * keyStep + queryBlock * padColumns(headDim) + 2 * queryBlock;
}

/// Keys for Q·Kᵀ, then values for P·V, as B operands.
template <typename T>
void packOf(const AttentionInput& input, int64_t kvHead, float* packed) {
  const int64_t stride = input.kvHeads * input.headDim;
  packPanelsTransposed(column<T>(input.k, kvHead, input.headDim), stride, input.headDim, input.length, packed);
  packPanels(column<T>(input.v, kvHead, input.headDim), stride, input.length, input.headDim,
             packed + keysFloats(input.length, input.headDim));
}

struct Row {
  float maximum;
  float sum;
};

/// Keys of a step that a query sees: first … last but those from hiddenFrom to before hiddenTo.
struct Visible {
  int64_t first, last;
  int64_t hiddenFrom, hiddenTo;
};

/// Scores become probabilities relative to the running maximum; returns the factor for what was summed before.
inline float softmaxStep(float* scores, int64_t width, float scale, const Visible& keys, bool masked, Row& row,
                         Factor* probabilities) {
  Vec top = broadcast(none);
  if (masked) {
    const VecInt lane = laneNumbers();
    for (int64_t c = 0; c < width; c += lanes) {
      const VecInt key = lane + static_cast<int32_t>(c);
      VecInt visible = (key >= static_cast<int32_t>(keys.first)) & (key <= static_cast<int32_t>(keys.last));
      if (keys.hiddenFrom < keys.hiddenTo) {
        visible &= (key < static_cast<int32_t>(keys.hiddenFrom)) | (key >= static_cast<int32_t>(keys.hiddenTo));
      }
      const Vec score = visible ? load(scores + c) : broadcast(-INFINITY);
      store(scores + c, score);
      top = maximum(top, score);
    }
  } else {
    for (int64_t c = 0; c < width; c += lanes) top = maximum(top, load(scores + c));
  }
  const float previous = row.maximum;
  const float scaled = highest(top) * scale;
  row.maximum = scaled > previous ? scaled : previous;
  Vec total = {};
  for (int64_t c = 0; c < width; c += lanes) {
    const Vec p = probability(multiplyAdd(load(scores + c), broadcast(scale), broadcast(-row.maximum)));
    total += p;
    store(probabilities + c, p);
  }
  const float factor = previous == row.maximum ? 1.0F : probability(broadcast(previous - row.maximum))[0];
  row.sum = row.sum * factor + sum(total);
  return factor;
}

template <typename T>
void forwardOf(const AttentionInput& input, const AttentionOutput& output, int64_t head, int64_t firstQuery,
               const float* packed, float* work) {
  const int64_t d = input.headDim;
  const int64_t dPadded = roundUp(d, panelColumns);
  const int64_t width = input.heads * d;
  const int64_t queries = input.length - firstQuery < queryBlock ? input.length - firstQuery : queryBlock;
  const int64_t rows = roundUp(queries, tileRows);
  const int64_t headUnits = unitsOf(d);
  const float scale = 1.0F / __builtin_sqrtf(static_cast<float>(d));
  const float* keys = packed;
  const float* values = packed + keysFloats(input.length, d);
  const int64_t valuePanel = unitsOf(input.length) * panelColumns;

  Parts parts(work);
  float* q = parts.take(queryBlock * d);
  float* scores = parts.take(queryBlock * keyStep);
  auto* probabilities = reinterpret_cast<Factor*>(parts.take(queryBlock * keyStep));
  float* sums = parts.take(queryBlock * padColumns(d));
  Row state[queryBlock];
  for (auto& row : state) row = {none, 0};

  packRows(column<T>(input.q, head, d) + firstQuery * width, width, queries, d, q, headUnits);
  if (rows > queries) {
    std::memset(q + queries * headUnits, 0, static_cast<size_t>((rows - queries) * headUnits) * sizeof(float));
  }

  const int64_t lastQuery = firstQuery + queries - 1;
  const int64_t lowest = input.firstKey ? input.firstKey[firstQuery] : 0;
  const int64_t highestFirst = input.firstKey ? input.firstKey[lastQuery] : 0;
  const HiddenKeys hidden = hiddenKeys(input, firstQuery, lastQuery);
  const int64_t start = lowest / panelColumns * panelColumns;
  for (int64_t key = start; key <= lastQuery; key += keyStep) {
    const int64_t count = lastQuery + 1 - key < keyStep ? lastQuery + 1 - key : keyStep;
    const int64_t columns = roundUp(count, panelColumns);
    multiplyBlock(rows, columns, headUnits, q, headUnits, keys + key * headUnits, headUnits * panelColumns, scores,
                  keyStep, false);
    const bool masked = key + columns - 1 > firstQuery || highestFirst > key || hidden.overlap(key, columns);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t query = firstQuery + r;
      const int64_t from = input.firstKey && r < queries ? input.firstKey[query] : lowest;
      const bool hides = input.hiddenFrom && r < queries;
      const Visible visible{from - key, query - key, hides ? input.hiddenFrom[query] - key : 0,
                            hides ? input.hiddenTo[query] - key : 0};
      const float factor =
          softmaxStep(scores + r * keyStep, columns, scale, visible, masked, state[r], probabilities + r * keyStep);
      if (key != start && factor != 1.0F) {
        for (int64_t c = 0; c < dPadded; c += lanes) {
          store(sums + r * dPadded + c, load(sums + r * dPadded + c) * factor);
        }
      }
    }
    multiplyBlock(rows, dPadded, unitsOf(count), reinterpret_cast<const float*>(probabilities),
                  keyStep / elementsPerUnit, values + key / elementsPerUnit * panelColumns, valuePanel, sums, dPadded,
                  key != start);
  }

  T* o = static_cast<T*>(output.o) + firstQuery * width + head * d;
  float* lse = output.lse + head * input.length + firstQuery;
  for (int64_t r = 0; r < queries; ++r) {
    const float inverse = 1.0F / state[r].sum;
    forEachVector(
        d, [&](int64_t c, auto part) { store(o + r * width + c, load(sums + r * dPadded + c) * inverse, part); });
    lse[r] = state[r].maximum + __builtin_logf(state[r].sum);
  }
}

/// The buffers of one backward item: operands of a group's keys and values, of a head, sums, and one block pair.
struct BackwardBuffers {
  BackwardBuffers(float* work, int64_t length, int64_t headDim) {
    Parts parts(work);
    const int64_t rows = padRows(length) + 8;
    const int64_t byRow = rows * headDim;
    keyRows = parts.take(byRow);
    valueRows = parts.take(byRow);
    keyColumns = parts.take(padRows(headDim) * length);
    queryPanels = parts.take(padColumns(length) * headDim);
    dOPanels = parts.take(padColumns(length) * headDim);
    queryRowsPanels = parts.take(padColumns(headDim) * length);
    dORowsPanels = parts.take(padColumns(headDim) * length);
    lse = parts.take(padColumns(length));
    delta = parts.take(padColumns(length));
    dK = parts.take(rows * padColumns(headDim));
    dV = parts.take(rows * padColumns(headDim));
    dQ = parts.take(padRows(headDim) * padColumns(length));
    constexpr int64_t square = attentionBlock * attentionBlock;
    scores = parts.take(square);
    dP = parts.take(square);
    probabilities = parts.take(square);
    dS = parts.take(square);
    dSPanels = parts.take(square);
    floats = parts.used();
  }
  float *keyRows, *valueRows, *keyColumns;  // A operands: K, V by row, Kᵀ
  float *queryPanels, *dOPanels;            // B operands over the head dimension
  float *queryRowsPanels, *dORowsPanels;    // B operands over the queries
  float *lse, *delta;                       // [queries], padded
  float *dK, *dV;                           // [keys][headDim] sums
  float* dQ;                                // [headDim][queries] sums
  float *scores, *dP, *probabilities, *dS, *dSPanels;
  int64_t floats;
};

int64_t backwardFloats(int64_t length, int64_t headDim) {
  return BackwardBuffers(nullptr, length, headDim).floats;
}

/// From scores and dP of a block of keys × queries: P and dS by key row, and dS as a B operand over the keys.
inline void probabilityGradients(const BackwardBuffers& w, int64_t firstKey, int64_t keys, int64_t firstQuery,
                                 int64_t columns, float scale, const int32_t* visibleFrom, int64_t length,
                                 bool masked) {
  auto* probabilities = reinterpret_cast<Factor*>(w.probabilities);
  auto* dS = reinterpret_cast<Factor*>(w.dS);
  const int64_t units = unitsOf(keys);
  for (int64_t q = 0; q < columns; q += lanes) {
    const Vec lse = load(w.lse + firstQuery + q);
    const Vec delta = load(w.delta + firstQuery + q);
    const VecInt query = laneNumbers() + static_cast<int32_t>(firstQuery + q);
    VecInt from = {};
    if (masked && visibleFrom) {
      const int64_t left = length - firstQuery - q;
      if (left > 0) {
        std::memcpy(&from, visibleFrom + firstQuery + q, left >= lanes ? sizeof from : static_cast<size_t>(left) * 4);
      }
    }
    const auto one = [&](int64_t row) {
      const int64_t place = row * attentionBlock + q;
      Vec p = probability(multiplyAdd(load(w.scores + place), broadcast(scale), -lse));
      if (masked) {
        const auto key = static_cast<int32_t>(firstKey + row);
        p = ((query >= key) & (from <= key)) ? p : Vec{};
      }
      const Vec ds = p * (load(w.dP + place) - delta);
      store(probabilities + place, p);
      store(dS + place, ds);
      return ds;
    };
    float* panel = w.dSPanels + q / panelColumns * panelColumns * units + q % panelColumns;
    if constexpr (dotPairs) {
      for (int64_t row = 0; row < keys; row += 2) {
        const VecBits low = roundToBf16(one(row));
        const VecBits high = roundToBf16(one(row + 1));
        store(panel + row / 2 * panelColumns, __builtin_bit_cast(Vec, low | (high << 16)));
      }
    } else {
      for (int64_t row = 0; row < keys; ++row) store(panel + row * panelColumns, one(row));
    }
  }
}

/// out[i] = scale·in[i], row by row.
template <typename T>
void writeRows(const float* in, int64_t inStride, int64_t rows, int64_t columns, float scale, T* out,
               int64_t outStride) {
  for (int64_t r = 0; r < rows; ++r) {
    forEachVector(columns, [&](int64_t c, auto part) {
      store(out + r * outStride + c, load(in + r * inStride + c) * scale, part);
    });
  }
}

template <typename T>
void writeTransposed(const float* in, int64_t inStride, int64_t rows, int64_t columns, float scale, T* out,
                     int64_t outStride) {
  for (int64_t r = 0; r < rows; r += lanes) {
    for (int64_t c = 0; c < columns; c += lanes) {
      Vec v[lanes];
      for (int k = 0; k < lanes; ++k) v[k] = c + k < columns ? load(in + (c + k) * inStride + r) * scale : Vec{};
      transpose(v);
      for (int k = 0; k < lanes && r + k < rows; ++k) {
        T* place = out + (r + k) * outStride + c;
        if (c + lanes <= columns) {
          store(place, v[k]);
        } else {
          storePart(place, v[k], columns - c);
        }
      }
    }
  }
}

template <typename T>
void prepareHead(const AttentionInput& input, const AttentionGradient& gradient, int64_t head,
                 const BackwardBuffers& w) {
  const int64_t d = input.headDim;
  const int64_t length = input.length;
  const int64_t stride = input.heads * d;
  const T* q = column<T>(input.q, head, d);
  const T* dO = column<T>(gradient.dO, head, d);
  const T* o = column<T>(gradient.o, head, d);
  packPanelsTransposed(q, stride, d, length, w.queryPanels);
  packPanelsTransposed(dO, stride, d, length, w.dOPanels);
  packPanels(q, stride, length, d, w.queryRowsPanels);
  packPanels(dO, stride, length, d, w.dORowsPanels);
  for (int64_t i = 0; i < length; ++i) {
    Vec total = {};
    forEachVector(d, [&](int64_t c, auto part) {
      total = multiplyAdd(load(o + i * stride + c, part), load(dO + i * stride + c, part), total);
    });
    w.delta[i] = sum(total);
    w.lse[i] = gradient.lse[head * length + i];
  }
  // Queries that fill the last vectors have probability 0.
  for (int64_t i = length; i < padColumns(length); ++i) {
    w.delta[i] = 0;
    w.lse[i] = INFINITY;
  }
}

template <typename T>
void backwardOf(const AttentionInput& input, const AttentionGradient& gradient, int64_t firstHead, int64_t headCount,
                float* work) {
  const int64_t d = input.headDim;
  const int64_t length = input.length;
  const int64_t headUnits = unitsOf(d);
  const int64_t keyUnits = unitsOf(length);
  const int64_t dPadded = roundUp(d, panelColumns);
  const int64_t dRows = roundUp(d, tileRows);
  const int64_t queryStride = padColumns(length);
  const int64_t kvHead = firstHead / (input.heads / input.kvHeads);
  const int64_t kvStride = input.kvHeads * d;
  const float scale = 1.0F / __builtin_sqrtf(static_cast<float>(d));
  const BackwardBuffers w(work, length, d);

  const T* k = column<T>(input.k, kvHead, d);
  const T* v = column<T>(input.v, kvHead, d);
  const auto clear = [](float* memory, int64_t floats) {
    std::memset(memory, 0, static_cast<size_t>(floats) * sizeof(float));
  };
  packRows(k, kvStride, length, d, w.keyRows, headUnits);
  packRows(v, kvStride, length, d, w.valueRows, headUnits);
  clear(w.keyRows + length * headUnits, 8 * headUnits);
  clear(w.valueRows + length * headUnits, 8 * headUnits);
  packRowsTransposed(k, kvStride, d, length, w.keyColumns, keyUnits);
  clear(w.keyColumns + d * keyUnits, (dRows - d) * keyUnits);
  clear(w.dK, padRows(length) * dPadded);
  clear(w.dV, padRows(length) * dPadded);

  for (int64_t head = firstHead; head < firstHead + headCount; ++head) {
    prepareHead<T>(input, gradient, head, w);
    clear(w.dQ, dRows * queryStride);
    for (int64_t key = 0; key < length; key += attentionBlock) {
      const int64_t keys = length - key < attentionBlock ? length - key : attentionBlock;
      const int64_t keyTiles = roundUp(keys, tileRows);
      for (int64_t query = key; query < length; query += attentionBlock) {
        const int64_t queries = length - query < attentionBlock ? length - query : attentionBlock;
        // First keys never decrease: once the block's first query is past these keys, all later ones are.
        if (input.firstKey && input.firstKey[query] >= key + keys) break;
        const int64_t columns = roundUp(queries, panelColumns);
        multiplyBlock(keyTiles, columns, headUnits, w.keyRows + key * headUnits, headUnits,
                      w.queryPanels + query * headUnits, headUnits * panelColumns, w.scores, attentionBlock, false);
        multiplyBlock(keyTiles, columns, headUnits, w.valueRows + key * headUnits, headUnits,
                      w.dOPanels + query * headUnits, headUnits * panelColumns, w.dP, attentionBlock, false);
        const bool masked = query == key || (input.firstKey && input.firstKey[query + queries - 1] > key);
        probabilityGradients(w, key, keys, query, columns, scale, input.firstKey, length, masked);
        const int64_t queryUnits = unitsOf(queries);
        const int64_t fromQuery = query / elementsPerUnit * panelColumns;
        multiplyBlock(keyTiles, dPadded, queryUnits, w.probabilities, attentionBlock / elementsPerUnit,
                      w.dORowsPanels + fromQuery, keyUnits * panelColumns, w.dV + key * dPadded, dPadded, true);
        multiplyBlock(keyTiles, dPadded, queryUnits, w.dS, attentionBlock / elementsPerUnit,
                      w.queryRowsPanels + fromQuery, keyUnits * panelColumns, w.dK + key * dPadded, dPadded, true);
        multiplyBlock(dRows, columns, unitsOf(keys), w.keyColumns + key / elementsPerUnit, keyUnits, w.dSPanels,
                      unitsOf(keys) * panelColumns, w.dQ + query, queryStride, true);
      }
    }
    writeTransposed(w.dQ, queryStride, length, d, scale, static_cast<T*>(gradient.dQ) + head * d, input.heads * d);
  }
  if (gradient.partial) {
    writeRows(w.dK, dPadded, length, d, scale, gradient.partial, d);
    writeRows(w.dV, dPadded, length, d, 1, gradient.partial + length * d, d);
  } else {
    writeRows(w.dK, dPadded, length, d, scale, static_cast<T*>(gradient.dK) + kvHead * d, kvStride);
    writeRows(w.dV, dPadded, length, d, 1, static_cast<T*>(gradient.dV) + kvHead * d, kvStride);
  }
}

void pack(const AttentionInput& input, int64_t kvHead, float* packed) {
  if constexpr (!dotPairs) {
    if (!input.bf16) return packOf<float>(input, kvHead, packed);
  }
  packOf<bf16>(input, kvHead, packed);
}

void forward(const AttentionInput& input, const AttentionOutput& output, int64_t head, int64_t firstQuery,
             const float* packed, float* work) {
  if constexpr (!dotPairs) {
    if (!input.bf16) return forwardOf<float>(input, output, head, firstQuery, packed, work);
  }
  forwardOf<bf16>(input, output, head, firstQuery, packed, work);
}

void backward(const AttentionInput& input, const AttentionGradient& gradient, int64_t firstHead, int64_t headCount,
              float* work) {
  if constexpr (!dotPairs) {
    if (!input.bf16) return backwardOf<float>(input, gradient, firstHead, headCount, work);
  }
  backwardOf<bf16>(input, gradient, firstHead, headCount, work);
}

void sumParts(const AttentionInput& input, int64_t kvHead, int64_t parts, const float* partial, void* dK, void* dV) {
  if constexpr (!dotPairs) {
    if (!input.bf16) return sumPartsOf(input, kvHead, parts, partial, static_cast<float*>(dK), static_cast<float*>(dV));
  }
  sumPartsOf(input, kvHead, parts, partial, static_cast<bf16*>(dK), static_cast<bf16*>(dV));
}

}  // namespace

extern const AttentionKernels attentionKernels = {packedFloats, forwardFloats, backwardFloats, pack,
                                                  forward,      backward,      sumParts};

}  // namespace lrqat::cpu::LRQAT_ISA
