// SPDX-License-Identifier: Apache-2.0
// What a recipe does next. What it learns from evaluations is in recipe_learning.cpp.
#include "search/recipe_proposer.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/strings.h"
#include "propose/reply.h"
#include "propose/tuner.h"

namespace quern {
namespace {

/// Rounds in a row without a candidate before the search gives up.
constexpr int kFruitlessRounds = 6;
/// Items of a list that a role is asked for, one call each.
constexpr size_t kMostItems = 8;
/// Weight of what is little known among operators that are chosen by what they earned.
constexpr double kExplore = 0.3;
constexpr size_t kMostGuidance = 3000;

/// A component that the recipe's reader found before.
template <class Found>
Found known(Result<Found> found) {
  QUERN_CHECK(found.has_value(), "a recipe that parsed");
  return std::move(*found);
}

}  // namespace

RecipeProposer::RecipeProposer(Recipe recipe, RecipeSetting setting, Prompts prompts,
                               llm::Client* client)
    : recipe_(std::move(recipe)),
      setting_(std::move(setting)),
      prompts_(setting_, prompts),
      templates_(std::move(prompts)),
      client_(client),
      caller_(client),
      selector_(known(make_selector(recipe_.selector, recipe_.settings))),
      score_(known(find_score_rule(recipe_.score))),
      gain_(known(find_gain_rule(recipe_.gain))),
      accept_(known(find_accept_rule(recipe_.accept))),
      random_(setting_.seed),
      memory_(recipe_.memory),
      guidance_(recipe_.guidance),
      controller_(recipe_.rules),
      earned_(recipe_.operators.size(), 0.5, 1),
      matched_(recipe_.reflections.size(), 0) {
  for (const std::string& channel : recipe_.feedback) {
    feedback_.push_back(known(find_feedback_channel(channel)));
  }
  const bool ruled = std::ranges::find(recipe_.operators, "rules", &RecipeOperator::sub) !=
                     recipe_.operators.end();
  if (ruled && setting_.rules) rules_ = setting_.rules(setting_.seed);
  SearchNode root;
  root.state = NodeState::kCorrect;
  root.speedup = 1;
  root.score = score_->score(root.state, 1);
  describe(root, setting_.naive);
  add_node(std::move(root));
  record_of(0).source = setting_.naive;
  record_of(0).outcome = "The plain version: correct, 1×.";
}

RecipeProposer::~RecipeProposer() = default;

int RecipeProposer::add_node(SearchNode node) {
  records_.emplace_back();
  return graph_.add(std::move(node));
}

/// Has the selector's question answered, where it has one.
Result<void> RecipeProposer::advise() {
  if (recipe_.advisor.empty() || !caller_.can_ask()) return {};
  RoleCall call;
  call.question = selector_->question(graph_);
  if (call.question.empty()) return {};
  call.pick.parents = {graph_.best()};
  const RecipeRole& role = *recipe_.find_role(recipe_.advisor);
  QUERN_ASSIGN(llm::Request request, prompts_.request(role, call, sources(), random_, nullptr));
  std::vector<llm::Request> requests;
  requests.push_back(std::move(request));
  QUERN_ASSIGN(const std::vector<RoleReply> replies, caller_.ask(std::move(requests)));
  selector_->answer(graph_, replies[0].ok ? replies[0].text : "");
  return {};
}

bool RecipeProposer::usable(const RecipeOperator& row) const {
  if (row.sub == "rules") return rules_ != nullptr && !rules_done_;
  return caller_.can_ask();
}

/// Null where no operator that applies can be used.
Result<const RecipeOperator*> RecipeProposer::choose_operator(const Pick& pick) {
  const std::vector<RecipeOperator>& rows = recipe_.operators;
  const std::string forced = std::exchange(switch_to_, "");
  std::vector<double> weights;
  bool any = false;
  for (const RecipeOperator& row : rows) {
    const bool applies =
        condition_holds(row, graph_, pick, controller_.state().attempts) && row.weight > 0;
    any = any || applies;
    weights.push_back(applies && usable(row) ? row.weight : 0);
    if (row.name == forced && usable(row)) return &row;
  }
  if (!any) {
    return Error{
        ErrorKind::kInput,
        fmt::format("the recipe {} has no operator for what its selector picked", recipe_.name),
        "add an [[operator]] with when = \"any\""};
  }
  // Conditions go from the particular to the general: the first that holds leads, and shares the
  // draw only with others of the same condition.
  const auto first = std::ranges::find_if(weights, [](double weight) { return weight > 0; });
  if (first == weights.end()) return static_cast<const RecipeOperator*>(nullptr);
  const std::string& when = rows[static_cast<size_t>(first - weights.begin())].when;
  std::vector<bool> allowed;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (rows[i].when != when) weights[i] = 0;
    allowed.push_back(weights[i] > 0);
  }
  return recipe_.pays ? &rows[earned_.best(kExplore, ++choices_, allowed)]
                      : &rows[random_.weighted(weights)];
}

