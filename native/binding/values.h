// Checked conversions from JavaScript values; a violation throws InvalidArgument that names the property.
#pragma once

#include <napi.h>

#include <optional>
#include <string>
#include <vector>

#include "core/error.h"

namespace lrqat::binding {

[[noreturn]] inline void badValue(const std::string& what, const std::string& expected) {
  throw Error(ErrorCode::InvalidArgument, what + " must be " + expected);
}

/// An object whose properties are read by name, with its own path for messages.
class Reader {
 public:
  Reader(Napi::Value value, std::string path) : path_(std::move(path)) {
    if (!value.IsObject()) badValue(path_, "an object");
    object_ = value.As<Napi::Object>();
  }

  Napi::Value get(const char* key) const { return object_.Get(key); }
  bool isNull(const char* key) const { return get(key).IsNull() || get(key).IsUndefined(); }
  std::string path(const char* key) const { return path_ + "." + key; }

  double number(const char* key) const {
    const Napi::Value value = get(key);
    if (!value.IsNumber()) badValue(path(key), "a number");
    return value.As<Napi::Number>().DoubleValue();
  }
  float real(const char* key) const { return static_cast<float>(number(key)); }
  int64_t integer(const char* key, int64_t lowest, int64_t highest = int64_t{1} << 53) const {
    const double value = number(key);
    if (!(value >= static_cast<double>(lowest) && value <= static_cast<double>(highest)) ||
        value != static_cast<double>(static_cast<int64_t>(value))) {
      badValue(path(key), "an integer from " + std::to_string(lowest) + " to " + std::to_string(highest) + ", not " +
                              std::to_string(value));
    }
    return static_cast<int64_t>(value);
  }
  bool boolean(const char* key) const {
    const Napi::Value value = get(key);
    if (!value.IsBoolean()) badValue(path(key), "true or false");
    return value.As<Napi::Boolean>().Value();
  }
  std::string string(const char* key) const {
    const Napi::Value value = get(key);
    if (!value.IsString()) badValue(path(key), "a string");
    return value.As<Napi::String>().Utf8Value();
  }
  Reader object(const char* key) const { return {get(key), path(key)}; }

  /// The entry of `choices` whose name the string equals.
  template <typename T>
  T choice(const char* key, std::initializer_list<std::pair<const char*, T>> choices) const {
    const std::string value = string(key);
    std::string names;
    for (const auto& [choiceName, result] : choices) {
      if (value == choiceName) return result;
      names += (names.empty() ? "" : ", ") + std::string(choiceName);
    }
    badValue(path(key), "one of " + names + ", not " + value);
  }

 private:
  Napi::Object object_;
  std::string path_;
};

inline std::vector<int32_t> int32s(Napi::Value value, const std::string& path) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array) {
    badValue(path, "an Int32Array");
  }
  const auto array = value.As<Napi::Int32Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

inline std::vector<float> floats(Napi::Value value, const std::string& path) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array) {
    badValue(path, "a Float32Array");
  }
  const auto array = value.As<Napi::Float32Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

inline Napi::Value float32Array(Napi::Env env, const std::vector<float>& values) {
  auto array = Napi::Float32Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

inline Napi::Value int32Array(Napi::Env env, const std::vector<int32_t>& values) {
  auto array = Napi::Int32Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

inline Napi::Value uint8Array(Napi::Env env, const std::vector<std::byte>& values) {
  auto array = Napi::Uint8Array::New(env, values.size());
  std::copy(values.begin(), values.end(), reinterpret_cast<std::byte*>(array.Data()));
  return array;
}

inline Napi::Value stringValue(Napi::Env env, const std::string& text) {
  return Napi::String::New(env, text);
}

}  // namespace lrqat::binding
