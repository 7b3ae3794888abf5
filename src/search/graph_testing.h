// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "search/select.h"

namespace quern {

inline SearchNode correct_node(int parent, double score) {
  SearchNode node;
  if (parent >= 0) node.parents = {parent};
  node.state = NodeState::kCorrect;
  node.score = node.speedup = score;
  node.time_ns = 1e6 / score;
  return node;
}

/// A graph of the plain version alone.
inline SearchGraph with_root() {
  SearchGraph graph;
  graph.add(correct_node(-1, 1));
  return graph;
}

inline std::unique_ptr<Selector> selector_named(const std::string& name,
                                                std::map<std::string, double> numbers = {},
                                                std::vector<Strategy> strategies = {},
                                                std::map<std::string, double> limits = {}) {
  auto made = make_selector(name, {std::move(numbers), std::move(strategies), std::move(limits)});
  EXPECT_TRUE(made.has_value()) << name;
  return std::move(*made);
}

}  // namespace quern
