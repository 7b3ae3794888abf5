// SPDX-License-Identifier: Apache-2.0
#include "search/score.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/suggest.h"

namespace quern {
namespace {

using State = NodeState;

double kevin(State state, double s) { return state == State::kCorrect ? 0.3 + s : 0; }

double adaexplore(State state, double s) {
  if (state == State::kCorrect) return 0.4 + 1.2 * (std::clamp(s, 0.1, 10.0) - 0.1) / 9.9;
  return state == State::kWrong ? 0.05 : 0;
}

/// The target speedup is 2.
double kernelfoundry(State state, double s) {
  if (state == State::kCorrect) return 0.5 + 0.5 * std::min(1.0, s / 2);
  return state == State::kWrong ? 0.1 : 0;
}

double regrapht(State state, double s) {
  if (state != State::kCorrect) return -1;
  return s < 1 ? s - 1 : s;
}

double speedup(State state, double s) { return state == State::kCorrect ? s : 0; }

constexpr ScoreRule kScores[] = {
    {"speedup", speedup, "s where correct, else 0", "KernelEvolve, OpenEvolve and others"},
    {"kevin", kevin, "0.3 + s where correct, else 0", "arXiv 2507.11948"},
    {"adaexplore", adaexplore,
     "0.4 + 1.2 (clip(s, 0.1, 10) - 0.1) / 9.9 where correct, 0.05 where wrong, else 0",
     "arXiv 2604.16625"},
    {"kernelfoundry", kernelfoundry,
     "0.5 + 0.5 min(1, s / 2) where correct, 0.1 where wrong, else 0", "arXiv 2603.12440"},
    {"regrapht", regrapht, "-1 where not correct, s - 1 where s < 1, else s", "arXiv 2510.19873"},
};

double share_saved(State state, double time, double parent) {
  if (state != State::kCorrect || parent <= 0) return 0;
  return std::max(0.0, (parent - time) / parent);
}

double percent(State state, double time, double parent) {
  if (state != State::kCorrect || parent <= 0) return 0;
  return 100 * (parent - time) / parent;
}

double ratio(State state, double time, double parent) {
  return state == State::kCorrect && parent > 0 && time > 0 ? parent / time - 1 : 0;
}

constexpr GainRule kGains[] = {
    {"share-saved", share_saved, "max(0, (T_parent - T_child) / T_parent)", "arXiv 2511.18868"},
    {"percent", percent, "100 (T_parent - T_child) / T_parent", "arXiv 2602.14293"},
    {"ratio", ratio, "T_parent / T_child - 1", "house"},
};

bool always(const SearchNode&, const SearchNode&, const SearchNode&, double) { return true; }
bool correct(const SearchNode& child) { return child.state == State::kCorrect; }
bool if_better(const SearchNode& child, const SearchNode& parent, const SearchNode&, double) {
  return correct(child) && (!correct(parent) || child.score > parent.score);
}
bool if_best(const SearchNode& child, const SearchNode&, const SearchNode& best, double) {
  return correct(child) && child.score >= best.score;
}
bool at_least(const SearchNode& child, const SearchNode& parent, const SearchNode&, double factor) {
  return correct(child) && (!correct(parent) || child.speedup >= factor * parent.speedup);
}

constexpr AcceptRule kAccepts[] = {
    {"always", false, always, "the child, whatever became of it"},
    {"if-better", false, if_better, "a correct child with a higher score than its parent"},
    {"if-best", false, if_best, "a correct child that no other scores above"},
    {"at-least", true, at_least, "a correct child at least `factor` times as fast as its parent"},
};

template <class Rule, size_t count>
Result<const Rule*> find(const Rule (&rules)[count], const std::string& what,
                         const std::string& name) {
  std::vector<std::string> known;
  for (const Rule& rule : rules) {
    if (name == rule.name) return &rule;
    known.emplace_back(rule.name);
  }
  return Error{ErrorKind::kInput, fmt::format("unknown {} '{}'", what, name), suggest(name, known)};
}

}  // namespace

std::span<const ScoreRule> score_rules() { return kScores; }
std::span<const GainRule> gain_rules() { return kGains; }
std::span<const AcceptRule> accept_rules() { return kAccepts; }
Result<const ScoreRule*> find_score_rule(const std::string& name) {
  return find(kScores, "score", name);
}
Result<const GainRule*> find_gain_rule(const std::string& name) {
  return find(kGains, "gain", name);
}
Result<const AcceptRule*> find_accept_rule(const std::string& name) {
  return find(kAccepts, "acceptance rule", name);
}

std::vector<double> discounted_returns(const std::vector<double>& scores, double gamma) {
  std::vector<double> returns(scores.size());
  double after = 0;
  for (size_t t = scores.size(); t-- > 0;) returns[t] = after = scores[t] + gamma * after;
  return returns;
}

}  // namespace quern
