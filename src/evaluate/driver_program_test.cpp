// SPDX-License-Identifier: Apache-2.0
#include "evaluate/driver_program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "base/strings.h"
#include "evaluate/driver_fitness.h"

namespace quern {
namespace {

using testing::AllOf;
using testing::HasSubstr;

/// A driver in the form of ParEval's, for `void twice(std::vector<double> const& x,
/// std::vector<double>& y)`.
constexpr const char* kDriver = R"cpp(
#include <cmath>
#include <vector>
#include "utilities.hpp"
#include "baseline.hpp"
#include "generated-code.hpp"
  struct Context {
    std::vector<double> x, y;
  };
  void reset(Context* c) {
    for (size_t i = 0; i < c->x.size(); ++i) c->x[i] = next();
  }
  Context* init() {
    auto* c = new Context();
    c->x.resize(DRIVER_PROBLEM_SIZE);
    c->y.resize(DRIVER_PROBLEM_SIZE);
    reset(c);
    return c;
  }
  void compute(Context* c) { twice(c->x, c->y); }
  void best(Context* c) { correct_twice(c->x, c->y); }
  bool validate(Context* c) {
    std::vector<double> right(c->x.size());
    reset(c);
    correct_twice(c->x, right);
    twice(c->x, c->y);
    return right == c->y;
  }
  void destroy(Context* c) { delete c; }
)cpp";

class Driver : public testing::Test {
 protected:
  void SetUp() override {
    root_ = testing::TempDir() + "driver-" +
            testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::create_directories(root_ + "/twice");
    write("utilities.hpp",
          "#pragma once\n#ifdef USE_OMP\n#include <omp.h>\n#endif\n#if !defined(USE_OMP) && "
          "!defined(USE_SERIAL)\n#error none\n#endif\n"
          "inline double next() { static unsigned s = 1; s = s * 1664525u + 1013904223u; "
          "return s / 4294967296.0; }\n");
    write("twice/baseline.hpp",
          "#pragma once\ninline void correct_twice(std::vector<double> const& x, "
          "std::vector<double>& y) { for (size_t i = 0; i < x.size(); ++i) y[i] = 2 * x[i]; }\n");
    write("twice/cpu.cc", kDriver);
  }
  void write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(write_file_atomic(root_ + "/" + name, text));
  }
  Verdict judge(const std::string& body, bool openmp = false) {
    DriverOptions options;
    options.scratch = root_ + "/scratch";
    options.openmp = openmp;
    options.threads = 2;
    options.pairs = 9;
    options.pairs_s = pairs_s_;
    options.deadline_s = 3;
    judgement_ = judge_driver({root_ + "/twice", root_, "(1<<10)"},
                              "inline void twice(std::vector<double> const& x, "
                              "std::vector<double>& y) {" +
                                  body + "}\n",
                              options)
                     .value();
    return judgement_.verdict;
  }
  std::string fault(bool one_passed, const std::string& head = kHead) {
    DriverOptions options;
    options.scratch = root_ + "/scratch";
    options.openmp = false;
    return driver_fault({root_ + "/twice", root_, "(1<<10)"}, head, one_passed, options).value();
  }
  void replace_in_driver(const std::string& from, const std::string& to) {
    write("twice/cpu.cc", replace_all(kDriver, from, to));
  }
  static constexpr const char* kHead =
      "/* y = 2 x */\nvoid twice(std::vector<double> const& x, std::vector<double>& y) {";
  std::string root_;
  double pairs_s_ = 20;
  DriverJudgement judgement_;
};

TEST_F(Driver, ARightCandidatePassesProvisionallyWithAPairForEachCall) {
  const Verdict verdict = judge("for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] + x[i];");
  ASSERT_TRUE(passed(verdict)) << verdict_reason(verdict) << verdict_evidence(verdict);
  EXPECT_EQ(std::get<Passed>(verdict).level, "provisional");
  EXPECT_EQ(judgement_.duel.pairs, 9);
  EXPECT_EQ(judgement_.duel.candidate_ns.size(), 9u);
  EXPECT_LE(judgement_.duel.low, judgement_.duel.speedup);
  EXPECT_GE(judgement_.duel.high, judgement_.duel.speedup);
}

TEST_F(Driver, ASlowOneIsTimedInTheLeastNumberOfPairs) {
  pairs_s_ = 0;
  ASSERT_TRUE(passed(judge("for (size_t i = 0; i < x.size(); ++i) y[i] = 2 * x[i];")));
  EXPECT_EQ(judgement_.duel.pairs, 5);
}

