#include "cuda/kernels/quantize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "core/grid.h"
#include "core/host_tensor.h"
#include "cuda/check.h"
#include "cuda/kernels/range.h"
#include "cuda/kernels/rebuild_tiles.cuh"
#include "cuda/kernels/row_grids.cuh"
#include "cuda/kernels/source_rows.cuh"

namespace lrqat::cuda {

namespace {

constexpr int kThreads = 256;
/// Rows of a panel are limited, so that the losses of its rows are.
constexpr int64_t kMostPanelRows = 4096;

struct CodeForm {
  float steps;   // 2^f; integers: 1
  float offset;  // of a code, where the grid is symmetric
  int width;     // bits of a code
  bool centred;
};

__device__ __forceinline__ float codeOf(float x, float low, float high, const CodeForm& form) {
  const float inside = clampTo(x, low, high);
  if (!form.centred) return roundSmall(inside * form.steps);
  // The half-open cell that holds x, one lower where x is a tie that half-to-even rounds down.
  const bool tieRoundedDown = inside - roundSmall(inside) == 0.5F;
  return floorf(inside * form.steps) - (tieRoundedDown ? 1.0F : 0.0F);
}

/// One thread for eight codes: `width` bytes. Rows are padded with the code of 0 to whole groups of 32; codes around a
/// zero point count from the lower end, and rows are padded with code 0.
template <typename E>
__global__ void encodeCodes(SourceRows<E> source, ColumnScales scales, RowGrids grids, CodeForm form, int64_t rows,
                            uint8_t* codes, int64_t rowBytes) {
  const int64_t octets = rowBytes / form.width;
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (item >= rows * octets) return;
  const int64_t row = item / octets;
  const int64_t column = item % octets * kOctet;
  uint64_t packed = 0;
#pragma unroll
  for (int i = 0; i < kOctet; ++i) {
    float code = grids.zero ? 0.0F : form.offset;
    if (column + i < source.n) {
      const float low = grids.low(static_cast<uint32_t>(row), static_cast<uint32_t>(column + i));
      code = codeOf(__fdiv_rn(source.at(row * source.n + column + i), scales.at(row, column + i)), low,
                    low + grids.levels, form) +
             (grids.zero ? -low * form.steps : form.offset);
    }
    packed |= static_cast<uint64_t>(static_cast<uint32_t>(code)) << (i * form.width);
  }
  uint8_t* to = codes + row * rowBytes + column / kOctet * form.width;
  if (form.width == 8) {
    *reinterpret_cast<uint64_t*>(to) = packed;
  } else if (form.width == 4) {
    *reinterpret_cast<uint32_t*>(to) = static_cast<uint32_t>(packed);
  } else {
    for (int i = 0; i < form.width; ++i) to[i] = static_cast<uint8_t>(packed >> (8 * i));
  }
}

template <typename E, typename To>
__global__ void encodeFloats(SourceRows<E> source, ColumnScales scales, int64_t count, To* out) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= count) return;
  out[at] = fromFloat<To>(__fdiv_rn(source.at(at), scales.at(at / source.n, at % source.n)));
}

unsigned blocksFor(int64_t count) {
  return static_cast<unsigned>((count + kThreads - 1) / kThreads);
}

