// SPDX-License-Identifier: Apache-2.0
#include "search/view.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <set>

#include "base/suggest.h"

namespace quern {
namespace {

enum class Count { kNone, kOptional, kNeeded };

struct Row {
  ViewKind kind;
  const char* name;
  Count count;
};

constexpr Row kRows[] = {
    {ViewKind::kSelf, "self", Count::kNone},
    {ViewKind::kRoot, "root", Count::kNone},
    {ViewKind::kParents, "parents", Count::kOptional},
    {ViewKind::kChildren, "children", Count::kOptional},
    {ViewKind::kSiblings, "siblings", Count::kOptional},
    {ViewKind::kSiblingsChildren, "siblings-children", Count::kOptional},
    {ViewKind::kLeaders, "leaders", Count::kNeeded},
    {ViewKind::kDiverse, "diverse", Count::kNeeded},
    {ViewKind::kRandom, "random", Count::kNeeded},
    {ViewKind::kFailures, "failures", Count::kNeeded},
    {ViewKind::kPrevious, "previous", Count::kNeeded},
    {ViewKind::kInsights, "insights", Count::kNeeded},
};

Result<ViewTerm> parse_term(const std::string& text) {
  const size_t blank = text.find(' ');
  const std::string name = text.substr(0, blank);
  std::vector<std::string> known;
  for (const Row& row : kRows) {
    known.emplace_back(row.name);
    if (name != row.name) continue;
    ViewTerm term{row.kind, 0};
    if (blank == std::string::npos) {
      if (row.count != Count::kNeeded) return term;
      return Error{ErrorKind::kInput, fmt::format("'{}' needs a count", name),
                   fmt::format("'{} 3'", name)};
    }
    const char* const end = text.data() + text.size();
    const auto read = std::from_chars(text.data() + blank + 1, end, term.count);
    if (row.count != Count::kNone && read.ec == std::errc() && read.ptr == end && term.count > 0) {
      return term;
    }
    return Error{ErrorKind::kInput, fmt::format("'{}' is no set of attempts", text),
                 row.count == Count::kNone ? fmt::format("'{}' takes no count", name)
                                           : fmt::format("'{} 3'", name)};
  }
  return Error{ErrorKind::kInput, fmt::format("unknown set of attempts '{}'", name),
               suggest(name, known)};
}

/// The nodes that a term names, best or nearest first, all of them.
class Sets {
 public:
  Sets(const SearchGraph& graph, int self) : graph_(graph), self_(self) {}

  std::vector<int> of(ViewKind kind) const {
    switch (kind) {
      case ViewKind::kSelf:
        return {self_};
      case ViewKind::kRoot:
        return {0};
      case ViewKind::kParents: {
        std::vector<int> path = graph_.path(self_);
        path.erase(path.begin());
        return path;
      }
      case ViewKind::kChildren:
        return judged(graph_.children(self_));
      case ViewKind::kSiblings:
        return siblings();
      case ViewKind::kSiblingsChildren: {
        std::vector<int> all;
        for (int sibling : siblings()) {
          for (int child : judged(graph_.children(sibling))) all.push_back(child);
        }
        return all;
      }
      case ViewKind::kLeaders:
      case ViewKind::kDiverse:
      case ViewKind::kRandom:
        return graph_.ranked();
      case ViewKind::kFailures:
        return latest([&](int id) { return graph_.failed(id); });
      case ViewKind::kPrevious:
        return latest([&](int id) { return id > 0 && !pending(id); });
      case ViewKind::kInsights:
        return {};
    }
    return {};
  }

 private:
  bool pending(int id) const { return graph_.node(id).state == NodeState::kPending; }

  std::vector<int> judged(std::vector<int> nodes) const {
    std::erase_if(nodes, [&](int id) { return pending(id); });
    return nodes;
  }

  std::vector<int> siblings() const {
    if (graph_.node(self_).parents.empty()) return {};
    std::vector<int> all = judged(graph_.children(graph_.node(self_).parents.front()));
    std::erase(all, self_);
    return all;
  }

