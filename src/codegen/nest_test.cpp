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

/// Exponentials of rows, shared out: three passes, of which the second makes a row buffer.
ir::Program softmax() {
  const Axes row = {{"i", S("p")}}, along = {{"j", S("q")}};
  const Axes axes = {{"i", S("p")}, {"j", S("q")}};
  ir::Statement m = sum("m", row, along, L("x", {A("i"), A("j")}));
  m.monoid = ir::Monoid::kMax;
  return program(
      {"channels", "p", "q"}, {{"x", {S("p"), S("q")}}},
      {m, map("e", axes, op(ir::Op::kExp, {L("x", {A("i"), A("j")}) - L("m", {A("i")})})),
       sum("s", row, along, L("e", {A("i"), A("j")})),
       map("z", axes, op(ir::Op::kDiv, {L("e", {A("i"), A("j")}), L("s", {A("i")})}))});
}

/// Three passes, of which the last needs what the first and, by way of a row value, the second
/// made; the row value and the first pass's are outputs too.
ir::Program deviations() {
  const Axes row = {{"i", S("p")}}, along = {{"j", S("q")}};
  const Axes axes = {{"i", S("p")}, {"j", S("q")}};
  const ir::Expr x = L("x", {A("i"), A("j")}), off = x - L("m", {A("i")});
  ir::Statement m = sum("m", row, along, x);
  m.is_output = true;
  ir::Statement scale =
      map("scale", row, L("v", {A("i")}) + L("m", {A("i")}) + L("bias", {A("i")}));
  scale.is_output = true;
  return program(
      {"channels", "p", "q"}, {{"x", {S("p"), S("q")}}, {"bias", {S("p")}}},
      {m, sum("v", row, along, off * off), scale, map("z", axes, off * L("scale", {A("i")}))});
}

struct Kernel {
  std::string name;
  ir::Program program;
  Group group;
};

Kernel kernel(const std::string& name, const ir::Program& program, int64_t parallel, int64_t count,
              int64_t pipeline) {
  Group group;
  for (size_t s = 0; s < program.statements.size(); ++s) {
    group.statements.push_back(static_cast<int>(s));
  }
  group.params = {{"vectorize", 1},
                  {"parallel", parallel},
                  {"accumulators", count},
                  {"prefetch", 1},
                  {"pipeline", pipeline},
                  {"late", count == 3},
                  {"approximate", pipeline == 3},
                  {"nt.y", 1},
                  {"nt.z", 1}};
  return {fmt::format("{}_{}_{}_{}", name, parallel, count, pipeline), program, group};
}

