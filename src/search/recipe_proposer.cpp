// SPDX-License-Identifier: Apache-2.0
#include "search/recipe_proposer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <future>

#include "base/check.h"
#include "base/strings.h"
#include "codegen/reference.h"
#include "propose/reply.h"
#include "task/parse.h"

namespace quern {
namespace {

/// Rounds in a row without a candidate before the search gives up.
constexpr int kFruitlessRounds = 6;

NodeState state_of(const Verdict& verdict) {
  if (passed(verdict)) return NodeState::kCorrect;
  const bool broken = std::holds_alternative<CompileFailed>(verdict) ||
                      std::holds_alternative<LaunchFailed>(verdict);
  return broken ? NodeState::kBroken : NodeState::kWrong;
}

/// How far two kernels are apart, by time and score alone: 0–1.
double distance(const SearchNode& a, const SearchNode& b) {
  if (a.time_ns <= 0 || b.time_ns <= 0) return a.time_ns == b.time_ns ? 0 : 1;
  return std::min(1.0, std::abs(std::log(a.time_ns / b.time_ns)));
}

std::string c_type(DType type, bool input) {
  const char* name = type == DType::kF32   ? "float"
                     : type == DType::kF64 ? "double"
                     : type == DType::kI32 ? "int32_t"
                                           : "int64_t";
  return fmt::format("{}{}*", input ? "const " : "", name);
}

/// "self, leaders 5"; "nothing" where a role is shown no history.
std::string view_text(const View& view) {
  std::vector<std::string> terms;
  for (const ViewTerm& term : view.terms) terms.push_back(print(term));
  return terms.empty() ? "nothing" : join(terms, ", ");
}

/// The run cannot go on when one of these comes back; anything else is one call's bad luck.
bool is_fatal(llm::FailureKind kind) {
  using Kind = llm::FailureKind;
  return kind == Kind::kSetup || kind == Kind::kPrice || kind == Kind::kRejected ||
         kind == Kind::kNotRecorded || kind == Kind::kCancelled;
}

}  // namespace

RecipeSetting recipe_setting(const ir::Program& program) {
  RecipeSetting setting;
  setting.task_text = print_task(program);
  setting.naive = emit_naive(program);
  setting.entry = program.name;
  std::vector<std::string> arguments, macros;
  for (const std::string& size : program.free_sizes()) {
    arguments.push_back("int64_t " + size);
    macros.push_back("QUERN_SIZE_" + size);
  }
  for (const ir::InputDecl& input : program.inputs) {
    arguments.push_back(fmt::format("{} {}", c_type(input.type, true), input.name));
  }
  for (const ir::Statement* output : program.outputs()) {
    arguments.push_back(fmt::format("{} {}", c_type(output->type, false), output->name));
  }
  setting.signature = fmt::format("extern \"C\" void {}({});", program.name, join(arguments, ", "));
  setting.size_macros = join(macros, ", ");
  return setting;
}

RecipeProposer::RecipeProposer(Recipe recipe, RecipeSetting setting, Prompts prompts,
                               llm::Client& client)
    : recipe_(std::move(recipe)),
      setting_(std::move(setting)),
      prompts_(std::move(prompts)),
      client_(client),
      random_(setting_.seed) {
  auto selector = make_selector(recipe_.selector, recipe_.settings);
  auto score = find_score_rule(recipe_.score);
  auto gain = find_gain_rule(recipe_.gain);
  auto accept = find_accept_rule(recipe_.accept);
  QUERN_CHECK(selector && score && gain && accept, "a recipe that parsed");
  selector_ = std::move(*selector);
  score_ = *score;
  gain_ = *gain;
  accept_ = *accept;
  SearchNode root;
  root.state = NodeState::kCorrect;
  root.speedup = 1;
  root.score = score_->score(root.state, 1);
  graph_.add(root);
  memos_[0] = {setting_.naive, "The plain version: correct, 1×.", "", 0};
}

RecipeProposer::~RecipeProposer() = default;

Result<RecipeProposer::Work> RecipeProposer::choose() {
  Work work;
  if (!repairs_.empty()) {
    work.pick.parents = {repairs_.front()};
    work.pick.island = graph_.node(repairs_.front()).island;
    repairs_.pop_front();
  } else {
    work.pick = selector_->pick(graph_, random_);
  }
  std::vector<double> weights;
  for (const RecipeOperator& row : recipe_.operators) {
    const bool applies = condition_holds(row.when, graph_, work.pick);
    weights.push_back(applies ? row.weight : 0);
  }
  if (std::ranges::all_of(weights, [](double weight) { return weight <= 0; })) {
    return Error{
        ErrorKind::kInput,
        fmt::format("the recipe {} has no operator for what its selector picked", recipe_.name),
        "add an [[operator]] with when = \"any\""};
  }
  // Conditions go from the particular to the general: the first that holds leads, and shares the
  // draw only with others of the same condition.
  const auto first = std::ranges::find_if(weights, [](double weight) { return weight > 0; });
  const std::string& when = recipe_.operators[static_cast<size_t>(first - weights.begin())].when;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (recipe_.operators[i].when != when) weights[i] = 0;
  }
  work.made_by = &recipe_.operators[random_.weighted(weights)];
  SearchNode node;
  node.parents = work.pick.parents;
  node.role = work.made_by->name;
  node.strategy = work.pick.strategy;
  node.model = setting_.model;
  node.large = work.pick.large;
  node.island = work.pick.island;
  work.node = graph_.add(node);
  return work;
}

