// Single formulas of the CPU backend for the golden tests (formulas.ts).
#include <algorithm>
#include <memory>
#include <vector>

#include "binding/engine_config.h"
#include "binding/register.h"
#include "binding/values.h"
#include "binding/worker_thread.h"
#include "core/activation_ranges.h"
#include "core/grid.h"
#include "core/half.h"
#include "core/memory_plan.h"
#include "cpu/cpu_backend.h"
#include "cpu/range.h"

namespace lrqat::binding {

namespace {

template <typename Array, typename T>
Array typedArray(Napi::Env env, const std::vector<T>& values) {
  Array array = Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

std::vector<float> floatsOf(const Reader& reader, const char* key, int64_t count) {
  std::vector<float> values = floats(reader.get(key), reader.path(key));
  if (static_cast<int64_t>(values.size()) != count) {
    badValue(reader.path(key), std::to_string(count) + " numbers, not " + std::to_string(values.size()));
  }
  return values;
}

Napi::Value estimateRange(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Reader r(info[0], "request");
    const int64_t m = r.integer("rows", 1);
    const int64_t n = r.integer("columns", 1);
    const std::vector<float> weight = floatsOf(r, "weight", m * n);
    QuantSpec spec;
    spec.groupSize = r.integer("groupSize", -1);
    spec.granularity = spec.groupSize == 0  ? Granularity::Tensor
                       : spec.groupSize < 0 ? Granularity::Channel
                                            : Granularity::Group;
    checkSpec(spec, m, n);
    const cpu::RangeSearch search{r.choice<RangeMethod>("method", {{"minmax", RangeMethod::MinMax},
                                                                   {"mse", RangeMethod::Mse},
                                                                   {"lp-2.4", RangeMethod::Lp24},
                                                                   {"lp-3", RangeMethod::Lp3},
                                                                   {"lp-3.5", RangeMethod::Lp35},
                                                                   {"lp-4", RangeMethod::Lp4},
                                                                   {"lp-5", RangeMethod::Lp5}}),
                                  r.real("qmin"), r.real("qmax"), r.real("margin"),
                                  static_cast<int>(r.isNull("levels") ? 0 : r.integer("levels", 0, 255))};
    std::vector<cpu::RangeResult> results(static_cast<size_t>(spec.scaleCount(m, n)));
    cpu::searchRanges({weight.data(), DType::F32, m, n}, spec.granularity, spec.groupSize, search, 2, results);
    std::vector<float> scales;
    std::vector<float> zeroPoints;
    std::vector<int32_t> candidates;
    std::vector<double> losses;
    for (const cpu::RangeResult& result : results) {
      scales.push_back(result.scale);
      zeroPoints.push_back(result.zero);
      candidates.push_back(result.candidate);
      losses.push_back(result.loss);
    }
    Napi::Object out = Napi::Object::New(info.Env());
    out.Set("scales", typedArray<Napi::Float32Array>(info.Env(), scales));
    out.Set("zeroPoints", typedArray<Napi::Float32Array>(info.Env(), zeroPoints));
    out.Set("candidates", typedArray<Napi::Int32Array>(info.Env(), candidates));
    out.Set("losses", typedArray<Napi::Float64Array>(info.Env(), losses));
    return out;
  });
}

Napi::Value asymmetric(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    for (int i = 0; i < 3; ++i) {
      if (!info[i].IsNumber()) badValue("lowest, highest and bits", "numbers");
    }
    const int bits = info[2].As<Napi::Number>().Int32Value();
    if (bits < 2 || bits > 8) badValue("bits", "2 to 8");
    const AsymmetricRange range =
        asymmetricMinMax(info[0].As<Napi::Number>().FloatValue(), info[1].As<Napi::Number>().FloatValue(), bits);
    Napi::Object out = Napi::Object::New(info.Env());
    out.Set("scale", range.scale);
    out.Set("zeroPointUnrounded", range.zeroPointUnrounded);
    out.Set("zeroPoint", range.zeroPoint);
    return out;
  });
}

