// BpeTokenizer of tokenizer.ts: synchronous, for worker threads and short texts.
#include <algorithm>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "binding/register.h"
#include "binding/values.h"
#include "binding/worker_thread.h"
#include "tokenizer/encoder.h"

namespace lrqat::binding {

namespace {

std::string_view bytesOf(const Napi::Value& value, const char* what) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    badValue(what, "a Uint8Array");
  }
  const auto array = value.As<Napi::Uint8Array>();
  return {reinterpret_cast<const char*>(array.Data()), array.ElementLength()};
}

size_t offsetOf(const Napi::Value& value, const char* what, size_t highest) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0 && number <= static_cast<double>(highest)) ||
      number != static_cast<double>(static_cast<size_t>(number))) {
    badValue(what, "an integer from 0 to " + std::to_string(highest));
  }
  return static_cast<size_t>(number);
}

Napi::Value int32Array(Napi::Env env, std::span<const int32_t> values) {
  auto array = Napi::Int32Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

class BpeTokenizer : public Napi::ObjectWrap<BpeTokenizer> {
 public:
  explicit BpeTokenizer(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    guarded(info.Env(), [&] {
      encoder_ = std::make_unique<tokenizer::Encoder>(bytesOf(info[0], "json"));
      return info.Env().Undefined();
    });
  }

  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, "BpeTokenizer",
        {InstanceAccessor<&BpeTokenizer::vocabSize>("vocabSize"),
         InstanceAccessor<&BpeTokenizer::prefixIds>("prefixIds"),
         InstanceAccessor<&BpeTokenizer::suffixIds>("suffixIds"), InstanceMethod<&BpeTokenizer::encode>("encode"),
         InstanceMethod<&BpeTokenizer::encodePart>("encodePart"), InstanceMethod<&BpeTokenizer::lastSplit>("lastSplit"),
         InstanceMethod<&BpeTokenizer::idOf>("idOf")});
  }

 private:
  Napi::Value vocabSize(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), encoder_->vocabulary().size());
  }
  Napi::Value prefixIds(const Napi::CallbackInfo& info) { return int32Array(info.Env(), encoder_->prefixIds()); }
  Napi::Value suffixIds(const Napi::CallbackInfo& info) { return int32Array(info.Env(), encoder_->suffixIds()); }

  Napi::Value encode(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const std::string_view text = bytesOf(info[0], "utf8");
      bool addSpecialTokens = true;
      if (info.Length() > 1 && !info[1].IsUndefined()) {
        const Reader options(info[1], "options");
        if (!options.isNull("addSpecialTokens")) addSpecialTokens = options.boolean("addSpecialTokens");
      }
      ids_.clear();
      if (addSpecialTokens) ids_.assign(encoder_->prefixIds().begin(), encoder_->prefixIds().end());
      encoder_->encode(text, ids_);
      if (addSpecialTokens) ids_.insert(ids_.end(), encoder_->suffixIds().begin(), encoder_->suffixIds().end());
      return int32Array(info.Env(), ids_);
    });
  }

  Napi::Value encodePart(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const std::string_view text = bytesOf(info[0], "utf8");
      const size_t begin = offsetOf(info[1], "begin", text.size());
      const size_t end = offsetOf(info[2], "end", text.size());
      if (!info[3].IsBoolean()) badValue("startsText", "true or false");
      ids_.clear();
      encoder_->encodePart(text, begin, end, info[3].As<Napi::Boolean>().Value(), ids_);
      return int32Array(info.Env(), ids_);
    });
  }

  Napi::Value lastSplit(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      return Napi::Number::New(info.Env(), static_cast<double>(encoder_->lastSplit(bytesOf(info[0], "utf8"))));
    });
  }

  Napi::Value idOf(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      if (!info[0].IsString()) badValue("token", "a string");
      const auto id = encoder_->vocabulary().idOf(info[0].As<Napi::String>().Utf8Value());
      return Napi::Number::New(info.Env(), id.value_or(-1));
    });
  }

  std::unique_ptr<tokenizer::Encoder> encoder_;
  std::vector<int32_t> ids_;
};

}  // namespace

void registerTokenizer(Napi::Env env, Napi::Object exports) {
  exports.Set("BpeTokenizer", BpeTokenizer::define(env));
}

}  // namespace lrqat::binding
