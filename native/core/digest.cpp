// Identity of what a run starts from.
#include "core/engine.h"
#include "core/sha256.h"

namespace lrqat {

std::string Engine::baseDigest() const {
  requireLoaded();
  Sha256 hash;
  for (size_t i = 0; i < linears_.size(); ++i) {
    if (!linears_[i].quantized) continue;
    hash.update(names_[i].data(), names_[i].size());
    const auto codes = phi0(i);
    hash.update(codes.data(), codes.size());
    if (linears_[i].weight.spec.trainsWeights()) {
      // No Φ0 stands for the weight.
      const HostTensor& source = linears_[i].weight.source;
      hash.update(source.data, static_cast<size_t>(source.rows * source.cols * byteSize(source.type)));
    }
    const auto scale = initialScales(i);
    hash.update(scale.data(), scale.size() * sizeof(float));
    const auto zero = initialZeroPoints(i);
    if (!zero.empty()) hash.update(zero.data(), zero.size() * sizeof(float));
  }
  return hash.finish();
}

}  // namespace lrqat
