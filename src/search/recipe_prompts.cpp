// SPDX-License-Identifier: Apache-2.0
#include "search/recipe_prompts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "base/strings.h"
#include "codegen/reference.h"
#include "search/features.h"
#include "task/parse.h"

namespace quern {
namespace {

std::string c_type(DType type, bool input) {
  const char* name = type == DType::kF32   ? "float"
                     : type == DType::kF64 ? "double"
                     : type == DType::kI32 ? "int32_t"
                                           : "int64_t";
  return fmt::format("{}{}*", input ? "const " : "", name);
}

double distance(const SearchNode& a, const SearchNode& b) {
  return sketch_distance(a.sketch, b.sketch);
}

Json shown(int id, const RecipePrompts::Sources& from) {
  const SearchNode& node = from.graph.node(id);
  const NodeRecord& record = from.records[static_cast<size_t>(id)];
  std::string title = fmt::format("Attempt {}", id);
  if (id == 0) title = "The plain version";
  if (id > 0) title += fmt::format(" ({} of {})", node.role, node.parents.front());
  return {{"title", title},
          {"outcome", record.outcome},
          {"source", record.source},
          {"plan", record.plan},
          {"strategy", node.strategy}};
}

/// "self, leaders 5"; "nothing" where a role is shown no history.
std::string view_text(const View& view) {
  std::vector<std::string> terms;
  for (const ViewTerm& term : view.terms) terms.push_back(print(term));
  return terms.empty() ? "nothing" : join(terms, ", ");
}

/// The view's kernels as far as their sources fit.
Json history(const RecipeRole& role, const RoleCall& call, const RecipePrompts::Sources& from,
             Random& random) {
  std::vector<Json> nodes;
  std::vector<std::string> texts;
  int characters = 0;
  const int base = call.pick.parents.front();
  for (const ViewNode& node : view_nodes(role.view, from.graph, base, distance, random)) {
    if (node.id == base || node.id == call.node) continue;
    if (characters > role.view.max_characters) break;
    nodes.push_back(shown(node.id, from));
    texts.push_back(from.records[static_cast<size_t>(node.id)].source);
    characters += static_cast<int>(texts.back().size());
  }
  texts = fit_texts(std::move(texts), role.view.max_characters);
  Json kept = Json::array();
  for (size_t i = 0; i < texts.size(); ++i) {
    nodes[i]["source"] = texts[i];
    kept.push_back(std::move(nodes[i]));
  }
  return kept;
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

RecipePrompts::RecipePrompts(const RecipeSetting& setting, Prompts prompts)
    : setting_(setting), prompts_(std::move(prompts)) {}

/// What stands before every role's own prompt: guidance, insights, the selector's view of things.
Result<std::string> RecipePrompts::context(const RecipeRole& role, const Sources& from,
                                           std::vector<int>* shown) const {
  Json data = {{"guidance", from.guidance},
               {"selector", from.selector.context(from.graph)},
               {"insights", Json::array()}};
  for (const ViewTerm& term : role.view.terms) {
    if (term.kind != ViewKind::kInsights) continue;
    for (int id : from.memory.best(term.count)) {
      data["insights"].push_back(from.memory.at(id).text);
      if (shown != nullptr) shown->push_back(id);
    }
  }
  data["learnt"] = !data["insights"].empty();
  return prompts_.render("context", data);
}

Result<llm::Request> RecipePrompts::request(const RecipeRole& role, const RoleCall& call,
                                            const Sources& from, Random& random,
                                            std::vector<int>* shown_insights) {
  if (system_.empty()) {
    const Json task = {{"task", setting_.task_text},
                       {"signature", setting_.signature},
                       {"naive", setting_.naive},
                       {"size_macros", setting_.size_macros},
                       {"hardware", setting_.hardware}};
    QUERN_ASSIGN(task_, prompts_.render("task", task));
    QUERN_ASSIGN(system_, prompts_.render("system", task));
  }
  Json data = {{"base", shown(call.pick.parents.front(), from)},
               {"strategy", call.pick.strategy},
               {"menu", call.pick.menu},
               {"choose", !call.pick.menu.empty()},
               {"large", call.pick.large},
               {"item", call.item},
               {"question", call.question},
               {"guidance", from.guidance},
               {"history", history(role, call, from, random)},
               {"parents", Json::array()},
               {"notes", Json::array()}};
  for (int parent : call.pick.parents) data["parents"].push_back(shown(parent, from));
  const std::vector<int> above = from.graph.node(call.pick.parents.front()).parents;
  if (!above.empty()) data["before"] = shown(above.front(), from);
  for (const auto& [name, text] : call.notes) {
    data["notes"].push_back({{"role", name}, {"text", text}});
  }
  llm::Request request;
  request.model = role.model.empty() ? setting_.model : role.model;
  request.temperature = role.temperature;
  const int base = call.pick.parents.front();
  request.label = {{"node", call.node},
                   {"operator", call.made_by},
                   {"strategy", call.pick.strategy},
                   {"role", role.name},
                   {"writes", role.output == RoleOutput::kText ? "text" : "code"},
                   {"view", view_text(role.view)},
                   {"parent", from.records[static_cast<size_t>(base)].candidate_id}};
  request.system = system_;
  request.task = task_;
  QUERN_ASSIGN(std::string text, context(role, from, shown_insights));
  QUERN_ASSIGN(const std::string prompt, prompts_.render(role.prompt, data));
  request.messages.push_back({llm::Role::kUser, text + prompt, {}, ""});
  return request;
}

double expected_speed(const std::string& text) {
  std::string lower = text;
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  const size_t at = lower.rfind("expected");
  const size_t digit = lower.find_first_of("0123456789\n", at == std::string::npos ? at : at + 8);
  if (at == std::string::npos || digit == std::string::npos || lower[digit] == '\n') return 0;
  char* end = nullptr;
  const double speed = std::strtod(lower.c_str() + digit, &end);
  const bool times = *end == 'x' || std::string_view(end).starts_with("×");
  return times && speed > 0 && speed < 1000 ? speed : 0;
}

}  // namespace quern
