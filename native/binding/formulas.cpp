#include "binding/register.h"

namespace lrqat::binding {

void registerFormulas(Napi::Env, Napi::Object) {}

}  // namespace lrqat::binding
