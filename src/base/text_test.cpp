// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "base/hash.h"
#include "base/strings.h"
#include "base/suggest.h"

namespace quern {
namespace {

TEST(Sha256, AgreesWithThePublishedVectors) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Hasher, TellsWhereOnePartEndsAndTheNextBegins) {
  EXPECT_NE(Hasher().add("ab").add("c").hex(), Hasher().add("a").add("bc").hex());
  EXPECT_EQ(Hasher().add("ab").add("c").hex(), Hasher().add("ab").add("c").hex());
}

TEST(Strings, SplitKeepsEmptyPiecesAndJoinUndoesIt) {
  EXPECT_EQ(split("a,,b", ','), (std::vector<std::string>{"a", "", "b"}));
  EXPECT_EQ(split("", ','), (std::vector<std::string>{""}));
  EXPECT_EQ(join(split("a,,b,", ','), ","), "a,,b,");
}

TEST(Strings, WordsIgnoreRunsOfSpace) {
  EXPECT_EQ(split_words("  a \t b\nc "), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_TRUE(split_words(" \n").empty());
  EXPECT_EQ(trim(" \t a b \n"), "a b");
  EXPECT_EQ(trim("  "), "");
}

TEST(Strings, ReplacesEveryOccurrenceOnce) { EXPECT_EQ(replace_all("aXbX", "X", "XX"), "aXXbXX"); }

TEST(Strings, ShortenSaysHowMuchIsMissing) {
  EXPECT_EQ(shorten("abc", 3), "abc");
  EXPECT_EQ(shorten("abcdef", 2), "ab\n… (4 bytes more)");
}

TEST(Strings, IdentifiersStartWithALetter) {
  EXPECT_TRUE(is_identifier("_a9"));
  EXPECT_FALSE(is_identifier("9a"));
  EXPECT_FALSE(is_identifier(""));
  EXPECT_FALSE(is_identifier("a-b"));
}

TEST(Suggest, FindsTheNearestSpelling) {
  std::vector<std::string> known = {"softmax", "layer_norm", "doctor", "tasks"};
  EXPECT_EQ(nearest("sofmtax", known), "softmax");
  EXPECT_EQ(nearest("docter", known), "doctor");
  EXPECT_EQ(nearest("zzzzzz", known), "");
  EXPECT_EQ(did_you_mean("task", known), "did you mean 'tasks'?");
  EXPECT_EQ(did_you_mean("quux", known), "");
  EXPECT_EQ(suggest("task", known), "did you mean 'tasks'?");
  EXPECT_EQ(suggest("quux", {"a", "b"}), "known: a, b");
  EXPECT_EQ(suggest("quux", {}), "none is known");
}

TEST(Suggest, CountsASwapAsOneEdit) {
  EXPECT_EQ(edit_distance("ab", "ba"), 1);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
}

TEST(ShellWord, QuotesWhatAShellWouldTakeApart) {
  EXPECT_EQ(shell_word("runs/softmax-cpu_001.d"), "runs/softmax-cpu_001.d");
  EXPECT_EQ(shell_word("my kernel"), "'my kernel'");
  EXPECT_EQ(shell_word("it's; $x"), "'it'\\''s; $x'");
  EXPECT_EQ(shell_word(""), "''");
}

}  // namespace
}  // namespace quern
