// SPDX-License-Identifier: Apache-2.0
#include "search/recipe.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/embedded.h"
#include "base/strings.h"
#include "base/suggest.h"
#include "propose/tuner.h"
#include "search/features.h"
#include "search/feedback.h"
#include "search/score.h"
#include "search/toml_table.h"

namespace quern {

extern const EmbeddedFile kRecipeFiles[];

namespace {

const std::vector<std::string>& reflection_conditions() {
  static const auto& all =
      *new std::vector<std::string>{"any", "correct", "failed", "best", "gain", "loss"};
  return all;
}

/// "gain 1.04" -> name and number; a number only where one is wanted.
Result<void> parse_condition(const std::string& text, bool counts, std::string& name,
                             double& number) {
  const std::vector<std::string> words = split_words(text);
  char* end = nullptr;
  if (words.size() == 2) number = std::strtod(words[1].c_str(), &end);
  const bool has_number = end != nullptr && *end == '\0' && number > 0;
  if (words.empty() || words.size() > 2 || (words.size() == 2) != counts || counts != has_number) {
    return Error{
        ErrorKind::kInput,
        fmt::format("'{}' {}", text, counts ? "needs one number above 0" : "takes no number"), ""};
  }
  name = words[0];
  return {};
}

Result<Recipe> read_recipe(const std::string& text, const std::string& name,
                           std::vector<std::string> within);

class RecipeReader {
 public:
  /// `within`: recipes that this one is a sub-search of, the outermost first.
  RecipeReader(TableReader top, std::string name, std::vector<std::string> within)
      : top_(std::move(top)), within_(std::move(within)) {
    recipe_.name = std::move(name);
    recipe_.feedback = default_feedback();
  }

  Result<Recipe> read() {
    for (auto& [key, into] : {std::pair{"title", &recipe_.title},
                              {"source", &recipe_.source},
                              {"faithful", &recipe_.faithful},
                              {"in_style", &recipe_.in_style},
                              {"guidance", &recipe_.guidance}}) {
      QUERN_TRY(top_.text(key, *into));
    }
    QUERN_TRY(top_.count("repairs", recipe_.repairs, 0, 100));
    QUERN_TRY(top_.count("width", recipe_.width, 0, 256));
    QUERN_TRY(read_choice());
    QUERN_TRY(read_feedback());
    QUERN_TRY(read_scores());
    QUERN_TRY(read_selector());
    QUERN_TRY(read_small_tables());
    QUERN_TRY(read_operators());
    QUERN_TRY(read_rules());
    QUERN_TRY(read_reflections());
    QUERN_TRY(read_roles());
    QUERN_TRY(top_.finish());
    QUERN_TRY(check_chains());
    return std::move(recipe_);
  }

 private:
  Result<void> read_choice() {
    std::string choose = "weight";
    QUERN_TRY(top_.text("choose", choose));
    if (choose != "weight" && choose != "pays") {
      return top_.error(unknown("way to choose operators", choose, {"weight", "pays"}), "choose");
    }
    recipe_.pays = choose == "pays";
    return {};
  }

  Result<void> read_feedback() {
    QUERN_TRY(top_.texts("feedback", recipe_.feedback));
    for (const std::string& channel : recipe_.feedback) {
      QUERN_TRY(named(top_, find_feedback_channel(channel), "feedback"));
    }
    return {};
  }

  Result<void> read_scores() {
    QUERN_ASSIGN(auto scores, top_.table("score"));
    for (TableReader& score : scores) {
      QUERN_TRY(score.text("node", recipe_.score));
      QUERN_TRY(score.text("edge", recipe_.gain));
      QUERN_TRY(score.finish());
      QUERN_TRY(named(score, find_score_rule(recipe_.score), "node"));
      QUERN_TRY(named(score, find_gain_rule(recipe_.gain), "edge"));
    }
    QUERN_ASSIGN(auto accepts, top_.table("accept"));
    for (TableReader& accept : accepts) {
      QUERN_TRY(accept.text("rule", recipe_.accept));
      QUERN_TRY(accept.number("factor", recipe_.accept_factor));
      QUERN_TRY(accept.finish());
      QUERN_TRY(named(accept, find_accept_rule(recipe_.accept), "rule"));
    }
    return {};
  }

