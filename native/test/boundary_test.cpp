// Failures on their way out of a backend's library and, from the work it is given, through it.
#include "core/backend_boundary.h"

#include "cpu/cpu_backend.h"
#include "test/check.h"

using namespace lrqat;
using namespace lrqat::test;
using namespace lrqat::boundary;

namespace {

/// As the engine sees a backend: two guards around it, as there are two modules.
std::unique_ptr<Backend> remote() {
  auto failure = std::make_unique<Failure>();
  auto backend =
      std::make_unique<cpu::CpuBackend>(cpu::CpuOptions{.threads = 1, .computeType = DType::F32, .oneDnnPath = {}});
  auto inLibrary = std::make_unique<GuardedBackend<Catching>>(std::move(backend), *failure);
  return std::make_unique<GuardedBackend<Throwing>>(std::move(inLibrary), std::move(failure));
}

void results() {
  const auto backend = remote();
  auto* values = static_cast<float*>(backend->allocate(16, "test", MemoryPlace::Device));
  const float host[] = {3, 0, 4, 0};
  backend->upload(values, host, 16);
  expectEqual(backend->squaredNorm(values, 4), 25.0, "a result");
  expect(backend->takeAlgorithms(""), "another");
}

void comingThrough() {
  const auto backend = remote();
  for (int attempt = 0; attempt < 2; ++attempt) {
    try {
      backend->allocate(INT64_MAX / 2, "everything", MemoryPlace::Device);
      fail("more memory than there is");
    } catch (const Error& error) {
      expect(error.code() == ErrorCode::OutOfMemory, std::string("the code, not: ") + error.what());
      expect(std::string(error.what()).find("everything") != std::string::npos, error.what());
      expect(!error.hint().empty(), "a hint");
    }
    // What was reported once is over.
    backend->synchronize();
  }
}

void failuresOfWork() {
  const auto backend = remote();
  int done = 0;
  for (const ErrorCode code : {ErrorCode::Cancelled, ErrorCode::InvalidArgument}) {
    try {
      backend->repeat({}, [&] {
        ++done;
        throw Error(code, "of the work", "a hint");
      });
      fail("the work's failure was lost");
    } catch (const Error& error) {
      expect(error.code() == code && error.hint() == "a hint", std::string("not: ") + error.what());
    }
  }
  expectThrows<Error>([&] { backend->repeat({}, [] { throw std::bad_alloc(); }); }, "another kind of exception");
  // An operation of the backend inside the work.
  const std::string message = expectThrows<Error>(
      [&] { backend->repeat({}, [&] { backend->allocate(INT64_MAX / 2, "inside", MemoryPlace::Device); }); },
      "a failure two levels down");
  expect(message.find("inside") != std::string::npos, message);
  expect(backend->repeat({}, [&] { ++done; }), "works on");
  expectEqual(done, 3, "works done");
}

}  // namespace

int main(int argc, char** argv) {
  return run({{"results come through", results},
              {"failures come through, once", comingThrough},
              {"failures of work that a backend is given", failuresOfWork}},
             argc, argv);
}
