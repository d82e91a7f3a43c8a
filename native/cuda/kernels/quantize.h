// From the pretrained weight in the mapped checkpoint to scales and Φ0 on the device, streamed in panels.
#pragma once

#include <cuda_runtime_api.h>

#include "core/types.h"
#include "cuda/kernels/staging.h"
#include "cuda/scratch.h"

namespace lrqat::cuda {

/// Device memory that `quantizeWeight` and `encodeWeight` take.
int64_t quantizeScratchBytes(Granularity granularity, int64_t m);

/// Range search over weight.source (fills scale0), then φ (fills phi0); scales and codes equal those of the CPU to the
/// bit. Waits for the device. Throws InputFile, naming row and column, where a weight is not finite.
void quantizeWeight(const LinearWeight& weight, HostStaging& staging, Scratch& scratch, cudaStream_t stream);

/// φ alone, from scale0 that is already there.
void encodeWeight(const LinearWeight& weight, HostStaging& staging, Scratch& scratch, cudaStream_t stream);

/// `rows` rows from `firstRow` on of a weight that is trained itself, as merged codes of clip(round(W/s)): codes [rows,
/// packedRowBytes(bits, n)] on the device; what pads a row is the code of 0.
void encodeTrainedRows(const LinearWeight& weight, const LowRank& lowRank, int64_t firstRow, int64_t rows,
                       uint8_t* codes, cudaStream_t stream);

}  // namespace lrqat::cuda
