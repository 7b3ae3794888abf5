// SPDX-License-Identifier: Apache-2.0
#include "codegen/prelude.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "codegen/kernel_testing.h"

namespace quern {
namespace {

/// The prelude's functions over whole vectors, as `extern "C" void NAME(float*, int64_t)`.
constexpr char kSource[] = R"(#include "quern_cpu.h"
template <class F>
static void over(float* x, int64_t count, F f) {
  for (int64_t i = 0; i < count; i += QN) q_st(QFull{}, x + i, f(q_ld(QFull{}, x + i)));
}
extern "C" void precise(float* x, int64_t n) { over(x, n, [](qv v) { return q_exp(v); }); }
extern "C" void approximate(float* x, int64_t n) { over(x, n, [](qv v) { return q_exp_approximate(v); }); }
extern "C" void third(float* x, int64_t n) {
  over(x, n, [](qv v) { return q_div_approximate(v, 3.0f, 1.0f / 3.0f); });
}
extern "C" void tiny(float* x, int64_t n) {
  over(x, n, [](qv v) { return q_div_approximate(v, 1e-40f, 1.0f / 1e-40f); });
}
)";

class PreludeTest : public testing::Test {
 public:
  static void SetUpTestSuite() { library_ = load_source(kSource, "-O2", &log_); }

  static std::vector<float> call(const char* name, std::vector<float> values) {
    void* entry = library_ == nullptr ? nullptr : dlsym(library_, name);
    EXPECT_NE(entry, nullptr) << name << log_;
    if (entry == nullptr) return {};
    const size_t count = values.size();
    values.resize((count + 15) / 16 * 16);
    reinterpret_cast<void (*)(float*, int64_t)>(entry)(values.data(),
                                                       static_cast<int64_t>(values.size()));
    values.resize(count);
    return values;
  }

  /// Distance from the true value, in units of the last place of its rounding.
  static double ulps(float found, double truth) {
    const float rounded = static_cast<float>(truth);
    const float next = std::nextafter(rounded, std::numeric_limits<float>::infinity());
    return std::abs(found - truth) / (static_cast<double>(next) - static_cast<double>(rounded));
  }

  static void* library_;
  static std::string log_;
};
void* PreludeTest::library_ = nullptr;
std::string PreludeTest::log_;

std::vector<float> arguments() {
  std::vector<float> all;
  for (double x = -87; x < 88.7; x += 0.00071) all.push_back(static_cast<float>(x));
  return all;
}

TEST_F(PreludeTest, TheExponentialIsWithinOneUlp) {
  const std::vector<float> x = arguments();
  const std::vector<float> y = call("precise", x);
  ASSERT_EQ(y.size(), x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_LE(ulps(y[i], std::exp(static_cast<double>(x[i]))), 1.0) << x[i];
  }
}

TEST_F(PreludeTest, TheCheaperExponentialIsWithinItsBound) {
  const std::vector<float> x = arguments();
  const std::vector<float> y = call("approximate", x);
  ASSERT_EQ(y.size(), x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double bound = 2.5 + std::abs(x[i]) / 4;
    ASSERT_LE(ulps(y[i], std::exp(static_cast<double>(x[i]))), bound) << x[i];
  }
}

TEST_F(PreludeTest, BothExponentialsEndAtTheSameLimits) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const char* name : {"precise", "approximate"}) {
    const std::vector<float> y = call(name, {0.0f, inf, -inf, 1e38f, -1e38f, std::nanf("")});
    ASSERT_EQ(y.size(), 6u);
    EXPECT_EQ(std::vector<float>(y.begin(), y.end() - 1), std::vector<float>({1, inf, 0, inf, 0}));
    EXPECT_TRUE(std::isnan(y[5])) << name;
  }
}

TEST_F(PreludeTest, TheCheaperDivisionIsWithinTwoUlpAndWholeForTinyDivisors) {
  std::vector<float> x = arguments();
  const std::vector<float> y = call("third", x);
  ASSERT_EQ(y.size(), x.size());
  for (size_t i = 0; i < x.size(); ++i) ASSERT_LE(ulps(y[i], x[i] / 3.0), 2.0) << x[i];
  EXPECT_EQ(call("tiny", {1e-40f, 2e-40f}), std::vector<float>({1.0f, 2e-40f / 1e-40f}));
}

}  // namespace
}  // namespace quern
