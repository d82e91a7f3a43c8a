// What each file of the addon exports; addon.cpp calls them all.
#pragma once

#include <napi.h>

namespace lrqat::binding {

void registerEngine(Napi::Env env, Napi::Object exports);       // engine_object.cpp
void registerCpuInfo(Napi::Env env, Napi::Object exports);      // cpu_info.cpp
void registerCudaInfo(Napi::Env env, Napi::Object exports);     // cuda_info.cpp
void registerCalibration(Napi::Env env, Napi::Object exports);  // calibration.cpp
void registerCrashLog(Napi::Env env, Napi::Object exports);     // crash_log.cpp
void registerFormulas(Napi::Env env, Napi::Object exports);     // formulas.cpp: the formulas alone, for golden tests
void registerTokenizer(Napi::Env env, Napi::Object exports);    // tokenizer.cpp

}  // namespace lrqat::binding