Json RecipeProposer::shown(int id) const {
  const SearchNode& node = graph_.node(id);
  const Memo& memo = memos_.at(id);
  std::string title = fmt::format("Attempt {}", id);
  if (id == 0) title = "The plain version";
  if (id > 0) title += fmt::format(" ({} of {})", node.role, node.parents.front());
  return {{"title", title}, {"outcome", memo.outcome}, {"source", memo.source}};
}

Result<llm::Request> RecipeProposer::request(const Work& work, const RecipeRole& role) {
  const int base = work.pick.parents.front();
  Json data = {{"base", shown(base)},      {"strategy", work.pick.strategy},
               {"large", work.pick.large}, {"history", Json::array()},
               {"parents", Json::array()}, {"notes", Json::array()}};
  for (int parent : work.pick.parents) data["parents"].push_back(shown(parent));
  for (const auto& [name, text] : work.notes) {
    data["notes"].push_back({{"role", name}, {"text", text}});
  }
  std::vector<Json> history;
  std::vector<std::string> texts;
  for (const ViewNode& node : view_nodes(role.view, graph_, base, distance, random_)) {
    if (node.id == base || node.id == work.node) continue;
    history.push_back(shown(node.id));
    texts.push_back(history.back()["source"].get<std::string>());
  }
  texts = fit_texts(std::move(texts), role.view.max_characters);
  for (size_t i = 0; i < texts.size(); ++i) {
    history[i]["source"] = texts[i];
    data["history"].push_back(history[i]);
  }
  if (system_.empty()) {
    const Json task = {{"task", setting_.task_text},
                       {"signature", setting_.signature},
                       {"naive", setting_.naive},
                       {"size_macros", setting_.size_macros},
                       {"hardware", setting_.hardware}};
    QUERN_ASSIGN(task_, prompts_.render("task", task));
    QUERN_ASSIGN(system_, prompts_.render("system", task));
  }
  llm::Request request;
  request.model = role.model.empty() ? setting_.model : role.model;
  request.temperature = role.temperature;
  request.label = {{"node", work.node},
                   {"operator", work.made_by->name},
                   {"strategy", work.pick.strategy},
                   {"role", role.name},
                   {"writes", role.output == RoleOutput::kText ? "text" : "code"},
                   {"view", view_text(role.view)},
                   {"parent", candidate_id(base)}};
  request.system = system_;
  request.task = task_;
  QUERN_ASSIGN(std::string text, prompts_.render(role.prompt, data));
  request.messages.push_back({llm::Role::kUser, std::move(text), {}, ""});
  return request;
}

/// Fills in the source, a note, or the problem.
void RecipeProposer::take_reply(Work& work, const RecipeRole& role, const std::string& text) const {
  if (role.output == RoleOutput::kText) {
    work.notes.emplace_back(role.name, text);
    return;
  }
  Result<std::string> source = Error{ErrorKind::kInput, "the reply has no edits", ""};
  if (role.output == RoleOutput::kEdits) {
    const auto edits = extract_edits(text);
    if (!edits) {
      source = edits.error();
    } else if (!edits->empty()) {
      source = apply_edits(memos_.at(work.pick.parents.front()).source, *edits);
    }
  }
  // Asked for edits, some models give the whole source all the same.
  if (!source) {
    auto whole = extract_code(text, setting_.entry);
    if (whole || role.output == RoleOutput::kCode) source = std::move(whole);
  }
  if (source) {
    work.source = std::move(*source);
  } else {
    work.problem = source.error().message;
  }
}

/// One call for each work that has a role at this stage, all at once. False when the budget ended.
Result<bool> RecipeProposer::run_stage(std::vector<Work>& works, size_t stage) {
  std::vector<std::pair<Work*, std::future<llm::Answer>>> calls;
  for (Work& work : works) {
    if (stage >= work.made_by->roles.size() || !work.problem.empty()) continue;
    const RecipeRole& role = *recipe_.find_role(work.made_by->roles[stage]);
    QUERN_ASSIGN(llm::Request made, request(work, role));
    calls.emplace_back(&work, client_.ask(std::move(made)));
  }
  bool affordable = true;
  std::optional<Error> fatal;
  for (auto& [work, call] : calls) {
    const llm::Answer answer = call.get();
    const RecipeRole& role = *recipe_.find_role(work->made_by->roles[stage]);
    if (answer.ok()) {
      take_reply(*work, role, answer.reply().text);
      continue;
    }
    work->problem = answer.failure().message;
    if (answer.failure().kind == llm::FailureKind::kBudget) affordable = false;
    if (is_fatal(answer.failure().kind)) fatal = to_error(answer.failure());
  }
  if (fatal) return *fatal;
  return affordable;
}

