// SPDX-License-Identifier: Apache-2.0
#include "search/suite_candidates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"

namespace quern {
namespace {

using testing::HasSubstr;

class Offered : public testing::Test {
 protected:
  void SetUp() override {
    root_ = testing::TempDir() + "offered-" +
            testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(root_);
  }
  void write(const std::string& name, const std::string& text) {
    const std::filesystem::path path = root_ + "/" + name;
    std::filesystem::create_directories(path.parent_path());
    ASSERT_TRUE(write_file_atomic(path, text));
  }
  std::vector<OfferedSample> read(const std::string& name = "") {
    const auto offered = read_offered(name.empty() ? root_ : root_ + "/" + name);
    EXPECT_TRUE(offered) << offered.error().message;
    return offered ? offered->samples : std::vector<OfferedSample>();
  }
  std::string root_;
};

SuiteTask task(const std::string& name, int level = 0, int problem = 0) {
  SuiteTask made;
  made.name = made.alias = name;
  made.level = level;
  made.problem = problem;
  return made;
}

TEST_F(Offered, NamesOfABenchmarksRunsSayLevelProblemAndSample) {
  write("model/level_1_problem_19_sample_2_kernel.py", "import torch\n");
  write("model/level_1_problem_7_sample_0_kernel.cu", "__global__ void k() {}\n");
  const auto samples = read();
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[0].problem, 19);
  EXPECT_EQ(samples[0].number, 2);
  EXPECT_EQ(samples[0].language, "python");
  EXPECT_EQ(samples[1].language, "cuda");
  EXPECT_EQ(samples[1].unsupported, "");
  EXPECT_TRUE(is_for(samples[0], task("l1_19_relu", 1, 19)));
  EXPECT_FALSE(is_for(samples[0], task("l1_7_x", 1, 7)));
}

TEST_F(Offered, FilesInAFolderOfATasksNameAreItsSamplesInOrder) {
  write("relu/b.cpp", "b");
  write("relu/a.c", "a");
  write("softmax.cpp", "s");
  write("relu/notes.txt", "no kernel");
  const auto offered = read_offered(root_ + "/");
  ASSERT_TRUE(offered);
  ASSERT_EQ(offered->samples.size(), 3u);
  EXPECT_EQ(offered->samples[0].source, "a");
  EXPECT_EQ(offered->samples[1].number, 1);
  EXPECT_TRUE(is_for(offered->samples[1], task("relu")));
  EXPECT_TRUE(is_for(offered->samples[2], task("softmax")));
  ASSERT_EQ(offered->ignored.size(), 1u);
  EXPECT_THAT(offered->ignored[0], HasSubstr("notes.txt"));
}

TEST_F(Offered, LinesOfJsonNameTheirTaskOrItsPlaceInABenchmark) {
  write("samples.jsonl",
        R"({"task": "relu", "source": "x"})"
        "\n\n"
        R"({"level": 1, "problem_id": 3, "sample_id": 4, "code": "y", "language": "Triton"})"
        "\n");
  const auto samples = read("samples.jsonl");
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[0].language, "c++");
  EXPECT_THAT(samples[0].origin, HasSubstr("samples.jsonl:1"));
  EXPECT_EQ(samples[1].number, 4);
  EXPECT_EQ(samples[1].language, "python");
  EXPECT_TRUE(is_for(samples[1], task("any", 1, 3)));
}

TEST_F(Offered, ALineWithKernelBenchsClassIsPythonWhateverItsBackEnd) {
  write("samples.jsonl",
        R"({"level": 1, "problem_id": 3, "code": "class ModelNew: pass", "backend": "cuda"})"
        "\n"
        R"({"level": 1, "problem_id": 3, "code": "class ModelNew: pass"})"
        "\n");
  const auto samples = read("samples.jsonl");
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[0].language, "python");
  EXPECT_EQ(samples[1].language, "python");
}

