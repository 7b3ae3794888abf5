// SPDX-License-Identifier: Apache-2.0
#include "search/features.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quern {
namespace {

using testing::HasSubstr;

int bin(const char* axis, const std::string& source, double diversity = 0) {
  return (*find_grid_axis(axis))->bin(source_features(source), diversity, 10);
}

TEST(SourceFeatures, CountLoopsWithAndWithoutBraces) {
  const SourceFeatures f = source_features(
      "void k() {\n  for (int i = 0; i < n; ++i) {\n    for (int j = 0; j < n; ++j) y[i] += x[j];\n"
      "  }\n  for (int i = 0; i < n; ++i) y[i] = 0;\n}\n// for while for\n");
  EXPECT_EQ(f.loops, 3);
  EXPECT_EQ(f.nesting, 2);
  EXPECT_EQ(f.nests, 2);
}

TEST(SourceFeatures, CommentsAndLiteralsDoNotCount) {
  const SourceFeatures f =
      source_features("// _mm512 atomic\n/* for */ const char* a = \"for _mm\";");
  EXPECT_EQ(f.loops + f.vector_words + f.synchronised, 0);
}

TEST(GridAxis, KernelFoundrysGridTellsScalarFromTiledAndThreadedCode) {
  const char* const scalar = "for (i) y[i] = x[i];";
  const char* const vectors = "#pragma omp simd\nfor (i) y[i] = x[i];";
  const char* const tiled =
      "#pragma omp parallel for\nfor (i) { float tile[64]; tile[0] = fma(a, b, c); }";
  EXPECT_EQ(bin("memory", scalar), 0);
  EXPECT_EQ(bin("memory", vectors), 1);
  EXPECT_EQ(bin("memory", tiled), 2);
  EXPECT_EQ(bin("memory", std::string(tiled) + "_mm_prefetch(x, 0);"), 3);
  EXPECT_EQ(bin("synchronisation", scalar), 0);
  EXPECT_EQ(bin("synchronisation", vectors), 1);
  EXPECT_EQ(bin("synchronisation", tiled), 2);
  EXPECT_EQ(bin("synchronisation", "#pragma omp atomic\n"), 3);
  EXPECT_EQ(bin("algorithm", "for (i) a; for (j) b;"), 0);
  EXPECT_EQ(bin("algorithm", scalar), 1);
  EXPECT_EQ(bin("algorithm", tiled), 3);
}

TEST(GridAxis, OpenEvolvesGridHasTenBinsOfLengthAndDiversity) {
  EXPECT_EQ(bin("length", std::string(100, 'x')), 0);
  EXPECT_EQ(bin("length", std::string(2048, 'x')), 5);
  EXPECT_EQ(bin("length", std::string(1 << 20, 'x')), 9);
  EXPECT_EQ(bin("diversity", "", 0.35), 3);
  EXPECT_EQ(bin("diversity", "", 1), 9);
  EXPECT_THAT(find_grid_axis("lenght").error().hint, HasSubstr("length"));
}

TEST(SourceSketch, IsNearForLikeSourcesAndFarForOthers) {
  std::string base, other;
  for (int i = 0; i < 60; ++i)
    base += "y[" + std::to_string(i) + "] = x[" + std::to_string(i) + "];\n";
  for (int i = 0; i < 60; ++i) other += "if (a" + std::to_string(i) + ") return b + c;\n";
  const auto sketch = source_sketch(base);
  EXPECT_EQ(sketch_distance(sketch, source_sketch("  // a comment\n" + base)), 0);
  EXPECT_LT(sketch_distance(sketch, source_sketch(base + "return 0;\n")), 0.3);
  EXPECT_GT(sketch_distance(sketch, source_sketch(other)), 0.7);
  EXPECT_EQ(sketch_distance(sketch, {}), 1);
}

TEST(Diversity, IsTheMeanDistanceFromTheFirstCorrectNodes) {
  SearchGraph graph;
  SearchNode root;
  root.state = NodeState::kCorrect;
  graph.add(root);
  const auto sketch = source_sketch("a b c d e f g h");
  EXPECT_EQ(diversity(graph, sketch), 0) << "nothing to differ from";
  for (const char* text : {"a b c d e f g h", "q r s t u v w x"}) {
    SearchNode node = root;
    node.parents = {0};
    node.sketch = source_sketch(text);
    graph.add(node);
  }
  EXPECT_NEAR(diversity(graph, sketch), 0.5, 0.1);
}

}  // namespace
}  // namespace quern
