#include "cpu/onednn_library.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <dlfcn.h>
#endif

#include "core/error.h"

namespace lrqat::cpu {

namespace {

#if defined(_WIN32)
void* openLibrary(const std::string& path) {
  return reinterpret_cast<void*>(LoadLibraryA(path.c_str()));
}
void* findSymbol(void* library, const char* symbol) {
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(library), symbol));
}
std::string openFailure() {
  return "Windows error " + std::to_string(GetLastError());
}
#else
void* openLibrary(const std::string& path) {
  return dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
}
void* findSymbol(void* library, const char* symbol) {
  return dlsym(library, symbol);
}
std::string openFailure() {
  const char* text = dlerror();
  return text ? text : "unknown reason";
}
#endif

template <typename Function>
Function find(void* library, const std::string& path, const char* symbol) {
  void* address = findSymbol(library, symbol);
  if (!address) {
    throw Error(ErrorCode::Unsupported, path + " is not the oneDNN library of this engine: it has no " + symbol,
                "build the native code again, or leave the path empty to use the built-in products");
  }
  return reinterpret_cast<Function>(address);
}

}  // namespace

std::unique_ptr<OneDnnLibrary> OneDnnLibrary::open(const std::string& path, int threads) {
  // Never closed: oneDNN keeps generated code and per-thread state that other engines of the process may still use.
  void* library = openLibrary(path);
  if (!library) {
    throw Error(ErrorCode::Unsupported, "could not open the oneDNN library " + path + ": " + openFailure(),
                "install oneDNN (Debian: libdnnl2) or leave the path empty to use the built-in products");
  }
  const int number = find<onednn::InterfaceFunction>(library, path, "lrqat_onednn_interface")();
  if (number != onednn::interfaceNumber) {
    throw Error(ErrorCode::Unsupported,
                path + " has interface " + std::to_string(number) + ", this engine needs " +
                    std::to_string(onednn::interfaceNumber),
                "build the native code again");
  }
  std::unique_ptr<OneDnnLibrary> result(new OneDnnLibrary);
  result->multiply_ = find<onednn::MultiplyFunction>(library, path, "lrqat_onednn_multiply");
  result->close_ = find<onednn::CloseFunction>(library, path, "lrqat_onednn_close");
  result->version_ = find<onednn::VersionFunction>(library, path, "lrqat_onednn_version")();
  result->context_ = find<onednn::OpenFunction>(library, path, "lrqat_onednn_open")(threads);
  if (!result->context_) return nullptr;
  return result;
}

OneDnnLibrary::~OneDnnLibrary() {
  if (context_) close_(context_);
}

bool OneDnnLibrary::multiply(const onednn::Product& product, const void* a, const void* b, void* c) {
  switch (multiply_(context_, &product, a, b, c)) {
    case onednn::Outcome::Done:
      return true;
    case onednn::Outcome::Unsupported:
      return false;
    case onednn::Outcome::Failed:
      break;
  }
  throw Error(ErrorCode::Internal, "oneDNN failed in a product of " + std::to_string(product.m) + "x" +
                                       std::to_string(product.k) + " by " + std::to_string(product.k) + "x" +
                                       std::to_string(product.n));
}

}  // namespace lrqat::cpu