/// A weight of the request with its memory.
struct OwnedWeight {
  std::vector<float> source;
  std::vector<float> scale0;
  std::vector<float> zero0;  // empty: symmetric
  std::vector<std::byte> phi0;
  LinearWeight weight;

  OwnedWeight(const Reader& r) {
    weight.m = r.integer("rows", 1);
    weight.n = r.integer("columns", 1);
    weight.spec = parseQuantSpec(r.get("quantization"), r.path("quantization"));
    checkSpec(weight.spec, weight.m, weight.n);
    source = floatsOf(r, "weight", weight.m * weight.n);
    scale0.resize(static_cast<size_t>(weight.spec.scaleCount(weight.m, weight.n)));
    if (!r.isNull("scales")) scale0 = floatsOf(r, "scales", static_cast<int64_t>(scale0.size()));
    if (!weight.spec.symmetric) {
      zero0.resize(scale0.size());
      if (!r.isNull("scales")) zero0 = floatsOf(r, "zeroPoints", static_cast<int64_t>(scale0.size()));
      weight.zero0 = zero0.data();
    }
    phi0.resize(static_cast<size_t>(weight.m * packedRowBytes(weight.spec.codeBits(), weight.n)));
    weight.source = {source.data(), DType::F32, weight.m, weight.n};
    weight.scale0 = scale0.data();
    weight.phi0 = phi0.data();
  }
  OwnedWeight(const OwnedWeight&) = delete;
  OwnedWeight& operator=(const OwnedWeight&) = delete;
};

/// A matrix with its memory, in float32 or bf16.
struct OwnedMatrix {
  std::vector<std::byte> memory;
  Matrix matrix;

  OwnedMatrix(DType type, int64_t rows, int64_t cols) : memory(static_cast<size_t>(rows * cols * byteSize(type))) {
    matrix = {memory.data(), type, rows, cols};
  }
  OwnedMatrix(DType type, int64_t rows, int64_t cols, const std::vector<float>& values)
      : OwnedMatrix(type, rows, cols) {
    for (size_t i = 0; i < values.size(); ++i) {
      if (type == DType::F32) {
        static_cast<float*>(matrix.data)[i] = values[i];
      } else {
        static_cast<uint16_t*>(matrix.data)[i] = bf16FromFloat(values[i]);
      }
    }
  }
  std::vector<float> floats() const {
    std::vector<float> values(static_cast<size_t>(matrix.elements()));
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = matrix.type == DType::F32 ? static_cast<const float*>(matrix.data)[i]
                                            : floatFromBf16(static_cast<const uint16_t*>(matrix.data)[i]);
    }
    return values;
  }
};

std::unique_ptr<cpu::CpuBackend> backendFor(const cpu::CpuOptions& options, int64_t scratchBytes) {
  auto backend = std::make_unique<cpu::CpuBackend>(options);
  backend->allocateScratch(scratchBytes, true);
  return backend;
}

Napi::Value quantize(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Reader r(info[0], "request");
    OwnedWeight owned(r);
    LinearWeight& w = owned.weight;
    const auto backend = backendFor({.threads = 2, .computeType = DType::F32, .oneDnnPath = {}},
                                    cpu::CpuBackend::rebuildScratchBytes(w.m, w.n, 0));
    if (r.isNull("scales")) {
      backend->quantize(w);
    } else {
      backend->encode(w);
    }
    const OwnedMatrix nearest(DType::F32, w.m, w.n);
    backend->rebuildWeight(w, {}, WeightForm::RoundToNearest, nearest.matrix, nullptr);
    Napi::Object out = Napi::Object::New(info.Env());
    out.Set("scales", float32Array(info.Env(), owned.scale0));
    out.Set("zeroPoints", float32Array(info.Env(), owned.zero0));
    out.Set("phi0", uint8Array(info.Env(), owned.phi0));
    out.Set("roundToNearest", float32Array(info.Env(), nearest.floats()));
    return out;
  });
}

