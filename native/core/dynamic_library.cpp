#include "core/dynamic_library.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <dlfcn.h>
#endif

#include "core/error.h"

namespace lrqat {

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

}  // namespace

DynamicLibrary::DynamicLibrary(const std::string& path, const std::string& hint)
    : path_(path), hint_(hint), handle_(openLibrary(path)) {
  if (!handle_) throw Error(ErrorCode::Unsupported, "could not open " + path + ": " + openFailure(), hint);
}

void* DynamicLibrary::find(const char* symbol) const {
  return findSymbol(handle_, symbol);
}

void DynamicLibrary::refuse(const char* symbol) const {
  throw Error(ErrorCode::Unsupported, path_ + " is not what this engine needs: it has no " + symbol, hint_);
}

}  // namespace lrqat
