// SPDX-License-Identifier: Apache-2.0
#include "device/cpu/compiler.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "base/file.h"
#include "device/cpu/testing.h"

namespace quern {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* kDouble = R"(
extern "C" void twice(long n, const float* x, float* y) {
#pragma omp parallel for
  for (long i = 0; i < n; ++i) y[i] = 2 * x[i];
}
)";

class CompilerTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "quern_compiler_test_" + std::to_string(getpid());
    ASSERT_TRUE(remove_all(folder_));
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<CpuCompiler> make(CompilerOptions options = {}) {
    options.cache_dir = folder_ + "/cache";
    auto compiler = CpuCompiler::make(options);
    EXPECT_TRUE(compiler) << (compiler ? "" : compiler.error().message);
    return compiler ? std::move(*compiler) : nullptr;
  }
  static CompileFailed failure(const Outcome<Binary>& outcome) {
    if (!outcome.has_verdict()) {
      ADD_FAILURE() << (outcome ? "it compiled" : outcome.error().message);
      return {};
    }
    return std::get<CompileFailed>(outcome.verdict());
  }
  std::string folder_;
};

TEST_F(CompilerTest, MakesALibraryThatRunsAndFindsItAgain) {
  auto compiler = make();
  auto first = compiler->compile({kDouble});
  ASSERT_TRUE(first) << trouble(first);
  EXPECT_FALSE(first->build.cached);
  EXPECT_GT(first->build.compile_ms, 0);
  EXPECT_THAT(first->build.flags, HasSubstr("-march=native"));
  EXPECT_THAT(first->build.compiler, HasSubstr("g++ 1"));
  void* library = dlopen(first->path.c_str(), RTLD_NOW);
  ASSERT_NE(library, nullptr) << dlerror();
  auto twice = reinterpret_cast<void (*)(long, const float*, float*)>(dlsym(library, "twice"));
  float x[3] = {1, 2, 3}, y[3] = {};
  twice(3, x, y);
  EXPECT_EQ(y[2], 6);
  auto second = make()->compile({kDouble});
  ASSERT_TRUE(second);
  EXPECT_TRUE(second->build.cached);
  EXPECT_EQ(second->build.binary_hash, first->build.binary_hash);
  EXPECT_EQ(second->build.log, first->build.log);
}

TEST_F(CompilerTest, EqualCodeHasEqualHashesWhateverItsComments) {
  auto compiler = make();
  auto first = compiler->compile({kDouble});
  auto second = compiler->compile({std::string("// a comment\n") + kDouble});
  ASSERT_TRUE(first && second);
  EXPECT_FALSE(second->build.cached);
  EXPECT_EQ(first->build.binary_hash, second->build.binary_hash);
}

TEST_F(CompilerTest, MacrosSpecialiseAndAreInTheKey) {
  auto compiler = make();
  CompileJob job{"extern \"C\" long size() { return QUERN_SIZE_n; }", {{"QUERN_SIZE_n", 7}}};
  auto seven = compiler->compile(job);
  ASSERT_TRUE(seven);
  job.macros[0].second = int64_t{1} << 40;
  auto large = compiler->compile(job);
  ASSERT_TRUE(large);
  void* library = dlopen(large->path.c_str(), RTLD_NOW);
  ASSERT_NE(library, nullptr);
  EXPECT_EQ(reinterpret_cast<long (*)()>(dlsym(library, "size"))(), 1L << 40);
  job.macros.clear();
  EXPECT_THAT(failure(compiler->compile(job)).reason, HasSubstr("QUERN_SIZE_n"));
}

TEST_F(CompilerTest, DiagnosticsNameTheCandidateAndNoFolderOfOurs) {
  auto compiler = make();
  CompileFailed failed = failure(compiler->compile({"int f() {\n  return undefined_name;\n}\n"}));
  EXPECT_THAT(failed.reason, HasSubstr("'undefined_name' was not declared"));
  EXPECT_THAT(failed.evidence, HasSubstr("candidate.cpp:2:10: error:"));
  EXPECT_THAT(failed.evidence, Not(HasSubstr(folder_)));
}

