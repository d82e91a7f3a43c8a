// When a rebuild on a GPU may read its inputs early.
#include "cuda/rebuild_inputs.h"

#include <array>
#include <cstddef>

#include "test/check.h"

using namespace lrqat::test;

namespace {

struct Memory {
  std::array<std::byte, 64> weights{}, parameters{}, workspace{}, elsewhere{};
  lrqat::cuda::RebuildInputs inputs;

  Memory() {
    inputs.allocated(weights.data(), std::ssize(weights));
    inputs.allocated(parameters.data(), std::ssize(parameters));
    inputs.allocated(workspace.data(), std::ssize(workspace));
  }
  /// Of a linear whose codes and parameters begin at `offset`; then it writes its weight.
  bool rebuild(size_t offset = 0) {
    const bool early = inputs.mayBeginEarly({weights.data() + offset, parameters.data() + offset, nullptr});
    inputs.wrote({workspace.data()});
    return early;
  }
};

void afterWritersOfInputs() {
  Memory memory;
  expect(!memory.rebuild(), "the first one waits");
  expect(memory.rebuild(), "one behind another does not");
  expect(memory.rebuild(63), "nor does that of another linear");
  memory.inputs.wrote({memory.workspace.data() + 8, nullptr});
  expect(memory.rebuild(), "nor one behind a product");
  memory.inputs.wrote();
  memory.inputs.wrote({memory.workspace.data()});
  expect(!memory.rebuild(), "one behind the optimiser waits, whatever came between");
  expect(memory.rebuild(), "only the first of them");
  memory.inputs.wrote({memory.workspace.data(), memory.parameters.data() + 40});
  expect(!memory.rebuild(), "what lies beside an input counts as one");
  memory.inputs.wrote({memory.elsewhere.data()});
  expect(!memory.rebuild(), "what lies in no piece may lie anywhere");
  expect(memory.rebuild(), "settled again");
}

void memoryThatBecomesAnInput() {
  Memory memory;
  expect(!memory.inputs.mayBeginEarly({memory.weights.data()}), "the first one waits");
  memory.inputs.wrote({memory.parameters.data()});  // no input so far
  expect(!memory.rebuild(), "a piece that nobody has read from may have been written");
  expect(memory.rebuild(), "that one has waited for it");
}

void inputsOutsideOfAllPieces() {
  Memory memory;
  for (int i = 0; i < 3; ++i) {
    expect(!memory.inputs.mayBeginEarly({memory.weights.data(), memory.elsewhere.data()}), "nobody would tell");
  }
  expect(!memory.rebuild() && memory.rebuild(), "others are not held up by it");
}

}  // namespace

int main(int argc, char** argv) {
  return run({{"rebuilds wait for whoever may write their inputs", afterWritersOfInputs},
              {"memory that becomes an input", memoryThatBecomesAnInput},
              {"inputs outside of all pieces", inputsOutsideOfAllPieces}},
             argc, argv);
}
