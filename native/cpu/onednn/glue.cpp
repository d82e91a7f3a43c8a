// Matrix products by oneDNN's matmul primitive, one cached primitive for each shape. Compiles against oneDNN 2.x
// and 3.x.
#include "cpu/onednn/glue.h"

#include <omp.h>

#include <map>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <tuple>

namespace lrqat::onednn {

namespace {

using Key = std::tuple<int64_t, int64_t, int64_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t>;

Key keyOf(const Product& p) {
  return {p.m,
          p.n,
          p.k,
          static_cast<int32_t>(p.a),
          static_cast<int32_t>(p.b),
          static_cast<int32_t>(p.c),
          p.transposeA,
          p.transposeB,
          p.accumulate};
}

/// A primitive with memory objects whose data pointers are set before each execution.
struct Entry {
  bool supported = false;
  dnnl::matmul primitive;
  dnnl::memory a, b, c, scratch;
  int64_t scratchBytes = 0;
};

struct Context {
  explicit Context(int threadCount) : threads(threadCount), engine(dnnl::engine::kind::cpu, 0), stream(engine) {}
  int threads;
  dnnl::engine engine;
  dnnl::stream stream;
  std::map<Key, Entry> entries;
};

dnnl::memory::data_type dataType(Element element) {
  return element == Element::F32 ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16;
}

dnnl::memory::desc describe(int64_t rows, int64_t cols, Element element, bool transposed) {
  using Tag = dnnl::memory::format_tag;
  return {{rows, cols}, dataType(element), transposed ? Tag::ba : Tag::ab};
}

Entry makeEntry(Context& context, const Product& product) {
  const auto a = describe(product.m, product.k, product.a, product.transposeA != 0);
  const auto b = describe(product.k, product.n, product.b, product.transposeB != 0);
  const auto c = describe(product.m, product.n, product.c, false);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (product.accumulate != 0) {
    dnnl::post_ops sum;
    sum.append_sum(1.0F);
    attributes.set_post_ops(sum);
  }
  Entry entry;
  try {
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::matmul::primitive_desc description(context.engine, a, b, c, attributes);
#else
    const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(a, b, c), attributes, context.engine);
#endif
    entry.primitive = dnnl::matmul(description);
    entry.scratch = dnnl::memory(description.scratchpad_desc(), context.engine, nullptr);
    entry.scratchBytes = static_cast<int64_t>(description.scratchpad_desc().get_size());
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_unimplemented) return entry;
    throw;
  }
  entry.a = dnnl::memory(a, context.engine, nullptr);
  entry.b = dnnl::memory(b, context.engine, nullptr);
  entry.c = dnnl::memory(c, context.engine, nullptr);
  entry.supported = true;
  return entry;
}

}  // namespace

}  // namespace lrqat::onednn

using namespace lrqat::onednn;

LRQAT_ONEDNN_EXPORT int lrqat_onednn_interface() {
  return interfaceNumber;
}

LRQAT_ONEDNN_EXPORT const char* lrqat_onednn_version() {
  static const std::string text = [] {
    const dnnl_version_t* v = dnnl_version();
    return "oneDNN " + std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
  }();
  return text.c_str();
}

LRQAT_ONEDNN_EXPORT void* lrqat_onednn_open(int threads) {
  // Another thread pool beside ours would fight it for the cores.
  if (dnnl_version()->cpu_runtime != DNNL_RUNTIME_OMP) return nullptr;
  try {
    return new Context(threads);
  } catch (...) {
    return nullptr;
  }
}

LRQAT_ONEDNN_EXPORT void lrqat_onednn_close(void* context) {
  delete static_cast<Context*>(context);
}

LRQAT_ONEDNN_EXPORT Outcome lrqat_onednn_multiply(void* handle, const Product* product, const void* a, const void* b,
                                                  void* c, void* scratch, int64_t scratchBytes) {
  auto& context = *static_cast<Context*>(handle);
  try {
    // oneDNN splits its work by the calling thread's OpenMP setting, both when a primitive is made and when it runs.
    if (omp_get_max_threads() != context.threads) omp_set_num_threads(context.threads);
    auto found = context.entries.find(keyOf(*product));
    if (found == context.entries.end()) {
      found = context.entries.emplace(keyOf(*product), makeEntry(context, *product)).first;
    }
    Entry& entry = found->second;
    if (!entry.supported || entry.scratchBytes > scratchBytes) return Outcome::Unsupported;
    entry.a.set_data_handle(const_cast<void*>(a));
    entry.b.set_data_handle(const_cast<void*>(b));
    entry.c.set_data_handle(c);
    entry.scratch.set_data_handle(scratch);
    entry.primitive.execute(context.stream, {{DNNL_ARG_SRC, entry.a},
                                             {DNNL_ARG_WEIGHTS, entry.b},
                                             {DNNL_ARG_DST, entry.c},
                                             {DNNL_ARG_SCRATCHPAD, entry.scratch}});
    context.stream.wait();
    return Outcome::Done;
  } catch (...) {
    return Outcome::Failed;
  }
}