RecipeProposer::Work RecipeProposer::begin(Pick pick, const RecipeOperator& made_by) {
  SearchNode node;
  node.parents = pick.parents;
  node.role = made_by.name;
  node.strategy = pick.strategy;
  node.model = setting_.model;
  node.large = pick.large;
  node.island = pick.island;
  Work work;
  work.call.node = add_node(std::move(node));
  work.call.pick = std::move(pick);
  work.call.made_by = made_by.name;
  work.made_by = &made_by;
  if (!made_by.sub.empty()) return work;
  work.roles = std::exchange(asked_first_, {});
  for (const std::string& role : made_by.roles) work.roles.push_back(recipe_.find_role(role));
  return work;
}

/// Nothing where there is nothing that could be done.
Result<std::optional<RecipeProposer::Work>> RecipeProposer::choose() {
  Pick pick;
  if (!repairs_.empty()) {
    pick.parents = {repairs_.front()};
    pick.island = graph_.node(repairs_.front()).island;
    repairs_.pop_front();
  } else {
    QUERN_TRY(advise());
    pick = selector_->pick(graph_, random_);
  }
  pick.large = std::exchange(large_next_, false) || pick.large;
  QUERN_ASSIGN(const RecipeOperator* made_by, choose_operator(pick));
  if (made_by == nullptr) return std::optional<Work>();
  return std::optional<Work>(begin(std::move(pick), *made_by));
}

/// The kernel in a reply.
Result<std::string> RecipeProposer::code_in(const RecipeRole& role, const Work& work,
                                            const std::string& text) const {
  Result<std::string> source = Error{ErrorKind::kInput, "the reply has no edits", ""};
  if (role.output == RoleOutput::kEdits) {
    const auto edits = extract_edits(text);
    if (!edits) {
      source = edits.error();
    } else if (!edits->empty()) {
      source = apply_edits(record(work.call.pick.parents.front()).source, *edits);
    }
  }
  // Asked for edits, some models give the whole source all the same.
  if (!source) {
    auto whole = extract_code(text, setting_.entry);
    if (whole || role.output != RoleOutput::kEdits) source = std::move(whole);
  }
  if (source && role.output == RoleOutput::kTemplate && !has_tune_lines(*source)) {
    return Error{ErrorKind::kInput, "the reply has no line `// tune: NAME = values`", ""};
  }
  return source;
}

/// A note, a variant, or the problem.
void RecipeProposer::take_reply(Work& work, size_t stage, const std::string& text) const {
  const RecipeRole& role = *work.roles[stage];
  if (stage + 1 < work.roles.size()) {
    work.call.notes.emplace_back(role.name, text);
    return;
  }
  Result<std::string> source = code_in(role, work, text);
  if (source) {
    work.sources.push_back(std::move(*source));
  } else {
    work.problem = source.error().message;
  }
}

/// The calls of each work that has a role at this stage, all at once.
Result<void> RecipeProposer::run_stage(std::vector<Work>& works, size_t stage) {
  std::vector<llm::Request> requests;
  std::vector<Work*> owners;
  for (Work& work : works) {
    if (stage >= work.roles.size() || !work.problem.empty()) continue;
    const RecipeRole& role = *work.roles[stage];
    std::vector<std::string> items = {""};
    for (const auto& [name, text] : work.call.notes) {
      if (!role.each.empty() && name == role.each) items = list_items(text);
    }
    items.resize(std::min(items.size(), kMostItems));
    const int samples = stage + 1 < work.roles.size() ? 1 : work.made_by->workers;
    for (const std::string& item : items) {
      RoleCall call = work.call;
      call.item = item;
      QUERN_ASSIGN(llm::Request request,
                   prompts_.request(role, call, sources(), random_, &work.insights));
      for (int sample = 0; sample < samples; ++sample) {
        request.sample = sample;
        requests.push_back(request);
        owners.push_back(&work);
      }
    }
  }
  QUERN_ASSIGN(const std::vector<RoleReply> replies, caller_.ask(std::move(requests)));
  for (size_t i = 0; i < replies.size(); ++i) {
    if (replies[i].ok) {
      take_reply(*owners[i], stage, replies[i].text);
    } else {
      owners[i]->problem = replies[i].text;
    }
  }
  return {};
}

Result<void> RecipeProposer::begin_sub(const Work& work) {
  const RecipeOperator& row = *work.made_by;
  const Pick& pick = work.call.pick;
  if (row.sub == "rules") {
    subs_.add(work.call.node, pick, *rules_, row.attempts);
    return {};
  }
  QUERN_ASSIGN(Recipe recipe, parse_recipe(built_in_recipes().at(row.sub), row.sub));
  RecipeSetting setting = setting_;
  setting.naive = record(pick.parents.front()).source;
  setting.seed = random_.next();
  auto inner =
      std::make_unique<RecipeProposer>(std::move(recipe), std::move(setting), templates_, client_);
  Attempt base;
  base.candidate.proposer = "baseline";
  base.candidate.note = "naive";
  Passed passed;
  passed.timing.median_ns = graph_.node(pick.parents.front()).time_ns;
  base.evaluation.verdict = passed;
  inner->tell(base);
  subs_.add(work.call.node, pick, std::move(inner), row.attempts);
  return {};
}