TEST_F(Offered, ASolutionOfPlainCodeIsACandidateAndOneWithABindingIsNot) {
  write("plain.json", R"({"name": "s1", "definition": "rmsnorm_d64", "author": "a",
    "spec": {"language": "cpp", "target_hardware": ["CPU"], "entry_point": "main.cpp::norm"},
    "sources": [{"path": "main.cpp", "content": "void norm();"}]})");
  write("bound.json", R"({"name": "s2", "definition": "rmsnorm_d64", "author": "a",
    "spec": {"language": "cuda", "entry_point": "k.cu::run", "binding": "torch"},
    "sources": [{"path": "k.cu", "content": "void run();"}]})");
  const auto plain = read("plain.json"), bound = read("bound.json");
  ASSERT_EQ(plain.size(), 1u);
  EXPECT_EQ(plain[0].source, "// quern: entry = norm\nvoid norm();");
  EXPECT_EQ(plain[0].unsupported, "");
  EXPECT_TRUE(is_for(plain[0], task("rmsnorm_d64")));
  EXPECT_THAT(bound[0].unsupported, HasSubstr("binding is 'torch'"));
}

TEST_F(Offered, ASolutionInPythonSaysWhichFunctionToCallAndHow) {
  write("a.json", R"({"name": "s", "definition": "d", "author": "a",
    "spec": {"languages": ["triton"], "entry_point": "k.py::norm", "binding": null,
             "destination_passing_style": false},
    "sources": [{"path": "k.py", "content": "import torch"}]})");
  write("b.json", R"({"name": "s", "definition": "d", "author": "a",
    "spec": {"language": "python", "entry_point": "k.py::norm"},
    "sources": [{"path": "k.py", "content": "import torch"}]})");
  const auto returns = read("a.json"), fills = read("b.json");
  ASSERT_EQ(returns.size() + fills.size(), 2u);
  EXPECT_EQ(returns[0].language, "python");
  EXPECT_EQ(returns[0].unsupported, "");
  EXPECT_EQ(returns[0].entry, "norm");
  EXPECT_FALSE(returns[0].fills_outputs);
  EXPECT_TRUE(fills[0].fills_outputs) << "FlashInfer-Bench's default";
}

TEST_F(Offered, OutputsCompleteTheirPromptAndKeepTheirModel) {
  write("outputs.json", R"([{"name": "03_axpy", "parallelism_model": "omp", "language": "cpp",
    "prompt": "void axpy() {", "outputs": [" a(); }", {"output": " b(); }"}]},
    {"name": "03_axpy", "parallelism_model": "mpi", "prompt": "void axpy() {", "outputs": ["}"]}])");
  const auto samples = read("outputs.json");
  ASSERT_EQ(samples.size(), 3u);
  EXPECT_EQ(samples[0].source, "void axpy() { a(); }");
  EXPECT_EQ(samples[1].source, "void axpy() { b(); }");
  EXPECT_EQ(samples[1].model, "omp");
  EXPECT_EQ(samples[1].unsupported, "");
  EXPECT_THAT(samples[2].unsupported, HasSubstr("'mpi'"));
}

TEST_F(Offered, LinesOfAnotherKindInAFolderAreNamedAndBrokenSamplesAreRefused) {
  write("relu/a.c", "a");
  write("workload.jsonl", "{\"uuid\": 1}\n");
  const auto offered = read_offered(root_);
  ASSERT_TRUE(offered);
  EXPECT_EQ(offered->samples.size(), 1u);
  ASSERT_EQ(offered->ignored.size(), 1u);
  EXPECT_THAT(offered->ignored[0], HasSubstr("workload.jsonl"));
  write("samples.jsonl", "{\"task\": \"relu\", \"source\": \"x\"}\n{broken\n");
  const auto broken = read_offered(root_);
  ASSERT_FALSE(broken);
  EXPECT_THAT(broken.error().message, HasSubstr("samples.jsonl:2"));
}

TEST_F(Offered, BadInputSaysWhereAndWhat) {
  write("bad.jsonl", "{\"task\": \"relu\"}\n");
  const auto bad = read_offered(root_ + "/bad.jsonl");
  ASSERT_FALSE(bad);
  EXPECT_THAT(bad.error().message, HasSubstr("bad.jsonl:1"));
  write("broken.jsonl", "{\n");
  EXPECT_THAT(read_offered(root_ + "/broken.jsonl").error().message, HasSubstr("broken.jsonl:1"));
  write("empty/readme.md", "");
  EXPECT_THAT(read_offered(root_ + "/empty").error().message, HasSubstr("no candidate"));
  EXPECT_FALSE(read_offered(root_ + "/nowhere"));
  EXPECT_FALSE(read_offered(root_ + "/empty/readme.md"));
}

}  // namespace
}  // namespace quern
