// SPDX-License-Identifier: Apache-2.0
// What a recipe learns from evaluations.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "search/features.h"
#include "search/recipe_proposer.h"

namespace quern {
namespace {

/// Attempts that an operator's reward is counted for: eight of a sub-search are worth one of a
/// role.
constexpr double kAttemptsOfAStep = 8;

NodeState state_of(const Evaluation& evaluation) {
  const Verdict& verdict = evaluation.verdict;
  if (passed(verdict)) return evaluation.alarm ? NodeState::kWrong : NodeState::kCorrect;
  const bool broken = std::holds_alternative<CompileFailed>(verdict) ||
                      std::holds_alternative<LaunchFailed>(verdict);
  return broken ? NodeState::kBroken : NodeState::kWrong;
}

/// Resources by the least that the task must move and compute, so that a load of 1 is the bound.
void set_load(SearchNode& node, const RecipeSetting& setting) {
  node.load.clear();
  if (node.time_ns <= 0 || setting.bandwidth_gbs <= 0 || setting.gflops <= 0) return;
  const double memory = setting.bytes / node.time_ns / setting.bandwidth_gbs;
  const double arithmetic = setting.flops / node.time_ns / setting.gflops;
  node.load = {{"memory", std::min(1.0, memory)}, {"arithmetic", std::min(1.0, arithmetic)}};
  node.bottleneck = std::max(memory, arithmetic) < 0.3 ? "latency"
                    : memory >= arithmetic             ? "memory"
                                                       : "arithmetic";
}

}  // namespace

/// What selection goes by: the source's features, and its place in the grid.
void RecipeProposer::describe(SearchNode& node, const std::string& source) const {
  const SourceFeatures features = source_features(source);
  node.sketch = source_sketch(source);
  node.features = feature_vector(features);
  node.features.push_back(std::log1p(node.time_ns));
  node.cell.clear();
  if (recipe_.grid.empty()) return;
  const double different = diversity(graph_, node.sketch);
  for (const std::string& name : recipe_.grid) {
    const auto axis = find_grid_axis(name);
    if (axis) node.cell.push_back((*axis)->bin(features, different, recipe_.bins));
  }
}

void RecipeProposer::follow_rules(int node, bool is_best) {
  for (const RecipeRule* rule : controller_.advance(graph_.node(node), is_best)) {
    if (rule->action == "stop") stopped_ = true;
    if (rule->action == "backtrack") graph_.accept(best_);
    if (rule->action == "large-step") large_next_ = true;
    if (rule->action == "switch") switch_to_ = rule->argument;
    if (rule->action == "ask" || rule->action == "re-profile") {
      asked_first_.push_back(recipe_.find_role(rule->argument));
    }
  }
}

/// A failed node: the next variant that was written with it, else its repair.
void RecipeProposer::try_again(int node, const Pick& pick) {
  if (const auto spares = spares_.find(node); spares != spares_.end()) {
    std::vector<std::string> left = std::move(spares->second);
    spares_.erase(spares);
    SearchNode next = graph_.node(node);
    next.state = NodeState::kPending;
    next.score = next.gain = next.ratio = 0;
    const int id = add_node(std::move(next));
    record_of(id).plan = record(node).plan;
    record_of(id).insights = record(node).insights;
    std::string source = std::move(left.front());
    left.erase(left.begin());
    if (!left.empty()) spares_[id] = std::move(left);
    offer(id, pick, std::move(source), due_);
    return;
  }
  if (record(node).repairs < recipe_.repairs) repairs_.push_back(node);
}

/// What the rest of the recipe learns of a node that is judged.
void RecipeProposer::close(int id, const Pick& pick) {
  SearchNode& node = graph_.change(id);
  const SearchNode& parent = graph_.node(node.parents.front());
  node.score = score_->score(node.state, node.speedup);
  node.gain = gain_->gain(node.state, node.time_ns, parent.time_ns);
  if (!record(id).source.empty()) describe(node, record(id).source);
  const bool failed = graph_.failed(id);
  const bool is_best = !failed && node.score > graph_.node(best_).score;
  selector_->told(graph_, id, pick);
  memory_.reward(record(id).insights, node.gain);
  const double before = graph_.node(best_).time_ns;
  const double saved = is_best && before > 0 ? (before - node.time_ns) / before : 0;
  for (size_t i = 0; i < recipe_.operators.size(); ++i) {
    if (recipe_.operators[i].name != node.role) continue;
    earned_.reward(i, saved / std::max(1.0, spent_[id] / kAttemptsOfAStep));
  }
  record_of(id).repairs =
      graph_.failed(node.parents.front()) ? record(node.parents.front()).repairs + 1 : 0;
  if (accept_->accept(node, graph_.node(graph_.current()), graph_.node(best_),
                      recipe_.accept_factor)) {
    graph_.accept(id);
  }
  if (is_best) best_ = id;
  follow_rules(id, is_best);
  for (size_t i = 0; i < recipe_.reflections.size(); ++i) {
    const RecipeReflection& row = recipe_.reflections[i];
    if (reflects_on(row, graph_.node(id), is_best) && ++matched_[i] % row.every == 0) {
      reflections_.push_back({id, &row});
    }
  }
  if (failed) {
    try_again(id, pick);
  } else {
    spares_.erase(id);
  }
}

void RecipeProposer::judge(int id, const Pick& pick, const Attempt& attempt) {
  SearchNode& node = graph_.change(id);
  node.state = state_of(attempt.evaluation);
  const Timing* timing = timing_of(attempt.evaluation.verdict);
  if (timing != nullptr && node.state == NodeState::kCorrect) {
    node.time_ns = timing->median_ns;
    node.low_ns = timing->low_ns;
    node.high_ns = timing->high_ns;
    node.roofline = attempt.evaluation.roofline;
    node.speedup = reference_ns_ > 0 && node.time_ns > 0 ? reference_ns_ / node.time_ns : 1;
    const double before = graph_.node(node.parents.front()).time_ns;
    node.ratio = before > 0 && node.time_ns > 0 ? before / node.time_ns - 1 : 0;
    set_load(node, setting_);
  }
  record_of(id).outcome = feedback_text(feedback_, attempt, node);
  close(id, pick);
}

void RecipeProposer::note_baseline(const Attempt& attempt) {
  if (rules_) rules_->tell(attempt);
  const Timing* timing = timing_of(attempt.evaluation.verdict);
  if (timing == nullptr) return;
  if (graph_.goal_ns() == 0 || timing->median_ns < graph_.goal_ns()) {
    graph_.set_goal_ns(timing->median_ns);
  }
  if (attempt.candidate.note != "naive") return;
  reference_ns_ = timing->median_ns;
  SearchNode& root = graph_.change(0);
  root.time_ns = reference_ns_;
  root.low_ns = timing->low_ns;
  root.high_ns = timing->high_ns;
  set_load(root, setting_);
  describe(root, setting_.naive);
  record_of(0).outcome =
      fmt::format("The plain version: correct, {:.4g} ms a call, 1×.", reference_ns_ * 1e-6);
}

void RecipeProposer::end_subs() {
  for (SubSearchEnd& end : subs_.take_ended()) {
    spent_[end.node] = end.attempts;
    if (!end.result) {
      const auto row =
          std::ranges::find(recipe_.operators, graph_.node(end.node).role, &RecipeOperator::name);
      rules_done_ = rules_done_ || (row != recipe_.operators.end() && row->sub == "rules");
      fail(end.node, end.pick, "there was nothing left to try");
      continue;
    }
    record_of(end.node).source = end.result->candidate.source;
    record_of(end.node).candidate_id = end.result->candidate.id;
    judge(end.node, end.pick, *end.result);
  }
}

void RecipeProposer::tell(const Attempt& attempt) {
  if (attempt.candidate.proposer == "baseline") return note_baseline(attempt);
  if (subs_.told(attempt)) end_subs();
  const auto found = waiting_.find(attempt.candidate.id);
  if (found == waiting_.end()) return;
  const std::vector<Waiting> all = std::move(found->second);
  waiting_.erase(found);
  for (const Waiting& waiting : all) judge(waiting.node, waiting.pick, attempt);
}

}  // namespace quern
