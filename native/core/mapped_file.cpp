#include "core/mapped_file.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"

#if defined(_WIN32)
#define NOMINMAX
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace lrqat {

#if defined(_WIN32)

static std::wstring wide(const std::string& path) {
  const int length = MultiByteToWideChar(CP_UTF8, 0, path.data(), static_cast<int>(path.size()), nullptr, 0);
  std::wstring result(static_cast<size_t>(length), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, path.data(), static_cast<int>(path.size()), result.data(), length);
  return result;
}

MappedFile::MappedFile(const std::string& path) {
  const HANDLE file =
      CreateFileW(wide(path).c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, 0, nullptr);
  if (file == INVALID_HANDLE_VALUE) throw Error(ErrorCode::InputFile, path + ": cannot be opened");
  LARGE_INTEGER size;
  GetFileSizeEx(file, &size);
  size_ = size.QuadPart;
  if (size_ > 0) {
    const HANDLE mapping = CreateFileMappingW(file, nullptr, PAGE_READONLY, 0, 0, nullptr);
    if (mapping) {
      data_ = static_cast<const std::byte*>(MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0));
      CloseHandle(mapping);
    }
  }
  CloseHandle(file);
  if (size_ > 0 && !data_) throw Error(ErrorCode::InputFile, path + ": cannot be mapped into memory");
}

MappedFile::~MappedFile() {
  if (data_) UnmapViewOfFile(data_);
}

#else

MappedFile::MappedFile(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw Error(ErrorCode::InputFile, path + ": cannot be opened: " + std::strerror(errno));
  struct stat info {};
  if (::fstat(file, &info) != 0) {
    const int reason = errno;
    ::close(file);
    throw Error(ErrorCode::InputFile, path + ": " + std::strerror(reason));
  }
  size_ = info.st_size;
  if (size_ > 0) {
    void* memory = ::mmap(nullptr, static_cast<size_t>(size_), PROT_READ, MAP_PRIVATE, file, 0);
    const int reason = errno;
    ::close(file);
    if (memory == MAP_FAILED) {
      throw Error(ErrorCode::InputFile, path + ": cannot be mapped into memory: " + std::strerror(reason));
    }
    data_ = static_cast<const std::byte*>(memory);
  } else {
    ::close(file);
  }
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), static_cast<size_t>(size_));
}

#endif

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

}  // namespace lrqat
