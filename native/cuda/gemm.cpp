// cuBLASLt counts columns first. A row-major matrix is the transpose of a column-major one with the same memory, so
// c = op(a)·op(b) is computed as cᵀ = op(b)ᵀ·op(a)ᵀ: the operands change places and keep their transposition.
#include "cuda/gemm.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <sstream>
#include <vector>

#include "core/error.h"
#include "cuda/cublaslt.h"

namespace lrqat::cuda {

namespace {

using namespace cublaslt;

cudaDataType_t dataType(DType type) {
  switch (type) {
    case DType::F32:
      return CUDA_R_32F;
    case DType::BF16:
      return CUDA_R_16BF;
    case DType::F16:
      return CUDA_R_16F;
  }
  return CUDA_R_32F;
}

/// Largest power of two up to 256 that divides the address.
int alignmentOf(const void* pointer) {
  int alignment = 256;
  while (reinterpret_cast<uintptr_t>(pointer) % static_cast<uintptr_t>(alignment) != 0) alignment /= 2;
  return alignment;
}

}  // namespace

class Gemm::State {
 public:
  State(const std::string& path, void* memory, int64_t bytes)
      : library(path), workspace(memory), workspaceSize(static_cast<size_t>(bytes)) {
    check(library.create(&handle), "cublasLtCreate");
  }
  ~State() {
    for (auto& [key, plan] : plans) release(plan);
    library.destroy(handle);
  }

  void check(Status status, const char* call) const {
    if (status == 0) return;
    throw Error(status == 3 ? ErrorCode::OutOfMemory : ErrorCode::Internal,
                std::string(call) + " failed with status " + std::to_string(status) + " in " + library.library.path());
  }

  /// Everything that decides which algorithm serves.
  struct Key {
    int64_t rows, cols, inner, strideA, strideB, strideC;
    DType type, outputType;
    bool transposeA, transposeB, accumulate;
    int alignA, alignB, alignC;
    auto operator<=>(const Key&) const = default;
  };

  struct Plan {
    Operation operation = nullptr;
    Layout a = nullptr, b = nullptr, c = nullptr;
    Algorithm algorithm;
  };

  /// The numbers of a key in one order, for text.
  static std::array<int64_t, 14> numbers(const Key& k) {
    return {k.rows,
            k.cols,
            k.inner,
            k.strideA,
            k.strideB,
            k.strideC,
            static_cast<int64_t>(k.type),
            static_cast<int64_t>(k.outputType),
            k.transposeA,
            k.transposeB,
            k.accumulate,
            k.alignA,
            k.alignB,
            k.alignC};
  }
  static Key keyOf(const std::array<int64_t, 14>& n) {
    return {n[0],
            n[1],
            n[2],
            n[3],
            n[4],
            n[5],
            static_cast<DType>(n[6]),
            static_cast<DType>(n[7]),
            n[8] != 0,
            n[9] != 0,
            n[10] != 0,
            static_cast<int>(n[11]),
            static_cast<int>(n[12]),
            static_cast<int>(n[13])};
  }

  const Plan& plan(const Key& key) {
    const auto found = plans.find(key);
    return found != plans.end() ? found->second : plans.emplace(key, make(key)).first->second;
  }

  Library library;
  Handle handle = nullptr;
  void* workspace;
  size_t workspaceSize;
  std::map<Key, Plan> plans;
  std::map<Key, Algorithm> given;  // by takeAlgorithms

