// Attention in float32 throughout, for float32 activations and for head sizes that the tensor cores' 16-byte rows do
// not fit. A warp owns a query (forward, dQ) or a key (dK, dV); what it meets comes through shared memory, 32 at a
// time, one a lane.
#include <cmath>

#include "cuda/check.h"
#include "cuda/kernels/attention_arguments.h"
#include "cuda/kernels/element.cuh"

namespace lrqat::cuda::attention {

namespace {

constexpr int warps = 8;  // owned rows of a block
constexpr int threads = warps * 32;
constexpr int tileRows = 32;
constexpr int laneColumns = 8;  // head sizes up to 32·8

__device__ __forceinline__ float warpMaximum(float value) {
  for (int offset = 16; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(0xffffffffU, value, offset));
  return value;
}
__device__ __forceinline__ float warpSum(float value) {
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffU, value, offset);
  return value;
}

/// `rows` rows (of `capacity`, the rest zero) of `columns` elements as floats, `pitch` floats from row to row.
template <typename E>
__device__ void loadRows(float* target, int pitch, const E* source, int64_t stride, int rows, int capacity,
                         int columns) {
  for (int index = static_cast<int>(threadIdx.x); index < capacity * columns; index += threads) {
    const int row = index / columns;
    const int column = index % columns;
    target[row * pitch + column] = row < rows ? toFloat(source[row * stride + column]) : 0.0F;
  }
}

__device__ __forceinline__ float dot(const float* a, const float* b, int columns) {
  float sum = 0;
  for (int c = 0; c < columns; ++c) sum = fmaf(a[c], b[c], sum);
  return sum;
}

/// sums[c] += Σ_lane weight(lane)·tile[lane][32·c + own lane], lanes in order.
__device__ __forceinline__ void accumulate(float (&sums)[laneColumns], float weight, const float* tile, int pitch,
                                           int columns) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  for (int row = 0; row < tileRows; ++row) {
    const float w = __shfl_sync(0xffffffffU, weight, row);
#pragma unroll
    for (int c = 0; c < laneColumns; ++c) {
      if (c * 32 + lane < columns) sums[c] = fmaf(w, tile[row * pitch + c * 32 + lane], sums[c]);
    }
  }
}

template <typename E>
__device__ __forceinline__ void storeRow(E* target, const float (&sums)[laneColumns], float factor, int columns) {
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int c = 0; c < laneColumns; ++c) {
    if (c * 32 + lane < columns) target[c * 32 + lane] = fromFloat<E>(sums[c] * factor);
  }
}

/// What a block of `warps` queries of one head sees.
struct QueryBlock {
  __device__ explicit QueryBlock(const Problem& p)
      : warp(static_cast<int>(threadIdx.x / 32)),
        lane(static_cast<int>(threadIdx.x % 32)),
        head(static_cast<int>(blockIdx.y)),
        firstRow(static_cast<int64_t>(blockIdx.z) * p.length),
        firstQuery(static_cast<int>(blockIdx.x) * warps),
        queries(min(warps, p.length - firstQuery)),
        lastQuery(firstQuery + queries - 1),
        query(min(firstQuery + warp, lastQuery)),
        width(static_cast<int64_t>(p.heads) * p.headDim),
        kvWidth(static_cast<int64_t>(p.kvHeads) * p.headDim),
        place((firstRow + firstQuery) * width + static_cast<int64_t>(head) * p.headDim),
        kvPlace(firstRow * kvWidth + static_cast<int64_t>(head / (p.heads / p.kvHeads)) * p.headDim),
        headRow(static_cast<int64_t>(blockIdx.z) * p.heads + head),
        start(p.firstKey == nullptr ? 0 : p.firstKey[firstRow + firstQuery]),
        visibleFrom(p.firstKey == nullptr ? 0 : p.firstKey[firstRow + query]),
        hiddenFrom(p.hiddenFrom == nullptr ? 0 : p.hiddenFrom[firstRow + query]),
        hiddenTo(p.hiddenTo == nullptr ? 0 : p.hiddenTo[firstRow + query]) {}
  int warp, lane, head;
  int64_t firstRow;  // of the sequence
  int firstQuery, queries, lastQuery;
  int query;  // of this warp
  int64_t width, kvWidth;
  int64_t place;    // of the first query in q, o, dO, dQ
  int64_t kvPlace;  // of the sequence's first key in k, v
  int64_t headRow;  // sequence·heads + head
  int start;        // first key that a query of the block sees
  int visibleFrom;  // first key that this warp's query sees
  int hiddenFrom;   // from here to before hiddenTo it sees none
  int hiddenTo;
};