  Result<void> read_selector() {
    if (!top_.has("select")) {
      return top_.error("there is no [select]", nullptr, "use = \"best\"");
    }
    QUERN_ASSIGN(auto selects, top_.table("select"));
    TableReader& select = selects.front();
    QUERN_TRY(select.text("use", recipe_.selector));
    QUERN_TRY(select.text("advisor", recipe_.advisor));
    QUERN_TRY(select.numbers(recipe_.settings.numbers));
    QUERN_ASSIGN(auto limits, top_.table("limits"));
    for (TableReader& reader : limits) QUERN_TRY(reader.numbers(recipe_.settings.limits));
    QUERN_ASSIGN(auto strategies, top_.tables("strategy"));
    for (TableReader& reader : strategies) {
      Strategy strategy;
      QUERN_TRY(reader.text("name", strategy.name));
      QUERN_TRY(reader.text("target", strategy.target));
      QUERN_TRY(reader.texts("after", strategy.after));
      QUERN_TRY(reader.texts("tiers", strategy.tiers));
      QUERN_TRY(reader.finish());
      recipe_.settings.strategies.push_back(std::move(strategy));
    }
    if (!recipe_.advisor.empty()) add_role(recipe_.advisor, RoleOutput::kText);
    return named(select, make_selector(recipe_.selector, recipe_.settings), "use");
  }