/// Every program with its outputs streamed, alone and shared between threads.
std::vector<Kernel> kernels() {
  std::vector<Kernel> all;
  for (int64_t parallel : {0, 1}) {
    for (int64_t count : {1, 3}) {
      for (const Window& window : kWindows) {
        all.push_back(kernel(window.name, windows(window), parallel, count, 0));
      }
      all.push_back(kernel("rows", rows(), parallel, count, 0));
      if (parallel != (count == 1)) continue;
      all.push_back(kernel("rows", rows(), parallel, count, 2));
      for (int64_t pipeline : {0, 2, 3}) {
        all.push_back(kernel("softmax", softmax(), parallel, count, pipeline));
        all.push_back(kernel("deviations", deviations(), parallel, count, pipeline));
      }
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
    for (const Kernel& kernel : kernels()) source += text_of(kernel);
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
  // Rows shorter than a cache line, as long as one or two, and in between.
  for (int64_t q : {2, 3, 15, 16, 17, 32, 45, 61}) {
    for (int64_t p : {1, 3, 7}) {
      for (const Kernel& kernel : kernels()) {
        const bool is_window = kernel.program.find_statement("y") != nullptr;
        if (is_window && p == 1) continue;  // padding would be all there is
        auto sizes = ir::bind_sizes(kernel.program, {{"channels", 3}, {"p", p}, {"q", q}});
        ASSERT_TRUE(sizes.has_value()) << sizes.error().message;
        Tensors tensors = draw_inputs(kernel.program, *sizes);
        run_oracle(kernel.program, *sizes, tensors);
        const auto reads = group_reads(kernel.program, kernel.group);
        const auto writes = group_writes(kernel.program, kernel.group);
        check_call(fmt::format("{} at {} by {}", kernel.name, p, q), tensors, reads, writes,
                   [&](std::vector<float*> data) {
                     call(kernel, {3, p, q}, data);
                   });
      }
    }
  }
}

TEST_F(NestTest, WhatIsNoNumberStaysInTheWindowsThatHoldIt) {
  ASSERT_NE(library_, nullptr) << log_;
  const int64_t p = 7, q = 45;
  for (const Kernel& kernel : kernels()) {
    if (kernel.program.find_statement("y") == nullptr) continue;
    auto sizes = *ir::bind_sizes(kernel.program, {{"channels", 3}, {"p", p}, {"q", q}});
    Tensors numbers = draw_inputs(kernel.program, sizes), holes = numbers;
    // Where the oracle's answer does not depend on these elements, they must not be seen.
    for (size_t i = 5; i < numbers["x"].size(); i += 97) {
      numbers["x"][i] = -1000;
      holes["x"][i] = 1000;
    }
    run_oracle(kernel.program, sizes, numbers);
    run_oracle(kernel.program, sizes, holes);
    std::vector<float> x(numbers["x"].begin(), numbers["x"].end());
    for (size_t i = 5; i < x.size(); i += 97) x[i] = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> bias(numbers["bias"].begin(), numbers["bias"].end());
    std::vector<float> y(numbers["y"].size()), z(y.size());
    call(kernel, {3, p, q}, {x.data(), bias.data(), y.data(), z.data()});
    size_t clean = 0;
    for (size_t i = 0; i < z.size(); ++i) {
      if (numbers["z"][i] != holes["z"][i]) continue;
      ++clean;
      ASSERT_NEAR(z[i], numbers["z"][i], 1e-4) << kernel.name << " at " << i;
    }
    EXPECT_GT(clean, z.size() / 8) << kernel.name;
  }
}

TEST(Pipeline, RefusesPassesOverDifferentLoops) {
  // A mean over all of a row's two axes, then a map that keeps them apart.
  const Axes row = {{"i", S("p")}}, inner = {{"c", S("channels")}, {"j", S("q")}};
  const Axes axes = {{"i", S("p")}, {"c", S("channels")}, {"j", S("q")}};
  const ir::Expr x = L("x", {A("i"), A("c"), A("j")});
  const ir::Program program_ =
      program({"channels", "p", "q"}, {{"x", {S("p"), S("channels"), S("q")}}},
              {sum("m", row, inner, x), map("z", axes, x - L("m", {A("i")}))});
  const auto text = emit_nest_group(program_, kernel("apart", program_, 0, 1, 2).group, 0);
  ASSERT_FALSE(text.has_value());
  EXPECT_NE(text.error().message.find("different loops"), std::string::npos);
}

TEST(Pipeline, RefusesThreadsThatTakeRowsInAnyOrder) {
  Kernel shared = kernel("rows", rows(), 1, 1, 2);
  shared.group.params["chunk"] = 2;
  const auto text = emit_nest_group(shared.program, shared.group, 0);
  ASSERT_FALSE(text.has_value());
  EXPECT_NE(text.error().message.find("one after the other"), std::string::npos);
}

TEST(Pipeline, RefusesARowBufferThatIsReadElsewhereThanWhereItIsReplaced) {
  // The last pass reads the row of e backwards.
  const Axes axes = {{"i", S("p")}, {"j", S("q")}};
  const ir::Expr x = L("x", {A("i"), A("j")});
  const ir::Program mirror =
      program({"channels", "p", "q"}, {{"x", {S("p"), S("q")}}},
              {map("e", axes, x * x), map("z", axes, L("e", {A("i"), S("q") - C(1) - A("j")}))});
  const auto text = emit_nest_group(mirror, kernel("mirror", mirror, 0, 1, 2).group, 0);
  ASSERT_FALSE(text.has_value());
  EXPECT_NE(text.error().message.find("needed for too long"), std::string::npos);
}

}  // namespace
}  // namespace quern
