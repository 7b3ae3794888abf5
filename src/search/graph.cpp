// SPDX-License-Identifier: Apache-2.0
#include "search/graph.h"

#include <algorithm>

#include "base/check.h"

namespace quern {

int SearchGraph::add(SearchNode node) {
  const int id = size();
  for (int parent : node.parents) {
    QUERN_CHECK(parent >= 0 && parent < id, "a parent comes before its child");
  }
  if (!node.parents.empty()) children_[static_cast<size_t>(node.parents.front())].push_back(id);
  nodes_.push_back(std::move(node));
  children_.emplace_back();
  return id;
}

std::vector<int> SearchGraph::path(int id) const {
  std::vector<int> path = {id};
  while (!node(path.back()).parents.empty()) path.push_back(node(path.back()).parents.front());
  return path;
}

std::vector<int> SearchGraph::ranked(bool with_root) const {
  std::vector<int> ids;
  for (int id = with_root ? 0 : 1; id < size(); ++id) {
    if (correct(id)) ids.push_back(id);
  }
  if (ids.empty()) ids.push_back(0);
  std::ranges::stable_sort(ids, [&](int a, int b) { return node(a).score > node(b).score; });
  return ids;
}

}  // namespace quern
