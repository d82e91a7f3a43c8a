// φ: the pretrained weight, divided by its scale, in the storage of the linear (lr-qat.md §1.4).
#include <omp.h>

#include <cmath>
#include <cstring>

#include "core/grid.h"
#include "cpu/cpu_backend.h"
#include "cpu/rounded_rows.h"
#include "cpu/source_rows.h"

namespace lrqat::cpu {

namespace {

/// x = W/s0 of one chunk of row i, in place → packed codes or floats at their place in `row`.
void encodeChunk(const LinearWeight& weight, float* x, int64_t i, int64_t firstColumn, int columns, std::byte* row) {
  const WeightKernels& kernels = LRQAT_SELECT_KERNELS(weightKernels);
  const QuantSpec& spec = weight.spec;
  const RowGrids grids(weight, weight.zero0);
  const int width = spec.codeBits();
  auto* codes = reinterpret_cast<uint8_t*>(row) + firstColumn / 8 * width;
  switch (spec.storage) {
    case Storage::F32:
      std::memcpy(row + firstColumn * 4, x, static_cast<size_t>(columns) * sizeof(float));
      break;
    case Storage::BF16:
      kernels.narrowBf16(x, columns, reinterpret_cast<uint16_t*>(row) + firstColumn);
      break;
    case Storage::F16:
      kernels.narrowHalf(x, columns, reinterpret_cast<uint16_t*>(row) + firstColumn);
      break;
    case Storage::Trained:
      break;
    case Storage::FixedPoint:
    case Storage::Integer: {
      const float steps = std::ldexp(1.0F, spec.storage == Storage::FixedPoint ? spec.fractionBits : 0);
      grids.forParts(i, firstColumn, columns, [&](int offset, int count, float low, float high) {
        if (spec.storage == Storage::Integer) {
          kernels.roundInside(x + offset, count, low, high);
        } else {
          kernels.fixedPointCode(x + offset, count, low, high, steps, spec.code == FixedPointCode::Centred);
        }
      });
      if (!spec.symmetric) grids.fromLowerEnd(x, i, firstColumn, columns, steps);
      kernels.pack(x, columns, spec.symmetric ? std::ldexp(1.0F, width - 1) : 0.0F, width, codes);
      break;
    }
  }
}

}  // namespace

void CpuBackend::encode(LinearWeight& weight) {
  const QuantSpec& spec = weight.spec;
  checkSpec(spec, weight.m, weight.n);
  if (spec.trainsWeights()) return;
  const WeightKernels& kernels = LRQAT_SELECT_KERNELS(weightKernels);
  const int64_t rowBytes = packedRowBytes(spec.codeBits(), weight.n);
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (int64_t i = 0; i < weight.m; ++i) {
    alignas(64) float x[kChunkColumns];
    alignas(64) float scales[kChunkColumns];
    for (int64_t first = 0; first < weight.n; first += kChunkColumns) {
      const auto columns = static_cast<int>(std::min<int64_t>(kChunkColumns, weight.n - first));
      readSource(weight.source, i, first, columns, x);
      expandColumnScales(spec, weight.n, weight.scale0, i, first, columns, scales);
      kernels.divide(x, scales, columns);
      encodeChunk(weight, x, i, first, columns, static_cast<std::byte*>(weight.phi0) + i * rowBytes);
    }
  }
}

}  // namespace lrqat::cpu
