// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "search/graph.h"

namespace quern {

/// Value of a node: what selection goes by. `speedup` is the reference's time over the node's.
struct ScoreRule {
  const char* name;
  double (*score)(NodeState state, double speedup);
  const char* definition;  ///< the formula, for `quern recipes`
  const char* source;
};

/// Value of an edge: what operators, strategies and models are credited with. Times in ns; the
/// parent's is 0 where it was not correct.
struct GainRule {
  const char* name;
  double (*gain)(NodeState state, double time_ns, double parent_ns);
  const char* definition;
  const char* source;
};

std::span<const ScoreRule> score_rules();
std::span<const GainRule> gain_rules();
Result<const ScoreRule*> find_score_rule(const std::string& name);
Result<const GainRule*> find_gain_rule(const std::string& name);

/// Discounted returns of a chain of scores: R_t = Σ over i ≥ t of γ^(i−t) · S_i. [chain length]
std::vector<double> discounted_returns(const std::vector<double>& scores, double gamma);

/// Whether a child takes the place of the node it was made from (or of the best).
struct AcceptRule {
  const char* name;  ///< "always", "if-better", "if-best", "at-least", "leap", "statistical"
  bool needs_factor;
  bool (*accept)(const SearchNode& child, const SearchNode& parent, const SearchNode& best,
                 double factor);
  const char* definition;
};
std::span<const AcceptRule> accept_rules();
Result<const AcceptRule*> find_accept_rule(const std::string& name);

}  // namespace quern