/// One linear in the decoder's order of operations.
class LinearPass {
 public:
  LinearPass(const Reader& r, OwnedWeight& owned)
      : w_(owned.weight),
        type_(r.choice<DType>("compute", {{"float32", DType::F32}, {"bf16", DType::BF16}})),
        tokens_(r.integer("tokens", 1)),
        theta_(floatsOf(r, "theta", static_cast<int64_t>(owned.scale0.size()))),
        a_(floatsOf(r, "a", w_.m * w_.spec.rank)),
        b_(floatsOf(r, "b", w_.spec.rank * w_.n)),
        x_(type_, tokens_, w_.n, floatsOf(r, "x", tokens_ * w_.n)),
        dY_(DType::F32, tokens_, w_.m, floatsOf(r, "dY", tokens_ * w_.m)),
        zeroTheta_(w_.spec.symmetric ? std::vector<float>{}
                                     : floatsOf(r, "zeroTheta", static_cast<int64_t>(owned.scale0.size()))),
        scale_(theta_.size()),
        zero_(zeroTheta_.size()),
        rowScale_(static_cast<size_t>(w_.m)) {
    const auto threads = static_cast<int>(r.integer("threads", 1, 256));
    const int64_t scratch =
        std::max({cpu::CpuBackend::rebuildScratchBytes(w_.m, w_.n, w_.spec.rank),
                  cpu::CpuBackend::lowRankScratchBytes(tokens_, w_.n, w_.m, w_.spec.rank, type_, threads),
                  cpu::CpuBackend::elementwiseScratchBytes(tokens_, w_.m, threads)});
    backend_ = backendFor({.threads = threads, .computeType = type_, .oneDnnPath = {}}, scratch);
    backend_->encode(w_);
    const ScaleTask scales{&w_,
                           theta_.data(),
                           scale_.data(),
                           group() ? nullptr : rowScale_.data(),
                           zero_.empty() ? nullptr : zeroTheta_.data(),
                           zero_.data()};
    backend_->materializeScales(std::span(&scales, 1));
  }

  Napi::Object run(Napi::Env env) {
    Napi::Object out = Napi::Object::New(env);
    const OwnedMatrix weight(type_, w_.m, w_.n);
    std::vector<int64_t> rowStart(static_cast<size_t>(w_.m) + 1);
    std::vector<int32_t> columns(static_cast<size_t>(w_.m * w_.n));
    ClippedSet clipped{
        .rowStart = rowStart.data(), .column = columns.data(), .capacity = static_cast<int64_t>(columns.size())};
    backend_->rebuildWeight(w_, lowRank(), WeightForm::Trained, weight.matrix, &clipped);
    std::vector<uint8_t> mask(columns.size(), 1);
    for (int64_t i = 0; i < w_.m; ++i) {
      for (int64_t e = rowStart[static_cast<size_t>(i)]; e < rowStart[static_cast<size_t>(i) + 1]; ++e) {
        mask[static_cast<size_t>(i * w_.n + columns[static_cast<size_t>(e)])] = 0;
      }
    }
    const OwnedMatrix p = product(weight.matrix);
    out.Set("mask", typedArray<Napi::Uint8Array>(env, mask));
    out.Set("y", float32Array(env, output(p.matrix)));
    backward(env, weight.matrix, p.matrix, clipped, out);

    std::vector<std::byte> merged(static_cast<size_t>(w_.m * packedRowBytes(w_.spec.bits, w_.n)));
    backend_->merge(w_, lowRank(), merged.data());
    w_.merged = merged.data();
    backend_->rebuildWeight(w_, lowRank(), WeightForm::Merged, weight.matrix, nullptr);
    out.Set("merged", uint8Array(env, merged));
    out.Set("yMerged", float32Array(env, output(product(weight.matrix).matrix)));
    return out;
  }

