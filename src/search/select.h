// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/result.h"
#include "search/graph.h"

namespace quern {

/// A named way of changing a kernel, and the resource it relieves ("" where none is named).
struct Strategy {
  std::string name;
  std::string target;
  std::vector<std::string> after;  ///< strategies that it may follow; none: any (method-graph)
  std::vector<std::string> tiers;  ///< headroom it asks for; none: any (decision-table)
};

/// What is tried next.
struct Pick {
  std::vector<int> parents;       ///< the first is worked on, the others are shown beside it
  std::string strategy;           ///< "": left to whoever writes the code
  std::vector<std::string> menu;  ///< strategies to choose one of, where any are given
  bool large = false;             ///< leave the neighbourhood of the parent
  int island = 0;
  int arm = -1;  ///< the selector's own note of its choice
};

/// Chooses what to work on. A function of its parameters, the graph, the picks so far and the
/// random numbers: nothing else. Nodes still pending are never picked.
class Selector {
 public:
  virtual ~Selector() = default;
  virtual Pick pick(const SearchGraph& graph, Random& random) = 0;
  /// What became of a pick: `node` is judged. Called once for each, in order.
  virtual void told(const SearchGraph& graph, int node, const Pick& pick) {
    (void)graph, (void)node, (void)pick;
  }

  /// What the recipe's advisor is asked before the next pick; "": nothing.
  virtual std::string question(const SearchGraph& graph) {
    (void)graph;
    return "";
  }
  /// The advisor's reply; "" where there is none.
  virtual void answer(const SearchGraph& graph, const std::string& reply) {
    (void)graph, (void)reply;
  }
  /// What all who work on a pick are told of the selector's view of things; "": nothing.
  virtual std::string context(const SearchGraph& graph) const {
    (void)graph;
    return "";
  }
};

/// What a recipe says of its selector.
struct SelectorSettings {
  std::map<std::string, double> numbers;  ///< parameters by name
  std::vector<Strategy> strategies;
  std::map<std::string, double> limits;  ///< resource -> load above which it counts as exhausted
};

struct SelectorParameter {
  const char* name;
  double value;  ///< default: what the source published
  const char* meaning;
};

/// A row of the table of selectors.
struct SelectorInfo {
  const char* name;
  const char* definition;
  const char* source;
  std::vector<SelectorParameter> parameters;
  std::unique_ptr<Selector> (*make)(const SelectorSettings& settings);
};

std::span<const SelectorInfo> selectors();

/// Fills in defaults and makes the selector. Errors: unknown name or parameter, with a suggestion;
/// a selector that chooses strategies without any.
Result<std::unique_ptr<Selector>> make_selector(const std::string& name, SelectorSettings settings);

}  // namespace quern