void encodeRows(const LinearWeight& weight, const WeightRows& rows, cudaStream_t stream) {
  const QuantSpec& spec = weight.spec;
  const int64_t n = weight.n;
  const int64_t rowBytes = packedRowBytes(spec.codeBits(), n);
  auto* phi0 = static_cast<uint8_t*>(weight.phi0) + rows.firstRow * rowBytes;
  const ColumnScales scales = ColumnScales::of(spec, weight.scale0, n, rows.firstRow);
  dispatchSource(rows.type, [&](auto e) {
    using E = decltype(e);
    const SourceRows<E> source{static_cast<const E*>(rows.data), n};
    const int64_t count = rows.rows * n;
    switch (spec.storage) {
      case Storage::F32:
        encodeFloats<<<blocksFor(count), kThreads, 0, stream>>>(source, scales, count, reinterpret_cast<float*>(phi0));
        break;
      case Storage::BF16:
        encodeFloats<<<blocksFor(count), kThreads, 0, stream>>>(source, scales, count, reinterpret_cast<bf16*>(phi0));
        break;
      case Storage::F16:
        encodeFloats<<<blocksFor(count), kThreads, 0, stream>>>(source, scales, count, reinterpret_cast<__half*>(phi0));
        break;
      case Storage::FixedPoint:
      case Storage::Integer: {
        const bool fixedPoint = spec.storage == Storage::FixedPoint;
        const CodeForm form{fixedPoint ? std::ldexp(1.0F, spec.fractionBits) : 1.0F,
                            std::ldexp(1.0F, spec.codeBits() - 1), spec.codeBits(),
                            fixedPoint && spec.code == FixedPointCode::Centred};
        encodeCodes<<<blocksFor(rows.rows * rowBytes / form.width), kThreads, 0, stream>>>(
            source, scales, RowGrids::of(weight, weight.zero0, rows.firstRow), form, rows.rows, phi0, rowBytes);
        break;
      }
      case Storage::Trained:
        break;  // there is no Φ0
    }
  });
  LRQAT_CUDA(cudaGetLastError());
}

/// body(rows) for the panels of the pretrained weight.
template <typename Body>
void forSourcePanels(const LinearWeight& weight, HostStaging& staging, void* panel, cudaStream_t stream, Body body) {
  const HostTensor& source = weight.source;
  LRQAT_CHECK(source.rows == weight.m && source.cols == weight.n);
  const int64_t rowBytes = weight.n * byteSize(source.type);
  const int64_t most = std::min(panelRows(rowBytes), kMostPanelRows);
  for (int64_t first = 0; first < weight.m; first += most) {
    const int64_t rows = std::min(most, weight.m - first);
    staging.upload(panel, static_cast<const std::byte*>(source.data) + first * rowBytes, rows * rowBytes, stream);
    body(WeightRows{panel, source.type, rows, weight.n, first});
  }
}

/// Names the first place in the first row that is not finite.
[[noreturn]] void refuseNotFinite(const HostTensor& source, int64_t row) {
  int64_t column = 0;
  while (column + 1 < source.cols && std::isfinite(hostValue(source, row * source.cols + column))) ++column;
  const float value = hostValue(source, row * source.cols + column);
  throw Error(ErrorCode::InputFile,
              "weight [" + std::to_string(row) + ", " + std::to_string(column) + "] is " +
                  (std::isnan(value) ? "NaN" : "infinite"),
              "the checkpoint is damaged or was saved from a diverged run");
}

int64_t tensorBlocks(int64_t m) {
  return (m + kTensorBlockRows - 1) / kTensorBlockRows;
}

/// Zero points of one scale that are still in question.
struct Bracket {
  float centre = 0;  // of equal losses the nearest to it is taken
  int low = 0;
  int high = 0;
  float zero = 0;
  double loss = HUGE_VAL;
};

