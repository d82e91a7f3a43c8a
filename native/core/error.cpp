#include "core/error.h"

#include <cstring>

namespace lrqat {

const char* name(ErrorCode code) {
  switch (code) {
    case ErrorCode::InvalidArgument:
      return "InvalidArgument";
    case ErrorCode::OutOfMemory:
      return "OutOfMemory";
    case ErrorCode::PlanMismatch:
      return "PlanMismatch";
    case ErrorCode::Cancelled:
      return "Cancelled";
    case ErrorCode::InputFile:
      return "InputFile";
    case ErrorCode::NotFinite:
      return "NotFinite";
    case ErrorCode::Unsupported:
      return "Unsupported";
    case ErrorCode::Internal:
      return "Internal";
  }
  return "Internal";
}

void detail::checkFailed(const char* condition, const char* file, int line) {
  const char* base = std::strrchr(file, '/');
  throw Error(ErrorCode::Internal, std::string("internal check failed: ") + condition + " (" +
                                       (base ? base + 1 : file) + ":" + std::to_string(line) + ")");
}

}  // namespace lrqat
