// The oneDNN glue (onednn/glue.h), opened at run time.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "core/types.h"
#include "cpu/onednn/glue.h"

namespace lrqat::cpu {

class OneDnnLibrary {
 public:
  /// Null where the library cannot serve (it shares no OpenMP runtime with us). Throws Unsupported with the loader's
  /// reason when `path` cannot be opened or is not the glue of this build.
  static std::unique_ptr<OneDnnLibrary> open(const std::string& path, int threads);
  ~OneDnnLibrary();
  OneDnnLibrary(const OneDnnLibrary&) = delete;
  OneDnnLibrary& operator=(const OneDnnLibrary&) = delete;

  /// False where oneDNN has no implementation for this product on this CPU, or none that works in `scratch`; nothing
  /// was written then.
  bool multiply(const onednn::Product& product, const void* a, const void* b, void* c, std::span<std::byte> scratch);
  const char* version() const { return version_; }

 private:
  OneDnnLibrary() = default;
  void* context_ = nullptr;
  onednn::MultiplyFunction multiply_ = nullptr;
  onednn::CloseFunction close_ = nullptr;
  const char* version_ = "";
};

}  // namespace lrqat::cpu
