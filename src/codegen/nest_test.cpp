// SPDX-License-Identifier: Apache-2.0
#include "codegen/nest.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "codegen/contraction_cases.h"
#include "codegen/group.h"
#include "codegen/kernel_testing.h"

namespace quern {
namespace {

using namespace cases;

/// Windows of 3 by 4 over the last two dimensions of x.
struct Window {
  const char* name;
  ir::Monoid monoid;
  int64_t step, dilation, padding;
};

constexpr Window kWindows[] = {
    {"greatest", ir::Monoid::kMax, 1, 1, 1}, {"sum", ir::Monoid::kSum, 1, 1, 2},
    {"stepped", ir::Monoid::kMax, 2, 1, 1},  {"dilated", ir::Monoid::kSum, 1, 2, 3},
    {"distant", ir::Monoid::kMax, 5, 1, 0},  {"mixed", ir::Monoid::kMax, 3, 2, 2},
    {"unpadded", ir::Monoid::kSum, 1, 1, 0},
};

/// The windows, and what follows from each: a pointwise statement that reads another tensor too.
ir::Program windows(const Window& window) {
  auto place = [&](const char* out, const char* tap) {
    return A(out) * C(window.step) + A(tap) * C(window.dilation) - C(window.padding);
  };
  const bool greatest = window.monoid == ir::Monoid::kMax;
  const ir::Expr outside = ir::constant(greatest ? -std::numeric_limits<double>::infinity() : 0);
  const Axes axes = {{"c", S("channels")}, {"i", S("p")}, {"j", S("q")}};
  ir::Statement y = sum("y", axes, {{"a", C(3)}, {"b", C(4)}},
                        ir::load_else("x", {A("c"), place("i", "a"), place("j", "b")}, outside));
  y.monoid = window.monoid;
  y.is_output = true;
  auto extent = [&](int64_t taps, const char* size) {
    return (S(size) - C(1)) * C(window.step) + C((taps - 1) * window.dilation + 1) -
           C(2 * window.padding);
  };
  return program({"channels", "p", "q"},
                 {{"x", {S("channels"), extent(3, "p"), extent(4, "q")}}, {"bias", {S("q")}}},
                 {y, map("z", axes, L("y", {A("c"), A("i"), A("j")}) + L("bias", {A("j")}))});
}

/// Rows of any length: x minus the greatest of its row.
ir::Program rows() {
  const Axes axes = {{"i", S("p")}, {"j", S("q")}};
  ir::Statement m = sum("m", {{"i", S("p")}}, {{"j", S("q")}}, L("x", {A("i"), A("j")}));
  m.monoid = ir::Monoid::kMax;
  return program({"channels", "p", "q"}, {{"x", {S("p"), S("q")}}},
                 {m, map("z", axes, L("x", {A("i"), A("j")}) - L("m", {A("i")}))});
}

struct Kernel {
  std::string name;
  ir::Program program;
  Group group;
};

using NamedProgram = std::pair<std::string, ir::Program>;

std::vector<NamedProgram> programs() {
  std::vector<NamedProgram> all = {{"rows", rows()}};
  for (const Window& window : kWindows) all.emplace_back(window.name, windows(window));
  return all;
}

/// A program with its outputs streamed, alone and shared between threads.
std::vector<Kernel> kernels_of(const NamedProgram& named) {
  std::vector<Kernel> all;
  for (int64_t parallel : {0, 1}) {
    for (int64_t count : {1, 3}) {
      Group group;
      group.statements = {0, 1};
      group.params = {{"vectorize", 1},
                      {"parallel", parallel},
                      {"accumulators", count},
                      {"prefetch", 1},
                      {"nt.y", 1},
                      {"nt.z", 1}};
      all.push_back({fmt::format("{}_{}_{}", named.first, parallel, count), named.second, group});
    }
  }
  return all;
}

std::string text_of(const Kernel& kernel) {
  std::string text = "#undef QUERN_SIZES\n#define QUERN_SIZES";
  for (const ir::SizeDecl& size : kernel.program.sizes) {
    text += fmt::format(" [[maybe_unused]] const int64_t s_{0} = z_{0};", size.name);
  }
  text += fmt::format("\nnamespace n{} {{\n", kernel.name);
  auto body = emit_nest_group(kernel.program, kernel.group, 0);
  EXPECT_TRUE(body.has_value()) << kernel.name;
  if (!body) return "";
  text += *body + fmt::format(
                      "}}\nextern \"C\" void {0}(const int64_t* s, float** t) {{ "
                      "n{0}::group_0(s[0], s[1], s[2]",
                      kernel.name);
  const size_t count = group_reads(kernel.program, kernel.group).size() +
                       group_writes(kernel.program, kernel.group).size();
  for (size_t i = 0; i < count; ++i) text += fmt::format(", t[{}]", i);
  return text + "); }\n";
}

class NestTest : public testing::Test {
 public:
  static void SetUpTestSuite() {
    std::string source = "#include \"quern_cpu.h\"\n";
    for (const NamedProgram& named : programs()) {
      for (const Kernel& kernel : kernels_of(named)) source += text_of(kernel);
    }
    library_ = load_source(source, "-O1", &log_);
  }
  static void call(const Kernel& kernel, const std::vector<int64_t>& sizes,
                   std::vector<float*> data) {
    void* entry = dlsym(library_, kernel.name.c_str());
    ASSERT_NE(entry, nullptr) << kernel.name;
    reinterpret_cast<void (*)(const int64_t*, float**)>(entry)(sizes.data(), data.data());
  }
  static void* library_;
  static std::string log_;
};
void* NestTest::library_ = nullptr;
std::string NestTest::log_;

TEST_F(NestTest, StreamedRowsOfAnyLengthAreWholeAndStayInsideTheirTensor) {
  ASSERT_NE(library_, nullptr) << log_;
  for (const NamedProgram& named : programs()) {
    const std::vector<Kernel> kernels = kernels_of(named);
    // Rows shorter than a cache line, as long as one or two, and in between.
    for (int64_t q : {2, 3, 15, 16, 17, 32, 45, 61}) {
      for (int64_t p : {3, 7}) {
        auto sizes = ir::bind_sizes(named.second, {{"channels", 3}, {"p", p}, {"q", q}});
        ASSERT_TRUE(sizes.has_value()) << sizes.error().message;
        Tensors tensors = draw_inputs(named.second, *sizes);
        run_oracle(named.second, *sizes, tensors);
        for (const Kernel& kernel : kernels) {
          check_call(fmt::format("{} at {} by {}", kernel.name, p, q), tensors,
                     group_reads(kernel.program, kernel.group),
                     group_writes(kernel.program, kernel.group), [&](std::vector<float*> data) {
                       call(kernel, {3, p, q}, data);
                     });
        }
      }
    }
  }
}

/// The windows at one size, their inputs, and what must come out. Where `masked` holds, the
/// oracle's answer depends on elements that will be no numbers.
struct Masked {
  Tensors numbers;
  std::vector<bool> masked;
};

Masked mask(const ir::Program& program, const ir::Sizes& sizes) {
  Tensors numbers = draw_inputs(program, sizes), holes = numbers;
  for (size_t i = 5; i < numbers["x"].size(); i += 97) {
    numbers["x"][i] = -1000;
    holes["x"][i] = 1000;
  }
  run_oracle(program, sizes, numbers);
  run_oracle(program, sizes, holes);
  std::vector<bool> masked;
  for (size_t i = 0; i < holes["z"].size(); ++i) {
    masked.push_back(numbers["z"][i] != holes["z"][i]);
  }
  return {std::move(numbers), std::move(masked)};
}

TEST_F(NestTest, WhatIsNoNumberStaysInTheWindowsThatHoldIt) {
  ASSERT_NE(library_, nullptr) << log_;
  const int64_t p = 7, q = 45;
  for (const NamedProgram& named : programs()) {
    if (named.first == "rows") continue;
    Masked expected =
        mask(named.second, *ir::bind_sizes(named.second, {{"channels", 3}, {"p", p}, {"q", q}}));
    Tensors& numbers = expected.numbers;
    std::vector<float> x(numbers["x"].begin(), numbers["x"].end());
    for (size_t i = 5; i < x.size(); i += 97) x[i] = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> bias(numbers["bias"].begin(), numbers["bias"].end());
    for (const Kernel& kernel : kernels_of(named)) {
      std::vector<float> y(numbers["y"].size()), z(y.size());
      call(kernel, {3, p, q}, {x.data(), bias.data(), y.data(), z.data()});
      size_t clean = 0;
      for (size_t i = 0; i < z.size(); ++i) {
        if (expected.masked[i]) continue;
        ++clean;
        ASSERT_NEAR(z[i], numbers["z"][i], 1e-4) << kernel.name << " at " << i;
      }
      EXPECT_GT(clean, z.size() / 8) << kernel.name;
    }
  }
}

}  // namespace
}  // namespace quern
