// Every way to store Φ0.
#pragma once

#include <vector>

#include "core/types.h"

namespace lrqat::test {

/// One spec a storage, and of fixed point one a number of fractional bits and kind of code.
inline std::vector<QuantSpec> storagesOf(int bits) {
  std::vector<QuantSpec> specs;
  for (const Storage storage : {Storage::F32, Storage::BF16, Storage::F16, Storage::Integer}) {
    QuantSpec spec;
    spec.bits = bits;
    spec.storage = storage;
    specs.push_back(spec);
  }
  for (int fraction = 0; fraction <= 8 - bits; ++fraction) {
    for (const FixedPointCode code : {FixedPointCode::Reference, FixedPointCode::Centred}) {
      if (fraction == 0 && code == FixedPointCode::Centred) continue;
      QuantSpec spec;
      spec.bits = bits;
      spec.fractionBits = fraction;
      spec.code = code;
      specs.push_back(spec);
    }
  }
  return specs;
}

}  // namespace lrqat::test