TEST_F(CompilerTest, AFailureIsCachedToo) {
  auto compiler = make();
  CompileFailed first = failure(compiler->compile({"garbage"}));
  CompileFailed again = failure(compiler->compile({"garbage"}));
  EXPECT_EQ(first.evidence, again.evidence);
}

TEST_F(CompilerTest, UndefinedReferencesFailAtTheLink) {
  auto compiler = make();
  CompileFailed failed =
      failure(compiler->compile({"void nowhere(); extern \"C\" void f() { nowhere(); }"}));
  EXPECT_THAT(failed.reason, HasSubstr("undefined reference to `nowhere()'"));
}

TEST_F(CompilerTest, ASourceCannotReadFilesOfThisMachine) {
  auto compiler = make();
  if (!compiler->sandbox().files_restricted) GTEST_SKIP() << "this kernel has no Landlock";
  CompileFailed failed = failure(compiler->compile({"#include \"/etc/passwd\"\n"}));
  EXPECT_THAT(failed.evidence, HasSubstr("/etc/passwd: Permission denied"));
  EXPECT_THAT(failed.evidence, Not(HasSubstr("root")));
  failed = failure(compiler->compile({"asm(\".incbin \\\"/etc/passwd\\\"\");\n"}));
  EXPECT_THAT(failed.evidence, HasSubstr("/etc/passwd"));
}

TEST_F(CompilerTest, ASourceCannotReadAnotherCandidate) {
  auto compiler = make();
  if (!compiler->sandbox().files_restricted) GTEST_SKIP() << "this kernel has no Landlock";
  auto other = compiler->compile({kDouble});
  ASSERT_TRUE(other);
  failure(compiler->compile({"asm(\".incbin \\\"" + other->path + "\\\"\");\n"}));
}

TEST_F(CompilerTest, ACompilerThatTakesTooLongIsStopped) {
  auto compiler = make({.deadline_s = 0.5});
  // Each level doubles the instantiations.
  CompileJob job{R"(
template <int n, int m> struct S { static constexpr long v = S<n - 1, 2 * m>::v + S<n - 1, 2 * m + 1>::v; };
template <int m> struct S<0, m> { static constexpr long v = m; };
long x = S<28, 1>::v;
)"};
  EXPECT_EQ(failure(compiler->compile(job)).reason, "the compiler exceeded 0.5 s");
  job.deadline_s = 0.25;
  EXPECT_EQ(failure(compiler->compile(job)).reason, "the compiler exceeded 0.25 s");
  job.deadline_s = 100;
  EXPECT_EQ(failure(compiler->compile(job)).reason, "the compiler exceeded 0.5 s");
}

TEST_F(CompilerTest, CompilesSeveralAtOnceInOrder) {
  auto compiler = make();
  std::vector<CompileJob> jobs;
  for (int i = 0; i < 6; ++i) {
    jobs.push_back({i == 3 ? "bad" : "int value" + std::to_string(i) + " = 1;"});
  }
  auto outcomes = compiler->compile_all(jobs);
  ASSERT_EQ(outcomes.size(), 6u);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(outcomes[i].has_value(), i != 3) << i;
  EXPECT_THAT(read_file(outcomes[4]->path).value(), HasSubstr("value4"));
}

TEST_F(CompilerTest, ThePreludeIsPrecompiledAndMacrosReachItsUser) {
  auto compiler =
      make({.prelude = "#pragma once\n#include <cmath>\ninline long three() { return 3; }\n"});
  CompileJob job{"#include \"quern_cpu.h\"\nextern \"C\" long f() { return three() + N; }\n",
                 {{"N", 4}}};
  auto binary = compiler->compile(job);
  ASSERT_TRUE(binary) << trouble(binary);
  EXPECT_EQ(binary->build.log, "");
  job.source = "#include \"quern_cpu.h\"\nint x = four();\n";
  CompileFailed failed = failure(compiler->compile(job));
  EXPECT_THAT(failed.evidence, Not(HasSubstr(folder_)));
  auto again = make({.prelude = "#pragma once\ninline int four() { return 4; }\n"});
  EXPECT_TRUE(again->compile(job)) << "another prelude is another key";
}