 private:
  bool group() const { return w_.spec.granularity == Granularity::Group; }
  LowRank lowRank() const {
    return {a_.data(), b_.data(), scale_.data(), zero_.empty() ? nullptr : zero_.data(),
            w_.spec.trainsWeights() ? static_cast<const float*>(w_.source.data) : nullptr};
  }
  RawOutput raw(Matrix p) const { return {p, group() ? nullptr : rowScale_.data(), nullptr}; }

  OwnedMatrix product(Matrix weight) {
    OwnedMatrix p(type_, tokens_, w_.m);
    backend_->gemm(x_.matrix, false, weight, true, p.matrix, false);
    return p;
  }

  std::vector<float> output(Matrix p) {
    const OwnedMatrix y(DType::F32, tokens_, w_.m);
    backend_->addResidual(y.matrix, raw(p), y.matrix);  // onto zeros
    return y.floats();
  }

  void backward(Napi::Env env, Matrix weight, Matrix p, const ClippedSet& clipped, Napi::Object& out) {
    const OwnedMatrix dYs(type_, tokens_, w_.m);
    const bool trainsWeights = w_.spec.trainsWeights();
    const bool tensor = !trainsWeights && w_.spec.granularity == Granularity::Tensor;
    std::vector<float> dTheta(theta_.size());
    std::vector<float> rowScaleGradient(tensor ? rowScale_.size() : 0);
    float* rowSums = group() || trainsWeights ? nullptr : tensor ? rowScaleGradient.data() : dTheta.data();
    backend_->addResidualBackward(dY_.matrix, raw(p), {dYs.matrix, rowSums});
    const OwnedMatrix dX(DType::F32, tokens_, w_.n);
    backend_->gemm(dYs.matrix, false, weight, false, dX.matrix, false);
    std::vector<float> dA(a_.size());
    std::vector<float> dB(b_.size());
    if (tensor) backend_->sumRowScaleGradient(w_.m, rowScaleGradient.data(), dTheta.data());
    if (!group() && !trainsWeights) {
      const ScaleGradientTask scales{&w_, theta_.data(), scale_.data(), dTheta.data()};
      backend_->finishScaleGradients(std::span(&scales, 1));
    }
    std::vector<float> dZero(zero_.size());
    std::vector<float> dW(trainsWeights ? static_cast<size_t>(w_.m * w_.n) : 0);
    const LowRankTask task{.weight = &w_,
                           .lowRank = lowRank(),
                           .theta = theta_.data(),
                           .dYs = dYs.matrix,
                           .zeroTheta = zeroTheta_.data(),
                           .clipped = clipped,
                           .gradient = {dA.empty() ? nullptr : dA.data(), dB.empty() ? nullptr : dB.data(),
                                        group() ? dTheta.data() : nullptr, dZero.empty() ? nullptr : dZero.data()}};
    if (trainsWeights) {
      backend_->gemm(dYs.matrix, true, x_.matrix, false, {dW.data(), DType::F32, w_.m, w_.n}, false);
      const WeightGradientTask weights{
          .weight = &w_,
          .lowRank = lowRank(),
          .theta = theta_.data(),
          .zeroTheta = zeroTheta_.data(),
          .gradient = {nullptr, nullptr, dTheta.data(), dZero.empty() ? nullptr : dZero.data(), dW.data()}};
      backend_->finishWeightGradients(std::span(&weights, 1));
    } else if (group() || w_.spec.rank > 0 || !dZero.empty()) {
      backend_->lowRankGradient(x_.matrix, std::span(&task, 1));
    }
    out.Set("dW", float32Array(env, dW));
    out.Set("dX", float32Array(env, dX.floats()));
    out.Set("dA", float32Array(env, dA));
    out.Set("dB", float32Array(env, dB));
    out.Set("dTheta", float32Array(env, dTheta));
    out.Set("dZeroPoints", float32Array(env, dZero));
  }

  LinearWeight& w_;
  DType type_;
  int64_t tokens_;
  std::vector<float> theta_, a_, b_;
  OwnedMatrix x_, dY_;
  std::vector<float> zeroTheta_, scale_, zero_, rowScale_;
  std::unique_ptr<cpu::CpuBackend> backend_;
};

