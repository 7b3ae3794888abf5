// SPDX-License-Identifier: Apache-2.0
// Selectors that ask a model what to work on.
#include "search/select_advised.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <deque>

#include "base/strings.h"
#include "llm/untrusted_json.h"
#include "search/features.h"
#include "search/select_table.h"

namespace quern {

int named_number(const std::string& reply, const std::string& name) {
  std::string text = reply;
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  for (size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + 1)) {
    const size_t after = text.find_first_not_of(" \t:=*_`\"", at + name.size());
    if (after == std::string::npos) continue;
    int number = -1;
    const auto read = std::from_chars(text.data() + after, text.data() + text.size(), number);
    if (read.ec == std::errc()) return number;
  }
  return -1;
}

std::vector<Experiment> parse_experiments(const std::string& reply) {
  std::vector<Experiment> all;
  const size_t first = reply.find('['), last = reply.rfind(']');
  if (first == std::string::npos || last == std::string::npos || last < first) return all;
  const auto json = llm::parse_untrusted(reply.substr(first, last - first + 1));
  if (!json || !json->is_array()) return all;
  const auto number = [](const Json& row, const char* key) {
    const auto found = row.find(key);
    return found != row.end() && found->is_number() ? found->get<double>() : 0.0;
  };
  for (const Json& row : *json) {
    if (!row.is_object() || !row.contains("description") || !row["description"].is_string()) {
      continue;
    }
    all.push_back({row["description"].get<std::string>().substr(0, 1000), number(row, "min"),
                   number(row, "max"), number(row, "innovation")});
  }
  return all;
}

std::vector<Experiment> chosen_experiments(std::vector<Experiment> all) {
  std::vector<Experiment> chosen;
  const auto take = [&](double Experiment::*key) {
    if (all.empty()) return;
    const auto best = std::ranges::max_element(all, {}, key);
    chosen.push_back(*best);
    all.erase(best);
  };
  take(&Experiment::innovation);
  take(&Experiment::max_gain);
  take(&Experiment::min_gain);
  return chosen;
}

namespace {

/// The table that the advisor chooses from: the best so many.
std::string candidates_text(const SearchGraph& graph, int shown) {
  std::string text;
  std::vector<int> ranked = graph.ranked(true);
  if (static_cast<int>(ranked.size()) > shown) ranked.resize(static_cast<size_t>(shown));
  for (int id : ranked) {
    const SearchNode& node = graph.node(id);
    text += fmt::format("{}: {:.4g} ms, {:.2f}×", id, node.time_ns * 1e-6, node.speedup);
    if (!node.parents.empty()) text += fmt::format(", from {}", node.parents.front());
    if (!node.strategy.empty()) text += fmt::format(", by: {}", shorten(node.strategy, 120));
    text += "\n";
  }
  return text;
}

/// The correct node least like this one.
int most_different(const SearchGraph& graph, int from) {
  int furthest = from;
  double most = -1;
  for (int id : graph.ranked()) {
    if (id == from) continue;
    const double distance = sketch_distance(graph.node(id).sketch, graph.node(from).sketch);
    if (distance > most) most = distance, furthest = id;
  }
  return furthest;
}

class Advised : public Selector {
 public:
  explicit Advised(const SelectorSettings& s) : shown_(static_cast<int>(s.numbers.at("shown"))) {}

  std::string question(const SearchGraph& graph) override {
    return queue_.empty() ? candidates_text(graph, shown_) : "";
  }

  void answer(const SearchGraph& graph, const std::string& reply) override {
    const auto usable = [&](int id) { return id >= 0 && id < graph.size() && graph.correct(id); };
    Pick pick;
    const int base = named_number(reply, "base"), other = named_number(reply, "reference");
    pick.parents = {usable(base) ? base : graph.best()};
    const int second = usable(other) ? other : most_different(graph, pick.parents[0]);
    if (second != pick.parents[0]) pick.parents.push_back(second);
    for (const Experiment& experiment : chosen_experiments(parse_experiments(reply))) {
      queue_.push_back(pick);
      queue_.back().strategy = experiment.description;
    }
    if (queue_.empty()) queue_.push_back(pick);
  }

  Pick pick(const SearchGraph& graph, Random&) override {
    if (queue_.empty()) answer(graph, "");
    Pick next = queue_.front();
    queue_.pop_front();
    return next;
  }

 private:
  int shown_;
  std::deque<Pick> queue_;
};

}  // namespace

std::vector<SelectorInfo> advised_selectors() {
  return {
      {"advised",
       "base and reference as the advisor says; of the experiments it designs the most innovative, "
       "then the one with the highest upper gain, then with the highest lower one. Without a "
       "usable "
       "answer: the best, beside the one least like it",
       "GPU Kernel Scientist, arXiv 2506.20807",
       {{"shown", 20, "kernels the advisor chooses from"}},
       made<Advised>},
  };
}

}  // namespace quern
