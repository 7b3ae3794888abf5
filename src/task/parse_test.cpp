// SPDX-License-Identifier: Apache-2.0
#include "task/parse.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "ir/check.h"
#include "ir/recurrence.h"

namespace quern {
namespace {

std::filesystem::path tasks_folder() {
  // From the folder the test runs in, upwards; `__FILE__` may be relative to another one.
  namespace fs = std::filesystem;
  for (fs::path at = fs::current_path(); at != at.root_path(); at = at.parent_path()) {
    if (fs::exists(at / "tasks/softmax.task")) return at / "tasks";
  }
  return "tasks";
}

std::vector<std::string> task_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(tasks_folder())) {
    if (entry.path().extension() == ".task") names.push_back(entry.path().stem());
  }
  return names;
}

ir::Program parsed(const std::string& text) {
  Result<ir::Program> program = parse_task(text, "t.task");
  EXPECT_TRUE(program) << program.error().message;
  return program ? *program : ir::Program{};
}

class StarterTask : public testing::TestWithParam<std::string> {};

TEST_P(StarterTask, ParsesAndPrintsBackToItself) {
  Result<ir::Program> program = load_task(tasks_folder() / (GetParam() + ".task"));
  ASSERT_TRUE(program) << program.error().message;
  EXPECT_EQ(program->name, GetParam());
  std::string text = print_task(*program);
  if (getenv("QUERN_SHOW") != nullptr) puts(text.c_str());
  Result<ir::Program> again = parse_task(text, "printed.task");
  ASSERT_TRUE(again) << text << again.error().message;
  EXPECT_EQ(*program, *again) << text << "\n---\n" << print_task(*again);
  EXPECT_EQ(print_task(*again), text);
}

TEST_P(StarterTask, HasSizesForFullCpuAndTiny) {
  Result<ir::Program> program = load_task(tasks_folder() / (GetParam() + ".task"));
  ASSERT_TRUE(program) << program.error().message;
  for (const char* set : {"full", "cpu", "tiny"}) {
    Result<ir::Sizes> sizes = ir::bind_sizes(*program, set);
    ASSERT_TRUE(sizes) << set;
    EXPECT_TRUE(ir::check_sizes(*program, *sizes)) << set;
  }
}

INSTANTIATE_TEST_SUITE_P(Tasks, StarterTask, testing::ValuesIn(task_names()),
                         [](const auto& info) { return info.param; });

TEST(ParseTask, TheStarterSetHasTwentyTwoTasks) { EXPECT_EQ(task_names().size(), 22u); }

TEST(ParseTask, HoistsNestedReductionsIntoNamedStatements) {
  ir::Program program =
      parsed("task t(n = 4, m = 3)\ninput x : f32[n, m]\noutput y[i] = 1 + (sum[j] x[i, j]) * 2\n");
  ASSERT_EQ(program.statements.size(), 2u);
  EXPECT_EQ(program.statements[0].name, "y_sum");
  EXPECT_EQ(program.statements[0].kind, ir::Statement::Kind::kReduce);
  EXPECT_EQ(ir::print(program.statements[1].body), "1 + y_sum[i] * 2");
}

constexpr const char* kInputs = "task t(n = 4, m = 3)\ninput x : f32[n, m]\ninput w : f32[m, m]\n";

TEST(ParseTask, ARecurrenceSurvivesPrintingWithItsExtents) {
  const ir::Program program =
      parsed(std::string(kInputs) +
             "z[t < n, j] = tanh((sum[k < m] w[j, k] * (s[t - 1, k] else 0)) + "
             "(sum[k] w[j, k] * x[t, k]))\n"
             "y[t, j] = z[t, j] * x[t, j]\noutput s[t < n, j] = y[t, j] + z[t, j]\n");
  const std::string text = print_task(program);
  EXPECT_EQ(parsed(text), program) << text;
  const std::vector<ir::Recurrence> loops = ir::recurrences(program);
  ASSERT_EQ(loops.size(), 1u);
  EXPECT_EQ(loops[0].axis, "t");
  EXPECT_FALSE(loops[0].backwards);
  EXPECT_EQ(loops[0].reach, 1);
  EXPECT_EQ(loops[0].last, 4);
  EXPECT_EQ(loops[0].first, 1) << "the sum of inputs moves in front of the recurrence\n" << text;
  EXPECT_NE(text.find("output s[t < n, j < m]"), std::string::npos) << text;
}

