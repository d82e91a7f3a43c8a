// Integer storage.
#include "cuda/kernels/rebuild_hopper_launch.cuh"

namespace lrqat::cuda {

void launchHopperIntegers(const HopperJob& job) {
  hopper::launchWidth<RoundForm::Product>(job);
}

}  // namespace lrqat::cuda
