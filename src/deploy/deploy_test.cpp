// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>

#include "deploy/artifact.h"
#include "deploy/size_text.h"
#include "task/parse.h"

namespace quern {
namespace {

using ir::IntExpr;

TEST(SizeText, WritesTheSameValueInBothLanguages) {
  const IntExpr half = ir::int_binary(IntExpr::Kind::kDiv, ir::int_size("h") + ir::int_constant(1),
                                      ir::int_constant(2));
  EXPECT_EQ(size_text(half, SizeLanguage::kPython), "((h + 1) // 2)");
  EXPECT_EQ(size_text(half, SizeLanguage::kCpp),
            "quern_floor_div((h + std::int64_t{1}), std::int64_t{2})");
}

TEST(SizeText, WritesTuplesOfOneAndOfNone) {
  EXPECT_EQ(shape_text({}, SizeLanguage::kPython), "()");
  EXPECT_EQ(shape_text({ir::int_size("n")}, SizeLanguage::kPython), "(n,)");
  EXPECT_EQ(shape_text({ir::int_size("n"), ir::int_size("m")}, SizeLanguage::kCpp), "n, m");
}

TEST(SizeText, LeavesReservedWordsToTheLanguages) {
  EXPECT_EQ(safe_name("lambda"), "lambda_");
  EXPECT_EQ(safe_name("lambdas"), "lambdas");
}

Winner winner(const std::string& text, const std::string& source) {
  const auto program = parse_task(text, "test.task");
  EXPECT_TRUE(program.has_value());
  Winner made;
  made.program = *program;
  made.sizes = *ir::bind_sizes(made.program, "full");
  made.task_text = text;
  made.source = source;
  made.binary = "ELF…";
  made.oracle = "ELF too";
  return made;
}

constexpr const char* kTask = R"(# Twice "as" much */
task twice(in = 4)
input x : f32[in]
output y[i] = 2 * x[i]
)";

const ArtifactFile* find(const std::vector<ArtifactFile>& files, const std::string& path) {
  const auto found = std::ranges::find(files, path, &ArtifactFile::path);
  return found == files.end() ? nullptr : &*found;
}

TEST(Artifact, HoldsTheMeasuredLibraryForEveryWrapper) {
  const auto files = make_artifact(winner(kTask, "// quern: entry = twice\n"));
  ASSERT_TRUE(files.has_value());
  for (const char* path : {"lib/libtwice.so", "python/quern_twice/libtwice.so"}) {
    ASSERT_NE(find(*files, path), nullptr) << path;
    EXPECT_EQ(find(*files, path)->bytes, "ELF…");
  }
  EXPECT_NE(find(*files, "include/quern/twice.h"), nullptr);
  EXPECT_NE(find(*files, "test/test_twice.py"), nullptr);
}

TEST(Artifact, NoTextOfATaskEndsACommentOrBecomesAKeyword) {
  const auto files = make_artifact(winner(kTask, "// quern: entry = twice\n"));
  ASSERT_TRUE(files.has_value());
  const std::string header = find(*files, "include/quern/twice.h")->bytes;
  EXPECT_NE(header.find("/* Twice as much / Generated"), std::string::npos) << header;
  const std::string package = find(*files, "python/quern_twice/__init__.py")->bytes;
  EXPECT_NE(package.find("in_ = x.shape[0]"), std::string::npos) << package;
}

TEST(Artifact, OnlyALibraryBuiltForItsSizesRefusesOthers) {
  const auto any = make_artifact(winner(kTask, "// quern: entry = twice\n"));
  const auto fixed =
      make_artifact(winner(kTask, "// quern: entry = twice\n// quern: specialize = sizes\n"));
  ASSERT_TRUE(any.has_value() && fixed.has_value());
  const char* path = "include/quern/twice.hpp";
  EXPECT_EQ(find(*any, path)->bytes.find("built for in_"), std::string::npos);
  EXPECT_NE(find(*fixed, path)->bytes.find("built for in_ = 4"), std::string::npos);
}

TEST(Artifact, RefusesAKernelThatIsACallOfALibrary) {
  const auto files = make_artifact(winner(kTask, "// quern: libraries = openblas\n"));
  ASSERT_FALSE(files.has_value());
  EXPECT_NE(files.error().message.find("openblas"), std::string::npos);
}

}  // namespace
}  // namespace quern
