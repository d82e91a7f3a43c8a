// Shared libraries opened at run time. Never closed: what they start (threads, generated code) may outlive its first
// user.
#pragma once

#include <string>

namespace lrqat {

class DynamicLibrary {
 public:
  /// Throws Unsupported with the loader's reason and `hint`.
  DynamicLibrary(const std::string& path, const std::string& hint);

  /// Null when the library has no such symbol.
  void* find(const char* symbol) const;
  /// Throws Unsupported with the hint of the constructor when the library has no such symbol.
  template <typename Function>
  Function require(const char* symbol) const {
    void* address = find(symbol);
    if (!address) refuse(symbol);
    return reinterpret_cast<Function>(address);
  }
  const std::string& path() const { return path_; }

 private:
  [[noreturn]] void refuse(const char* symbol) const;

  std::string path_;
  std::string hint_;
  void* handle_ = nullptr;
};

}  // namespace lrqat
