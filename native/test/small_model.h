// A decoder with random weights in a temporary file, and token batches for it: what tests of whole engines start from.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/engine.h"
#include "test/check.h"

namespace lrqat::test {

inline ModelShape smallModel() {
  ModelShape m;
  m.hiddenSize = 24;
  m.intermediateSize = 40;
  m.layers = 2;
  m.heads = 4;
  m.kvHeads = 2;
  m.headDim = 6;
  m.vocabSize = 37;
  return m;
}

/// A checkpoint in one raw float32 file of the temporary folder, removed at the end.
class RandomCheckpoint {
 public:
  explicit RandomCheckpoint(const ModelShape& m) {
    static int counter = 0;
    path_ = std::filesystem::temp_directory_path() /
            ("lrqat-test-" + std::to_string(::getpid()) + "-" + std::to_string(counter++));
    add("model.embed_tokens.weight", {m.vocabSize, m.hiddenSize}, 1);
    if (!m.tiedEmbeddings) add("lm_head.weight", {m.vocabSize, m.hiddenSize}, 0.2F);
    add("model.norm.weight", {m.hiddenSize}, 1);
    for (int64_t layer = 0; layer < m.layers; ++layer) {
      const std::string prefix = layerPrefix(layer);
      add(prefix + "input_layernorm.weight", {m.hiddenSize}, 1);
      add(prefix + "post_attention_layernorm.weight", {m.hiddenSize}, 1);
      if (m.qkNorm) {
        add(prefix + "self_attn.q_norm.weight", {m.headDim}, 1);
        add(prefix + "self_attn.k_norm.weight", {m.headDim}, 1);
      }
      for (const Linear linear : allLinears) {
        const int64_t n = inputs(m, linear);
        add(prefix + name(linear) + ".weight", {outputs(m, linear), n}, 1 / std::sqrt(static_cast<float>(n)));
        if (hasBias(m, linear)) add(prefix + name(linear) + ".bias", {outputs(m, linear)}, 0.1F);
      }
    }
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(values_.data()), static_cast<std::streamsize>(values_.size() * 4));
  }
  ~RandomCheckpoint() { std::filesystem::remove(path_); }
  RandomCheckpoint(const RandomCheckpoint&) = delete;
  RandomCheckpoint& operator=(const RandomCheckpoint&) = delete;

  std::vector<TensorSource> tensors;

 private:
  void add(const std::string& tensorName, std::vector<int64_t> shape, float deviation) {
    int64_t count = 1;
    for (const int64_t extent : shape) count *= extent;
    tensors.push_back(
        {tensorName, path_.string(), static_cast<int64_t>(values_.size()) * 4, count * 4, DType::F32, shape});
    const auto drawn = randomNormal(static_cast<size_t>(count), static_cast<uint32_t>(tensors.size()), deviation);
    values_.insert(values_.end(), drawn.begin(), drawn.end());
  }

  std::filesystem::path path_;
  std::vector<float> values_;
};

/// Random sequences with next-token targets; with `documents`, each sequence is cut in two that do not see each other.
struct RandomTokens {
  int64_t length;
  std::vector<int32_t> tokens;
  std::vector<int32_t> targets;
  std::vector<int32_t> firstKey;

  RandomTokens(int64_t sequences, int64_t sequenceLength, int64_t vocab, bool documents = false)
      : length(sequenceLength) {
    uint32_t state = 5;
    for (int64_t i = 0; i < sequences * length; ++i) {
      state = state * 1664525U + 1013904223U;
      tokens.push_back(static_cast<int32_t>((state >> 8) % static_cast<uint32_t>(vocab)));
    }
    for (int64_t i = 0; i < sequences * length; ++i) {
      const int64_t position = i % length;
      const int64_t cut = length / 3;
      const bool last = position + 1 == length || (documents && position + 1 == cut);
      targets.push_back(last ? -1 : tokens[static_cast<size_t>(i) + 1]);
      if (documents) firstKey.push_back(position < cut ? 0 : static_cast<int32_t>(cut));
    }
  }
  TokenBatch batch() const { return {static_cast<int64_t>(tokens.size()) / length, length, tokens, targets, firstKey}; }
};

/// The batch with what the float model knows of it.
inline TokenBatch withTeacher(TokenBatch batch, const TeacherKnowledge& teacher) {
  batch.teacherClasses = teacher.classes;
  batch.teacherLogProbabilities = teacher.logProbabilities;
  return batch;
}

}  // namespace lrqat::test
