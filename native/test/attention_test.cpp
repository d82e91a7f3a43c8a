// Attention and its gradients against double: grouped heads, sliding windows, documents, odd lengths and head sizes.
#include "test/dense.h"

using namespace lrqat;
using namespace lrqat::test;

namespace {

enum class Visible { Causal, Window, Documents, Branches };

struct Setup {
  int64_t batch, length, heads, kvHeads, headDim;
  Visible visible;
  /// Scores some hundreds apart, exact in every type, whose probabilities go below the smallest of float32.
  bool steep = false;
};

std::vector<int32_t> firstKeys(const Setup& s, Random& random) {
  if (s.visible == Visible::Causal) return {};
  std::vector<int32_t> first(static_cast<size_t>(s.batch * s.length));
  const int64_t window = s.length / 3 + 1;
  for (int64_t b = 0; b < s.batch; ++b) {
    int64_t document = 0;
    for (int64_t i = 0; i < s.length; ++i) {
      if (random.below(40) == 0) document = i;
      first[static_cast<size_t>(b * s.length + i)] =
          static_cast<int32_t>(s.visible == Visible::Window ? std::max<int64_t>(0, i - window + 1) : document);
    }
  }
  return first;
}

/// Groups of a beginning and some branches that see it and themselves: the first key is where a group begins, hidden is
/// what lies between the beginning and the branch.
struct Branches {
  std::vector<int32_t> first, hiddenFrom, hiddenTo;
};

Branches branches(const Setup& s, Random& random) {
  Branches out;
  for (int64_t b = 0; b < s.batch; ++b) {
    int64_t group = 0;
    int64_t beginning = 0;
    int64_t branch = 0;
    for (int64_t i = 0; i < s.length; ++i) {
      if (i == group + beginning || (i > group + beginning && random.below(12) == 0)) branch = i;
      if (i > 0 && random.below(60) == 0) {
        group = branch = i;
        beginning = 1 + static_cast<int64_t>(random.below(40));
      }
      const bool inBranch = i >= group + beginning && branch > group + beginning;
      out.first.push_back(static_cast<int32_t>(group));
      out.hiddenFrom.push_back(static_cast<int32_t>(inBranch ? group + beginning : 0));
      out.hiddenTo.push_back(static_cast<int32_t>(inBranch ? branch : 0));
    }
  }
  return out;
}

using Doubles = std::vector<double>;

struct Reference {
  Doubles o, lse, dQ, dK, dV;
  // The same with |each summand|: what rounding errors are proportional to.
  Doubles oSize, dQSize, dKSize, dVSize;
};

Reference reference(const Setup& s, const AttentionShape& shape, const Tensor& queries, const Tensor& keys,
                    const Tensor& values, const Tensor& gradients) {
  const int64_t d = s.headDim;
  const int64_t width = s.heads * d;
  const int64_t kvWidth = s.kvHeads * d;
  const auto tokens = static_cast<size_t>(s.batch * s.length);
  const auto size = [&](int64_t columns) { return Doubles(tokens * static_cast<size_t>(columns)); };
  Reference r{size(width), size(s.heads), size(width),   size(kvWidth), size(kvWidth),
              size(width), size(width),   size(kvWidth), size(kvWidth)};
  const Doubles q = queries.doubles();
  const Doubles k = keys.doubles();
  const Doubles v = values.doubles();
  const Doubles dO = gradients.doubles();
  const double scale = 1 / std::sqrt(static_cast<double>(d));
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t h = 0; h < s.heads; ++h) {
      const int64_t kvColumn = h / (s.heads / s.kvHeads) * d;
      // First element of a row of this head: queries, outputs and their gradients; keys and values.
      const auto own = [&](int64_t row) { return static_cast<size_t>(row * width + h * d); };
      const auto shared = [&](int64_t row) { return static_cast<size_t>(row * kvWidth + kvColumn); };
      const auto depth = static_cast<size_t>(d);
      for (int64_t i = 0; i < s.length; ++i) {
        const int64_t t = b * s.length + i;
        const int64_t from = shape.firstKey ? shape.firstKey[t] : 0;
        const auto hidden = [&](int64_t j) {
          return shape.hiddenFrom && shape.hiddenFrom[t] <= j && j < shape.hiddenTo[t];
        };
        const double* const query = &q[own(t)];
        const double* const gradient = &dO[own(t)];
        Doubles p(static_cast<size_t>(i + 1));
        double top = -INFINITY;
        for (int64_t j = from; j <= i; ++j) {
          if (hidden(j)) continue;
          const double* const key = &k[shared(b * s.length + j)];
          double dot = 0;
          for (size_t c = 0; c < depth; ++c) dot += query[c] * key[c];
          p[static_cast<size_t>(j)] = dot * scale;
          top = std::max(top, dot * scale);
        }
        double sum = 0;
        for (int64_t j = from; j <= i; ++j) {
          if (!hidden(j)) sum += std::exp(p[static_cast<size_t>(j)] - top);
        }
        r.lse[static_cast<size_t>((b * s.heads + h) * s.length + i)] = top + std::log(sum);
        double* const o = &r.o[own(t)];
        double* const oSize = &r.oSize[own(t)];
        for (int64_t j = from; j <= i; ++j) {
          if (hidden(j)) continue;
          p[static_cast<size_t>(j)] = std::exp(p[static_cast<size_t>(j)] - top) / sum;
          const double* const value = &v[shared(b * s.length + j)];
          for (size_t c = 0; c < depth; ++c) {
            const double term = p[static_cast<size_t>(j)] * value[c];
            o[c] += term;
            oSize[c] += std::abs(term);
          }
        }
        double delta = 0;
        for (size_t c = 0; c < depth; ++c) delta += o[c] * gradient[c];
        for (int64_t j = from; j <= i; ++j) {
          const size_t row = shared(b * s.length + j);
          double dp = 0;
          double dpSize = std::abs(delta);
          for (size_t c = 0; c < depth; ++c) {
            const double term = gradient[c] * v[row + c];
            dp += term;
            dpSize += std::abs(term);
          }
          const double weight = p[static_cast<size_t>(j)];
          const double ds = weight * (dp - delta) * scale;
          const double dsSize = weight * dpSize * scale;
          for (size_t c = 0; c < depth; ++c) {
            r.dQ[own(t) + c] += ds * k[row + c];
            r.dQSize[own(t) + c] += dsSize * std::abs(k[row + c]);
            r.dK[row + c] += ds * query[c];
            r.dKSize[row + c] += dsSize * std::abs(query[c]);
            r.dV[row + c] += weight * gradient[c];
            r.dVSize[row + c] += weight * std::abs(gradient[c]);
          }
        }
      }
    }
  }
  return r;
}

