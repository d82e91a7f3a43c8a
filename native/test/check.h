// The whole test framework of the native executables: named cases, expectations that go on after a failure, an exit
// status.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <random>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

namespace lrqat::test {

inline int failures = 0;
/// What is being tested, printed with a failure; cheaper than a message an element.
inline std::string context;

/// Reports and counts; the first lines of a case that fails everywhere are enough, so a case prints at most 20.
inline void fail(std::string_view message, std::source_location where = std::source_location::current()) {
  ++failures;
  if (failures > 20) return;
  std::printf("    %s:%u: %.*s", where.file_name(), where.line(), static_cast<int>(message.size()), message.data());
  std::printf("%s%s\n", context.empty() ? "" : " | ", context.c_str());
}

inline void expect(bool condition, std::string_view message,
                   std::source_location where = std::source_location::current()) {
  if (!condition) fail(message, where);
}

template <typename A, typename B>
void expectEqual(const A& actual, const B& expected, std::string_view message,
                 std::source_location where = std::source_location::current()) {
  if (!(actual == expected)) {
    fail(std::string(message) + ": " + std::to_string(actual) + ", expected " + std::to_string(expected), where);
  }
}

/// |actual − expected| ≤ tolerance, and not NaN.
inline void expectNear(double actual, double expected, double tolerance, std::string_view message,
                       std::source_location where = std::source_location::current()) {
  if (!(std::abs(actual - expected) <= tolerance)) {
    char text[128];
    std::snprintf(text, sizeof text, ": %.9g, expected %.9g within %.2g", actual, expected, tolerance);
    fail(std::string(message) + text, where);
  }
}

/// Largest difference relative to the largest magnitude of `expected`.
template <typename Actual, typename Expected>
double relativeError(const Actual& actual, const Expected& expected) {
  double difference = 0;
  double magnitude = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double d = std::abs(static_cast<double>(actual[i]) - static_cast<double>(expected[i]));
    if (!(d <= difference)) difference = d;
    magnitude = std::max(magnitude, std::abs(static_cast<double>(expected[i])));
  }
  return magnitude > 0 ? difference / magnitude : difference;
}

/// Expects `body` to throw an Exception; returns its message.
template <typename Exception>
std::string expectThrows(const std::function<void()>& body, std::string_view message,
                         std::source_location where = std::source_location::current()) {
  try {
    body();
  } catch (const Exception& error) {
    return error.what();
  }
  fail(std::string(message) + ": nothing was thrown", where);
  return {};
}

inline std::vector<float> randomNormal(size_t count, uint32_t seed, float deviation = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

struct Case {
  const char* name;
  std::function<void()> body;
};

/// Runs all cases (or those whose name contains argv[1]) and returns the exit status of the program.
inline int run(const std::vector<Case>& cases, int argc, char** argv) {
  int failedCases = 0;
  for (const Case& one : cases) {
    if (argc > 1 && std::string(one.name).find(argv[1]) == std::string::npos) continue;
    failures = 0;
    context.clear();
    try {
      one.body();
    } catch (const std::exception& error) {
      fail(std::string("threw ") + error.what());
    }
    std::printf("%s %s\n", failures == 0 ? "ok    " : "FAILED", one.name);
    if (failures > 20) std::printf("    … %d failures\n", failures);
    failedCases += failures > 0;
  }
  return failedCases == 0 ? 0 : 1;
}

}  // namespace lrqat::test
