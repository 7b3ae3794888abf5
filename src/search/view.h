// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/random.h"
#include "base/result.h"
#include "search/graph.h"

namespace quern {

/// A set of nodes, relative to the one that is worked on.
enum class ViewKind {
  kSelf,
  kRoot,
  kParents,  ///< the chain of first parents, nearest first; `count` of them
  kChildren,
  kSiblings,  ///< other children of the parent
  kSiblingsChildren,
  kLeaders,   ///< the best `count` of all
  kDiverse,   ///< `count` correct nodes, each as far as can be from those already shown
  kRandom,    ///< `count` correct nodes
  kFailures,  ///< the last `count` that failed
  kPrevious,  ///< the last `count` that were judged
  kInsights,  ///< no nodes: the best `count` insights (search/insights.h)
};

struct ViewTerm {
  ViewKind kind = ViewKind::kSelf;
  int count = 0;  ///< 0: all
};

/// What of the history a role is shown: a list of terms and a limit on the text.
struct View {
  std::vector<ViewTerm> terms;
  int max_characters = 20'000;
};

/// Reads terms like "self", "parents 3", "leaders 5". Errors: unknown set with a suggestion, a
/// count that is missing or none.
Result<View> parse_view(const std::vector<std::string>& terms, int max_characters);
std::string print(const ViewTerm& term);

/// A node in a view, and the term that brought it in.
struct ViewNode {
  int id = 0;
  ViewKind kind = ViewKind::kSelf;
};

/// The nodes, in the order of the terms, each once, `self` wherever it comes first. `distance` says
/// how different two nodes' sources are, 0–1 (for `diverse`).
std::vector<ViewNode> view_nodes(const View& view, const SearchGraph& graph, int self,
                                 double (*distance)(const SearchNode&, const SearchNode&),
                                 Random& random);

/// Keeps the first texts that fit into `max_characters` together; one that does not fit is cut at a
/// line end where at least `kLeastPart` characters of it remain, and all later ones are dropped.
/// Characters are bytes; a UTF-8 sequence is never cut.
std::vector<std::string> fit_texts(std::vector<std::string> texts, int max_characters);
inline constexpr int kLeastPart = 400;

}  // namespace quern