/// Scale and zero point of a whole tensor, as the CPU finds them (cpu/range.cpp): each round tries up to nine zero
/// points of every scale and leaves what lies around the best. losses(grids) → those of the hundred scales.
template <typename Losses>
AsymmetricRange searchTensorPair(float below, float above, const QuantSpec& spec, Losses losses) {
  constexpr int kScales = 100;
  constexpr int kPoints = 9;
  const int levels = spec.levels();
  const float range = std::max(below, above);
  const auto scaleOf = [&](int candidate) {
    float threshold = (range / 100.0F) * static_cast<float>(candidate);
    if (!(threshold > 1e-8F)) threshold = 1e-8F;
    const float scale = threshold / static_cast<float>(spec.qmax());
    return scale > 1e-8F ? scale : 1e-8F;
  };
  std::array<Bracket, kScales> brackets;
  for (int c = 0; c < kScales; ++c) {
    const float zero = std::nearbyint(static_cast<float>(levels) * 0.5F - (above - below) * 0.5F / scaleOf(c + 1));
    brackets[static_cast<size_t>(c)] = {
        .centre = std::clamp(zero, 0.0F, static_cast<float>(levels)), .low = 0, .high = levels};
  }
  for (bool open = true; open;) {
    open = false;
    std::array<std::vector<int>, kScales> zeros;
    size_t most = 0;
    for (size_t c = 0; c < kScales; ++c) {
      const Bracket& b = brackets[c];
      const int step = std::max(1, (b.high - b.low + kPoints - 2) / (kPoints - 1));
      for (int zero = b.low;; zero = std::min(b.high, zero + step)) {
        zeros[c].push_back(zero);
        if (zero == b.high) break;
      }
      most = std::max(most, zeros[c].size());
      open = open || step > 1;
    }
    std::vector<std::array<double, kScales>> found(most);
    for (size_t k = 0; k < most; ++k) {
      CandidateGrids grids;
      grids.levels = static_cast<float>(levels);
      for (size_t c = 0; c < kScales; ++c) {
        grids.zero[c] = static_cast<float>(zeros[c][std::min(k, zeros[c].size() - 1)]);
      }
      found[k] = losses(grids);
    }
    for (size_t c = 0; c < kScales; ++c) {
      Bracket& b = brackets[c];
      const std::vector<int>& tried = zeros[c];
      size_t best = 0;
      const auto distance = [&](size_t k) { return std::abs(static_cast<float>(tried[k]) - b.centre); };
      for (size_t k = 1; k < tried.size(); ++k) {
        if (found[k][c] < found[best][c] || (found[k][c] == found[best][c] && distance(k) < distance(best))) best = k;
      }
      b.zero = static_cast<float>(tried[best]);
      b.loss = found[best][c];
      b.low = tried[best == 0 ? best : best - 1];
      b.high = tried[best + 1 == tried.size() ? best : best + 1];
    }
  }
  size_t best = 0;
  for (size_t c = 1; c < kScales; ++c) {
    if (brackets[c].loss < brackets[best].loss) best = c;
  }
  return {.scale = scaleOf(static_cast<int>(best) + 1), .zeroPointUnrounded = brackets[best].zero};
}

}  // namespace

int64_t quantizeScratchBytes(Granularity granularity, int64_t m) {
  const int64_t panel = Scratch::padded(HostStaging::panelBytes) + Scratch::padded(sizeof(RangeReport));
  if (granularity != Granularity::Tensor) return panel;
  return panel + Scratch::padded(std::min(m, kMostPanelRows) * 100 * 8) + Scratch::padded(tensorBlocks(m) * 100 * 8);
}

