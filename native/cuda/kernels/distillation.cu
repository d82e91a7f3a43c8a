#include "cuda/kernels/distillation.h"

#include <algorithm>
#include <cfloat>

#include "cuda/check.h"
#include "cuda/kernels/reduce.cuh"
#include "cuda/kernels/softmax_sums.cuh"
#include "cuda/kernels/vector.cuh"

namespace lrqat::cuda {

namespace {

/// Stands for a logit that is not to count: e to its power is 0, and it stays finite in every difference.
constexpr float leftOut = -1e30F;

__device__ __forceinline__ double logAddExp(double a, double b) {
  const double top = fmax(a, b);
  return isinf(top) ? top : top + log(exp(a - top) + exp(b - top));
}

/// Places of blockSum and blockMaximum, one for each use.
struct BlockPlaces {
  float top[2][warpSize32];
  double sum[6][warpSize32];
};

struct Sums {
  float top;        // largest logit
  double plain;     // Σ exp(z − top)
  double tempered;  // Σ exp((z − top)·inverse); not for a temperature of 1
};

/// Over a row [vocab] in global memory; every thread gets the sums.
template <bool Tempered, int Threads, int N>
__device__ __forceinline__ Sums rowSums(const float* row, int64_t vocab, float inverse, BlockPlaces& places) {
  const PartialSums part = partialSums<Tempered, Threads, N>(row, vocab, inverse);
  Sums sums{blockMaximum(part.top, places.top[0]), 0, 0};
  sums.plain = blockSum(static_cast<double>(part.plain * expf(part.top - sums.top)), places.sum[0]);
  sums.tempered =
      Tempered ? blockSum(static_cast<double>(part.tempered * expf((part.top - sums.top) * inverse)), places.sum[1])
               : sums.plain;
  return sums;
}

/// Over k values in shared memory.
template <bool Tempered, int Threads>
__device__ __forceinline__ Sums heldSums(const float* held, int k, float inverse, BlockPlaces& places) {
  float top = -FLT_MAX;
  for (int i = static_cast<int>(threadIdx.x); i < k; i += Threads) top = fmaxf(top, held[i]);
  Sums sums{blockMaximum(top, places.top[1]), 0, 0};
  double plain = 0;
  double tempered = 0;
  for (int i = static_cast<int>(threadIdx.x); i < k; i += Threads) {
    plain += static_cast<double>(expf(held[i] - sums.top));
    if constexpr (Tempered) tempered += static_cast<double>(expf((held[i] - sums.top) * inverse));
  }
  sums.plain = blockSum(plain, places.sum[2]);
  sums.tempered = Tempered ? blockSum(tempered, places.sum[3]) : sums.plain;
  return sums;
}

constexpr int teacherThreads = 1024;
constexpr int digitBits = 11;
constexpr int digits = 1 << digitBits;

/// Grows with the number, for every bit pattern.
__device__ __forceinline__ uint32_t orderOf(float value) {
  const uint32_t bits = __float_as_uint(value);
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000U;
}

/// Digit that holds the `wanted`-th largest of what is counted, and how many of that digit are still wanted. By the
/// first warp.
__device__ __forceinline__ void findDigit(const int* counts, int wanted, uint32_t* digit, int* left) {
  constexpr int share = digits / warpSize32;
  const int lane = static_cast<int>(threadIdx.x);
  int own = 0;
  for (int i = 0; i < share; ++i) own += counts[lane * share + i];
  // Of this lane and all above it.
  int above = own;
#pragma unroll
  for (int offset = 1; offset < warpSize32; offset *= 2) {
    const int other = __shfl_down_sync(0xffffffffU, above, offset);
    if (lane + offset < warpSize32) above += other;
  }
  int before = above - own;
  if (before >= wanted || above < wanted) return;
  for (int i = share - 1; i >= 0; --i) {
    const int count = counts[lane * share + i];
    if (before + count >= wanted) {
      *digit = static_cast<uint32_t>(lane * share + i);
      *left = wanted - before;
      return;
    }
    before += count;
  }
}

// One block a row. Digit by digit from the top the order of the k-th largest is found, counting what has the digits so
// far; then all from there on are taken out in the order of their columns.
template <int N>
__global__ void __launch_bounds__(teacherThreads)
    teacherRowsKernel(float* logits, int64_t vocab, float inverse, int k, int32_t* allClasses, float* allLogs) {
  __shared__ float held[maxTeacherClasses];
  __shared__ int counts[digits];
  __shared__ BlockPlaces places;
  __shared__ uint32_t digit;
  __shared__ int left;
  __shared__ int2 warpCounts[2][warpSize32];
  __shared__ double logAll;
  float* const row = logits + static_cast<int64_t>(blockIdx.x) * vocab;
  int32_t* const classes = allClasses + static_cast<int64_t>(blockIdx.x) * k;
  float* const logs = allLogs + static_cast<int64_t>(blockIdx.x) * (k + 1);
  const int thread = static_cast<int>(threadIdx.x);

  uint32_t known = 0;
  uint32_t mask = 0;
  int wanted = k;
#pragma unroll
  for (int pass = 0; pass < 3; ++pass) {
    const int shift = pass == 0 ? 21 : pass == 1 ? 10 : 0;
    const uint32_t digitMask = pass == 2 ? (1U << 10) - 1 : digits - 1;
    for (int i = thread; i < digits; i += teacherThreads) counts[i] = 0;
    __syncthreads();
    for (int64_t column = thread; column < vocab; column += teacherThreads) {
      const uint32_t order = orderOf(row[column]);
      if ((order & mask) == known) atomicAdd(&counts[order >> shift & digitMask], 1);
    }
    __syncthreads();
    if (thread < warpSize32) findDigit(counts, wanted, &digit, &left);
    __syncthreads();
    known |= digit << shift;
    mask |= digitMask << shift;
    wanted = left;
  }

  const int lane = thread % warpSize32;
  const int warp = thread / warpSize32;
  int greaterBefore = 0;
  int equalBefore = 0;
  for (int64_t base = 0, chunk = 0; base < vocab; base += teacherThreads, ++chunk) {
    const int64_t column = base + thread;
    const float value = column < vocab ? row[column] : 0;
    const uint32_t order = orderOf(value);
    const bool greater = column < vocab && order > known;
    const bool equal = column < vocab && order == known;
    const uint32_t greaterLanes = __ballot_sync(0xffffffffU, greater);
    const uint32_t equalLanes = __ballot_sync(0xffffffffU, equal);
    // Two sets of places in turn: a warp that is ahead writes where nobody reads any more.
    int2* const here = warpCounts[chunk % 2];
    if (lane == 0) here[warp] = make_int2(__popc(greaterLanes), __popc(equalLanes));
    __syncthreads();
    int2 own = here[lane];
    const int2 mine = own;
#pragma unroll
    for (int offset = 1; offset < warpSize32; offset *= 2) {
      const int a = __shfl_up_sync(0xffffffffU, own.x, offset);
      const int b = __shfl_up_sync(0xffffffffU, own.y, offset);
      if (lane >= offset) {
        own.x += a;
        own.y += b;
      }
    }
    const uint32_t lower = (1U << lane) - 1;
    const int greaters = greaterBefore + __shfl_sync(0xffffffffU, own.x - mine.x, warp) + __popc(greaterLanes & lower);
    const int equals = equalBefore + __shfl_sync(0xffffffffU, own.y - mine.y, warp) + __popc(equalLanes & lower);
    if (greater || (equal && equals < wanted)) {
      const int place = greaters + min(equals, wanted);
      classes[place] = static_cast<int32_t>(column);
      held[place] = value;
      row[column] = leftOut;
    }
    greaterBefore += __shfl_sync(0xffffffffU, own.x, warpSize32 - 1);
    equalBefore += __shfl_sync(0xffffffffU, own.y, warpSize32 - 1);
  }
  __syncthreads();

  const bool isTempered = inverse != 1;
  const Sums rest = isTempered ? rowSums<true, teacherThreads, N>(row, vocab, inverse, places)
                               : rowSums<false, teacherThreads, N>(row, vocab, inverse, places);
  const Sums head = isTempered ? heldSums<true, teacherThreads>(held, k, inverse, places)
                               : heldSums<false, teacherThreads>(held, k, inverse, places);
  const double factor = static_cast<double>(inverse);
  if (thread == 0) {
    const double logRest = k < vocab ? factor * static_cast<double>(rest.top) + log(rest.tempered) : -INFINITY;
    logAll = logAddExp(logRest, factor * static_cast<double>(head.top) + log(head.tempered));
    logs[k] = static_cast<float>(logRest - logAll);
  }
  __syncthreads();
  for (int i = thread; i < k; i += teacherThreads) {
    logs[i] = static_cast<float>(factor * static_cast<double>(held[i]) - logAll);
  }
}

constexpr int lossThreads = 512;

/// Of gradients as sums of exponentials of differences from the largest logit, of the rest or of the classes.
struct Factors {
  float restPlain, restTempered;
  float headPlain, headTempered;
};

struct LossSettings {
  float gradientScale;
  float weight;
  float temperature;
};

// One block a row. The k classes are taken out of it, so that what is left is the rest; they come back at the end.
template <typename G, bool Tempered, int N>
__global__ void __launch_bounds__(lossThreads)
    distillationKernel(float* logits, const int32_t* targets, const int32_t* allClasses, const float* allLogs, int k,
                       LossSettings settings, G* gradient, double* losses, int64_t rows, int64_t vocab) {
  __shared__ float held[maxTeacherClasses];
  __shared__ BlockPlaces places;
  __shared__ Factors shared;
  float* const row = logits + static_cast<int64_t>(blockIdx.x) * vocab;
  G* const out = gradient + static_cast<int64_t>(blockIdx.x) * vocab;
  const int32_t* const classes = allClasses + static_cast<int64_t>(blockIdx.x) * k;
  const float* const logs = allLogs + static_cast<int64_t>(blockIdx.x) * (k + 1);
  const int32_t target = targets[blockIdx.x];
  constexpr int64_t step = int64_t{lossThreads} * N;
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t begin = static_cast<int64_t>(thread) * N;
  if (target < 0) {
    if (thread == 0) losses[blockIdx.x] = losses[rows + blockIdx.x] = 0;
    const float zeros[N] = {};
    for (int64_t column = begin; column < vocab; column += step) storeFloats(out + column, zeros);
    return;
  }
  const float targetLogit = row[target];
  for (int i = thread; i < k; i += lossThreads) held[i] = row[classes[i]];
  __syncthreads();
  for (int i = thread; i < k; i += lossThreads) row[classes[i]] = leftOut;
  __syncthreads();

  const float inverse = 1 / settings.temperature;
  const Sums rest = rowSums<Tempered, lossThreads, N>(row, vocab, inverse, places);
  const Sums head = heldSums<Tempered, lossThreads>(held, k, inverse, places);
  // Σ p·(ln p − z/T) and Σ p over the classes.
  const double factor = static_cast<double>(inverse);
  double divergence = 0;
  double shares = 0;
  for (int i = thread; i < k; i += lossThreads) {
    const double share = static_cast<double>(expf(logs[i]));
    if (share > 0) {
      divergence += share * (static_cast<double>(logs[i]) - factor * static_cast<double>(held[i]));
      shares += share;
    }
  }
  divergence = blockSum(divergence, places.sum[4]);
  shares = blockSum(shares, places.sum[5]);
  const float plainScale = settings.gradientScale * (1 - settings.weight);
  const float temperedScale = settings.gradientScale * settings.weight * settings.temperature;
  if (thread == 0) {
    const bool hasRest = k < vocab;
    const double restTop = static_cast<double>(rest.top);
    const double headTop = static_cast<double>(head.top);
    const double restPlain = hasRest ? restTop + log(rest.plain) : -INFINITY;
    const double restTempered = hasRest ? factor * restTop + log(rest.tempered) : -INFINITY;
    const double all = logAddExp(restPlain, headTop + log(head.plain));
    const double allTempered = logAddExp(restTempered, factor * headTop + log(head.tempered));
    const double restLog = static_cast<double>(logs[k]);
    const double restShare = exp(restLog);
    divergence += shares * allTempered;
    if (restShare > 0) divergence += restShare * (restLog - (restTempered - allTempered));
    losses[blockIdx.x] = all - static_cast<double>(targetLogit);
    losses[rows + blockIdx.x] = divergence;
    const double a = static_cast<double>(plainScale);
    const double b = static_cast<double>(temperedScale);
    Factors f{};
    if (hasRest) {
      const double first = a * exp(restPlain - all) / rest.plain;
      const double second = b * (exp(restTempered - allTempered) - restShare) / rest.tempered;
      f.restPlain = static_cast<float>(Tempered ? first : first + second);
      f.restTempered = static_cast<float>(Tempered ? second : 0);
    }
    const double first = a * exp(headTop - all);
    const double second = b * exp(factor * headTop - allTempered);
    f.headPlain = static_cast<float>(Tempered ? first : first + second);
    f.headTempered = static_cast<float>(Tempered ? second : 0);
    shared = f;
  }
  __syncthreads();
  const Factors f = shared;

  for (int64_t column = begin; column < vocab; column += softmaxUnroll * step) {
    float v[softmaxUnroll][N];
#pragma unroll
    for (int u = 0; u < softmaxUnroll; ++u) {
      if (column + u * step < vocab) loadFloats(row + column + u * step, v[u]);
    }
#pragma unroll
    for (int u = 0; u < softmaxUnroll; ++u) {
      if (column + u * step >= vocab) continue;
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const float distance = v[u][i] - rest.top;
        float g = expf(distance) * f.restPlain;
        if constexpr (Tempered) g = fmaf(expf(distance * inverse), f.restTempered, g);
        if (column + u * step + i == target) g -= plainScale;
        v[u][i] = g;
      }
      storeFloats(out + column + u * step, v[u]);
    }
  }
  __syncthreads();
  for (int i = thread; i < k; i += lossThreads) {
    const float distance = held[i] - head.top;
    float g = expf(distance) * f.headPlain;
    if constexpr (Tempered) g = fmaf(expf(distance * inverse), f.headTempered, g);
    g = fmaf(-temperedScale, expf(logs[i]), g);
    if (classes[i] == target) g -= plainScale;
    const float one[1] = {g};
    storeFloats(out + classes[i], one);
  }
}

constexpr int sumThreads = 1024;

/// A block a sum.
__global__ void __launch_bounds__(sumThreads) addLossesKernel(const double* losses, int64_t rows, double* lossSums) {
  __shared__ double shared[warpSize32];
  const double* const own = losses + blockIdx.x * rows;
  double sum = 0;
  for (int64_t row = threadIdx.x; row < rows; row += sumThreads) sum += own[row];
  sum = blockSum(sum, shared);
  if (threadIdx.x == 0) lossSums[blockIdx.x] += sum;
}

void checkRows(const Matrix& logits, const TeacherRows& rows) {
  LRQAT_CHECK(logits.type == DType::F32 && logits.rows < (int64_t{1} << 31));
  LRQAT_CHECK(rows.k > 0 && rows.k <= std::min(logits.cols, maxTeacherClasses));
}

}  // namespace

