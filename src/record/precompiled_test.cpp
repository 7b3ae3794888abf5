// SPDX-License-Identifier: Apache-2.0
#include "record/precompiled.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quern {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Precompiled, DecodesBase64WithItsPadding) {
  EXPECT_EQ(*from_base64(""), "");
  EXPECT_EQ(*from_base64("aGVsbG8="), "hello");
  EXPECT_EQ(*from_base64("aGVsbA=="), "hell");
  EXPECT_EQ(*from_base64("AP+/fw=="), std::string("\0\xff\xbf\x7f", 4));
}

TEST(Precompiled, RefusesWhatIsNoBase64) {
  EXPECT_FALSE(from_base64("aGVsbG8"));
  EXPECT_FALSE(from_base64("aG=sbG8="));
  EXPECT_FALSE(from_base64("aGVs bG8"));
}

TEST(Precompiled, FindsTheCubinsBehindThePlan) {
  const auto cubins = precompiled_cubins(
      "// quern: code = cubin\n\n"
      "cubin\naGVs\nbG8=\n"
      "cubin\nd29ybGQ=\n");
  ASSERT_TRUE(cubins) << cubins.error().message;
  EXPECT_THAT(*cubins, ElementsAre("hello", "world"));
}

TEST(Precompiled, TakesLinesOfBase64ThatLookLikeComments) {
  const auto cubins = precompiled_cubins("// a plan\ncubin\n////\n//8=\n");
  ASSERT_TRUE(cubins) << cubins.error().message;
  EXPECT_THAT(*cubins, ElementsAre("\xff\xff\xff\xff\xff"));
}

TEST(Precompiled, SaysWhichLineIsWrong) {
  const auto message = [](const std::string& source) {
    const auto cubins = precompiled_cubins(source);
    return cubins ? "accepted" : cubins.error().message;
  };
  EXPECT_THAT(message("// quern: code = cubin\n"), HasSubstr("there is no cubin"));
  EXPECT_THAT(message("// a plan\naGVs\n"), HasSubstr("line 2: expected `cubin`"));
  EXPECT_THAT(message("cubin\nint main() {}\n"), HasSubstr("line 2: this is not base64"));
}

}  // namespace
}  // namespace quern
