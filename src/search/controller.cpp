// SPDX-License-Identifier: Apache-2.0
#include "search/controller.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "base/strings.h"
#include "base/table.h"

namespace quern {
namespace {

using State = SearchState;

bool attempts(const State& s, double n, int) { return s.attempts >= n; }
bool no_gain(const State& s, double n, int since) { return std::min(s.since_best, since) >= n; }
bool failures(const State& s, double n, int since) { return std::min(s.failures, since) >= n; }
bool passed_some(const State& s, double n, int) { return s.passed >= n; }
bool speedup(const State& s, double n, int) { return s.best_speedup >= n; }
bool roofline(const State& s, double n, int) { return s.best_roofline >= n; }
bool slower(const State& s, double n, int) { return s.last_slowdown > n; }

/// Converged: the last n attempts saved less than a thousandth of the time.
bool converged(const State& s, double n, int) {
  const auto window = static_cast<size_t>(std::max(1.0, n));
  if (s.best_times_ns.size() <= window) return false;
  const double before = s.best_times_ns[s.best_times_ns.size() - 1 - window];
  return before > 0 && 1 - s.best_times_ns.back() / before < 1e-3;
}

constexpr RuleCondition kConditions[] = {
    {"attempts", attempts, false, "so many attempts were judged"},
    {"no-gain", no_gain, true, "so many attempts in a row brought no new best"},
    {"failures", failures, true, "so many attempts in a row failed"},
    {"passed", passed_some, false, "so many attempts passed"},
    {"speedup", speedup, false, "the best is so many times as fast as the plain version"},
    {"roofline", roofline, false, "the best reaches this share (0-1) of what the machine allows"},
    {"slower", slower, true,
     "the last correct kernel takes more than so many times the best's time"},
    {"converged", converged, false, "the last so many attempts saved less than 0.1 % of the time"},
};

constexpr RuleAction kActions[] = {
    {"stop", false, "end the search"},
    {"backtrack", false, "let the best kernel stand again"},
    {"large-step", false, "make the next step a large one"},
    {"switch", true, "take the operator of this name for the next step"},
    {"ask", true, "have this role write first in the next step"},
    {"re-profile", true, "the same for a role that reads the profile of what stands"},
};

}  // namespace

void advance(SearchState& state, const SearchNode& node, bool is_best) {
  const bool correct = node.state == NodeState::kCorrect;
  ++state.attempts;
  state.since_best = is_best ? 0 : state.since_best + 1;
  state.passed += correct ? 1 : 0;
  state.failures = correct ? 0 : state.failures + 1;
  double best_ns = state.best_times_ns.empty() ? 0 : state.best_times_ns.back();
  if (is_best) {
    best_ns = node.time_ns;
    state.best_speedup = node.speedup;
    state.best_roofline = node.roofline;
  }
  state.last_slowdown = correct && best_ns > 0 ? node.time_ns / best_ns : 0;
  state.best_times_ns.push_back(best_ns);
}

std::span<const RuleCondition> rule_conditions() { return kConditions; }
std::span<const RuleAction> rule_actions() { return kActions; }

Result<RecipeRule> parse_rule(const std::string& when, const std::string& action) {
  RecipeRule rule;
  const std::vector<std::string> condition = split_words(when);
  if (condition.empty()) {
    return Error{ErrorKind::kInput, "a rule has no condition", "when = \"no-gain 5\""};
  }
  rule.when = condition[0];
  QUERN_TRY(find_row(rule_conditions(), "condition of a rule", rule.when));
  char* end = nullptr;
  if (condition.size() == 2) rule.number = std::strtod(condition[1].c_str(), &end);
  if (end == nullptr || *end != '\0' || !(rule.number > 0)) {
    return Error{ErrorKind::kInput, fmt::format("'{}' needs one number above 0", when),
                 fmt::format("when = \"{} 5\"", rule.when)};
  }
  const size_t blank = action.find(' ');
  rule.action = action.substr(0, blank);
  if (blank != std::string::npos) rule.argument = std::string(trim(action.substr(blank)));
  QUERN_ASSIGN(const RuleAction* row, find_row(rule_actions(), "action of a rule", rule.action));
  if (row->needs_argument == rule.argument.empty()) {
    return Error{
        ErrorKind::kInput,
        fmt::format("'{}' {}", rule.action, row->needs_argument ? "needs a name" : "takes no name"),
        row->needs_argument ? fmt::format("do = \"{} NAME\"", rule.action) : ""};
  }
  return rule;
}

Controller::Controller(std::vector<RecipeRule> rules)
    : rules_(std::move(rules)), fired_(rules_.size(), 0), held_(rules_.size(), false) {}

std::vector<const RecipeRule*> Controller::advance(const SearchNode& node, bool is_best) {
  quern::advance(state_, node, is_best);
  std::vector<const RecipeRule*> acting;
  for (size_t i = 0; i < rules_.size(); ++i) {
    const auto condition = find_row(rule_conditions(), "condition", rules_[i].when);
    if (!condition) continue;
    const bool holds = (*condition)->holds(state_, rules_[i].number, state_.attempts - fired_[i]);
    if (holds && !held_[i]) {
      acting.push_back(&rules_[i]);
      fired_[i] = state_.attempts;
    }
    held_[i] = holds && !(*condition)->again;
  }
  return acting;
}

}  // namespace quern
