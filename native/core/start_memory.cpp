#include "core/start_memory.h"

#include <algorithm>

#include "core/gptq.h"
#include "core/input_factor.h"
#include "core/low_rank_approximation.h"

namespace lrqat {

StartSizes startSizes(const EngineShape& shape) {
  StartSizes sizes;
  for (int64_t layer = 0; layer < shape.model.layers; ++layer) {
    for (const Linear linear : allLinears) {
      const auto& spec = shape.spec(layer, linear);
      if (!spec) continue;
      const int64_t m = outputs(shape.model, linear);
      const int64_t n = inputs(shape.model, linear);
      sizes.widest = std::max(sizes.widest, n);
      if (spec->granularity == Granularity::Group) sizes.widestGroup = std::max(sizes.widestGroup, spec->groupSize);
      sizes.largest = std::max(sizes.largest, m * n);
      if (spec->rank > 0) sizes.decomposition = std::max(sizes.decomposition, decompositionBytes(m, n, spec->rank));
      sizes.largestCodes = std::max(sizes.largestCodes, m * packedRowBytes(spec->codeBits(), n));
    }
  }
  return sizes;
}

int64_t startWorkBytes(const EngineShape& shape, StartParts parts, int64_t tokens) {
  const StartSizes sizes = startSizes(shape);
  int64_t bytes = sizes.largest * 8 + sizes.largestCodes;
  if (parts.lowRank) bytes += sizes.decomposition;
  if (parts.gptq) {
    bytes += tokens * shape.model.hiddenSize * byteSize(shape.residualType);
    bytes += sizes.widest * sizes.widest * 4;
    bytes += InputFactor::bytes(sizes.widest, shape.threads) + Gptq::bytes(sizes.widest, sizes.widestGroup);
  }
  return bytes;
}

}  // namespace lrqat
