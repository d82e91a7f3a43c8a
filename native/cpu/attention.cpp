// Exact attention by blocks. Forward: keys and values of each sequence and head are packed once, then (sequence, head,
// block of queries) are independent. Backward: probabilities are computed again; one item is a sequence with a
// key-value head and its query heads, so that dK and dV are summed in one place, in order. Where there are fewer items
// than threads, a group's query heads are shared out and their sums of dK and dV added in order afterwards.
#include <omp.h>

#include <algorithm>

#include "core/error.h"
#include "cpu/isa.h"
#include "cpu/kernels/attention.h"
#include "cpu/kernels/attention_tiles.h"
#include "cpu/scratch.h"

namespace lrqat::cpu {

namespace {

int64_t ceilDivide(int64_t value, int64_t by) {
  return (value + by - 1) / by;
}

const AttentionKernels& kernelsFor(DType type, int64_t headDim) {
  if (type == DType::BF16) {
    const AttentionKernels* tiles = LRQAT_SELECT_TILE_KERNELS(attentionKernels);
    if (tiles && headDim >= attention_tiles::minimumHeadDim) return *tiles;
    if (const AttentionKernels* pairs = LRQAT_SELECT_BF16_KERNELS(attentionKernels)) return *pairs;
  }
  return LRQAT_SELECT_KERNELS(attentionKernels);
}

/// Parts into which the backward splits the query heads of a group: a divisor of their number.
int64_t groupParts(const AttentionShape& shape, int threads) {
  const int64_t group = shape.heads / shape.kvHeads;
  const int64_t items = shape.batch * shape.kvHeads;
  int64_t parts = 1;
  while (parts < group && items * parts < threads) {
    do {
      ++parts;
    } while (group % parts != 0);
  }
  return parts;
}

int64_t partialFloats(const AttentionShape& shape, int threads) {
  const int64_t parts = groupParts(shape, threads);
  return parts == 1 ? 0 : shape.batch * shape.kvHeads * parts * 2 * shape.length * shape.headDim;
}

void checkShape(const AttentionShape& shape, const Matrix& queries, const Matrix& keys) {
  LRQAT_CHECK(shape.kvHeads > 0 && shape.heads % shape.kvHeads == 0);
  LRQAT_CHECK(shape.headDim > 0 && shape.headDim % 2 == 0);
  LRQAT_CHECK(queries.rows == shape.batch * shape.length && queries.cols == shape.heads * shape.headDim);
  LRQAT_CHECK(keys.rows == queries.rows && keys.cols == shape.kvHeads * shape.headDim);
  LRQAT_CHECK(queries.type != DType::F16);
}

const void* rowOf(const Matrix& matrix, int64_t row) {
  return matrix.slice(row, 0).data;
}

AttentionInput inputOf(const AttentionShape& shape, const Matrix& q, const Matrix& k, const Matrix& v,
                       int64_t sequence) {
  const int64_t first = sequence * shape.length;
  return {.length = shape.length,
          .headDim = shape.headDim,
          .heads = shape.heads,
          .kvHeads = shape.kvHeads,
          .firstKey = shape.firstKey ? shape.firstKey + first : nullptr,
          .hiddenFrom = shape.hiddenFrom ? shape.hiddenFrom + first : nullptr,
          .hiddenTo = shape.hiddenTo ? shape.hiddenTo + first : nullptr,
          .bf16 = q.type == DType::BF16,
          .q = rowOf(q, first),
          .k = rowOf(k, first),
          .v = rowOf(v, first)};
}

}  // namespace

int64_t CpuBackend::attentionScratchBytes(const AttentionShape& shape, DType computeType, int threads) {
  // The sizes of these kernels are the same for every instruction set, and in bf16 those with tiles are always counted:
  // a plan does not depend on the machine.
  const AttentionKernels& kernels = LRQAT_SELECT_KERNELS(attentionKernels);
  const auto bytes = [&](int64_t packed, int64_t forward, int64_t backward) {
    const int64_t all = std::max(shape.batch * shape.kvHeads * packed + threads * forward,
                                 threads * backward + partialFloats(shape, threads));
    // The buffers of each side are two; the 16 floats let the second start on a cache line.
    return (all + 16) * static_cast<int64_t>(sizeof(float));
  };
  const int64_t length = shape.length;
  const int64_t d = shape.headDim;
  const int64_t plain =
      bytes(kernels.packedFloats(length, d), kernels.forwardFloats(d), kernels.backwardFloats(length, d));
  if (computeType != DType::BF16) return plain;
  return std::max(plain, bytes(attention_tiles::packedFloats(length, d), attention_tiles::forwardFloats(d),
                               attention_tiles::backwardFloats(length, d)));
}

void CpuBackend::attention(const AttentionShape& shape, Matrix q, Matrix k, Matrix v, Matrix o, float* lse) {
  checkShape(shape, q, k);
  LRQAT_CHECK(k.type == q.type && v.type == q.type && o.type == q.type);
  LRQAT_CHECK(v.elements() == k.elements() && o.elements() == q.elements());
  const AttentionKernels& kernels = kernelsFor(q.type, shape.headDim);
  const int64_t packedFloats = kernels.packedFloats(shape.length, shape.headDim);
  const int64_t workFloats = kernels.forwardFloats(shape.headDim);
  Scratch scratch(*this);
  float* packed = scratch.take<float>(shape.batch * shape.kvHeads * packedFloats);
  float* work = scratch.take<float>(threads_ * workFloats);
  const int64_t blocks = ceilDivide(shape.length, attentionBlock);
  const int64_t group = shape.heads / shape.kvHeads;
#pragma omp parallel num_threads(threads_)
  {
#pragma omp for schedule(static)
    for (int64_t item = 0; item < shape.batch * shape.kvHeads; ++item) {
      kernels.pack(inputOf(shape, q, k, v, item / shape.kvHeads), item % shape.kvHeads, packed + item * packedFloats);
    }
    // One head after the other, while its keys and values are in the cache; of its blocks those that see the most keys
    // first, so that little is left when one thread finds nothing more to do.
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < blocks * shape.batch * shape.heads; ++task) {
      const int64_t block = blocks - 1 - task % blocks;
      const int64_t sequence = task / blocks / shape.heads;
      const int64_t head = task / blocks % shape.heads;
      const AttentionOutput output{.o = o.slice(sequence * shape.length, 0).data,
                                   .lse = lse + sequence * shape.heads * shape.length};
      kernels.forward(inputOf(shape, q, k, v, sequence), output, head, block * attentionBlock,
                      packed + (sequence * shape.kvHeads + head / group) * packedFloats,
                      work + omp_get_thread_num() * workFloats);
    }
  }
}