  /// [grid], [tune], [memory].
  Result<void> read_small_tables() {
    QUERN_ASSIGN(auto grids, top_.table("grid"));
    for (TableReader& grid : grids) {
      QUERN_TRY(grid.texts("axes", recipe_.grid));
      QUERN_TRY(grid.count("bins", recipe_.bins, 1, 1000));
      QUERN_TRY(grid.finish());
      for (const std::string& axis : recipe_.grid) {
        QUERN_TRY(named(grid, find_grid_axis(axis), "axes"));
      }
    }
    QUERN_ASSIGN(auto tunes, top_.table("tune"));
    for (TableReader& tune : tunes) {
      recipe_.tune_attempts = 8;
      QUERN_TRY(tune.text("search", recipe_.tune_search));
      QUERN_TRY(tune.count("attempts", recipe_.tune_attempts, 1, 100'000));
      QUERN_TRY(tune.finish());
      QUERN_TRY(named(tune, find_numeric_search(recipe_.tune_search), "search"));
    }
    QUERN_ASSIGN(auto memories, top_.table("memory"));
    for (TableReader& memory : memories) {
      InsightSettings& settings = recipe_.memory;
      for (auto& [key, into] : {std::pair{"capacity", &settings.capacity},
                                {"rate", &settings.rate},
                                {"decay", &settings.decay},
                                {"min_seen", &settings.min_seen}}) {
        QUERN_TRY(memory.number(key, *into));
      }
      QUERN_TRY(memory.finish());
    }
    return {};
  }

  Result<void> read_operators() {
    QUERN_ASSIGN(auto rows, top_.tables("operator"));
    for (TableReader& row : rows) {
      RecipeOperator made;
      std::string when = made.when;
      QUERN_TRY(row.text("name", made.name));
      QUERN_TRY(row.text("when", when));
      QUERN_TRY(row.number("weight", made.weight));
      QUERN_TRY(row.texts("roles", made.roles));
      QUERN_TRY(row.count("workers", made.workers, 1, 64));
      QUERN_TRY(row.text("sub", made.sub));
      QUERN_TRY(row.count("attempts", made.attempts, 1, 100'000));
      QUERN_TRY(row.finish());
      QUERN_TRY(read_when(row, when, made));
      QUERN_TRY(check_sub(row, made));
      if (made.sub.empty() == made.roles.empty()) {
        return row.error("an operator needs roles, or a sub-search", nullptr,
                         "roles = [\"rewrite\"], or sub = \"rules\"");
      }
      for (const std::string& role : made.roles) add_role(role, RoleOutput::kCode);
      recipe_.operators.push_back(std::move(made));
    }
    if (recipe_.operators.empty()) return top_.error("there is no [[operator]]", nullptr);
    return {};
  }

  static Result<void> read_when(const TableReader& row, const std::string& when,
                                RecipeOperator& made) {
    const std::string name = when.substr(0, when.find(' '));
    std::vector<std::string> known;
    for (const OperatorCondition& condition : operator_conditions()) {
      known.emplace_back(condition.name);
      if (name != condition.name) continue;
      const auto parsed = parse_condition(when, condition.counts, made.when, made.number);
      if (!parsed) return row.error(parsed.error(), "when");
      return {};
    }
    return row.error(unknown("condition", name, known), "when");
  }

  /// Sub-searches may have their own; a recipe may not contain itself, however deep.
  Result<void> check_sub(const TableReader& row, const RecipeOperator& made) const {
    if (made.sub.empty() || made.sub == "rules") return {};
    std::vector<std::string> known = {"rules"};
    for (const auto& [name, text] : built_in_recipes()) known.push_back(name);
    const auto found = built_in_recipes().find(made.sub);
    if (found == built_in_recipes().end()) {
      return row.error(unknown("recipe", made.sub, known), "sub");
    }
    std::vector<std::string> within = within_;
    if (std::ranges::find(within, made.sub) != within.end()) {
      return row.error(fmt::format("the recipe {} would contain itself: {} > {}", made.sub,
                                   join(within, " > "), made.sub),
                       "sub", "let the innermost search by the rules: sub = \"rules\"");
    }
    within.push_back(made.sub);
    return named(row, read_recipe(found->second, made.sub, std::move(within)), "sub");
  }

  Result<void> read_rules() {
    QUERN_ASSIGN(auto rows, top_.tables("rule"));
    for (TableReader& row : rows) {
      std::string when, action;
      QUERN_TRY(row.text("when", when));
      QUERN_TRY(row.text("do", action));
      QUERN_TRY(row.finish());
      auto rule = parse_rule(when, action);
      if (!rule) return row.error(rule.error(), "when");
      const std::string& name = rule->argument;
      if (rule->action == "switch" &&
          std::ranges::find(recipe_.operators, name, &RecipeOperator::name) ==
              recipe_.operators.end()) {
        return row.error(fmt::format("there is no operator '{}'", name), nullptr);
      }
      if (rule->action == "ask" || rule->action == "re-profile") {
        add_role(name, RoleOutput::kText);
      }
      recipe_.rules.push_back(std::move(*rule));
    }
    return {};
  }

  Result<void> read_reflections() {
    QUERN_ASSIGN(auto rows, top_.tables("reflect"));
    for (TableReader& row : rows) {
      RecipeReflection made;
      std::string when = made.when, into = "insights";
      QUERN_TRY(row.text("role", made.role));
      QUERN_TRY(row.text("when", when));
      QUERN_TRY(row.text("into", into));
      QUERN_TRY(row.count("every", made.every, 1, 100'000));
      QUERN_TRY(row.count("most", made.most, 1, 100));
      QUERN_TRY(row.finish());
      const std::string name = when.substr(0, when.find(' '));
      const auto& known = reflection_conditions();
      if (std::ranges::find(known, name) == known.end()) {
        return row.error(unknown("condition", name, known), "when");
      }
      const bool counts = name == "gain" || name == "loss";
      const auto parsed = parse_condition(when, counts, made.when, made.number);
      if (!parsed) return row.error(parsed.error(), "when");
      if (into != "insights" && into != "guidance") {
        return row.error(unknown("place", into, {"insights", "guidance"}), "into");
      }
      made.guides = into == "guidance";
      if (made.role.empty()) return row.error("a reflection needs a role", nullptr);
      add_role(made.role, RoleOutput::kText);
      recipe_.reflections.push_back(std::move(made));
    }
    return {};
  }

  /// Roles that are named anywhere exist without a table of their own.
  void add_role(const std::string& name, RoleOutput output) {
    if (recipe_.find_role(name) != nullptr) return;
    RecipeRole role;
    role.name = role.prompt = name;
    role.output = output;
    recipe_.roles.push_back(role);
  }

  Result<void> read_roles() {
    QUERN_ASSIGN(auto tables, top_.named_tables("role"));
    for (auto& [name, reader] : tables) {
      const auto role = std::ranges::find(recipe_.roles, name, &RecipeRole::name);
      if (role == recipe_.roles.end()) {
        return reader.error(fmt::format("no operator has a role '{}'", name), nullptr);
      }
      QUERN_TRY(read_role(reader, *role));
    }
    return {};
  }

  static Result<void> read_role(TableReader& reader, RecipeRole& role) {
    static constexpr std::pair<const char*, RoleOutput> kOutputs[] = {
        {"code", RoleOutput::kCode},
        {"edits", RoleOutput::kEdits},
        {"template", RoleOutput::kTemplate},
        {"text", RoleOutput::kText}};
    std::string output;
    std::vector<std::string> view;
    int characters = role.view.max_characters;
    double temperature = -1;
    QUERN_TRY(reader.text("prompt", role.prompt));
    QUERN_TRY(reader.text("output", output));
    QUERN_TRY(reader.text("model", role.model));
    QUERN_TRY(reader.text("each", role.each));
    QUERN_TRY(reader.texts("view", view));
    QUERN_TRY(reader.count("view_characters", characters, 0, 10'000'000));
    QUERN_TRY(reader.number("temperature", temperature));
    QUERN_TRY(reader.finish());
    if (temperature >= 0) role.temperature = temperature;
    auto parsed = parse_view(view, characters);
    if (!parsed) return reader.error(parsed.error(), "view");
    role.view = *parsed;
    std::vector<std::string> known;
    for (const auto& [name, kind] : kOutputs) {
      known.emplace_back(name);
      if (output == name) role.output = kind;
    }
    if (output.empty() || std::ranges::find(known, output) != known.end()) return {};
    return reader.error(unknown("output", output, known), "output");
  }

  Result<void> check_chains() const {
    for (const RecipeOperator& made : recipe_.operators) {
      for (size_t i = 0; i < made.roles.size(); ++i) {
        const RecipeRole& role = *recipe_.find_role(made.roles[i]);
        const bool text = role.output == RoleOutput::kText;
        if (text == (i + 1 == made.roles.size())) {
          return top_.error(
              fmt::format("operator '{}': role '{}' {}", made.name, role.name,
                          text ? "is the last, and writes no code" : "writes code before the last"),
              nullptr, "all roles but the last have output = \"text\"");
        }
        const auto begin = made.roles.begin();
        const auto before = begin + static_cast<long>(i);
        if (!role.each.empty() && std::find(begin, before, role.each) == before) {
          return top_.error(fmt::format("operator '{}': no role '{}' stands before '{}'", made.name,
                                        role.each, role.name),
                            nullptr, "`each` names an earlier role of the operator");
        }
      }
    }
    return {};
  }

  static Error unknown(const char* what, const std::string& name,
                       const std::vector<std::string>& known) {
    return {ErrorKind::kInput, fmt::format("unknown {} '{}'", what, name), suggest(name, known)};
  }

  /// That a name was found; its error, at the key of a table.
  template <class Found>
  static Result<void> named(const TableReader& reader, const Result<Found>& found,
                            const char* key) {
    if (found) return {};
    return reader.error(found.error(), key);
  }

  TableReader top_;
  Recipe recipe_;
  std::vector<std::string> within_;
};

Result<Recipe> read_recipe(const std::string& text, const std::string& name,
                           std::vector<std::string> within) {
  QUERN_ASSIGN(TableReader top, TableReader::parse(text, name + ".toml"));
  return RecipeReader(std::move(top), name, std::move(within)).read();
}

}  // namespace

const RecipeRole* Recipe::find_role(const std::string& role) const {
  const auto found = std::ranges::find(roles, role, &RecipeRole::name);
  return found == roles.end() ? nullptr : &*found;
}

bool Recipe::needs_model() const {
  return std::ranges::none_of(
      operators, [](const RecipeOperator& row) { return row.sub == "rules" && row.when == "any"; });
}

std::span<const OperatorCondition> operator_conditions() {
  static constexpr OperatorCondition kAll[] = {
      {"any", false, "always"},
      {"root", false, "nothing but the plain version is there to work on"},
      {"failed", false, "the kernel to work on did not pass"},
      {"correct", false, "the kernel to work on passed"},
      {"large", false, "the selector asks for a large step"},
      {"several", false, "the selector gave more than one parent"},
      {"early", true, "fewer attempts than this were judged"},
  };
  return kAll;
}

bool condition_holds(const RecipeOperator& row, const SearchGraph& graph, const Pick& pick,
                     int attempts) {
  const int base = pick.parents.front();
  if (row.when == "root") return base == 0;
  if (row.when == "failed") return graph.failed(base);
  if (row.when == "correct") return base != 0 && graph.correct(base);
  if (row.when == "large") return pick.large;
  if (row.when == "several") return pick.parents.size() > 1;
  if (row.when == "early") return attempts < row.number;
  return true;
}

bool reflects_on(const RecipeReflection& row, const SearchNode& node, bool is_best) {
  const bool correct = node.state == NodeState::kCorrect;
  if (row.when == "correct") return correct;
  if (row.when == "failed") return !correct;
  if (row.when == "best") return is_best;
  if (row.when == "gain") return correct && 1 + node.ratio >= row.number;
  if (row.when == "loss") return correct && node.ratio < 0 && 1 + node.ratio <= 1 / row.number;
  return true;
}

const std::map<std::string, std::string>& built_in_recipes() {
  static const auto* const all = [] {
    auto* const made = new std::map<std::string, std::string>;
    for (const EmbeddedFile* file = kRecipeFiles; file->name != nullptr; ++file) {
      made->emplace(file->name, file->text);
    }
    return made;
  }();
  return *all;
}

Result<Recipe> parse_recipe(const std::string& text, const std::string& name) {
  return read_recipe(text, name, {});
}

}  // namespace quern
