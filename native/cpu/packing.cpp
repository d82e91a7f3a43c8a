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

/// x = W/s0 of one chunk, in place → packed codes or floats at their place in `row`.
void encodeChunk(const QuantSpec& spec, float* x, int64_t firstColumn, int columns, std::byte* row) {
  const WeightKernels& kernels = LRQAT_SELECT_KERNELS(weightKernels);
  const int width = spec.codeBits();
  const auto qmin = static_cast<float>(spec.qmin());
  const auto qmax = static_cast<float>(spec.qmax());
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
    case Storage::FixedPoint:
      kernels.fixedPointCode(x, columns, qmin, qmax, std::ldexp(1.0F, spec.fractionBits),
                             spec.code == FixedPointCode::Centred);
      kernels.pack(x, columns, std::ldexp(1.0F, width - 1), width, codes);
      break;
    case Storage::Integer:
      kernels.roundInside(x, columns, qmin, qmax);
      kernels.pack(x, columns, -qmin, width, codes);
      break;
  }
}

}  // namespace

void CpuBackend::encode(LinearWeight& weight) {
  const QuantSpec& spec = weight.spec;
  checkSpec(spec, weight.m, weight.n);
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
      encodeChunk(spec, x, first, columns, static_cast<std::byte*>(weight.phi0) + i * rowBytes);
    }
  }
}

}  // namespace lrqat::cpu