void RecipeProposer::fail(int node, const Pick& pick, const std::string& why) {
  record_of(node).outcome = "No kernel: " + why + ".";
  graph_.change(node).state = NodeState::kBroken;
  close(node, pick);
}

/// A source as a candidate; one with parameters to tune as a search over their values.
void RecipeProposer::offer(int node, const Pick& pick, std::string source, Candidates& ready) {
  record_of(node).source = source;
  if (has_tune_lines(source)) {
    auto kernel = parse_template(source);
    if (!kernel) return fail(node, pick, kernel.error().message);
    if (recipe_.tune_attempts > 0) {
      const auto search = known(find_numeric_search(recipe_.tune_search));
      subs_.add(node, pick,
                std::make_unique<Tuner>(std::move(*kernel), *search, recipe_.name, random_.next()),
                recipe_.tune_attempts);
      return;
    }
    source = kernel->instance(std::vector<size_t>(kernel->parameters.size(), 0));
    record_of(node).source = source;
  }
  ProposedCandidate made;
  made.candidate = make_candidate(std::move(source), recipe_.name);
  made.candidate.note = pick.strategy;
  made.action = graph_.node(node).role;
  if (!pick.strategy.empty()) made.action += ": " + pick.strategy;
  record_of(node).candidate_id = made.candidate.id;
  for (int parent : pick.parents) {
    const std::string& id = record(parent).candidate_id;
    if (!id.empty()) made.candidate.parents.push_back(id);
  }
  waiting_[made.candidate.id].push_back({node, pick});
  ready.push_back(std::move(made));
}

void RecipeProposer::finish(Work& work, Candidates& ready) {
  const int node = work.call.node;
  if (!work.call.notes.empty()) record_of(node).plan = work.call.notes.back().second;
  graph_.change(node).predicted = expected_speed(record(node).plan);
  record_of(node).insights = std::move(work.insights);
  if (work.sources.empty()) return fail(node, work.call.pick, work.problem);
  std::string first = std::move(work.sources.front());
  work.sources.erase(work.sources.begin());
  if (!work.sources.empty()) spares_[node] = std::move(work.sources);
  offer(node, work.call.pick, std::move(first), ready);
}

/// Picks, asks, and takes the replies. False where there was nothing to do.
Result<bool> RecipeProposer::make(int count, Candidates& ready) {
  std::vector<Work> works;
  for (int i = 0; i < std::clamp(count, 1, std::max(1, recipe_.width)); ++i) {
    QUERN_ASSIGN(std::optional<Work> work, choose());
    if (!work) break;
    works.push_back(std::move(*work));
  }
  size_t stages = 0;
  for (const Work& work : works) stages = std::max(stages, work.roles.size());
  for (size_t stage = 0; stage < stages; ++stage) QUERN_TRY(run_stage(works, stage));
  for (Work& work : works) {
    if (work.made_by->sub.empty()) {
      finish(work, ready);
    } else {
      QUERN_TRY(begin_sub(work));
    }
  }
  return !works.empty();
}

/// Writes what is to be learnt from the nodes judged since.
Result<void> RecipeProposer::reflect() {
  const std::vector<Reflection> due = std::exchange(reflections_, {});
  if (due.empty() || !caller_.can_ask()) return {};
  std::vector<llm::Request> requests;
  for (const Reflection& one : due) {
    RoleCall call;
    call.pick.parents = {one.node};
    const RecipeRole& role = *recipe_.find_role(one.row->role);
    QUERN_ASSIGN(llm::Request request, prompts_.request(role, call, sources(), random_, nullptr));
    requests.push_back(std::move(request));
  }
  QUERN_ASSIGN(const std::vector<RoleReply> replies, caller_.ask(std::move(requests)));
  for (size_t i = 0; i < due.size(); ++i) {
    if (!replies[i].ok) continue;
    if (due[i].row->guides) {
      guidance_ = shorten(replies[i].text, kMostGuidance);
    } else {
      memory_.add_lines(replies[i].text, due[i].node, due[i].row->most);
    }
  }
  return {};
}

Result<std::vector<ProposedCandidate>> RecipeProposer::next(int count) {
  QUERN_TRY(reflect());
  for (int round = 0; round < kFruitlessRounds && !stopped_; ++round) {
    Candidates ready = std::exchange(due_, {});
    if (ready.empty()) {
      QUERN_ASSIGN(ready, subs_.draw(count));
      end_subs();
    }
    if (ready.empty()) {
      QUERN_ASSIGN(const bool any, make(count, ready));
      if (!any) break;
    }
    if (ready.empty()) {
      QUERN_ASSIGN(ready, subs_.draw(count));
      end_subs();
    }
    if (!ready.empty()) return ready;
  }
  return Candidates{};
}

}  // namespace quern