void CpuBackend::attentionBackward(const AttentionShape& shape, Matrix q, Matrix k, Matrix v, Matrix o,
                                   const float* lse, Matrix dO, Matrix dQ, Matrix dK, Matrix dV) {
  checkShape(shape, q, k);
  LRQAT_CHECK(!shape.hiddenFrom);
  for (const Matrix& matrix : {k, v, o, dO, dQ, dK, dV}) LRQAT_CHECK(matrix.type == q.type);
  LRQAT_CHECK(v.elements() == k.elements() && dK.elements() == k.elements() && dV.elements() == k.elements());
  LRQAT_CHECK(o.elements() == q.elements() && dO.elements() == q.elements() && dQ.elements() == q.elements());
  const AttentionKernels& kernels = kernelsFor(q.type, shape.headDim);
  const int64_t workFloats = kernels.backwardFloats(shape.length, shape.headDim);
  const int64_t parts = groupParts(shape, threads_);
  const int64_t headsPerPart = shape.heads / shape.kvHeads / parts;
  const int64_t sumFloats = shape.length * shape.headDim;
  Scratch scratch(*this);
  float* work = scratch.take<float>(threads_ * workFloats);
  float* partial = scratch.take<float>(partialFloats(shape, threads_));
#pragma omp parallel num_threads(threads_)
  {
#pragma omp for schedule(dynamic)
    for (int64_t item = 0; item < shape.batch * shape.kvHeads * parts; ++item) {
      const int64_t sequence = item / (shape.kvHeads * parts);
      const int64_t firstHead = item % (shape.kvHeads * parts) * headsPerPart;
      const int64_t firstRow = sequence * shape.length;
      const AttentionGradient gradient{.o = rowOf(o, firstRow),
                                       .lse = lse + sequence * shape.heads * shape.length,
                                       .dO = rowOf(dO, firstRow),
                                       .dQ = dQ.slice(firstRow, 0).data,
                                       .dK = dK.slice(firstRow, 0).data,
                                       .dV = dV.slice(firstRow, 0).data,
                                       .partial = parts == 1 ? nullptr : partial + item * 2 * sumFloats};
      kernels.backward(inputOf(shape, q, k, v, sequence), gradient, firstHead, headsPerPart,
                       work + omp_get_thread_num() * workFloats);
    }
    if (parts > 1) {
#pragma omp for schedule(static)
      for (int64_t item = 0; item < shape.batch * shape.kvHeads; ++item) {
        const int64_t firstRow = item / shape.kvHeads * shape.length;
        kernels.sumParts(inputOf(shape, q, k, v, item / shape.kvHeads), item % shape.kvHeads, parts,
                         partial + item * parts * 2 * sumFloats, dK.slice(firstRow, 0).data,
                         dV.slice(firstRow, 0).data);
      }
    }
  }
}

}  // namespace lrqat::cpu