void compare(const Tensor& actual, const Doubles& expected, const Doubles& size, double unit,
             const std::string& label) {
  for (size_t i = 0; i < expected.size(); ++i) {
    // Probabilities below 2^-100 are taken as 0; products with them stay below this.
    expectNear(actual.at(static_cast<int64_t>(i)), expected[i], unit * size[i] + 1e-25, label);
  }
}

void check(const Setup& s, DType type, std::initializer_list<int> threadCounts, uint64_t seed) {
  Random random(seed);
  const int64_t tokens = s.batch * s.length;
  const int64_t width = s.heads * s.headDim;
  const int64_t kvWidth = s.kvHeads * s.headDim;
  Tensor q = Tensor::random(random, type, tokens, width, 2);
  Tensor k = Tensor::random(random, type, tokens, kvWidth, 2);
  Tensor v = Tensor::random(random, type, tokens, kvWidth);
  Tensor dO = Tensor::random(random, type, tokens, width);
  if (s.steep) {
    for (int64_t i = 0; i < tokens * width; ++i) q.set(i, 8 * std::round(4 * q.at(i)));
    for (int64_t i = 0; i < tokens * kvWidth; ++i) k.set(i, std::round(4 * k.at(i)));
  }
  const std::vector<int32_t> first = firstKeys(s, random);
  const Branches hiding = s.visible == Visible::Branches ? branches(s, random) : Branches{first, {}, {}};
  const bool hides = !hiding.hiddenFrom.empty();
  const AttentionShape shape{s.batch,
                             s.length,
                             s.heads,
                             s.kvHeads,
                             s.headDim,
                             hiding.first.empty() ? nullptr : hiding.first.data(),
                             hides ? hiding.hiddenFrom.data() : nullptr,
                             hides ? hiding.hiddenTo.data() : nullptr};
  const Reference r = reference(s, shape, q, k, v, dO);

  for (const int threads : threadCounts) {
    const std::string label = std::string(typeName(type)) + " batch " + std::to_string(s.batch) + " length " +
                              std::to_string(s.length) + " heads " + std::to_string(s.heads) + "/" +
                              std::to_string(s.kvHeads) + "x" + std::to_string(s.headDim) +
                              (s.visible == Visible::Causal      ? ""
                               : s.visible == Visible::Window    ? " window"
                               : s.visible == Visible::Documents ? " documents"
                                                                 : " branches") +
                              (s.steep ? " steep" : "") + ", " + std::to_string(threads) + " threads: ";
    Tensor o(type, tokens, width);
    Tensor lse(DType::F32, s.batch * s.heads, s.length);
    Tensor dQ(type, tokens, width);
    Tensor dK(type, tokens, kvWidth);
    Tensor dV(type, tokens, kvWidth);
    const auto backend = makeBackend(threads, type, {}, cpu::CpuBackend::attentionScratchBytes(shape, type, threads));
    backend->attention(shape, q.matrix(), k.matrix(), v.matrix(), o.matrix(), lse.floats());
    if (!hides) {
      backend->attentionBackward(shape, q.matrix(), k.matrix(), v.matrix(), o.matrix(), lse.floats(), dO.matrix(),
                                 dQ.matrix(), dK.matrix(), dV.matrix());
    }

    // float32: scores up to about 4·√headDim are off by some units, and e^x makes that relative. bf16: P and dS are
    // rounded to 8 bits before their products and the results after them; D comes from the rounded o. Tiles and pairs
    // of bf16 round at the same places and add in float32. Steep scores reach 512, where half a unit of float32 is
    // 3e-5.
    const double unit = type == DType::BF16 ? 3 * 0x1p-8 : s.steep ? 4e-5 : 4e-6;
    for (size_t i = 0; i < r.lse.size(); ++i) {
      expectNear(lse.at(static_cast<int64_t>(i)), r.lse[i], 2e-6 * (1 + std::abs(r.lse[i])), label + "lse");
    }
    compare(o, r.o, r.oSize, unit, label + "o");
    if (hides) continue;
    compare(dQ, r.dQ, r.dQSize, unit, label + "dQ");
    compare(dK, r.dK, r.dKSize, unit, label + "dK");
    compare(dV, r.dV, r.dVSize, unit, label + "dV");

    // Again, into memory with other contents: the same bits.
    Tensor o2 = Tensor::random(random, type, tokens, width);
    Tensor dK2 = Tensor::random(random, type, tokens, kvWidth);
    Tensor dQ2 = Tensor::random(random, type, tokens, width);
    backend->attention(shape, q.matrix(), k.matrix(), v.matrix(), o2.matrix(), lse.floats());
    backend->attentionBackward(shape, q.matrix(), k.matrix(), v.matrix(), o2.matrix(), lse.floats(), dO.matrix(),
                               dQ2.matrix(), dK2.matrix(), dV.matrix());
    expect(o2 == o && dK2 == dK && dQ2 == dQ, label + "not the same bits the second time");
  }
}

