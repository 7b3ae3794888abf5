// SPDX-License-Identifier: Apache-2.0
#include "propose/prompt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"

namespace quern {
namespace {

using testing::HasSubstr;

std::string folder_with(const std::string& name, const std::string& text) {
  const auto* info = testing::UnitTest::GetInstance()->current_test_info();
  const std::string folder = testing::TempDir() + "prompts-" + info->name();
  std::filesystem::remove_all(folder);
  EXPECT_TRUE(make_directories(folder));
  if (!name.empty()) {
    EXPECT_TRUE(write_file_atomic(folder + "/" + name, text));
  }
  return folder;
}

TEST(Prompts, OfAFolderTakeThePlaceOfQuernsOwn) {
  const auto prompts =
      Prompts::make(folder_with("draft.mustache", "Do {{what}}, {{missing}}please."));
  ASSERT_TRUE(prompts) << prompts.error().message;
  EXPECT_EQ(*prompts->render("draft", {{"what", "it <now>"}}), "Do it <now>, please.");
  EXPECT_TRUE(prompts->has("rewrite"));
}

TEST(Prompts, ComeBackFromTheTextThatARunKeeps) {
  const auto prompts = Prompts::make(folder_with("mine.mustache", "Mine: {{x}}"));
  ASSERT_TRUE(prompts);
  const auto again = Prompts::parse(prompts->text());
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->names(), prompts->names());
  EXPECT_EQ(*again->render("mine", {{"x", 1}}), "Mine: 1");
  EXPECT_FALSE(Prompts::parse("[1]"));
  EXPECT_FALSE(Prompts::parse("{\"a\": 1}"));
}

TEST(Prompts, RefuseAFolderWithoutTemplatesAndOneThatIsNotThere) {
  EXPECT_THAT(Prompts::make(folder_with("draft.txt", "x")).error().message,
              HasSubstr("has no templates"));
  EXPECT_THAT(Prompts::make("/nowhere").error().message, HasSubstr("/nowhere"));
}

TEST(Prompts, RefuseATemplateThatIsNotMustache) {
  const auto prompts = Prompts::make(folder_with("draft.mustache", "{{#open}} never closed"));
  ASSERT_FALSE(prompts);
  EXPECT_THAT(prompts.error().message, HasSubstr("draft.mustache"));
}

TEST(Prompts, NameTheNearestTemplate) {
  const auto missing = Prompts::make()->render("rewrit", {});
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().hint, HasSubstr("'rewrite'"));
}

}  // namespace
}  // namespace quern
