// Fixed-point storage.
#include "cuda/kernels/rebuild_hopper_launch.cuh"

namespace lrqat::cuda {

void launchHopperSums(const HopperJob& job) {
  hopper::launchWidth<RoundForm::Sum>(job);
}

}  // namespace lrqat::cuda