template <typename E>
__global__ __launch_bounds__(threads) void forwardKernel(const Forward<E> arguments) {
  extern __shared__ float shared[];
  const Problem& p = arguments.problem;
  const QueryBlock block(p);
  const int pitch = p.headDim + 1;
  float* keyTile = shared;                          // [tileRows, pitch]
  float* valueTile = keyTile + tileRows * pitch;    // [tileRows, pitch]
  float* queryTile = valueTile + tileRows * pitch;  // [warps, pitch]
  loadRows(queryTile, pitch, arguments.q + block.place, block.width, block.queries, warps, p.headDim);

  float maximum = -INFINITY;
  float sum = 0;
  float sums[laneColumns] = {};
  for (int key = block.start; key <= block.lastQuery; key += tileRows) {
    __syncthreads();
    const int rows = min(tileRows, p.length - key);
    const int64_t from = block.kvPlace + key * block.kvWidth;
    loadRows(keyTile, pitch, arguments.k + from, block.kvWidth, rows, tileRows, p.headDim);
    loadRows(valueTile, pitch, arguments.v + from, block.kvWidth, rows, tileRows, p.headDim);
    __syncthreads();
    const int column = key + block.lane;
    const bool visible =
        column <= block.query && column >= block.visibleFrom && (column < block.hiddenFrom || column >= block.hiddenTo);
    const float score =
        visible ? dot(queryTile + block.warp * pitch, keyTile + block.lane * pitch, p.headDim) * p.scale : -INFINITY;
    const float top = fmaxf(maximum, warpMaximum(score));
    if (top == -INFINITY) continue;  // the row sees none of these keys
    const float factor = expf(maximum - top);
    const float weight = expf(score - top);
    maximum = top;
    sum = fmaf(sum, factor, warpSum(weight));
#pragma unroll
    for (float& value : sums) value *= factor;
    accumulate(sums, weight, valueTile, pitch, p.headDim);
  }
  if (block.warp >= block.queries) return;
  storeRow(arguments.o + block.place + block.warp * block.width, sums, 1.0F / sum, p.headDim);
  if (block.lane == 0) arguments.lse[block.headRow * p.length + block.query] = maximum + logf(sum);
}

template <typename E>
__global__ __launch_bounds__(threads) void queryGradientKernel(const Backward<E> arguments) {
  extern __shared__ float shared[];
  const Problem& p = arguments.problem;
  const QueryBlock block(p);
  const int pitch = p.headDim + 1;
  float* keyTile = shared;                          // [tileRows, pitch]
  float* valueTile = keyTile + tileRows * pitch;    // [tileRows, pitch]
  float* queryTile = valueTile + tileRows * pitch;  // [warps, pitch]
  float* dOTile = queryTile + warps * pitch;        // [warps, pitch]
  loadRows(queryTile, pitch, arguments.q + block.place, block.width, block.queries, warps, p.headDim);
  loadRows(dOTile, pitch, arguments.dO + block.place, block.width, block.queries, warps, p.headDim);
  const RowStatistics row = arguments.rows[block.headRow * paddedLength(p.length) + block.query];

  float sums[laneColumns] = {};
  for (int key = block.start; key <= block.lastQuery; key += tileRows) {
    __syncthreads();
    const int rows = min(tileRows, p.length - key);
    const int64_t from = block.kvPlace + key * block.kvWidth;
    loadRows(keyTile, pitch, arguments.k + from, block.kvWidth, rows, tileRows, p.headDim);
    loadRows(valueTile, pitch, arguments.v + from, block.kvWidth, rows, tileRows, p.headDim);
    __syncthreads();
    const int column = key + block.lane;
    float dS = 0;
    if (column <= block.query && column >= block.visibleFrom) {
      const float score = dot(queryTile + block.warp * pitch, keyTile + block.lane * pitch, p.headDim) * p.scale;
      const float dP = dot(dOTile + block.warp * pitch, valueTile + block.lane * pitch, p.headDim);
      dS = expf(score - row.lse) * (dP - row.delta);
    }
    accumulate(sums, dS, keyTile, pitch, p.headDim);
  }
  if (block.warp >= block.queries) return;
  storeRow(arguments.dQ + block.place + block.warp * block.width, sums, p.scale, p.headDim);
}

