// Arguments of the methods of class Engine: checked, and copied into memory of their own. All throw InvalidArgument.
#pragma once

#include <napi.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/engine.h"

namespace lrqat::binding {

/// Batch with its memory, copied from the caller's arrays so that nobody can change it under the engine.
struct OwnedBatch {
  int64_t length = 0;
  std::vector<int32_t> tokens;
  std::vector<int32_t> targets;
  std::vector<int32_t> firstKey;
  std::vector<int32_t> teacherClasses;
  std::vector<float> teacherLogProbabilities;
  std::vector<int32_t> hiddenFrom;
  std::vector<int32_t> hiddenTo;

  TokenBatch view() const {
    return {static_cast<int64_t>(tokens.size()) / length,
            length,
            tokens,
            targets,
            firstKey,
            teacherClasses,
            teacherLogProbabilities,
            hiddenFrom,
            hiddenTo};
  }
};

/// @param length tokens of a sequence
std::shared_ptr<OwnedBatch> parseBatch(const Napi::Value& value, int64_t length);
OptimizerSettings parseSettings(const Napi::Value& value);
WeightForm parseForm(const Napi::Value& value);
ParameterKind parseKind(const Napi::Value& value);
StateKind parseState(const Napi::Value& value);
/// Name of a linear.
std::string parseName(const Napi::Value& value);
/// A list of names; nothing where none is given.
std::optional<std::vector<std::string>> parseNames(const Napi::Value& value, const char* what);
/// An object of Float32Arrays by linear name; absent: empty.
std::map<std::string, std::vector<float>> floatsByLinear(const Napi::Object& options, const char* key);
/// Places in files by name; `value` is an object.
std::map<std::string, StoredTensor> storedTensors(const Napi::Value& value, const std::string& path);
/// What a start is found with, but for its calibration batch.
StartSettings parseStart(const Napi::Value& value);

}  // namespace lrqat::binding