Napi::Value linear(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Reader r(info[0], "request");
    OwnedWeight owned(r);
    return LinearPass(r, owned).run(info.Env());
  });
}

Napi::Value quantizeActivations(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Reader r(info[0], "request");
    const int64_t rows = r.integer("rows", 1);
    const int64_t cols = r.integer("columns", 1);
    const ActivationGrid grid{static_cast<int>(r.integer("bits", 2, 8)),
                              r.choice<bool>("zeroPoint", {{"integer", false}, {"reference", true}}),
                              r.integer("width", 1, cols)};
    if (cols % grid.width != 0) badValue(r.path("width"), "a divisor of columns");
    const OwnedMatrix x(DType::F32, rows, cols, floatsOf(r, "x", rows * cols));
    const OwnedMatrix dX(DType::F32, rows, cols, floatsOf(r, "dY", rows * cols));
    const OwnedMatrix y(DType::F32, rows, cols);
    const auto threads = static_cast<int>(r.integer("threads", 1, 256));
    const auto backend = backendFor({.threads = threads, .computeType = DType::F32, .oneDnnPath = {}}, 64);
    std::vector<uint32_t> inside(static_cast<size_t>(rows * markWords(cols)));
    backend->quantizeActivations(x.matrix, grid, y.matrix, inside.data());
    backend->maskGradient(dX.matrix, inside.data());
    std::vector<uint8_t> mask(static_cast<size_t>(rows * cols));
    for (int64_t i = 0; i < rows * cols; ++i) {
      const uint32_t word = inside[static_cast<size_t>(i / cols * markWords(cols) + i % cols / 32)];
      mask[static_cast<size_t>(i)] = static_cast<uint8_t>((word >> (i % cols % 32)) & 1U);
    }
    Napi::Object out = Napi::Object::New(info.Env());
    out.Set("y", float32Array(info.Env(), y.floats()));
    out.Set("dX", float32Array(info.Env(), dX.floats()));
    out.Set("mask", typedArray<Napi::Uint8Array>(info.Env(), mask));
    return out;
  });
}

/// The steps of a static grid, in the order in which the engine takes them.
Napi::Value staticActivations(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Reader r(info[0], "request");
    const int64_t rows = r.integer("rows", 1);
    const int64_t cols = r.integer("columns", 1);
    const auto bits = static_cast<int>(r.integer("bits", 2, 8));
    const bool symmetric = r.boolean("symmetric");
    const auto threads = static_cast<int>(r.integer("threads", 1, 256));
    const auto backend = backendFor({.threads = threads, .computeType = DType::F32, .oneDnnPath = {}}, 64);
    if (!r.get("batches").IsArray()) badValue(r.path("batches"), "an array");
    const auto batches = r.get("batches").As<Napi::Array>();
    std::vector<float> ranges;
    ActivationRange range;
    for (uint32_t i = 0; i < batches.Length(); ++i) {
      std::vector<float> values = floats(batches.Get(i), "batches[" + std::to_string(i) + "]");
      if (values.empty() || static_cast<int64_t>(values.size()) % cols != 0)
        badValue(r.path("batches"), "of whole rows");
      const auto batchRows = static_cast<int64_t>(values.size()) / cols;
      const OwnedMatrix batch(DType::F32, batchRows, cols, std::move(values));
      const ActivationRange found = backend->activationRange(batch.matrix);
      range = i == 0 ? found : runningRange(range, found);
      ranges.insert(ranges.end(), {range.low, range.high});
    }
    const GridStart start = gridStart(range, bits, symmetric);
    const StaticGrid shared = staticGrid(start, range, bits, symmetric);
    const ActivationGrid grid{bits, false, cols, &shared};
    const OwnedMatrix x(DType::F32, rows, cols, floatsOf(r, "x", rows * cols));
    const OwnedMatrix dX(DType::F32, rows, cols, floatsOf(r, "dY", rows * cols));
    const OwnedMatrix learnedDX(DType::F32, rows, cols, floatsOf(r, "dY", rows * cols));
    const OwnedMatrix y(DType::F32, rows, cols);
    std::vector<uint32_t> inside(static_cast<size_t>(rows * markWords(cols)));
    backend->quantizeActivations(x.matrix, grid, y.matrix, inside.data());
    backend->maskGradient(dX.matrix, inside.data());
    float dScale = 0;
    float dZero = 0;
    backend->learnGrid(x.matrix, grid, learnedDX.matrix, &dScale, &dZero);
    const float factor = r.boolean("gradientScaling") ? gridGradientFactor(range, bits, symmetric, rows * cols) : 1.0F;
    Napi::Object out = Napi::Object::New(info.Env());
    out.Set("ranges", float32Array(info.Env(), ranges));
    out.Set("scale", start.scale);
    out.Set("zeroPointUnrounded", start.zero);
    out.Set("zeroPoint", shared.zero);
    out.Set("lowest", shared.low);
    out.Set("highest", shared.high);
    out.Set("y", float32Array(info.Env(), y.floats()));
    out.Set("dX", float32Array(info.Env(), dX.floats()));
    out.Set("learnedDX", float32Array(info.Env(), learnedDX.floats()));
    out.Set("dScale", dScale * factor);
    out.Set("dZeroPoint", zeroPointPasses(start.zero, (1 << bits) - 1) ? dZero * factor : 0.0F);
    return out;
  });
}

