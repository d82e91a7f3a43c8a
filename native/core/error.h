// Every failure of the engine is one exception type with a code that callers can branch on and a hint that users can
// act on.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace lrqat {

enum class ErrorCode {
  InvalidArgument,
  OutOfMemory,
  PlanMismatch,
  Cancelled,
  InputFile,
  NotFinite,
  Unsupported,
  Internal
};

const char* name(ErrorCode code);

/// Visible, because it crosses from the shared library of the CUDA backend.
class
#if defined(__GNUC__)
    __attribute__((visibility("default")))
#endif
    Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message, std::string hint = {})
      : std::runtime_error(message), code_(code), hint_(std::move(hint)) {}
  ErrorCode code() const {
    return code_;
  }
  /// What would work instead; may be empty.
  const std::string& hint() const {
    return hint_;
  }

 private:
  ErrorCode code_;
  std::string hint_;
};

namespace detail {
[[noreturn]] void checkFailed(const char* condition, const char* file, int line);
}

/// States an invariant of the engine; a failure is a defect of ours, so it throws Internal with the failing condition.
#define LRQAT_CHECK(condition)                                                      \
  do {                                                                              \
    if (!(condition)) ::lrqat::detail::checkFailed(#condition, __FILE__, __LINE__); \
  } while (false)

}  // namespace lrqat
