// SPDX-License-Identifier: Apache-2.0
#include "search/recipe.h"

#include <fmt/format.h>

#include <algorithm>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include "base/embedded.h"
#include "base/suggest.h"
#include "search/score.h"

namespace quern {

extern const EmbeddedFile kRecipeFiles[];

namespace {

/// Reads one table, remembering which keys were asked for: what is left over is unknown.
class TableReader {
 public:
  TableReader(const toml::table& table, std::string where, std::string file)
      : table_(table), where_(std::move(where)), file_(std::move(file)) {}

  Error error(const std::string& message, const toml::node* node, std::string hint = "") const {
    const auto line = node == nullptr ? table_.source().begin.line : node->source().begin.line;
    return Error{ErrorKind::kInput, fmt::format("{}, line {}: {}", file_, line, message),
                 std::move(hint)};
  }

  template <class T>
  Result<void> get(const char* key, T& into, const char* what) {
    known_.emplace_back(key);
    const toml::node* node = table_.get(key);
    if (node == nullptr) return {};
    const auto value = node->value<T>();
    if (!value) return error(fmt::format("`{}` is to be {}", key, what), node);
    into = *value;
    return {};
  }
  Result<void> text(const char* key, std::string& into) { return get(key, into, "a text"); }
  Result<void> number(const char* key, double& into) { return get(key, into, "a number"); }
  Result<void> count(const char* key, int& into, int most) {
    int64_t value = into;
    QUERN_TRY(get(key, value, "a whole number"));
    if (value < 0 || value > most) {
      return error(fmt::format("`{}` is to be between 0 and {}", key, most), table_.get(key));
    }
    into = static_cast<int>(value);
    return {};
  }
  Result<void> texts(const char* key, std::vector<std::string>& into) {
    known_.emplace_back(key);
    const toml::node* node = table_.get(key);
    if (node == nullptr) return {};
    const toml::array* array = node->as_array();
    for (size_t i = 0; array != nullptr && i < array->size(); ++i) {
      const auto value = array->get(i)->value<std::string>();
      if (!value) array = nullptr;
      if (value) into.push_back(*value);
    }
    if (array == nullptr) return error(fmt::format("`{}` is to be a list of texts", key), node);
    return {};
  }
  /// Every key that was not asked for, as a number.
  Result<void> numbers(std::map<std::string, double>& into) {
    for (const auto& [key, node] : table_) {
      const std::string name(key.str());
      if (std::ranges::find(known_, name) != known_.end()) continue;
      const auto value = node.value<double>();
      if (!value) return error(fmt::format("`{}` is to be a number", name), &node);
      into[name] = *value;
      known_.push_back(name);
    }
    return {};
  }
  const toml::table* table(const char* key) {
    known_.emplace_back(key);
    return table_.get_as<toml::table>(key);
  }
  const toml::array* tables(const char* key) {
    known_.emplace_back(key);
    return table_.get_as<toml::array>(key);
  }
  Result<void> finish() const {
    for (const auto& [key, node] : table_) {
      const std::string name(key.str());
      if (std::ranges::find(known_, name) != known_.end()) continue;
      return error(fmt::format("unknown key `{}`{}", name, where_), &node, suggest(name, known_));
    }
    return {};
  }

 private:
  const toml::table& table_;
  std::string where_, file_;
  std::vector<std::string> known_;
};

class RecipeReader {
 public:
  RecipeReader(const toml::table& table, std::string file) : root_(table), file_(std::move(file)) {}

  Result<Recipe> read() {
    TableReader top(root_, "", file_);
    for (auto& [key, into] : {std::pair{"title", &recipe_.title},
                              {"source", &recipe_.source},
                              {"faithful", &recipe_.faithful},
                              {"in_style", &recipe_.in_style}}) {
      QUERN_TRY(top.text(key, *into));
    }
    QUERN_TRY(top.count("repairs", recipe_.repairs, 100));
    QUERN_TRY(top.count("width", recipe_.width, 256));
    QUERN_TRY(read_rules(top));
    QUERN_TRY(read_selector(top));
    QUERN_TRY(read_operators(top));
    QUERN_TRY(read_roles(top));
    QUERN_TRY(top.finish());
    QUERN_TRY(check(top));
    return std::move(recipe_);
  }