template <typename E>
__global__ __launch_bounds__(threads) void keyGradientKernel(const Backward<E> arguments) {
  extern __shared__ float shared[];
  const Problem& p = arguments.problem;
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int kvHead = static_cast<int>(blockIdx.y);
  const int group = p.heads / p.kvHeads;
  const int64_t firstRow = static_cast<int64_t>(blockIdx.z) * p.length;
  const int32_t* firstKey = p.firstKey == nullptr ? nullptr : p.firstKey + firstRow;
  const int firstKeyOfBlock = static_cast<int>(blockIdx.x) * warps;
  const int keys = min(warps, p.length - firstKeyOfBlock);
  const int lastKey = firstKeyOfBlock + keys - 1;
  const int key = firstKeyOfBlock + warp;
  const int64_t width = static_cast<int64_t>(p.heads) * p.headDim;
  const int64_t kvWidth = static_cast<int64_t>(p.kvHeads) * p.headDim;
  const int64_t kvPlace = (firstRow + firstKeyOfBlock) * kvWidth + static_cast<int64_t>(kvHead) * p.headDim;
  const int pitch = p.headDim + 1;
  float* queryTile = shared;                     // [tileRows, pitch]
  float* dOTile = queryTile + tileRows * pitch;  // [tileRows, pitch]
  float* keyTile = dOTile + tileRows * pitch;    // [warps, pitch]
  float* valueTile = keyTile + warps * pitch;    // [warps, pitch]
  loadRows(keyTile, pitch, arguments.k + kvPlace, kvWidth, keys, warps, p.headDim);
  loadRows(valueTile, pitch, arguments.v + kvPlace, kvWidth, keys, warps, p.headDim);

  float dK[laneColumns] = {};
  float dV[laneColumns] = {};
  for (int head = kvHead * group; head < (kvHead + 1) * group; ++head) {
    const RowStatistics* rowStatistics =
        arguments.rows + (static_cast<int64_t>(blockIdx.z) * p.heads + head) * paddedLength(p.length);
    for (int first = firstKeyOfBlock; first < p.length; first += tileRows) {
      if (firstKey != nullptr && firstKey[first] > lastKey) break;  // nor does any later query see the block
      __syncthreads();
      const int rows = min(tileRows, p.length - first);
      const int64_t from = (firstRow + first) * width + static_cast<int64_t>(head) * p.headDim;
      loadRows(queryTile, pitch, arguments.q + from, width, rows, tileRows, p.headDim);
      loadRows(dOTile, pitch, arguments.dO + from, width, rows, tileRows, p.headDim);
      __syncthreads();
      const int query = first + lane;
      float weight = 0;
      float dS = 0;
      if (lane < rows && key <= query && (firstKey == nullptr || firstKey[query] <= key)) {
        const RowStatistics row = rowStatistics[query];
        const float score = dot(queryTile + lane * pitch, keyTile + warp * pitch, p.headDim) * p.scale;
        const float dP = dot(dOTile + lane * pitch, valueTile + warp * pitch, p.headDim);
        weight = expf(score - row.lse);
        dS = weight * (dP - row.delta);
      }
      accumulate(dV, weight, dOTile, pitch, p.headDim);
      accumulate(dK, dS, queryTile, pitch, p.headDim);
    }
  }
  if (warp >= keys) return;
  storeRow(arguments.dK + kvPlace + warp * kvWidth, dK, p.scale, p.headDim);
  storeRow(arguments.dV + kvPlace + warp * kvWidth, dV, 1.0F, p.headDim);
}

template <typename Arguments>
void launch(void (*kernel)(Arguments), const Arguments& arguments, int heads, int rows, cudaStream_t stream) {
  const Problem& p = arguments.problem;
  const int bytes = rows * (p.headDim + 1) * static_cast<int>(sizeof(float));
  LRQAT_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  const dim3 grid(static_cast<unsigned>((p.length + warps - 1) / warps), static_cast<unsigned>(heads),
                  static_cast<unsigned>(p.batch));
  kernel<<<grid, threads, static_cast<size_t>(bytes), stream>>>(arguments);
  LRQAT_CUDA(cudaGetLastError());
}

template <typename E>
void forwardOf(const Forward<E>& arguments, cudaStream_t stream) {
  launch(forwardKernel<E>, arguments, arguments.problem.heads, 2 * tileRows + warps, stream);
}

template <typename E>
void backwardOf(const Backward<E>& arguments, cudaStream_t stream) {
  launch(queryGradientKernel<E>, arguments, arguments.problem.heads, 2 * (tileRows + warps), stream);
  launch(keyGradientKernel<E>, arguments, arguments.problem.kvHeads, 2 * (tileRows + warps), stream);
}

}  // namespace

void forwardPlain(const Forward<float>& arguments, cudaStream_t stream) {
  forwardOf(arguments, stream);
}
void forwardPlain(const Forward<Bf16>& arguments, cudaStream_t stream) {
  forwardOf(arguments, stream);
}
void backwardPlain(const Backward<float>& arguments, cudaStream_t stream) {
  backwardOf(arguments, stream);
}
void backwardPlain(const Backward<Bf16>& arguments, cudaStream_t stream) {
  backwardOf(arguments, stream);
}

}  // namespace lrqat::cuda::attention
