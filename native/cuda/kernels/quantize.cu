#include "cuda/kernels/quantize.h"

#include <algorithm>
#include <cmath>

#include "core/grid.h"
#include "core/host_tensor.h"
#include "cuda/check.h"
#include "cuda/kernels/range.h"
#include "cuda/kernels/rebuild_tiles.cuh"
#include "cuda/kernels/source_rows.cuh"

namespace lrqat::cuda {

namespace {

constexpr int kThreads = 256;
/// Rows of a panel are limited, so that the losses of its rows are.
constexpr int64_t kMostPanelRows = 4096;

struct CodeForm {
  float qmin, qmax;
  float steps;   // 2^f; integers: 1
  float offset;  // of a code
  int width;     // bits of a code
  bool centred;
};

__device__ __forceinline__ float codeOf(float x, const CodeForm& form) {
  const float inside = clampTo(x, form.qmin, form.qmax);
  if (!form.centred) return roundSmall(inside * form.steps);
  // The half-open cell that holds x, one lower where x is a tie that half-to-even rounds down.
  const bool tieRoundedDown = inside - roundSmall(inside) == 0.5F;
  return floorf(inside * form.steps) - (tieRoundedDown ? 1.0F : 0.0F);
}

/// One thread for eight codes: `width` bytes. Rows are padded with the code of 0 to whole groups of 32.
template <typename E>
__global__ void encodeCodes(SourceRows<E> source, ColumnScales scales, CodeForm form, int64_t rows, uint8_t* codes,
                            int64_t rowBytes) {
  const int64_t octets = rowBytes / form.width;
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (item >= rows * octets) return;
  const int64_t row = item / octets;
  const int64_t column = item % octets * kOctet;
  uint64_t packed = 0;
#pragma unroll
  for (int i = 0; i < kOctet; ++i) {
    float code = 0;
    if (column + i < source.n) {
      code = codeOf(__fdiv_rn(source.at(row * source.n + column + i), scales.at(row, column + i)), form);
    }
    packed |= static_cast<uint64_t>(static_cast<uint32_t>(code + form.offset)) << (i * form.width);
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
        const CodeForm form{static_cast<float>(spec.qmin()),
                            static_cast<float>(spec.qmax()),
                            fixedPoint ? std::ldexp(1.0F, spec.fractionBits) : 1.0F,
                            std::ldexp(1.0F, spec.codeBits() - 1),
                            spec.codeBits(),
                            fixedPoint && spec.code == FixedPointCode::Centred};
        encodeCodes<<<blocksFor(rows.rows * rowBytes / form.width), kThreads, 0, stream>>>(source, scales, form,
                                                                                           rows.rows, phi0, rowBytes);
        break;
      }
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
  const RangeReport nothing{INT64_MAX, 0};
  LRQAT_CUDA(cudaMemcpyAsync(report, &nothing, sizeof nothing, cudaMemcpyHostToDevice, stream));
  if (spec.granularity == Granularity::Tensor) {
    auto* rowLosses = scratch.take<double>(std::min(weight.m, kMostPanelRows) * 100);
    auto* blockLosses = scratch.take<double>(tensorBlocks(weight.m) * 100);
    LRQAT_CUDA(cudaMemsetAsync(blockLosses, 0, static_cast<size_t>(tensorBlocks(weight.m) * 100 * 8), stream));
    forSourcePanels(weight, staging, panel, stream,
                    [&](const WeightRows& rows) { growTensorRange(rows, report, stream); });
    if (spec.range != RangeMethod::MinMax) {
      forSourcePanels(weight, staging, panel, stream, [&](const WeightRows& rows) {
        addTensorLosses(spec, rows, report, rowLosses, blockLosses, stream);
      });
    }
    chooseTensorScale(spec, weight.m, report, blockLosses, weight.scale0, stream);
    forSourcePanels(weight, staging, panel, stream, [&](const WeightRows& rows) { encodeRows(weight, rows, stream); });
  } else {
    const int64_t perRow = spec.granularity == Granularity::Group ? weight.n / spec.groupSize : 1;
    forSourcePanels(weight, staging, panel, stream, [&](const WeightRows& rows) {
      searchSegments(spec, rows, weight.scale0 + rows.firstRow * perRow, report, stream);
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

}  // namespace lrqat::cuda