 private:
  Result<void> read_rules(TableReader& top) {
    if (const toml::table* table = top.table("score")) {
      TableReader score(*table, " in [score]", file_);
      QUERN_TRY(score.text("node", recipe_.score));
      QUERN_TRY(score.text("edge", recipe_.gain));
      QUERN_TRY(score.finish());
    }
    if (const toml::table* table = top.table("accept")) {
      TableReader accept(*table, " in [accept]", file_);
      QUERN_TRY(accept.text("rule", recipe_.accept));
      QUERN_TRY(accept.number("factor", recipe_.accept_factor));
      QUERN_TRY(accept.finish());
    }
    return {};
  }

  Result<void> read_selector(TableReader& top) {
    const toml::table* table = top.table("select");
    if (table == nullptr) return top.error("there is no [select]", nullptr, "use = \"best\"");
    TableReader select(*table, " in [select]", file_);
    QUERN_TRY(select.text("use", recipe_.selector));
    QUERN_TRY(select.numbers(recipe_.settings.numbers));
    if (const toml::table* limits = top.table("limits")) {
      TableReader reader(*limits, " in [limits]", file_);
      QUERN_TRY(reader.numbers(recipe_.settings.limits));
    }
    const toml::array* strategies = top.tables("strategy");
    for (size_t i = 0; strategies != nullptr && i < strategies->size(); ++i) {
      const toml::table* row = strategies->get(i)->as_table();
      if (row == nullptr) return top.error("write [[strategy]]", strategies->get(i));
      Strategy strategy;
      TableReader reader(*row, " in [[strategy]]", file_);
      QUERN_TRY(reader.text("name", strategy.name));
      QUERN_TRY(reader.text("target", strategy.target));
      QUERN_TRY(reader.finish());
      recipe_.settings.strategies.push_back(strategy);
    }
    auto made = make_selector(recipe_.selector, recipe_.settings);
    if (!made) return select.error(made.error().message, nullptr, made.error().hint);
    return {};
  }

  Result<void> read_operators(TableReader& top) {
    const toml::array* rows = top.tables("operator");
    for (size_t i = 0; rows != nullptr && i < rows->size(); ++i) {
      const toml::table* row = rows->get(i)->as_table();
      if (row == nullptr) return top.error("write [[operator]]", rows->get(i));
      RecipeOperator made;
      TableReader reader(*row, " in [[operator]]", file_);
      QUERN_TRY(reader.text("name", made.name));
      QUERN_TRY(reader.text("when", made.when));
      QUERN_TRY(reader.number("weight", made.weight));
      QUERN_TRY(reader.texts("roles", made.roles));
      QUERN_TRY(reader.finish());
      if (made.roles.empty()) return reader.error("an operator needs roles", nullptr);
      std::vector<std::string> known;
      for (const OperatorCondition& condition : operator_conditions()) {
        known.emplace_back(condition.name);
      }
      if (std::ranges::find(known, made.when) == known.end()) {
        return reader.error(fmt::format("unknown condition '{}'", made.when), row->get("when"),
                            suggest(made.when, known));
      }
      recipe_.operators.push_back(std::move(made));
    }
    if (recipe_.operators.empty()) return top.error("there is no [[operator]]", nullptr);
    return {};
  }

  /// Roles that operators name exist without a table of their own.
  Result<void> read_roles(TableReader& top) {
    for (const RecipeOperator& made : recipe_.operators) {
      for (const std::string& role : made.roles) {
        if (recipe_.find_role(role) != nullptr) continue;
        recipe_.roles.push_back({role, role, RoleOutput::kCode, {}, {}, ""});
      }
    }
    const toml::table* tables = top.table("role");
    if (tables == nullptr) return {};
    for (const auto& [key, node] : *tables) {
      const std::string name(key.str());
      const auto role = std::ranges::find(recipe_.roles, name, &RecipeRole::name);
      if (role == recipe_.roles.end() || !node.is_table()) {
        return top.error(fmt::format("no operator has a role '{}'", name), &node);
      }
      QUERN_TRY(read_role(TableReader(*node.as_table(), " in [role." + name + "]", file_), *role));
    }
    return {};
  }