  std::vector<int> latest(const std::function<bool(int)>& wanted) const {
    std::vector<int> all;
    for (int id = graph_.size(); id-- > 0;) {
      if (wanted(id)) all.push_back(id);
    }
    return all;
  }

  const SearchGraph& graph_;
  int self_;
};

/// Moves to the front, one after the other, the node furthest from everything shown so far.
void order_by_distance(std::vector<int>& nodes, const std::vector<int>& shown, size_t count,
                       const SearchGraph& graph,
                       double (*distance)(const SearchNode&, const SearchNode&)) {
  std::vector<double> nearest(nodes.size(), 1);  // distance from the nearest node shown
  const auto show = [&](const std::vector<int>& others, size_t from) {
    for (size_t i = from; i < nodes.size(); ++i) {
      for (int other : others) {
        nearest[i] = std::min(nearest[i], distance(graph.node(nodes[i]), graph.node(other)));
      }
    }
  };
  show(shown, 0);
  for (size_t place = 0; place < std::min(count, nodes.size()); ++place) {
    const auto furthest =
        std::max_element(nearest.begin() + static_cast<long>(place), nearest.end()) -
        nearest.begin();
    std::swap(nodes[place], nodes[static_cast<size_t>(furthest)]);
    std::swap(nearest[place], nearest[static_cast<size_t>(furthest)]);
    if (place + 1 < count) show({nodes[place]}, place + 1);
  }
}

}  // namespace

Result<View> parse_view(const std::vector<std::string>& terms, int max_characters) {
  View view;
  view.max_characters = max_characters;
  for (const std::string& text : terms) {
    QUERN_ASSIGN(const ViewTerm term, parse_term(text));
    view.terms.push_back(term);
  }
  return view;
}

std::string print(const ViewTerm& term) {
  for (const Row& row : kRows) {
    if (row.kind != term.kind) continue;
    return term.count == 0 ? row.name : fmt::format("{} {}", row.name, term.count);
  }
  return "";
}

std::vector<ViewNode> view_nodes(const View& view, const SearchGraph& graph, int self,
                                 double (*distance)(const SearchNode&, const SearchNode&),
                                 Random& random) {
  std::vector<ViewNode> nodes;
  std::vector<int> shown;
  std::vector<bool> marked(static_cast<size_t>(graph.size()));
  const Sets sets(graph, self);
  for (const ViewTerm& term : view.terms) {
    std::vector<int> found = sets.of(term.kind);
    std::erase_if(found, [&](int id) { return marked[static_cast<size_t>(id)]; });
    const size_t count =
        term.count == 0 ? found.size() : std::min(found.size(), static_cast<size_t>(term.count));
    if (term.kind == ViewKind::kDiverse) order_by_distance(found, shown, count, graph, distance);
    if (term.kind == ViewKind::kRandom) {
      for (size_t i = 0; i < count; ++i) {
        std::swap(found[i], found[i + random.below(found.size() - i)]);
      }
    }
    for (size_t i = 0; i < count; ++i) {
      nodes.push_back({found[i], term.kind});
      shown.push_back(found[i]);
      marked[static_cast<size_t>(found[i])] = true;
    }
  }
  return nodes;
}

std::vector<std::string> fit_texts(std::vector<std::string> texts, int max_characters) {
  size_t room = static_cast<size_t>(std::max(0, max_characters));
  for (size_t i = 0; i < texts.size(); ++i) {
    std::string& text = texts[i];
    if (text.size() <= room) {
      room -= text.size();
      continue;
    }
    const size_t line = room == 0 ? std::string::npos : text.rfind('\n', room - 1);
    const bool enough = line != std::string::npos && line + 1 >= kLeastPart;
    if (enough) text.resize(line + 1);
    texts.resize(enough ? i + 1 : i);
    break;
  }
  return texts;
}

}  // namespace quern
