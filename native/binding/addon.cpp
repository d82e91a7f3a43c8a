#include <napi.h>

#include "binding/register.h"

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("engineVersion", "0.1.0");
  lrqat::binding::registerEngine(env, exports);
  lrqat::binding::registerCpuInfo(env, exports);
  lrqat::binding::registerCudaInfo(env, exports);
  lrqat::binding::registerCalibration(env, exports);
  lrqat::binding::registerCrashLog(env, exports);
  lrqat::binding::registerFormulas(env, exports);
  lrqat::binding::registerTokenizer(env, exports);
  return exports;
}

NODE_API_MODULE(lrqat, init)
