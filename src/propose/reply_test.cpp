// SPDX-License-Identifier: Apache-2.0
#include "propose/reply.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quern {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

const char* const kKernel = "extern \"C\" void relu(long n, const float* x, float* y) {\n}\n";

std::string fenced(const std::string& text, const std::string& fence = "```cpp") {
  return fence + "\n" + text + fence.substr(0, fence.find_first_not_of("`~")) + "\n";
}

std::string code(const std::string& reply) {
  const auto found = extract_code(reply, "relu");
  return found ? *found : "ERROR " + found.error().message;
}

TEST(ExtractCode, TakesTheBlockThatDefinesTheEntry) {
  const std::string helper = "static int relu_helper(int a) { return a; }\n";
  EXPECT_EQ(code("Some thoughts.\n" + fenced(kKernel) + "Done."), kKernel);
  EXPECT_EQ(code(fenced(kKernel) + "and a test:\n" + fenced(helper)), kKernel);
  EXPECT_EQ(code(fenced("make\n", "```bash") + fenced(kKernel, "~~~~c++")), kKernel);
  EXPECT_EQ(code("1. As follows:\n   " + fenced(kKernel)), kKernel) << "in a list";
}

TEST(ExtractCode, TakesTheLastOfSeveralVersions) {
  const std::string better = std::string("// better\n") + kKernel;
  EXPECT_EQ(code(fenced(kKernel) + "Wait, I forgot the tail.\n" + fenced(better)), better);
}

TEST(ExtractCode, PrefersACompleteBlockToOneThatWasCutOff) {
  EXPECT_EQ(code(fenced(kKernel) + "```cpp\n// longer\n" + kKernel), kKernel);
  EXPECT_EQ(code(std::string("```cpp\n") + kKernel), kKernel) << "where there is no other";
}

TEST(ExtractCode, ReadsWindowsLineEndsAndMissingLanguages) {
  EXPECT_EQ(code("Hi\r\n```\r\nextern \"C\" void relu(long n) {\r\n}\r\n```\r\n"),
            "extern \"C\" void relu(long n) {\n}\n");
}

TEST(ExtractCode, KeepsFencesInsideLongerFencesAsText) {
  const std::string commented = "// ```\n" + std::string(kKernel);
  EXPECT_EQ(code("````cpp\n" + commented + "```\n````\n"), commented + "```\n");
}

TEST(ExtractCode, FindsBareCodeWithoutFences) {
  EXPECT_EQ(code(std::string("Here you are:\n#include <cmath>\n") + kKernel),
            std::string("#include <cmath>\n") + kKernel);
}

TEST(ExtractCode, SaysWhatIsMissing) {
  EXPECT_THAT(code("I cannot help with that."), HasSubstr("no code block"));
  EXPECT_THAT(code(""), HasSubstr("no code block"));
  EXPECT_THAT(code("Use ```relu(x)``` in a line."), HasSubstr("no code block"));
  EXPECT_THAT(code(fenced("int a;\n") + fenced("int b;\n")), HasSubstr("none of the reply's 2"));
  EXPECT_THAT(code(fenced("") + "nothing"), HasSubstr("ERROR"));
  EXPECT_THAT(code(fenced("void f() { relu(1); }\n") + fenced("void relu(int);\n")),
              HasSubstr("none"))
      << "calls and declarations define nothing";
}

TEST(ExtractEdits, ReadsBlocksInsideAndOutsideFences) {
  const std::string edit = "<<<<<<< SEARCH\na\n=======\nb\nc\n>>>>>>> REPLACE\n";
  const auto edits = extract_edits("First:\n" + edit + "then\n```diff\n" + edit + "```\n");
  ASSERT_TRUE(edits.has_value());
  ASSERT_THAT(*edits, SizeIs(2));
  EXPECT_EQ((*edits)[1].search, "a\n");
  EXPECT_EQ((*edits)[1].replace, "b\nc\n");
  EXPECT_THAT(*extract_edits("no edit here"), SizeIs(0));
}

TEST(ExtractEdits, RefusesBlocksThatAreCutOff) {
  EXPECT_FALSE(extract_edits("<<<<<<< SEARCH\na\n").has_value());
  EXPECT_FALSE(extract_edits("<<<<<<< SEARCH\na\n=======\nb\n").has_value());
  EXPECT_FALSE(extract_edits("<<<<<<< SEARCH\na\n>>>>>>> REPLACE\n").has_value());
}

std::string edited(const std::string& source, const CodeEdit& edit) {
  const auto made = apply_edits(source, {edit});
  return made ? *made : "ERROR " + made.error().message + " | " + made.error().hint;
}

TEST(ApplyEdits, ReplacesInsertsAndDeletes) {
  EXPECT_EQ(edited("a\nb\nc\n", {"b\n", "x\ny\n"}), "a\nx\ny\nc\n");
  EXPECT_EQ(edited("a\nb\nc\n", {"a\nb\n", ""}), "c\n");
  EXPECT_EQ(edited("a\n", {"a\n", "a\nb\n"}), "a\nb\n");
}

TEST(ApplyEdits, ForgivesBlanksAndIndentation) {
  EXPECT_EQ(edited("a  \nb\n", {"a\n", "x\n"}), "x\nb\n");
  EXPECT_EQ(edited("{\n    a;\n    b;\n}\n", {"a;\nb;\n", "if (c)\n  d;\n"}),
            "{\n    if (c)\n      d;\n}\n");
}

TEST(ApplyEdits, RefusesWhatIsNotThereOrNotUnique) {
  EXPECT_THAT(edited("float sum = 0;\n", {"float sun = 0;\n", "x\n"}),
              HasSubstr("it has: `float sum = 0;`"));
  EXPECT_THAT(edited("a\na\n", {"a\n", "b\n"}), HasSubstr("fits 2 places"));
  EXPECT_THAT(edited("a\n", {"\n", "b\n"}), HasSubstr("searches for nothing"));
  EXPECT_THAT(edited("", {"a\n", "b\n"}), HasSubstr("no such lines"));
}

TEST(ApplyEdits, WorksInOrder) {
  const auto made = apply_edits("a\n", {{"a\n", "b\n"}, {"b\n", "c\n"}});
  ASSERT_TRUE(made.has_value());
  EXPECT_EQ(*made, "c\n");
}

}  // namespace
}  // namespace quern