TEST_F(CompilerTest, ABrokenPreludeIsOurError) {
  CompilerOptions options;
  options.cache_dir = folder_ + "/cache";
  options.prelude = "not C++";
  auto compiler = CpuCompiler::make(options);
  ASSERT_FALSE(compiler);
  EXPECT_EQ(compiler.error().kind, ErrorKind::kInternal);
}

TEST_F(CompilerTest, AMissingCompilerSaysHowToInstallOne) {
  CompilerOptions options;
  options.cache_dir = folder_ + "/cache";
  options.compiler = "no-such-g++";
  auto compiler = CpuCompiler::make(options);
  ASSERT_FALSE(compiler);
  EXPECT_EQ(compiler.error().kind, ErrorKind::kEnvironment);
  EXPECT_THAT(compiler.error().hint, HasSubstr("apt install g++"));
}

TEST_F(CompilerTest, CandidatesMayNotLinkLibrariesButTrustedJobsMay) {
  auto compiler = make();
  CompileJob job{"extern \"C\" double lgamma(double); double f(double x) { return lgamma(x); }"};
  job.libraries = {"m"};
  EXPECT_THAT(failure(compiler->compile(job)).reason, HasSubstr("may not link"));
  job.trusted = true;
  EXPECT_TRUE(compiler->compile(job));
}

TEST_F(CompilerTest, ADamagedCacheEntryIsBuiltAgain) {
  auto compiler = make();
  auto first = compiler->compile({kDouble});
  ASSERT_TRUE(first);
  std::string description = std::filesystem::path(first->path).replace_extension(".json").string();
  ASSERT_TRUE(write_file_atomic(description, "{\"bytes\": \"many\"}"));
  EXPECT_FALSE(compiler->compile({kDouble})->build.cached);
  ASSERT_EQ(truncate(first->path.c_str(), 10), 0);
  EXPECT_FALSE(compiler->compile({kDouble})->build.cached);
  EXPECT_TRUE(compiler->compile({kDouble})->build.cached);
}

TEST_F(CompilerTest, NoScratchFolderIsLeft) {
  auto compiler = make();
  (void)compiler->compile({kDouble});
  (void)compiler->compile({"garbage"});
  for (auto& entry : std::filesystem::directory_iterator(folder_ + "/cache")) {
    EXPECT_EQ(entry.path().filename(), "bin");
  }
}

TEST_F(CompilerTest, CompilersOfOneFolderDoNotMeet) {
  std::vector<std::string> said(4);
  std::vector<std::unique_ptr<CpuCompiler>> compilers;
  for (size_t i = 0; i < said.size(); ++i) compilers.push_back(make());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < said.size(); ++i) {
    threads.emplace_back([&, i] {
      const auto outcome =
          compilers[i]->compile({fmt::format("int f() {{ return nothing_{}; }}", i)});
      said[i] = outcome.has_verdict() ? verdict_evidence(outcome.verdict()) : trouble(outcome);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < said.size(); ++i) {
    EXPECT_THAT(said[i], HasSubstr(fmt::format("nothing_{}", i)));
  }
}

TEST_F(CompilerTest, ClangWorksWherePresent) {
  CompilerOptions options;
  options.cache_dir = folder_ + "/cache";
  options.compiler = "clang++";
  auto compiler = CpuCompiler::make(options);
  if (!compiler) GTEST_SKIP() << compiler.error().message;
  EXPECT_THAT((*compiler)->version(), HasSubstr("clang++ 1"));
  auto binary = (*compiler)->compile({kDouble});
  EXPECT_TRUE(binary) << trouble(binary);
  EXPECT_THAT(failure((*compiler)->compile({"int f() { return nothing; }"})).evidence,
              HasSubstr("candidate.cpp:1:18: error:"));
}

}  // namespace
}  // namespace quern
