// What training starts from when that is not round-to-nearest. One block after the other goes through the calibration
// sequences, as GPTQ does: what a linear reads comes from blocks, and from linears of its own block, that are
// quantized.
#include <algorithm>
#include <cmath>

#include "core/engine.h"
#include "core/error.h"
#include "core/gptq.h"
#include "core/grid.h"
#include "core/low_rank_start.h"
#include "core/phi0_code.h"
#include "core/start_memory.h"

namespace lrqat {

namespace {

/// Linears that read the same input, in the order of a forward.
constexpr std::array<std::array<Linear, 3>, 4> kInputs{{{Linear::Q, Linear::K, Linear::V},
                                                        {Linear::O, Linear::O, Linear::O},
                                                        {Linear::Gate, Linear::Up, Linear::Up},
                                                        {Linear::Down, Linear::Down, Linear::Down}}};

/// Everything that a start works in, allocated once.
class StartMemory {
 public:
  StartMemory(const EngineShape& shape, const StartSettings& settings, int64_t tokens)
      : sizes(startSizes(shape)),
        factor(settings.gptq ? sizes.widest : 0, shape.threads),
        gptq(settings.gptq ? sizes.widest : 0, settings.gptq ? sizes.widestGroup : 0, shape.threads) {
    if (settings.gptq) {
      hidden.resize(static_cast<size_t>(tokens * shape.model.hiddenSize * byteSize(shape.residualType)));
      gram.resize(static_cast<size_t>(sizes.widest * sizes.widest));
    }
    if (settings.lowRank) residual.resize(static_cast<size_t>(sizes.largest));
    target.resize(static_cast<size_t>(sizes.largest));
    rounded.resize(static_cast<size_t>(sizes.largest));
    codes.resize(static_cast<size_t>(sizes.largestCodes));
  }

  StartSizes sizes;
  InputFactor factor;
  Gptq gptq;
  std::vector<std::byte> hidden;  // [tokens, hidden] residual type
  std::vector<float> gram;        // [n, n]
  std::vector<float> target;      // [m, n] in steps of the grid
  std::vector<float> rounded;     // [m, n]
  std::vector<std::byte> codes;   // Φ0
  std::vector<double> residual;   // [m, n] of the low-rank start
};

/// Puts all linears back when it goes.
class Unselected {
 public:
  explicit Unselected(std::vector<LinearLayer>& linears) : linears_(linears) {
    for (LinearLayer& l : linears_) l.selected = false;
  }
  ~Unselected() {
    for (LinearLayer& l : linears_) l.selected = true;
  }
  Unselected(const Unselected&) = delete;
  Unselected& operator=(const Unselected&) = delete;

