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
  if (node.state == NodeState::kCorrect) stale_.push_back(id);
  nodes_.push_back(std::move(node));
  children_.emplace_back();
  return id;
}

std::vector<int> SearchGraph::path(int id) const {
  std::vector<int> path = {id};
  while (!node(path.back()).parents.empty()) path.push_back(node(path.back()).parents.front());
  return path;
}

SearchNode& SearchGraph::change(int id) {
  if (std::ranges::find(stale_, id) == stale_.end()) {
    std::erase(ranking_, id);
    stale_.push_back(id);
  }
  return nodes_[static_cast<size_t>(id)];
}

const std::vector<int>& SearchGraph::ranking() const {
  const auto before = [&](int a, int b) {
    return node(a).score != node(b).score ? node(a).score > node(b).score : a < b;
  };
  for (int id : stale_) {
    if (correct(id)) ranking_.insert(std::ranges::upper_bound(ranking_, id, before), id);
  }
  stale_.clear();
  return ranking_;
}

std::vector<int> SearchGraph::ranked(bool with_root) const {
  std::vector<int> ids = ranking();
  if (ids.empty()) ids = {0};
  if (!with_root && ids.size() > 1) std::erase(ids, 0);
  return ids;
}

int SearchGraph::best() const {
  const std::vector<int>& ids = ranking();
  if (ids.empty()) return 0;
  return ids.front() == 0 && ids.size() > 1 ? ids[1] : ids.front();
}

}  // namespace quern