/// An operand of a product: its values, its shape as stored, whether it is transposed.
struct Operand {
  std::vector<float> values;
  Matrix matrix;
  bool transposed = false;
  int64_t rows() const { return transposed ? matrix.cols : matrix.rows; }
  int64_t cols() const { return transposed ? matrix.rows : matrix.cols; }
};

Operand operand(const Reader& r, const char* values, const char* shape, const char* transposed) {
  const Reader extents = r.object(shape);
  Operand result;
  result.matrix = {nullptr, DType::F32, extents.integer("0", 1), extents.integer("1", 1)};
  result.values = floatsOf(r, values, result.matrix.elements());
  result.matrix.data = result.values.data();
  result.transposed = r.boolean(transposed);
  return result;
}

Napi::Value multiply(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Reader r(info[0], "request");
    const Operand a = operand(r, "a", "aShape", "transposeA");
    const Operand b = operand(r, "b", "bShape", "transposeB");
    if (a.cols() != b.rows()) badValue("request.bShape", std::to_string(a.cols()) + " rows after transposition");
    const auto threads = static_cast<int>(r.integer("threads", 1, 256));
    const auto backend = backendFor({.threads = threads, .computeType = DType::F32, .oneDnnPath = {}}, 64);
    const OwnedMatrix c(DType::F32, a.rows(), b.cols());
    backend->gemm(a.matrix, a.transposed, b.matrix, b.transposed, c.matrix, false);
    return float32Array(info.Env(), c.floats());
  });
}

}  // namespace

void registerFormulas(Napi::Env env, Napi::Object exports) {
  Napi::Object formulas = Napi::Object::New(env);
  formulas.Set("estimateRange", Napi::Function::New<estimateRange>(env, "estimateRange"));
  formulas.Set("asymmetricMinMax", Napi::Function::New<asymmetric>(env, "asymmetricMinMax"));
  formulas.Set("quantize", Napi::Function::New<quantize>(env, "quantize"));
  formulas.Set("linear", Napi::Function::New<linear>(env, "linear"));
  formulas.Set("quantizeActivations", Napi::Function::New<quantizeActivations>(env, "quantizeActivations"));
  formulas.Set("staticActivations", Napi::Function::New<staticActivations>(env, "staticActivations"));
  formulas.Set("multiply", Napi::Function::New<multiply>(env, "multiply"));
  exports.Set("formulas", formulas);
}

}  // namespace lrqat::binding