 private:
  std::vector<LinearLayer>& linears_;
};

/// Of rows on their own, by the range search of the linear.
RangeOfRows rangeSearch(Backend& backend, const QuantSpec& spec) {
  return [&backend, spec](const float* weights, int64_t rows, int64_t columns, float* scale, float* zero) {
    LinearWeight part;
    part.m = rows;
    part.n = columns;
    part.spec = spec;
    part.spec.granularity = Granularity::Channel;
    part.spec.storage = Storage::Integer;
    part.spec.rank = 0;
    std::vector<std::byte> codes(static_cast<size_t>(rows * packedRowBytes(part.spec.codeBits(), columns)));
    part.phi0 = codes.data();
    part.scale0 = scale;
    part.zero0 = zero;
    part.source = {weights, DType::F32, rows, columns};
    backend.quantize(part);
    for (int64_t i = 0; i < rows; ++i) scale[i] = scaleOnGrid(spec.scaleFormat, scale[i]);
  };
}

}  // namespace

int64_t Engine::findStart(const StartSettings& settings, const TokenBatch& calibration, const Progress& progress) {
  requireLoaded();
  const EngineShape& shape = config_.shape;
  if (shape.device != Device::Cpu || shape.training) {
    throw Error(ErrorCode::Unsupported, "a start is found by an engine on the CPU that only evaluates");
  }
  if (settings.gptq) checkBatch(calibration);
  const int64_t tokens = settings.gptq ? calibration.sequences * calibration.length : 0;
  StartMemory memory(shape, settings, tokens);
  started_ = true;
  const Unselected unselected(linears_);
  const int64_t rowBytes = shape.model.hiddenSize * byteSize(shape.residualType);
  const int64_t step = settings.gptq ? sequencesPerMicroBatch(calibration.length) : 1;
  const auto forMicroBatches = [&](auto&& body) {
    for (int64_t first = 0; first < calibration.sequences; first += step) {
      if (cancel_.load()) throw Error(ErrorCode::Cancelled, "cancelled");
      body(microBatch(calibration, first, std::min(step, calibration.sequences - first)),
           memory.hidden.data() + first * calibration.length * rowBytes);
    }
  };

  const auto total = static_cast<int64_t>(
      std::count_if(linears_.begin(), linears_.end(), [](const LinearLayer& l) { return l.quantized; }));
  int64_t done = 0;
  const auto roundLinear = [&](size_t index) {
    LinearLayer& l = linears_[index];
    const LinearWeight& w = l.weight;
    const bool asymmetric = w.zero0 != nullptr;
    std::vector<float> scales = initialScales(index);
    std::vector<float> zeros = initialZeroPoints(index);
    if (settings.gptq) {
      memory.gptq.round({w.source, w.spec, scales.data(), asymmetric ? zeros.data() : nullptr, memory.target.data(),
                         memory.rounded.data()},
                        memory.factor, rangeSearch(*backend_, w.spec));
      const auto scaleBytes = static_cast<int64_t>(scales.size()) * 4;
      backend_->upload(w.scale0, scales.data(), scaleBytes);
      if (asymmetric) backend_->upload(w.zero0, zeros.data(), scaleBytes);
      initializeRanges(l);
    }
    const Grids grids(w, scales, zeros);
    if (!settings.gptq) roundToNearest(w, grids, memory.target, memory.rounded);

    const QuantSpec& spec = w.spec;
    LowRankStart lowRank;
    if (settings.lowRank && spec.rank > 0) {
      std::vector<float> b = readState(index, ParameterKind::B, StateKind::Value);
      lowRank = lowRankStart(w, grids, memory.target, memory.rounded, memory.residual, std::move(b),
                             {settings.iterations, config_.seed + index, shape.threads});
      writeState(index, ParameterKind::A, StateKind::Value, lowRank.a);
      writeState(index, ParameterKind::B, StateKind::Value, lowRank.b);
    }
    const int64_t codeRow = packedRowBytes(spec.codeBits(), w.n);
    std::fill_n(memory.codes.begin(), w.m * codeRow, std::byte{0});
#pragma omp parallel num_threads(shape.threads)
    {
      std::vector<float> product(static_cast<size_t>(w.n));
#pragma omp for schedule(static)
      for (int64_t i = 0; i < w.m; ++i) {
        std::byte* row = memory.codes.data() + i * codeRow;
        if (!lowRank.a.empty()) lowRank.row(spec, i, product);
        for (int64_t j = 0; j < w.n; ++j) {
          const auto element = static_cast<size_t>(i * w.n + j);
          storePhi0(spec, row, j,
                    encodePhi0Inside(spec, memory.target[element], product[static_cast<size_t>(j)],
                                     memory.rounded[element], grids.ends(i, j)));
        }
      }
    }
    backend_->upload(w.phi0, memory.codes.data(), w.m * codeRow);
    l.selected = true;
    prepare(WeightForm::Trained);
    if (progress) progress(names_[index], ++done, total);
  };

  if (!settings.gptq) {
    for (size_t i = 0; i < linears_.size(); ++i) {
      if (cancel_.load()) throw Error(ErrorCode::Cancelled, "cancelled");
      if (linears_[i].quantized) roundLinear(i);
    }
    return startWorkBytes(shape, {false, settings.lowRank}, 0);
  }
  prepare(WeightForm::Trained);
  // Static grids that are not known yet come after the start: they are calibrated on what it gives.
  if (ranges_ && ranges_->known()) prepareGrids(WeightForm::Trained);
  forMicroBatches([&](const MicroBatch& batch, void* hidden) { decoder_->embedInto(batch, hidden); });
  for (int64_t layer = 0; layer < shape.model.layers; ++layer) {
    for (const auto& group : kInputs) {
      const auto index = [&](Linear which) {
        return static_cast<size_t>(layer * linearsPerLayer + static_cast<int64_t>(which));
      };
      if (std::ranges::none_of(group, [&](Linear which) { return linears_[index(which)].quantized; })) continue;
      const int64_t n = inputs(shape.model, group.front());
      const Matrix gram{memory.gram.data(), DType::F32, n, n};
      backend_->zero(gram.data, gram.bytes());
      forMicroBatches([&](const MicroBatch& batch, void* hidden) {
        const Matrix x = decoder_->inputOf(batch, layer, hidden, group.front());
        backend_->gemm(x, true, x, false, gram, true);
      });
      try {
        memory.factor.compute(std::span(memory.gram).first(static_cast<size_t>(n * n)), n,
                              {settings.damping, settings.activationOrder, shape.threads});
      } catch (const Error& error) {
        throw Error(error.code(), names_[index(group.front())] + ": " + error.what(), error.hint());
      }
      Linear last = group.front();
      for (size_t i = 0; i < group.size(); ++i) {
        if (i > 0 && group[i] == last) continue;
        last = group[i];
        if (cancel_.load()) throw Error(ErrorCode::Cancelled, "cancelled");
        if (linears_[index(last)].quantized) roundLinear(index(last));
      }
    }
    if (layer + 1 == shape.model.layers) break;
    forMicroBatches([&](const MicroBatch& batch, void* hidden) { decoder_->passBlock(batch, layer, hidden); });
  }
  return startWorkBytes(shape, {true, settings.lowRank}, tokens);
}

}  // namespace lrqat
