// What Hopper (sm_90a) has of its own, and whether it can be used here.
#pragma once

#include <cudaTypedefs.h>

namespace lrqat::cuda {

/// Whether the current device has Hopper's own instructions, this library has code that uses them (kernels built for
/// other architectures are empty), and the driver can describe tensors to the copy engine.
bool usesHopper();

/// The driver's function that describes tensors to the copy engine; null where the driver is too old.
PFN_cuTensorMapEncodeTiled_v12000 tensorMapEncoder();

/// Of the current device.
int multiprocessors();

}  // namespace lrqat::cuda