Result<std::vector<ProposedCandidate>> RecipeProposer::next(int count) {
  std::vector<ProposedCandidate> candidates;
  bool affordable = true;
  for (int round = 0; round < kFruitlessRounds && affordable && candidates.empty(); ++round) {
    std::vector<Work> works;
    for (int i = 0; i < std::clamp(count, 1, std::max(1, recipe_.width)); ++i) {
      QUERN_ASSIGN(Work work, choose());
      works.push_back(std::move(work));
    }
    size_t stages = 0;
    for (const Work& work : works) stages = std::max(stages, work.made_by->roles.size());
    for (size_t stage = 0; stage < stages; ++stage) {
      QUERN_ASSIGN(const bool enough, run_stage(works, stage));
      affordable = affordable && enough;
    }
    for (Work& work : works) {
      memos_[work.node].source = work.source;
      if (work.source.empty()) {
        memos_[work.node].outcome = "No kernel: " + work.problem + ".";
        graph_.change(work.node).state = NodeState::kBroken;
        close({work.node, work.pick});
        continue;
      }
      ProposedCandidate made;
      made.candidate = make_candidate(work.source, recipe_.name);
      made.candidate.note = work.pick.strategy;
      made.action = work.made_by->name;
      if (!work.pick.strategy.empty()) made.action += ": " + work.pick.strategy;
      memos_[work.node].candidate_id = made.candidate.id;
      for (int parent : work.pick.parents) {
        const std::string& id = memos_.at(parent).candidate_id;
        if (!id.empty()) made.candidate.parents.push_back(id);
      }
      waiting_[made.candidate.id].push_back({work.node, work.pick});
      candidates.push_back(std::move(made));
    }
  }
  return candidates;
}

/// What the rest of the recipe learns of a node that is judged.
void RecipeProposer::close(const Waiting& waiting) {
  SearchNode& node = graph_.change(waiting.node);
  const SearchNode& parent = graph_.node(node.parents.front());
  node.score = score_->score(node.state, node.speedup);
  node.gain = gain_->gain(node.state, node.time_ns, parent.time_ns);
  selector_->told(graph_, waiting.node, waiting.pick);
  Memo& memo = memos_[waiting.node];
  const bool failed = graph_.failed(waiting.node);
  memo.repairs = graph_.failed(node.parents.front()) ? memos_[node.parents.front()].repairs + 1 : 0;
  if (failed && memo.repairs < recipe_.repairs) repairs_.push_back(waiting.node);
  if (accept_->accept(node, graph_.node(graph_.current()), graph_.node(best_),
                      recipe_.accept_factor)) {
    graph_.accept(waiting.node);
  }
  if (!failed && node.score > graph_.node(best_).score) best_ = waiting.node;
}

void RecipeProposer::judge(const Waiting& waiting, const Attempt& attempt) {
  const Verdict& verdict = attempt.evaluation.verdict;
  SearchNode& node = graph_.change(waiting.node);
  node.state = state_of(verdict);
  std::string outcome;
  if (const Timing* timing = timing_of(verdict)) {
    node.time_ns = timing->median_ns;
    node.speedup = reference_ns_ > 0 && node.time_ns > 0 ? reference_ns_ / node.time_ns : 1;
    outcome = fmt::format("Correct. {:.4g} ms a call, {:.2f}× the plain version",
                          node.time_ns * 1e-6, node.speedup);
    if (attempt.evaluation.roofline > 0) {
      outcome += fmt::format(", {:.0f} % of what the machine's memory and arithmetic allow",
                             100 * attempt.evaluation.roofline);
    }
    outcome += ".";
  } else {
    outcome = fmt::format("Verdict: {}. {}", verdict_name(verdict), verdict_reason(verdict));
    const std::string evidence = verdict_evidence(verdict);
    if (!evidence.empty()) outcome += "\n" + shorten(evidence, 4000);
  }
  memos_[waiting.node].outcome = outcome;
  close(waiting);
}

void RecipeProposer::tell(const Attempt& attempt) {
  if (attempt.candidate.proposer == "baseline") {
    const Timing* timing = timing_of(attempt.evaluation.verdict);
    if (attempt.candidate.note == "naive" && timing != nullptr) {
      reference_ns_ = timing->median_ns;
      graph_.change(0).time_ns = reference_ns_;
      memos_[0].outcome =
          fmt::format("The plain version: correct, {:.4g} ms a call, 1×.", reference_ns_ * 1e-6);
    }
    return;
  }
  auto found = waiting_.find(attempt.candidate.id);
  if (found == waiting_.end() || found->second.empty()) return;
  const Waiting waiting = found->second.front();
  found->second.pop_front();
  judge(waiting, attempt);
}

}  // namespace quern