  static Result<void> read_role(TableReader reader, RecipeRole& role) {
    std::string output = "code";
    std::vector<std::string> view;
    int characters = role.view.max_characters;
    double temperature = -1;
    QUERN_TRY(reader.text("prompt", role.prompt));
    QUERN_TRY(reader.text("output", output));
    QUERN_TRY(reader.text("model", role.model));
    QUERN_TRY(reader.texts("view", view));
    QUERN_TRY(reader.count("view_characters", characters, 10'000'000));
    QUERN_TRY(reader.number("temperature", temperature));
    QUERN_TRY(reader.finish());
    if (temperature >= 0) role.temperature = temperature;
    auto parsed = parse_view(view, characters);
    if (!parsed) return reader.error(parsed.error().message, nullptr, parsed.error().hint);
    role.view = *parsed;
    const std::map<std::string, RoleOutput> outputs = {
        {"code", RoleOutput::kCode}, {"edits", RoleOutput::kEdits}, {"text", RoleOutput::kText}};
    const auto found = outputs.find(output);
    if (found == outputs.end()) {
      return reader.error(fmt::format("unknown output '{}'", output), nullptr,
                          "known: code, edits, text");
    }
    role.output = found->second;
    return {};
  }

  Result<void> check(const TableReader& top) const {
    const auto known = [&](const auto& found) -> Result<void> {
      if (found) return {};
      return top.error(found.error().message, nullptr, found.error().hint);
    };
    QUERN_TRY(known(find_score_rule(recipe_.score)));
    QUERN_TRY(known(find_gain_rule(recipe_.gain)));
    QUERN_TRY(known(find_accept_rule(recipe_.accept)));
    for (const RecipeOperator& made : recipe_.operators) {
      for (size_t i = 0; i < made.roles.size(); ++i) {
        const bool text = recipe_.find_role(made.roles[i])->output == RoleOutput::kText;
        if (text == (i + 1 < made.roles.size())) continue;
        return top.error(
            fmt::format("operator '{}': role '{}' {}", made.name, made.roles[i],
                        text ? "is the last, and writes no code" : "writes code before the last"),
            nullptr, "all roles but the last have output = \"text\"");
      }
    }
    return {};
  }

  const toml::table& root_;
  std::string file_;
  Recipe recipe_;
};

}  // namespace

const RecipeRole* Recipe::find_role(const std::string& role) const {
  const auto found = std::ranges::find(roles, role, &RecipeRole::name);
  return found == roles.end() ? nullptr : &*found;
}

std::span<const OperatorCondition> operator_conditions() {
  static constexpr OperatorCondition kAll[] = {
      {"any", "always"},
      {"root", "nothing but the plain version is there to work on"},
      {"failed", "the kernel to work on did not pass"},
      {"correct", "the kernel to work on passed"},
      {"large", "the selector asks for a large step"},
      {"several", "the selector gave more than one parent"},
  };
  return kAll;
}

bool condition_holds(const std::string& condition, const SearchGraph& graph, const Pick& pick) {
  const int base = pick.parents.front();
  if (condition == "root") return base == 0;
  if (condition == "failed") return graph.failed(base);
  if (condition == "correct") return base != 0 && graph.correct(base);
  if (condition == "large") return pick.large;
  if (condition == "several") return pick.parents.size() > 1;
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
  const std::string file = name + ".toml";
  toml::parse_result parsed = toml::parse(text, file);
  if (!parsed) {
    const toml::parse_error& error = parsed.error();
    return Error{
        ErrorKind::kInput,
        fmt::format("{}, line {}: {}", file, error.source().begin.line, error.description()), ""};
  }
  QUERN_ASSIGN(Recipe recipe, RecipeReader(parsed.table(), file).read());
  recipe.name = name;
  return recipe;
}

}  // namespace quern
