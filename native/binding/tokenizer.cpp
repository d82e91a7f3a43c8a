#include "binding/register.h"

namespace lrqat::binding {

void registerTokenizer(Napi::Env, Napi::Object) {}

}  // namespace lrqat::binding
