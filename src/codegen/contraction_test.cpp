// SPDX-License-Identifier: Apache-2.0
#include "codegen/contraction.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "codegen/contraction_cases.h"
#include "codegen/group.h"
#include "codegen/kernel_testing.h"

namespace quern {
namespace {

/// All cases as one translation unit, compiled once.
class ContractionTest : public testing::Test {
 public:
  static void SetUpTestSuite() {
    std::string source = "#include \"quern_cpu.h\"\n#include \"quern_gemm.h\"\n";
    for (const ContractionCase& item : contraction_cases()) source += text_of(item);
    library_ = load_source(source, "-O1", &log_);
  }

  static std::string text_of(const ContractionCase& item) {
    std::string text = "#undef QUERN_SIZES\n#define QUERN_SIZES";
    for (const ir::SizeDecl& size : item.program.sizes) {
      text += fmt::format(" [[maybe_unused]] const int64_t s_{} = {};", size.name,
                          size.let ? c_int(item.program, *size.let) : "z_" + size.name);
    }
    text += fmt::format("\nnamespace n{} {{\n", item.name);
    auto body = emit_contraction_group(item.program, item.group, 0);
    EXPECT_TRUE(body.has_value()) << item.name << ": " << body.error().message;
    if (!body) return "";
    text += *body;
    text += fmt::format("}}\nextern \"C\" void {}(const int64_t* s, float** t) {{ n{}::group_0(",
                        item.name, item.name);
    const char* separator = "";
    for (size_t i = 0; i < item.program.free_sizes().size(); ++i, separator = ", ") {
      text += fmt::format("{}s[{}]", separator, i);
    }
    size_t count = group_reads(item.program, item.group).size() +
                   group_writes(item.program, item.group).size();
    for (size_t i = 0; i < count; ++i) text += fmt::format(", t[{}]", i);
    return text + "); }\n";
  }

  static void* library_;
  static std::string log_;
};
void* ContractionTest::library_ = nullptr;
std::string ContractionTest::log_;

void run_case(const ContractionCase& item, const std::map<std::string, int64_t>& free,
              void* entry) {
  auto sizes = ir::bind_sizes(item.program, free);
  ASSERT_TRUE(sizes.has_value()) << sizes.error().message;
  Tensors tensors = draw_inputs(item.program, *sizes);
  run_oracle(item.program, *sizes, tensors);
  std::vector<int64_t> values;
  for (const std::string& size : item.program.free_sizes()) values.push_back(sizes->at(size));
  check_call(item.name, tensors, group_reads(item.program, item.group),
             group_writes(item.program, item.group), [&](std::vector<float*> data) {
               reinterpret_cast<void (*)(const int64_t*, float**)>(entry)(values.data(),
                                                                          data.data());
             });
}

TEST_F(ContractionTest, AgreesWithTheDefinitionAndStaysInsideItsBuffers) {
  ASSERT_NE(library_, nullptr) << log_;
  for (const ContractionCase& item : contraction_cases()) {
    void* entry = dlsym(library_, item.name.c_str());
    ASSERT_NE(entry, nullptr) << item.name;
    for (const auto& free : item.sizes) {
      SCOPED_TRACE(item.name);
      run_case(item, free, entry);
    }
  }
}

TEST(IsContraction, HoldsInEveryCase) {
  for (const ContractionCase& item : contraction_cases()) {
    EXPECT_TRUE(is_contraction(item.program, item.group.root)) << item.name;
  }
}

TEST(ContractionParams, PrefersTilesThatDivideTheProblem) {
  using namespace cases;
  const auto program =
      cases::program({"m", "n", "k"}, {{"a", {S("m"), S("k")}}, {"b", {S("k"), S("n")}}},
                     {sum("c", {{"i", S("m")}, {"j", S("n")}}, {{"p", S("k")}},
                          L("a", {A("i"), A("p")}) * L("b", {A("p"), A("j")}))});
  auto best = [&](int64_t m, int64_t n) {
    return contraction_params(program, 0, {{"m", m}, {"n", n}, {"k", 1024}}).at(0);
  };
  EXPECT_EQ(best(14000, 3200).at("mr"), 14);
  EXPECT_EQ(best(32, 4800).at("mr"), 8);
  EXPECT_EQ(best(32, 4800).at("kc"), 512);
}

TEST(IsContraction, RefusesWhatHasNoTwoFreeDimensions) {
  using namespace cases;
  // A matrix-vector product, a sum of squares and a depthwise window leave one side empty.
  EXPECT_FALSE(is_contraction(program({"m", "k"}, {{"a", {S("m"), S("k")}}, {"b", {S("k")}}},
                                      {sum("y", {{"i", S("m")}}, {{"p", S("k")}},
                                           L("a", {A("i"), A("p")}) * L("b", {A("p")}))}),
                              0));
  EXPECT_FALSE(is_contraction(program({"m", "k"}, {{"a", {S("m"), S("k")}}},
                                      {sum("y", {{"i", S("m")}}, {{"p", S("k")}},
                                           L("a", {A("i"), A("p")}) * L("a", {A("i"), A("p")}))}),
                              0));
  EXPECT_FALSE(is_contraction(
      program({"c", "l", "r"}, {{"x", {S("c"), S("l") + S("r")}}, {"w", {S("c"), S("r")}}},
              {sum("y", {{"i", S("c")}, {"j", S("l")}}, {{"p", S("r")}},
                   L("x", {A("i"), A("j") + A("p")}) * L("w", {A("i"), A("p")}))}),
      0));
}

}  // namespace
}  // namespace quern