void quantizeWeight(const LinearWeight& weight, HostStaging& staging, Scratch& scratch, cudaStream_t stream) {
  const QuantSpec& spec = weight.spec;
  checkSpec(spec, weight.m, weight.n);
  auto* panel = scratch.take<std::byte>(HostStaging::panelBytes);
  auto* report = scratch.take<RangeReport>(1);
  const RangeReport nothing{INT64_MAX, 0, 0, 0};
  LRQAT_CUDA(cudaMemcpyAsync(report, &nothing, sizeof nothing, cudaMemcpyHostToDevice, stream));
  const auto encodeWeightPanels = [&] {
    forSourcePanels(weight, staging, panel, stream, [&](const WeightRows& rows) { encodeRows(weight, rows, stream); });
  };
  if (spec.granularity == Granularity::Tensor) {
    auto* rowLosses = scratch.take<double>(std::min(weight.m, kMostPanelRows) * 100);
    auto* blockLosses = scratch.take<double>(tensorBlocks(weight.m) * 100);
    LRQAT_CUDA(cudaMemsetAsync(blockLosses, 0, static_cast<size_t>(tensorBlocks(weight.m) * 100 * 8), stream));
    forSourcePanels(weight, staging, panel, stream,
                    [&](const WeightRows& rows) { growTensorRange(rows, report, stream); });
    const auto addLosses = [&](const CandidateGrids& grids) {
      forSourcePanels(weight, staging, panel, stream, [&](const WeightRows& rows) {
        addTensorLosses(spec, rows, grids, report, rowLosses, blockLosses, stream);
      });
    };
    if (!spec.symmetric) {
      RangeReport extent{};
      LRQAT_CUDA(cudaMemcpyAsync(&extent, report, sizeof extent, cudaMemcpyDeviceToHost, stream));
      LRQAT_CUDA(cudaStreamSynchronize(stream));
      if (extent.notFiniteRow != INT64_MAX) refuseNotFinite(weight.source, extent.notFiniteRow);
      const AsymmetricRange range =
          spec.range == RangeMethod::MinMax
              ? asymmetricMinMax(-extent.below, extent.above, spec.bits)
              : searchTensorPair(extent.below, extent.above, spec, [&](const CandidateGrids& grids) {
                  LRQAT_CUDA(
                      cudaMemsetAsync(blockLosses, 0, static_cast<size_t>(tensorBlocks(weight.m) * 100 * 8), stream));
                  addLosses(grids);
                  std::array<double, 100> totals;
                  // The rows' losses have been added up.
                  tensorTotals(weight.m, blockLosses, rowLosses, totals.data(), stream);
                  return totals;
                });
      LRQAT_CUDA(cudaMemcpyAsync(weight.scale0, &range.scale, 4, cudaMemcpyDefault, stream));
      LRQAT_CUDA(cudaMemcpyAsync(weight.zero0, &range.zeroPointUnrounded, 4, cudaMemcpyHostToDevice, stream));
      encodeWeightPanels();
      return;
    }
    if (spec.range != RangeMethod::MinMax) {
      addLosses({});
    }
    chooseTensorScale(spec, weight.m, report, blockLosses, weight.scale0, stream);
    encodeWeightPanels();
  } else {
    const int64_t perRow = spec.granularity == Granularity::Group ? weight.n / spec.groupSize : 1;
    forSourcePanels(weight, staging, panel, stream, [&](const WeightRows& rows) {
      float* scale = weight.scale0 + rows.firstRow * perRow;
      if (spec.symmetric) {
        searchSegments(spec, rows, scale, report, stream);
      } else {
        searchSegmentPairs(spec, rows, scale, weight.zero0 + rows.firstRow * perRow, report, stream);
      }
      encodeRows(weight, rows, stream);
    });
  }
  RangeReport found{};
  LRQAT_CUDA(cudaMemcpyAsync(&found, report, sizeof found, cudaMemcpyDeviceToHost, stream));
  LRQAT_CUDA(cudaStreamSynchronize(stream));
  if (found.notFiniteRow != INT64_MAX) refuseNotFinite(weight.source, found.notFiniteRow);
}

void encodeWeight(const LinearWeight& weight, HostStaging& staging, Scratch& scratch, cudaStream_t stream) {
  checkSpec(weight.spec, weight.m, weight.n);
  auto* panel = scratch.take<std::byte>(HostStaging::panelBytes);
  forSourcePanels(weight, staging, panel, stream, [&](const WeightRows& rows) { encodeRows(weight, rows, stream); });
}

void encodeTrainedRows(const LinearWeight& weight, const LowRank& lowRank, int64_t firstRow, int64_t rows,
                       uint8_t* codes, cudaStream_t stream) {
  const QuantSpec& spec = weight.spec;
  LRQAT_CHECK(spec.trainsWeights() && lowRank.weight && firstRow >= 0 && firstRow + rows <= weight.m);
  const int64_t rowBytes = packedRowBytes(spec.bits, weight.n);
  encodeCodes<<<blocksFor(rows * rowBytes / spec.bits), kThreads, 0, stream>>>(
      SourceRows<float>{lowRank.weight + firstRow * weight.n, weight.n},
      ColumnScales::of(spec, lowRank.scale, weight.n, firstRow), RowGrids::of(weight, lowRank.zero, firstRow),
      CodeForm{1.0F, std::ldexp(1.0F, spec.bits - 1), spec.bits, false}, rows, codes, rowBytes);
  LRQAT_CUDA(cudaGetLastError());
}

}  // namespace lrqat::cuda