void checkAll(DType type) {
  const Setup setups[] = {{1, 1, 1, 1, 2, Visible::Causal},       {2, 7, 2, 1, 16, Visible::Causal},
                          {1, 64, 2, 2, 64, Visible::Causal},     {2, 65, 4, 2, 24, Visible::Causal},
                          {1, 130, 6, 2, 32, Visible::Causal},    {1, 200, 2, 1, 128, Visible::Causal},
                          {1, 97, 3, 1, 26, Visible::Window},     {2, 300, 2, 1, 64, Visible::Window},
                          {1, 150, 4, 4, 10, Visible::Documents}, {2, 259, 4, 2, 32, Visible::Documents}};
  uint64_t seed = 100;
  for (const Setup& setup : setups) check(setup, type, {1, 2}, ++seed);
  // Fewer items than threads: the heads of a group are shared out.
  check({1, 70, 6, 1, 16, Visible::Causal}, type, {4}, ++seed);
  check({1, 100, 4, 1, 64, Visible::Documents}, type, {4}, ++seed);
  // Head sizes between whole tiles and of several, lengths beside and behind whole blocks.
  const Setup tiles[] = {{1, 31, 2, 1, 40, Visible::Causal},     {1, 33, 1, 1, 80, Visible::Documents},
                         {1, 161, 2, 1, 96, Visible::Window},    {1, 96, 1, 1, 256, Visible::Causal},
                         {1, 290, 3, 1, 64, Visible::Documents}, {1, 257, 2, 2, 18, Visible::Window},
                         {2, 32, 2, 1, 14, Visible::Documents}};
  for (const Setup& setup : tiles) check(setup, type, {2}, ++seed);
  const Setup hiding[] = {{2, 40, 2, 1, 8, Visible::Branches},
                          {2, 300, 4, 2, 16, Visible::Branches},
                          {1, 517, 2, 1, 64, Visible::Branches},
                          {3, 161, 3, 3, 26, Visible::Branches}};
  for (const Setup& setup : hiding) check(setup, type, {2}, ++seed);
  for (const int64_t headDim : {4, 16, 64}) check({1, 150, 2, 1, headDim, Visible::Documents, true}, type, {2}, ++seed);
}

/// A NaN in a key reaches every query that sees it: nothing that is cut off hides it.
void notANumber(DType type) {
  for (const int64_t headDim : {4, 64}) {
    const AttentionShape shape{1, 40, 1, 1, headDim, nullptr, nullptr, nullptr};
    Random random(7);
    Tensor q = Tensor::random(random, type, 40, headDim);
    Tensor k = Tensor::random(random, type, 40, headDim);
    Tensor v = Tensor::random(random, type, 40, headDim);
    k.set(10 * headDim, NAN);
    Tensor o(type, 40, headDim);
    Tensor lse(DType::F32, 1, 40);
    const auto backend = makeBackend(1, type, {}, cpu::CpuBackend::attentionScratchBytes(shape, type, 1));
    backend->attention(shape, q.matrix(), k.matrix(), v.matrix(), o.matrix(), lse.floats());
    for (int64_t i = 0; i < 40; ++i) {
      expect(std::isnan(o.at(i * headDim)) == (i >= 10),
             std::string(typeName(type)) + " NaN in row " + std::to_string(i));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run({{"float32", [] { checkAll(DType::F32); }},
              {"bf16", [] { checkAll(DType::BF16); }},
              {"NaN in float32", [] { notANumber(DType::F32); }},
              {"NaN in bf16", [] { notANumber(DType::BF16); }}},
             argc, argv);
}