 private:
  Plan make(const Key& k) const {
    Plan plan;
    Preference preference = nullptr;
    try {
      check(library.operationCreate(&plan.operation, computeFloat32, CUDA_R_32F), "cublasLtMatmulDescCreate");
      const int first = k.transposeB ? 1 : 0;  // places exchanged
      const int second = k.transposeA ? 1 : 0;
      check(library.operationSet(plan.operation, cublaslt::transposeA, &first, sizeof first), "TRANSA");
      check(library.operationSet(plan.operation, cublaslt::transposeB, &second, sizeof second), "TRANSB");
      const auto layout = [&](Layout* out, DType type, int64_t rows, int64_t cols, int64_t stride) {
        check(
            library.layoutCreate(out, dataType(type), static_cast<uint64_t>(rows), static_cast<uint64_t>(cols), stride),
            "cublasLtMatrixLayoutCreate");
      };
      layout(&plan.a, k.type, k.transposeB ? k.inner : k.cols, k.transposeB ? k.cols : k.inner, k.strideB);
      layout(&plan.b, k.type, k.transposeA ? k.rows : k.inner, k.transposeA ? k.inner : k.rows, k.strideA);
      layout(&plan.c, k.outputType, k.cols, k.rows, k.strideC);
      const std::string product = std::to_string(k.rows) + "×" + std::to_string(k.inner) + " by " +
                                  std::to_string(k.inner) + "×" + std::to_string(k.cols);
      if (const auto stored = given.find(k); stored != given.end()) {
        Heuristic checked;
        const Status status =
            library.algorithmCheck(handle, plan.operation, plan.a, plan.b, plan.c, plan.c, &stored->second, &checked);
        if (status != 0 || checked.state != 0 || checked.workspaceBytes > workspaceSize) {
          throw Error(ErrorCode::Unsupported,
                      library.library.path() + " cannot use the stored algorithm for a product of " + product,
                      "without the stored algorithms the run goes on, with other bits");
        }
        plan.algorithm = stored->second;
        return plan;
      }
      check(library.preferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
      check(library.preferenceSet(preference, preferenceWorkspace, &workspaceSize, sizeof workspaceSize), "WORKSPACE");
      const int alignments[] = {k.alignB, k.alignA, k.alignC, k.alignC};
      for (int i = 0; i < 4; ++i) {
        const auto bytes = static_cast<uint32_t>(alignments[i]);
        check(library.preferenceSet(preference, preferenceAlignment[i], &bytes, sizeof bytes), "ALIGNMENT");
      }
      Heuristic best;
      int count = 0;
      const Status status =
          library.heuristic(handle, plan.operation, plan.a, plan.b, plan.c, plan.c, preference, 1, &best, &count);
      if (status != 0 || count == 0) {
        throw Error(ErrorCode::Unsupported, library.library.path() + " has no algorithm for a product of " + product);
      }
      plan.algorithm = best.algorithm;
      library.preferenceDestroy(preference);
      return plan;
    } catch (...) {
      if (preference) library.preferenceDestroy(preference);
      release(plan);
      throw;
    }
  }

  void release(Plan& plan) const {
    if (plan.operation) library.operationDestroy(plan.operation);
    for (Layout layout : {plan.a, plan.b, plan.c}) {
      if (layout) library.layoutDestroy(layout);
    }
  }
};

Gemm::Gemm(const std::string& library, void* workspace, int64_t bytes)
    : state_(std::make_unique<State>(library, workspace, bytes)) {}

Gemm::~Gemm() = default;

void Gemm::multiply(const GemmOperand& a, const GemmOperand& b, const GemmOutput& c, float alpha, float beta,
                    cudaStream_t stream) {
  const int64_t rows = a.transpose ? a.cols : a.rows;
  const int64_t inner = a.transpose ? a.rows : a.cols;
  const int64_t cols = b.transpose ? b.rows : b.cols;
  LRQAT_CHECK(inner == (b.transpose ? b.cols : b.rows) && a.type == b.type && a.type != DType::F16);
  LRQAT_CHECK(c.type != DType::F16 && (beta == 0 || beta == 1));
  if (rows == 0 || cols == 0) return;
  const State::Plan& plan = state_->plan({.rows = rows,
                                          .cols = cols,
                                          .inner = inner,
                                          .strideA = a.stride,
                                          .strideB = b.stride,
                                          .strideC = c.stride,
                                          .type = a.type,
                                          .outputType = c.type,
                                          .transposeA = a.transpose,
                                          .transposeB = b.transpose,
                                          .accumulate = beta != 0,
                                          .alignA = alignmentOf(a.data),
                                          .alignB = alignmentOf(b.data),
                                          .alignC = alignmentOf(c.data)});
  state_->check(
      state_->library.matmul(state_->handle, plan.operation, &alpha, b.data, plan.a, a.data, plan.b, &beta, c.data,
                             plan.c, c.data, plan.c, &plan.algorithm, state_->workspace, state_->workspaceSize, stream),
      "cublasLtMatmul");
}

std::string Gemm::version() const {
  const size_t number = state_->library.version();
  // 13 encodes 13.1.1 as 130101, 12 as 120402 and older ones the same way.
  return std::to_string(number / 10000) + "." + std::to_string(number / 100 % 100) + "." + std::to_string(number % 100);
}

std::string Gemm::algorithms() const {
  if (state_->plans.empty() && state_->given.empty()) return {};
  std::map<State::Key, Algorithm> all = state_->given;
  for (const auto& [key, plan] : state_->plans) all[key] = plan.algorithm;
  std::ostringstream text;
  text << "cuBLASLt " << version() << "\n";
  for (const auto& [key, algorithm] : all) {
    for (const int64_t number : State::numbers(key)) text << number << ' ';
    for (const uint64_t word : algorithm.data) {
      std::array<char, 17> hex{};
      std::snprintf(hex.data(), hex.size(), "%016llx", static_cast<unsigned long long>(word));
      text << hex.data();
    }
    text << "\n";
  }
  return text.str();
}

bool Gemm::takeAlgorithms(const std::string& text) {
  std::istringstream lines(text);
  std::string line;
  if (!std::getline(lines, line) || !line.starts_with("cuBLASLt ")) {
    throw Error(ErrorCode::InvalidArgument, "the stored algorithms do not begin with the version of cuBLASLt");
  }
  const bool same = line == "cuBLASLt " + version();
  std::map<State::Key, Algorithm> read;
  for (int number = 2; std::getline(lines, line); ++number) {
    std::istringstream fields(line);
    std::array<int64_t, 14> key{};
    std::string hex;
    for (int64_t& field : key) fields >> field;
    fields >> hex;
    Algorithm algorithm;
    constexpr size_t digits = 16;
    const bool whole = fields && fields.peek() == std::istringstream::traits_type::eof() &&
                       hex.size() == digits * std::size(algorithm.data) &&
                       hex.find_first_not_of("0123456789abcdef") == std::string::npos;
    if (!whole) {
      throw Error(ErrorCode::InvalidArgument,
                  "line " + std::to_string(number) + " of the stored algorithms is not one of a product");
    }
    for (size_t i = 0; i < std::size(algorithm.data); ++i) {
      algorithm.data[i] = std::stoull(hex.substr(i * digits, digits), nullptr, 16);
    }
    read[State::keyOf(key)] = algorithm;
  }
  if (same) state_->given = std::move(read);
  return same;
}

}  // namespace lrqat::cuda
