// SPDX-License-Identifier: Apache-2.0
#include "search/hypothesis.h"

#include <algorithm>
#include <tuple>

#include "base/check.h"

namespace quern {

HypothesisTree::HypothesisTree() {
  Hypothesis root;
  root.title = "the task as it is";
  root.state = HypothesisState::kSolved;
  root.solution = 0;
  nodes_.push_back(root);
}

int HypothesisTree::add(Hypothesis hypothesis) {
  QUERN_CHECK(hypothesis.parent >= 0 && hypothesis.parent < size(), "a hypothesis has a parent");
  nodes_.push_back(std::move(hypothesis));
  return size() - 1;
}

int HypothesisTree::depth(int id) const {
  int depth = 0;
  for (; node(id).parent >= 0; id = node(id).parent) ++depth;
  return depth;
}

std::vector<int> HypothesisTree::open() const {
  std::vector<int> ids;
  for (int id = 1; id < size(); ++id) {
    const bool reachable = node(node(id).parent).state == HypothesisState::kSolved;
    if (node(id).state == HypothesisState::kOpen && reachable) ids.push_back(id);
  }
  return ids;
}

std::vector<int> HypothesisTree::frontier(double best_share, int max_difficulty) const {
  std::vector<int> ids = open();
  const auto easy = [&](int id) { return node(id).difficulty <= max_difficulty; };
  if (best_share < 0.5 && std::ranges::any_of(ids, easy)) {
    std::erase_if(ids, [&](int id) { return !easy(id); });
  }
  const auto key = [&](int id) {
    const Hypothesis& h = node(id);
    return std::tuple(-h.score, h.difficulty, -h.rating, id);
  };
  std::ranges::sort(ids, [&](int a, int b) { return key(a) < key(b); });
  return ids;
}

std::vector<int> HypothesisTree::weighted_frontier() const {
  std::vector<int> ids = open();
  const auto value = [&](int id) {
    const Hypothesis& h = node(id);
    return 3 * h.score - 2.5 * h.difficulty / 5 + 0.75 / (1 + depth(id)) +
           1.5 * node(h.parent).score + 0.5 * h.rating / 10 + 0.25 * h.confidence +
           (h.parent == 0 ? 0.15 : 0);
  };
  std::ranges::stable_sort(ids, [&](int a, int b) { return value(a) > value(b); });
  return ids;
}

}  // namespace quern
