// SPDX-License-Identifier: Apache-2.0
#include "evaluate/device_evaluator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "codegen/prelude.h"
#include "device/worker_compiler.h"
#include "task/parse.h"

namespace quern {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kScale = R"(task scale(n = 4096)
sizes tiny: n = 17
input x : f32[n]
output y[i] = 2 * x[i]
)";

/// A kernel of one launch; `body` sees x, y, n and the element i.
std::string kernel(const std::string& body) {
  return "// quern: launch k grid (ceil_div(n, 64)) block 64 args (x, y, n)\n"
         "__kernel void k(__global float* x, __global float* y, int n) {\n"
         "  int i = get_global_id(0);\n  " +
         body + "\n}\n";
}

/// An evaluator on the first OpenCL device, or nothing with the reason.
class DeviceEvaluatorTest : public testing::Test {
 protected:
  static std::string folder() {
    return (std::filesystem::temp_directory_path() / "quern-device-evaluator-test").string();
  }

  /// Tests run beside each other.
  static std::string workers() { return folder() + "/workers-" + std::to_string(getpid()); }

  void TearDown() override {
    referee.reset();
    std::filesystem::remove_all(workers());
  }

  void SetUp() override {
    const ir::Program program = std::move(parse_task(kScale, "test.task")).value();
    DeviceEvaluator::Options options;
    options.first_looks = first_looks;
    options.worker.scratch_dir = workers();
    WorkerCompilerOptions compiling;
    compiling.worker = options.worker;
    compiling.cache_dir = folder() + "/cache";
    compiling.deadline_s = 30;
    auto compiler = WorkerCompiler::make(compiling);
    if (!compiler) GTEST_SKIP() << compiler.error().message << "; " << compiler.error().hint;
    options.compiler = std::move(*compiler);
    options.host_compiler.cache_dir = folder() + "/host-cache";
    options.host_compiler.prelude = cpu_prelude();
    options.threads = 2;
    options.seed = 5;
    options.hang_s = 1;
    auto made = DeviceEvaluator::make(program, *ir::bind_sizes(program, "full"), options);
    ASSERT_TRUE(made) << made.error().message;
    referee = std::move(*made);
  }

  Evaluation evaluate(const std::string& source) {
    const auto all = referee->evaluate({make_candidate(source, "human", "opencl")}, {});
    EXPECT_TRUE(all) << all.error().message;
    return all ? all->front() : Evaluation{};
  }

  static std::string story(const Evaluation& evaluation) {
    return std::string(verdict_name(evaluation.verdict)) + ": " +
           verdict_reason(evaluation.verdict) + "\n" + verdict_evidence(evaluation.verdict);
  }

  int first_looks = -1;
  std::unique_ptr<DeviceEvaluator> referee;
};

/// As on a GPU: candidates of a stream get a first look before one of them is timed.
class FirstLookTest : public DeviceEvaluatorTest {
 protected:
  FirstLookTest() { first_looks = 3; }
};

TEST_F(DeviceEvaluatorTest, PassesAnHonestKernelAtTheHighestLevel) {
  const Evaluation evaluation = evaluate(kernel("if (i < n) y[i] = 2 * x[i];"));
  ASSERT_TRUE(passed(evaluation.verdict)) << story(evaluation);
  EXPECT_EQ(std::get<Passed>(evaluation.verdict).level, "V2");
  EXPECT_GT(timing_of(evaluation.verdict)->median_ns, 0);
  ASSERT_EQ(evaluation.resources.size(), 1U);
  EXPECT_EQ(evaluation.resources[0].kernel, "k");
  EXPECT_NE(referee->environment().device, "");
}

TEST_F(DeviceEvaluatorTest, BuildsSpecialisedCandidatesForEveryShape) {
  const Evaluation evaluation = evaluate(
      "// quern: specialize = sizes\n" +
      kernel("for (int j = i; j < QUERN_SIZE_n; j += get_global_size(0)) y[j] = 2 * x[j];"));
  EXPECT_TRUE(passed(evaluation.verdict)) << story(evaluation);
}