TEST(ParseTask, SaysWhatARecurrenceMayNotDo) {
  const std::pair<const char*, const char*> cases[] = {
      {"output a[t < n] = x[t, 0] + a[t]\n", "`a` is defined by itself at the same `t`"},
      {"output a[t < n] = x[t, 0] + a[t - 1]\n", "index `t - 1` runs from -1 to 2"},
      {"output a[t < n] = x[t, 0] + (a[t - 1] else 0) + (a[t + 1] else 0)\n",
       "reads both before and after `t`"},
      {"output a[t < n] = x[t, 0] + (a[t / 2] else 0)\n", "`a` is read at `t / 2` along `t`"},
      {"output a[t < n, j < m] = x[t, j] + (a[t - 1, j] else 0) + (a[t, j - 1] else 0)\n",
       "`a` is defined by itself at the same `t`"},
      {"a[t < n] = x[t, 0] + b[t]\noutput b[t < n] = (a[t - 1] else 0)\n",
       "`b` is read at `t`, but its line comes later"},
      {"a[t < n] = x[t, 0] + (b[t - 1] else 0)\noutput b[s < n] = a[s]\n",
       "share no axis to run along"},
      {"a[t < n] = x[t, 0] + (b[t - 1] else 0)\noutput b[t < m] = a[t]\n",
       "which is part of the same recurrence"},
      {"a[t < n] = x[t, 0] + (b[t - 1] else 0)\noutput z[t < n] = a[t]\noutput b[t < n] = a[t]\n",
       "`z` stands between the statements of the recurrence of `a`"},
      {"a[t < n] = x[t, 0] + b[t]\noutput z[t < n] = a[t]\nb[t < n] = x[t, 1]\n",
       "`b` is used before it is defined"},
      {"output z[t < n] = x[t, 0]\na[t < n] = x[t, 0] + (a[t - 1] else 0)\n",
       "`a` is never used but by its own recurrence"},
      {"output a[t < n] = scan_sum[t] (x[t, 0] * (a[t - 1] else 1))\n",
       "`a` is a scan, which cannot be part of a recurrence"},
  };
  for (const auto& [lines, message] : cases) {
    const std::string head = "task t(n = 4, m = 3)\ninput x : f32[n, m]\n";
    Result<ir::Program> program = parse_task(head + lines, "t.task");
    ASSERT_FALSE(program) << lines;
    EXPECT_NE(program.error().message.find(message), std::string::npos)
        << lines << program.error().message;
  }
}

TEST(ParseTask, StructuresOfMatricesAndThePrecisionSurvivePrinting) {
  for (const char* structure : {"lower", "upper", "symmetric"}) {
    const std::string text = std::string("task t(n = 4)\nprecision as_reference\n") +
                             "input x : f32[2, n, n] ~ uniform(0, 1), " + structure +
                             "\noutput y[b, i, j] = x[b, i, j] + 1\n";
    const ir::Program program = parsed(text);
    EXPECT_EQ(print_task(program), text);
    EXPECT_EQ(parsed(print_task(program)), program);
    EXPECT_EQ(ir::structure_name(program.inputs.at(0).distribution.structure),
              std::string(structure));
  }
  const ir::Program plain = parsed(
      "task t(n = 4)\ninput x : f32[n, n] ~ normal(0, 1), lower\n"
      "output y[i, j] = x[i, j] + 1\n");
  EXPECT_EQ(parsed(print_task(plain)), plain) << "a default distribution keeps its structure";
}

TEST(ParseTask, TakesTheParametersOfALargeNetwork) {
  std::string text = "task t(n = 4)\ninput x : f32[n]\n", sum = "output y[i] = x[i]";
  for (int i = 0; i < 440; ++i) {
    text += "param p" + std::to_string(i) + " : f32[n]\n";
    sum += " + p" + std::to_string(i) + "[i]";
    if (i % 100 == 99) {
      const std::string part = "s" + std::to_string(i);
      sum.replace(0, sum.find(" ="), part + "[i]");
      text += sum + "\n";
      sum = "output y[i] = " + part + "[i]";
    }
  }
  EXPECT_EQ(parsed(text + sum + "\n").inputs.size(), 441u);
}

}  // namespace
}  // namespace quern
