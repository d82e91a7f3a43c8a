#include "binding/register.h"

namespace lrqat::binding {

void registerEngine(Napi::Env, Napi::Object) {}

}  // namespace lrqat::binding
