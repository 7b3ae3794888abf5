// SPDX-License-Identifier: Apache-2.0
#include "search/code_similarity.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

namespace quern::metrics {
namespace {

constexpr const char* kLoop = "for (int i = 0; i < n; ++i) { y[i] = x[i] + 1; }";

TEST(CodeSimilarity, ASourceIsWhollyLikeItselfWhateverItsSpaceAndComments) {
  const CodeSimilarity same =
      code_similarity("for(int i=0;i<n;++i){ // up\n y[i]=x[i]+1; /* } */ }", kLoop);
  EXPECT_DOUBLE_EQ(same.ngram, 1);
  EXPECT_DOUBLE_EQ(same.weighted, 1);
  EXPECT_DOUBLE_EQ(same.tree, 1);
  EXPECT_DOUBLE_EQ(same.total, 1);
}

TEST(CodeSimilarity, NothingIsLikeNothingAndUnlikeEverythingElse) {
  EXPECT_DOUBLE_EQ(code_similarity("", "").total, 1);
  EXPECT_DOUBLE_EQ(code_similarity("", kLoop).total, 0);
  EXPECT_DOUBLE_EQ(code_similarity(kLoop, " // empty").total, 0);
}

TEST(CodeSimilarity, NgramsOfFourTokensOfWhichOneDiffersAreTheFormulas) {
  // a b c d against a b c e: 3/4, (2 + 1)/(3 + 1), (1 + 1)/(2 + 1), (0 + 1)/(1 + 1).
  const CodeSimilarity found = code_similarity("a b c d", "a b c e");
  EXPECT_NEAR(found.ngram, std::pow(0.75 * 0.75 * (2.0 / 3) * 0.5, 0.25), 1e-12);
  EXPECT_DOUBLE_EQ(found.weighted, found.ngram) << "no keyword among them";
}

TEST(CodeSimilarity, AShorterCandidateIsPunishedByTheRatioOfLengths) {
  // All n-grams of the candidate are there: only brevity counts.
  EXPECT_NEAR(code_similarity("a b", "a b c d").ngram, std::exp(1 - 2.0), 1e-12);
  EXPECT_NEAR(code_similarity("a b c d e", "a b c d").ngram,
              std::pow(0.8 * 0.8 * 0.75 * (2.0 / 3), 0.25), 1e-12)
      << "a longer one loses by precision alone";
}

TEST(CodeSimilarity, AWrongKeywordWeighsFiveTimesAWrongName) {
  // Single tokens: x right, y or the keyword wrong.
  const double name = code_similarity("return x", "return z").weighted;
  const double keyword = code_similarity("return x", "break x").weighted;
  EXPECT_NEAR(name, std::pow(5.0 / 6 * 0.5 * 1 * 1, 0.25), 1e-12);
  EXPECT_NEAR(keyword, std::pow(1.0 / 6 * 0.5 * 1 * 1, 0.25), 1e-12);
}

TEST(CodeSimilarity, TheTreeKeepsShapesAndForgetsNamesAndNumbers) {
  const CodeSimilarity renamed =
      code_similarity("for (int k = 5; k < m; ++k) { out[k] = in[k] + 2; }", kLoop);
  EXPECT_DOUBLE_EQ(renamed.tree, 1);
  EXPECT_LT(renamed.ngram, 0.6);
}

TEST(CodeSimilarity, TheTreeCountsStatementsAndBracketsThatAreMissing) {
  // Reference: a = b; c = d * e; f(g), which is three statements and one pair of brackets.
  EXPECT_DOUBLE_EQ(code_similarity("a = b;", "a = b; c = d * e; f(g);").tree, 0.25);
  EXPECT_DOUBLE_EQ(code_similarity("f(g);", "a = b; c = d * e; f(g);").tree, 0.5);
}

TEST(CodeSimilarity, BracketsThatDoNotMatchAndDeepNestingAreTakenAsTheyCome) {
  EXPECT_GE(code_similarity(")}] x = (", "x = ((").tree, 0);
  const std::string deep(200'000, '(');
  EXPECT_DOUBLE_EQ(code_similarity(deep, deep).tree, 1);
  EXPECT_DOUBLE_EQ(code_similarity("\"open", "\"open").total, 1);
}

}  // namespace
}  // namespace quern::metrics
