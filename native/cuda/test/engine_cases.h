// The cases engines on CUDA are compared in.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cuda/test/engines.h"

namespace lrqat::test {

/// Every storage and granularity, and every way to lay out an engine's memory.
inline std::vector<EngineCase> engineCases() {
  std::vector<EngineCase> list;
  for (const Storage storage : {Storage::F32, Storage::BF16, Storage::F16, Storage::FixedPoint, Storage::Integer}) {
    for (const int64_t group : {int64_t{0}, int64_t{-1}, int64_t{32}}) {
      list.push_back(
          {.label = "storage " + std::to_string(static_cast<int>(storage)) + ", group " + std::to_string(group),
           .model = wideModel(),
           .spec = specOf(3, storage, group)});
    }
  }
  list.push_back({.label = "no recomputation, 2 bits, log scales",
                  .model = wideModel(),
                  .spec = specOf(2, Storage::F32, -1, ScaleDomain::Log),
                  .recompute = false});
  list.push_back({.label = "block checkpointing",
                  .model = wideModel(),
                  .spec = specOf(4, Storage::Integer, -1),
                  .checkpoint = true});
  list.push_back({.label = "state and embeddings on the host",
                  .model = wideModel(),
                  .spec = specOf(4, Storage::FixedPoint, -1),
                  .checkpoint = true,
                  .onHost = true});
  list.push_back(
      {.label = "documents", .model = wideModel(), .spec = specOf(4, Storage::Integer, -1), .documents = true});
  EngineCase windows{.label = "sliding window, tied", .model = wideModel(), .spec = specOf(4, Storage::Integer, -1)};
  windows.model.slidingWindow = 17;
  windows.model.tiedEmbeddings = true;
  list.push_back(windows);
  for (const Storage storage : {Storage::F16, Storage::FixedPoint, Storage::Integer}) {
    for (const int64_t group : {int64_t{0}, int64_t{-1}, int64_t{32}}) {
      EngineCase c{.label = "zero points, storage " + std::to_string(static_cast<int>(storage)) + ", group " +
                            std::to_string(group),
                   .model = wideModel(),
                   .spec = specOf(3, storage, group)};
      c.spec.symmetric = false;
      list.push_back(c);
    }
  }
  EngineCase kept{.label = "kept scales of groups, block checkpointing",
                  .model = wideModel(),
                  .spec = specOf(4, Storage::Integer, 32),
                  .checkpoint = true};
  kept.spec.learnScales = false;
  list.push_back(kept);
  list.push_back({.label = "groups, state and first scales on the host",
                  .model = wideModel(),
                  .spec = specOf(4, Storage::Integer, 32),
                  .checkpoint = true,
                  .onHost = true});
  list.push_back({.label = "scales alone", .model = wideModel(), .spec = specOf(4, Storage::Integer, -1)});
  list.back().spec.rank = 0;
  list.push_back({.label = "scales of groups alone", .model = wideModel(), .spec = specOf(4, Storage::Integer, 32)});
  list.back().spec.rank = 0;
  for (const int64_t group : {int64_t{0}, int64_t{-1}, int64_t{32}}) {
    for (const bool symmetric : {true, false}) {
      EngineCase c{.label = std::string("trained weights") + (symmetric ? "" : " with zero points") + ", group " +
                            std::to_string(group),
                   .model = wideModel(),
                   .spec = specOf(3, Storage::Trained, group)};
      c.spec.rank = 0;
      c.spec.symmetric = symmetric;
      c.spec.gradientScaling = group > 0;
      c.checkpoint = group < 0;
      c.onHost = group < 0 && symmetric;
      list.push_back(c);
    }
  }
  list.push_back({.label = "norms, head and embeddings",
                  .model = wideModel(),
                  .spec = specOf(4, Storage::FixedPoint, -1),
                  .floats = {.norms = true, .head = true, .embeddings = true}});
  list.push_back({.label = "everything, block checkpointing, odd widths",
                  .model = oddModel(),
                  .spec = specOf(3, Storage::Trained, 2),
                  .length = 23,
                  .checkpoint = true,
                  .floats = {.norms = true, .head = true, .embeddings = true}});
  list.back().spec.rank = 0;
  EngineCase table{.label = "tied embeddings, state on the host",
                   .model = wideModel(),
                   .spec = specOf(4, Storage::Integer, -1),
                   .checkpoint = true,
                   .onHost = true,
                   .floats = {.embeddings = true}};
  table.model.tiedEmbeddings = true;
  list.push_back(table);
  list.push_back(
      {.label = "odd widths", .model = oddModel(), .spec = specOf(3, Storage::FixedPoint, -1), .length = 23});
  list.push_back(
      {.label = "odd widths, groups", .model = oddModel(), .spec = specOf(3, Storage::F32, 2), .length = 23});
  return list;
}

/// Every site and kind of grid. A number within an ulp of a tie goes the other way, which is worth a step of its grid
/// and moves all behind it: with few bits nothing of two sums in different orders can be compared any more, hence 7
/// and 8. Nor with fractional zero points, where an ulp decides whether the smallest or the largest number of a token
/// has a gradient; their grids are compared to the bit in activations_test.cu.
inline std::vector<EngineCase> activationCases() {
  std::vector<EngineCase> list;
  for (const auto& [label, activations] : {std::pair{"a8, 7 bits in the cache", activationsOf(8, 7)},
                                           {"a8, static", staticRanges(8, false, false)},
                                           {"a8, static, symmetric", staticRanges(8, true, false)},
                                           {"a8, static, learned", staticRanges(8, false, true)},
                                           {"a8, static, symmetric, learned", staticRanges(8, true, true)}}) {
    EngineCase c{.label = label, .model = wideModel(), .spec = specOf(4, Storage::Integer, -1)};
    c.activations = activations;
    list.push_back(c);
    c.label += ", block checkpointing, head norms";
    c.model.qkNorm = true;
    c.checkpoint = true;
    list.push_back(c);
    c.label = std::string(label) + ", odd widths, everything kept";
    c.model = oddModel();
    c.length = 23;
    c.checkpoint = false;
    c.recompute = false;
    list.push_back(c);
  }
  return list;
}

}  // namespace lrqat::test
