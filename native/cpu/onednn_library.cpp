#include "cpu/onednn_library.h"

#include "core/dynamic_library.h"
#include "core/error.h"

namespace lrqat::cpu {

std::unique_ptr<OneDnnLibrary> OneDnnLibrary::open(const std::string& path, int threads) {
  const DynamicLibrary library(
      path,
      "install oneDNN (Debian: libdnnl2), build the native code again, or leave the path empty "
      "to use the built-in products");
  const int number = library.require<onednn::InterfaceFunction>("lrqat_onednn_interface")();
  if (number != onednn::interfaceNumber) {
    throw Error(ErrorCode::Unsupported,
                path + " has interface " + std::to_string(number) + ", this engine needs " +
                    std::to_string(onednn::interfaceNumber),
                "build the native code again");
  }
  std::unique_ptr<OneDnnLibrary> result(new OneDnnLibrary);
  result->multiply_ = library.require<onednn::MultiplyFunction>("lrqat_onednn_multiply");
  result->close_ = library.require<onednn::CloseFunction>("lrqat_onednn_close");
  result->version_ = library.require<onednn::VersionFunction>("lrqat_onednn_version")();
  result->context_ = library.require<onednn::OpenFunction>("lrqat_onednn_open")(threads);
  if (!result->context_) return nullptr;
  return result;
}

OneDnnLibrary::~OneDnnLibrary() {
  if (context_) close_(context_);
}

bool OneDnnLibrary::multiply(const onednn::Product& product, const void* a, const void* b, void* c,
                             std::span<std::byte> scratch) {
  switch (multiply_(context_, &product, a, b, c, scratch.data(), static_cast<int64_t>(scratch.size()))) {
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