TEST_F(Driver, ACandidateMayUseArraysWithoutTheirHeader) {
  EXPECT_TRUE(passed(
      judge("const std::array<double, 1> two = {2}; const std::function<double(double)> f = "
            "[&](double v) "
            "{ return two[0] * v; }; for (size_t i = 0; i < x.size(); ++i) y[i] = f(x[i]);")));
}

TEST_F(Driver, OpenmpCandidatesRunOnTheThreadsTheyAreGiven) {
  const std::string body =
      "if (omp_get_max_threads() != 2) return;\n#pragma omp parallel for\n"
      "for (long i = 0; i < (long)x.size(); ++i) y[i] = 2 * x[i];";
  EXPECT_TRUE(passed(judge(body, true)));
  EXPECT_EQ(verdict_name(judge(body, false)), "compile_failed") << "serial has no omp.h";
}

TEST_F(Driver, WrongBrokenCrashingAndHangingCandidatesGetTheVerdictTheyDeserve) {
  EXPECT_EQ(verdict_name(judge("y = x;")), "wrong_result");
  const Verdict broken = judge("y[0] = nonsuch;");
  EXPECT_EQ(verdict_name(broken), "compile_failed");
  EXPECT_THAT(verdict_reason(broken), HasSubstr("nonsuch"));
  EXPECT_EQ(verdict_name(judge("__builtin_trap();")), "crashed");
  EXPECT_EQ(verdict_name(judge("for (volatile int i = 0;; i = 1) {}")), "timed_out");
}

TEST_F(Driver, WhatIsRightOnlyAtFirstIsWrong) {
  const Verdict verdict = judge(
      "static int calls = 0; const double f = ++calls > 5 ? 3 : 2;"
      "for (size_t i = 0; i < x.size(); ++i) y[i] = f * x[i];");
  EXPECT_EQ(verdict_name(verdict), "wrong_result");
  EXPECT_THAT(verdict_reason(verdict), HasSubstr("after timed calls"));
}

TEST_F(Driver, AFileOutsideIsNotThereForTheCandidate) {
  write("secret", "2");
  const std::string read = "FILE* f = fopen(\"" + root_ + "/secret\", \"r\"); if (!f) return;";
  const Verdict verdict = judge(read + "for (size_t i = 0; i < x.size(); ++i) y[i] = 2 * x[i];");
  EXPECT_NE(verdict_name(verdict), "passed");
}

TEST_F(Driver, OneThatTellsRightFromWrongHasNoFault) {
  EXPECT_EQ(fault(true), "");
  EXPECT_EQ(fault(false), "");
  EXPECT_EQ(fault(true, "no function at all"), "") << "nothing can be tried";
}

TEST_F(Driver, OneThatAcceptsAFunctionWhichDoesNothingIsFound) {
  replace_in_driver("return right == c->y", "return right.size() == c->y.size()");
  EXPECT_THAT(fault(true), HasSubstr("accepts a function that does nothing"));
  EXPECT_EQ(fault(false), "") << "its own answer passes";
}

TEST_F(Driver, OneThatRefusesItsOwnAnswerIsFoundWithWhatItSays) {
  replace_in_driver("return right == c->y;", "c->y.clear(); assert(right == c->y); return true;");
  write("twice/cpu.cc", "#include <cassert>\n" + read_file(root_ + "/twice/cpu.cc").value());
  EXPECT_THAT(fault(false), AllOf(HasSubstr("refuses its own answer, correct_twice"),
                                  HasSubstr("signal 6"), HasSubstr("right == c->y")));
}

TEST_F(Driver, AFunctionWithAResultThatDoesNothingReturnsZero) {
  write("twice/baseline.hpp",
        "inline int correct_least(std::vector<double> const&) { return 0; }\n");
  replace_in_driver("compute(Context* c) { twice(c->x, c->y); }",
                    "compute(Context* c) { least(c->x); }");
  std::string driver = read_file(root_ + "/twice/cpu.cc").value();
  driver = replace_all(driver, "correct_twice(c->x, c->y)", "correct_least(c->x)");
  driver = replace_all(driver, "correct_twice(c->x, right);", "");
  driver = replace_all(driver, "twice(c->x, c->y);", "");
  driver = replace_all(driver, "right == c->y", "least(c->x) == correct_least(c->x)");
  write("twice/cpu.cc", driver);
  EXPECT_THAT(fault(true, "int least(std::vector<double> const& x) {"), HasSubstr("does nothing"));
}

TEST_F(Driver, AFolderWithoutADriverIsAnError) {
  const auto none = judge_driver({root_, root_, "1"}, "", {});
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message, HasSubstr("cpu.cc"));
}

}  // namespace
}  // namespace quern