TEST_F(FirstLookTest, TakesWhatComesWhileItJudges) {
  const auto candidate = [](const std::string& body) {
    return make_candidate(kernel(body), "human", "opencl");
  };
  std::vector<Candidate> later = {candidate("if (i < n) y[i] = 3 * x[i];"),
                                  candidate("if (i < n) y[i] = x[i] + x[i];")};
  later.push_back(later.front());  // known by then
  EvaluateRequest request;
  std::vector<size_t> told, waiting;
  request.done = [&](size_t index, const Evaluation&) { told.push_back(index); };
  request.more = [&](size_t count) {
    waiting.push_back(count);
    std::vector<Candidate> next;
    if (waiting.size() == 2) next.swap(later);
    return next;
  };
  const auto all =
      referee->evaluate({candidate("if (i < n) y[i] = 2 * x[i];"), candidate("y[i] = ;")}, request);
  ASSERT_TRUE(all) << all.error().message;
  std::vector<std::string> verdicts;
  for (const Evaluation& evaluation : *all) verdicts.emplace_back(verdict_name(evaluation.verdict));
  EXPECT_THAT(verdicts,
              ElementsAre("passed", "compile_failed", "wrong_result", "passed", "wrong_result"));
  EXPECT_THAT(told, ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(waiting, ElementsAre(2, 1, 3, 2, 1, 0));
  EXPECT_TRUE((*all)[4].cached);
}

TEST_F(DeviceEvaluatorTest, GivesEachFaultInAStreamItsVerdictAndGoesOn) {
  struct Case {
    const char* what;
    std::string source, verdict, says;
  };
  const std::vector<Case> cases = {
      {"honest", kernel("if (i < n) y[i] = x[i] + x[i];"), "passed", ""},
      {"write past the end", kernel("y[i] = 2 * x[i]; if (i == 0) y[n + 64] = 1;"), "rejected",
       "past the end of output y"},
      {"write just past the end", kernel("if (i < n) y[i] = 2 * x[i]; if (i == 0) y[n] = 1;"),
       "rejected", "wrote"},
      {"write to an input", kernel("if (i < n) { y[i] = 2 * x[i]; x[i] = 0; }"), "rejected",
       "input x"},
      {"endless loop", kernel("volatile int go = 1; while (go) {} y[i] = i;"), "timed_out", ""},
      {"wild pointer", kernel("*(volatile __global int*)(ulong)(n * 8) = 1; y[i] = 0;"), "crashed",
       "writing to address"},
      {"wrong result", kernel("if (i < n) y[i] = 3 * x[i];"), "wrong_result", "error bound"},
      {"unwritten elements", kernel("if (i < n - 1) y[i] = 2 * x[i];"), "wrong_result",
       "never written"},
      {"syntax error", kernel("y[i] = ;"), "compile_failed", "expected expression"},
      {"no such kernel",
       "// quern: launch other grid 1 block 1 args (x, y, n)\n"
       "__kernel void k(__global float* x, __global float* y, int n) { y[0] = x[0]; }\n",
       "launch_failed", "no kernel other"},
      {"huge scratch",
       "// quern: scratch s : f32[1000000, 100000]\n"
       "// quern: launch k grid 1 block 1 args (s, y)\n"
       "__kernel void k(__global float* s, __global float* y) { y[0] = s[0]; }\n",
       "launch_failed", "scratch"},
      {"grid of nothing",
       "// quern: launch k grid (n / 1000) block 64 args (x, y, n)\n"
       "__kernel void k(__global float* x, __global float* y, int n) { y[0] = x[0]; }\n",
       "launch_failed", "must be 1 to"},
      {"scratch that nobody wrote",
       "// quern: scratch s : f32[n]\n"
       "// quern: launch k grid (ceil_div(n, 64)) block 64 args (x, s, y, n)\n"
       "__kernel void k(__global float* x, __global float* s, __global float* y, int n) {\n"
       "  int i = get_global_id(0);\n"
       "  if (i < n) y[i] = 2 * x[i] + (s[i] > 1e30f ? 3e-7f * x[i] : 0);\n}\n",
       "wrong_result", "two runs"},
      {"bad plan line", "// quern: lunch k\n" + kernel(""), "compile_failed", "plan"},
      {"honest again", kernel("if (i < n) y[i] = x[i] * 2.0f;"), "passed", ""},
  };
  for (const Case& one : cases) {
    const Evaluation evaluation = evaluate(one.source);
    EXPECT_EQ(verdict_name(evaluation.verdict), one.verdict)
        << one.what << ": " << story(evaluation);
    EXPECT_THAT(story(evaluation), HasSubstr(one.says)) << one.what;
  }
  referee.reset();
  EXPECT_TRUE(std::filesystem::is_empty(workers())) << "a worker was left behind";
}

TEST_F(FirstLookTest, LosesNoResultOfAStreamWithFaultsAndHangs) {
  const std::vector<std::pair<std::string, std::string>> wanted = {
      {kernel("if (i < n) y[i] = 2 * x[i];"), "passed"},
      {kernel("*(volatile __global int*)(ulong)(n * 8) = 1; y[i] = 0;"), "crashed"},
      {kernel("volatile int go = 1; while (go) {} y[i] = i;"), "timed_out"},
      {kernel("y[i] = ;"), "compile_failed"},
      {kernel("if (i < n) y[i] = 3 * x[i];"), "wrong_result"},
      // Right on every hidden shape, which are smaller; wrong on the one that is timed.
      {kernel("if (i < n) y[i] = n == 4096 ? x[i] : 2 * x[i];"), "wrong_result"},
      {kernel("if (n == 4096) *(volatile __global int*)(ulong)(n * 8) = 1; if (i < n) y[i] = 2 * "
              "x[i];"),
       "crashed"},
      {kernel("if (i < n) y[i] = x[i] + x[i];"), "passed"},
  };
  std::vector<Candidate> candidates;
  for (const auto& [source, verdict] : wanted) {
    candidates.push_back(make_candidate(source, "human", "opencl"));
  }
  std::vector<size_t> order;
  EvaluateRequest request;
  request.done = [&](size_t index, const Evaluation&) { order.push_back(index); };
  const auto all = referee->evaluate(candidates, request);
  ASSERT_TRUE(all) << all.error().message;
  ASSERT_EQ(all->size(), wanted.size());
  EXPECT_EQ(order, (std::vector<size_t>{0, 1, 2, 3, 4, 5, 6, 7}));
  for (size_t i = 0; i < wanted.size(); ++i) {
    const Evaluation& one = (*all)[i];
    EXPECT_EQ(one.candidate_id, candidates[i].id);
    EXPECT_EQ(verdict_name(one.verdict), wanted[i].second) << i << ": " << story(one);
    EXPECT_EQ(one.stages_ms.contains("verify"), wanted[i].second != "compile_failed") << i;
  }
  EXPECT_EQ((*all)[0].checks.size(), (*all)[7].checks.size());
  referee.reset();
  EXPECT_TRUE(std::filesystem::is_empty(workers())) << "a worker was left behind";
}

TEST_F(FirstLookTest, SharesOneEvaluationAmongEqualMachineCode) {
  const std::string source = kernel("if (i < n) y[i] = 2 * x[i];");
  const auto all = referee->evaluate({make_candidate(source, "human", "opencl"),
                                      make_candidate(source + "// again\n", "human", "opencl")},
                                     {});
  ASSERT_TRUE(all) << all.error().message;
  EXPECT_TRUE(passed((*all)[0].verdict) && passed((*all)[1].verdict));
}

TEST_F(DeviceEvaluatorTest, DoesNotTakeAPlanOfAMissingKernelForOneWithTheSameCode) {
  const std::string honest = kernel("if (i < n) y[i] = 2 * x[i];");
  std::string astray = honest;
  astray.replace(astray.find("launch k"), 8, "launch j");
  EXPECT_TRUE(passed(evaluate(honest).verdict));
  const Evaluation evaluation = evaluate(astray);
  EXPECT_EQ(verdict_name(evaluation.verdict), "launch_failed") << story(evaluation);
}

TEST_F(DeviceEvaluatorTest, CatchesAKernelThatWorksOnlyWhereOutputsArePoisoned) {
  const Evaluation evaluation = evaluate(
      "// quern: launch k grid (ceil_div(n, 64)) block 64 args (x, y, n)\n"
      "__kernel void k(__global const float* x, __global float* y, int n) {\n"
      "  int i = get_global_id(0);\n"
      "  if (i < n && isnan(y[i])) y[i] = 2 * x[i];\n}\n");
  ASSERT_EQ(verdict_name(evaluation.verdict), "rejected") << story(evaluation);
  EXPECT_EQ(std::get<Rejected>(evaluation.verdict).breach, "stale_output");
}

TEST_F(DeviceEvaluatorTest, FindsTheFasterOfTwoInADuel) {
  const auto work = [](int rounds) {
    return make_candidate(
        kernel("if (i >= n) return; float v = x[i];\n  for (int k = 0; k < " +
               std::to_string(rounds) + "; ++k) v = fma(v, 1.0f, 0.0f * v);\n  y[i] = v + x[i];"),
        "human", "opencl");
  };
  const auto all = referee->evaluate({work(1), work(400)}, {});
  ASSERT_TRUE(all);
  for (const Evaluation& each : *all) ASSERT_TRUE(passed(each.verdict)) << story(each);
  const auto duel = referee->duel(work(1), work(400));
  ASSERT_TRUE(duel) << duel.error().message;
  EXPECT_TRUE(duel->different);
  EXPECT_GT(duel->low, 1.5);
}

TEST_F(DeviceEvaluatorTest, RefusesMachineCodeOfAnotherKindOfDevice) {
  const Evaluation evaluation = evaluate(
      "// quern: code = cubin\n// quern: launch k grid 1 block 1 args (x, y)\ncubin\naGVs\n");
  EXPECT_EQ(verdict_name(evaluation.verdict), "compile_failed");
  EXPECT_THAT(verdict_evidence(evaluation.verdict),
              HasSubstr("code = cubin cannot be used with target = opencl"));
}

}  // namespace
}  // namespace quern