void teacherRows(Matrix logits, float temperature, const TeacherRows& out, cudaStream_t stream) {
  checkRows(logits, out);
  if (logits.rows == 0) return;
  const auto launch = [&](auto kernel) {
    kernel<<<static_cast<unsigned>(logits.rows), teacherThreads, 0, stream>>>(
        static_cast<float*>(logits.data), logits.cols, 1 / temperature, static_cast<int>(out.k), out.classes,
        out.logProbabilities);
  };
  if (allowsWidth(logits, 4)) {
    launch(teacherRowsKernel<4>);
  } else {
    launch(teacherRowsKernel<1>);
  }
  LRQAT_CUDA(cudaGetLastError());
}

int64_t distillationScratchBytes(int64_t rows) {
  return Scratch::padded(rows * 16);
}

void distillationLoss(Matrix logits, const int32_t* targets, const TeacherRows& teacher,
                      const Distillation& distillation, float gradientScale, Matrix gradient, double* lossSums,
                      Scratch& scratch, cudaStream_t stream) {
  checkRows(logits, teacher);
  LRQAT_CHECK(gradient.data && gradient.rows == logits.rows && gradient.cols == logits.cols);
  LRQAT_CHECK(gradient.type == DType::F32 || gradient.data != logits.data);
  if (logits.rows == 0) return;
  auto* losses = scratch.take<double>(logits.rows * 2);
  const LossSettings settings{gradientScale, distillation.weight, distillation.temperature};
  dispatchActivation(gradient.type, [&](auto element) {
    using G = decltype(element);
    G* const out = elements<G>(gradient);
    const auto launch = [&](auto kernel) {
      kernel<<<static_cast<unsigned>(logits.rows), lossThreads, 0, stream>>>(
          static_cast<float*>(logits.data), targets, teacher.classes, teacher.logProbabilities,
          static_cast<int>(teacher.k), settings, out, losses, logits.rows, logits.cols);
    };
    const bool wide = allowsWidth(logits, 4) && isAligned(out);
    if (1 / distillation.temperature == 1) {
      wide ? launch(distillationKernel<G, false, 4>) : launch(distillationKernel<G, false, 1>);
    } else {
      wide ? launch(distillationKernel<G, true, 4>) : launch(distillationKernel<G, true, 1>);
    }
  });
  LRQAT_CUDA(cudaGetLastError());
  addLossesKernel<<<2, sumThreads, 0, stream>>>(losses, logits.rows, lossSums);
  LRQAT_CUDA(cudaGetLastError());
}

}  // namespace lrqat::cuda
