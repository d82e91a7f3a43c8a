// Starts of training that were found on the CPU, loaded by an engine on CUDA.
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "cuda/test/engines.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

/// What an engine on the CPU has found, in memory and, for Φ0, in a file, as a run stores it.
class StoredStart {
 public:
  explicit StoredStart(const Engine& engine)
      : path_(std::filesystem::temp_directory_path() / ("lrqat-start-" + std::to_string(::getpid()))) {
    std::ofstream out(path_, std::ios::binary);
    int64_t offset = 0;
    const EngineShape& shape = engine.shape();
    for (size_t i = 0; i < shape.linears.size(); ++i) {
      const auto& spec = shape.linears[i];
      if (!spec) continue;
      const std::string& name = engine.linearName(i);
      ranges_.scales[name] = engine.initialScales(i);
      if (!spec->symmetric) ranges_.zeroPoints[name] = engine.initialZeroPoints(i);
      const auto codes = engine.phi0(i);
      ranges_.phi0[name] = {path_.string(), offset};
      out.write(reinterpret_cast<const char*>(codes.data()), static_cast<std::streamsize>(codes.size()));
      offset += static_cast<int64_t>(codes.size());
      if (spec->rank == 0) continue;
      for (const ParameterKind kind : {ParameterKind::A, ParameterKind::B}) {
        factors_.push_back({i, kind, engine.readState(i, kind, StateKind::Value)});
      }
    }
  }
  ~StoredStart() { std::filesystem::remove(path_); }
  StoredStart(const StoredStart&) = delete;
  StoredStart& operator=(const StoredStart&) = delete;

  void load(Engine& engine) const {
    engine.load(ranges_, {});
    for (const Factor& factor : factors_)
      engine.writeState(factor.linear, factor.kind, StateKind::Value, factor.values);
  }

 private:
  struct Factor {
    size_t linear;
    ParameterKind kind;
    std::vector<float> values;
  };
  std::filesystem::path path_;
  StoredRanges ranges_;
  std::vector<Factor> factors_;
};

/// Starts are found on the CPU, linear by linear, and stored; an engine on the device that loads them has the integers
/// of one on the CPU to the bit, and trains from there as that one does.
void startsFoundOnTheCpu() {
  struct Start {
    std::string label;
    StartSettings settings;
    Storage storage;
    int rank = 8;
  };
  const std::vector<Start> starts{
      {"GPTQ, integers", {.gptq = true}, Storage::Integer},
      {"GPTQ in activation order, fixed point", {.gptq = true, .activationOrder = true}, Storage::FixedPoint},
      {"singular values, fp16", {.lowRank = true, .iterations = 2}, Storage::F16},
      {"GPTQ and singular values, fixed point", {.gptq = true, .lowRank = true}, Storage::FixedPoint},
      {"GPTQ alone", {.gptq = true}, Storage::Integer, 0}};
  for (const Start& start : starts) {
    for (const int64_t group : {int64_t{-1}, int64_t{32}}) {
      for (const bool symmetric : {true, false}) {
        EngineCase c{.label = start.label + ", group " + std::to_string(group) + (symmetric ? "" : ", zero points"),
                     .model = wideModel(),
                     .spec = specOf(3, start.storage, group)};
        c.spec.symmetric = symmetric;
        c.spec.rank = start.rank;
        const bool trains = start.rank > 0;
        c.spec.learnScales = trains;
        c.spec.learnZeroPoints = trains;
        context = c.label;
        const RandomCheckpoint checkpoint(c.model);
        const RandomTokens four(4, c.length, c.model.vocabSize);
        EngineConfig finding = configure(c, checkpoint, Device::Cpu, DType::F32);
        finding.shape.training = false;
        Engine finder = open(finding);
        finder.load({}, {});
        const auto nearest = finder.merge(0);
        finder.findStart(start.settings, four.batch(), {});
        if (start.settings.gptq) expect(finder.merge(0) != nearest, "GPTQ rounds some weights otherwise");
        const StoredStart stored(finder);

        EngineConfig onHost = configure(c, checkpoint, Device::Cpu, DType::F32);
        EngineConfig onDevice = configure(c, checkpoint, Device::Cuda, DType::F32);
        onHost.shape.training = onDevice.shape.training = trains;
        Engine host = open(onHost);
        Engine device = open(onDevice);
        stored.load(host);
        stored.load(device);
        expect(device.baseDigest() == finder.baseDigest(), "digest of the base");
        for (size_t i = 0; i < onHost.shape.linears.size(); ++i) {
          if (!onHost.shape.linears[i]) continue;
          expect(device.phi0(i) == finder.phi0(i), "Φ0 bit for bit");
          expect(device.merge(i) == finder.merge(i), "integers bit for bit");
          expect(device.scales(i) == finder.scales(i), "scales bit for bit");
          expect(device.zeroPoints(i) == finder.zeroPoints(i), "zero points");
        }
        const double expected = host.evaluate(four.batch(), WeightForm::Trained).lossSum;
        expectNear(device.evaluate(four.batch(), WeightForm::Trained).lossSum, expected, float32.loss * expected,
                   "loss");
        for (int step = 0; trains && step < 2; ++step) {
          const StepResult wanted = host.trainStep(four.batch(), optimizer);
          const StepResult actual = device.trainStep(four.batch(), optimizer);
          expectNear(actual.loss, wanted.loss, float32.loss * wanted.loss, "loss of a step");
          expectNear(actual.gradientNorm, wanted.gradientNorm, float32.gradient * wanted.gradientNorm, "gradient norm");
        }
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  library = openLibrary();
  if (!library) return 0;
  return run({{"starts found on the CPU", startsFoundOnTheCpu}}, argc, argv);
}
