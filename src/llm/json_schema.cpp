// SPDX-License-Identifier: Apache-2.0
#include "llm/json_schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/strings.h"
#include "base/suggest.h"

namespace quern::llm {
namespace {

constexpr size_t kMostComplaints = 8;
constexpr int kDeepest = 32;

struct TypeRow {
  std::string_view name;
  bool (*is)(const Json&);
};
constexpr std::array<TypeRow, 7> kTypes = {{
    {"object", [](const Json& v) { return v.is_object(); }},
    {"array", [](const Json& v) { return v.is_array(); }},
    {"string", [](const Json& v) { return v.is_string(); }},
    {"number", [](const Json& v) { return v.is_number(); }},
    {"integer",
     [](const Json& v) {
       return v.is_number_integer() ||
              (v.is_number_float() && v.get<double>() == std::trunc(v.get<double>()));
     }},
    {"boolean", [](const Json& v) { return v.is_boolean(); }},
    {"null", [](const Json& v) { return v.is_null(); }},
}};

const TypeRow* find_type(const Json& name) {
  if (!name.is_string()) return nullptr;
  auto row = std::ranges::find(kTypes, name.get<std::string>(), &TypeRow::name);
  return row == kTypes.end() ? nullptr : &*row;
}

/// One validation: where it is, and what it found.
struct Visit {
  std::vector<std::string>& complaints;
  std::string path;

  void complain(std::string what) const {
    if (complaints.size() < kMostComplaints)
      complaints.push_back(fmt::format("{}: {}", path.empty() ? "/" : path, what));
  }
  Visit at(const std::string& key) const { return {complaints, path + "/" + key}; }
};

void validate_at(const Json& schema, const Json& value, const Visit& visit);

std::string shown(const Json& value) { return shorten(dump(value), 80); }

// One function a keyword: `argument` is its value in `schema`.

void check_type(const Json&, const Json& argument, const Json& value, const Visit& visit) {
  Json names = argument.is_array() ? argument : Json::array({argument});
  for (const Json& name : names)
    if (const TypeRow* row = find_type(name); row && row->is(value)) return;
  visit.complain(fmt::format("{} is not of type {}", shown(value), dump(argument)));
}

void check_enum(const Json&, const Json& argument, const Json& value, const Visit& visit) {
  if (std::ranges::find(argument, value) == argument.end())
    visit.complain(fmt::format("{} is none of {}", shown(value), shorten(dump(argument), 300)));
}

void check_const(const Json&, const Json& argument, const Json& value, const Visit& visit) {
  if (value != argument) visit.complain(fmt::format("{} is not {}", shown(value), shown(argument)));
}

void check_properties(const Json&, const Json& argument, const Json& value, const Visit& visit) {
  if (!value.is_object()) return;
  for (const auto& [key, part] : value.items())
    if (auto found = argument.find(key); found != argument.end())
      validate_at(*found, part, visit.at(key));
}

void check_required(const Json&, const Json& argument, const Json& value, const Visit& visit) {
  if (!value.is_object()) return;
  for (const Json& key : argument)
    if (!value.contains(key.get<std::string>()))
      visit.complain(fmt::format("'{}' is missing", key.get<std::string>()));
}

void check_additional(const Json& schema, const Json& argument, const Json& value,
                      const Visit& visit) {
  if (!value.is_object()) return;
  auto known = schema.find("properties");
  for (const auto& [key, part] : value.items()) {
    if (known != schema.end() && known->contains(key)) continue;
    if (argument.is_object()) validate_at(argument, part, visit.at(key));
    if (argument == Json(false)) visit.complain(fmt::format("'{}' is not known here", key));
  }
}

void check_items(const Json&, const Json& argument, const Json& value, const Visit& visit) {
  if (!value.is_array()) return;
  for (size_t i = 0; i < value.size(); ++i)
    validate_at(argument, value[i], visit.at(std::to_string(i)));
}

/// Characters of UTF-8 text.
size_t length_of(const std::string& text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

template <bool is_minimum>
void check_size(const Json&, const Json& argument, const Json& value, const Visit& visit) {
  if (!value.is_array()) return;
  auto limit = argument.get<size_t>();
  if (is_minimum ? value.size() < limit : value.size() > limit)
    visit.complain(fmt::format("{} items, {} {} allowed", value.size(), limit,
                               is_minimum ? "at least" : "at most"));
}

template <bool is_minimum>
void check_length(const Json&, const Json& argument, const Json& value, const Visit& visit) {
  if (!value.is_string()) return;
  size_t length = length_of(value.get<std::string>());
  auto limit = argument.get<size_t>();
  if (is_minimum ? length < limit : length > limit)
    visit.complain(fmt::format("{} characters, {} {} allowed", length, limit,
                               is_minimum ? "at least" : "at most"));
}

template <bool (*holds)(double, double)>
void check_number(const Json&, const Json& argument, const Json& value, const Visit& visit) {
  if (value.is_number() && !holds(value.get<double>(), argument.get<double>()))
    visit.complain(fmt::format("{} is beyond the limit {}", shown(value), shown(argument)));
}

bool at_least(double a, double b) { return a >= b; }
bool at_most(double a, double b) { return a <= b; }
bool above(double a, double b) { return a > b; }
bool below(double a, double b) { return a < b; }

void check_any_of(const Json&, const Json& argument, const Json& value, const Visit& visit) {
  std::vector<std::string> last;
  for (const Json& option : argument) {
    std::vector<std::string> complaints;
    validate_at(option, value, Visit{complaints, visit.path});
    if (complaints.empty()) return;
    last = complaints;
  }
  visit.complain(fmt::format("{} fits none of the {} forms allowed; of the last: {}", shown(value),
                             argument.size(), last.empty() ? "nothing fits" : last.front()));
}

// What the value of a keyword has to be.

bool is_schema(const Json& v) { return v.is_object(); }
bool is_schema_or_flag(const Json& v) { return v.is_object() || v.is_boolean(); }
bool is_list(const Json& v) { return v.is_array() && !v.empty(); }
bool is_list_of_objects(const Json& v) { return is_list(v) && std::ranges::all_of(v, is_schema); }
bool is_map_of_objects(const Json& v) { return v.is_object() && std::ranges::all_of(v, is_schema); }
bool is_names(const Json& v) {
  return v.is_array() && std::ranges::all_of(v, [](const Json& x) { return x.is_string(); });
}
bool is_types(const Json& v) {
  return v.is_array() ? is_list(v) && std::ranges::all_of(v, find_type) : find_type(v) != nullptr;
}
bool is_count(const Json& v) { return v.is_number_unsigned(); }
bool is_number(const Json& v) { return v.is_number(); }
bool is_anything(const Json&) { return true; }

struct Keyword {
  std::string_view name;
  bool (*is_argument)(const Json&);
  void (*check)(const Json& schema, const Json& argument, const Json& value, const Visit& visit);
  enum class Holds { kNothing, kSchema, kSchemas } holds = Holds::kNothing;
};
constexpr std::array<Keyword, 20> kKeywords = {{
    {"type", is_types, check_type},
    {"enum", is_list, check_enum},
    {"const", is_anything, check_const},
    {"properties", is_map_of_objects, check_properties, Keyword::Holds::kSchemas},
    {"required", is_names, check_required},
    {"additionalProperties", is_schema_or_flag, check_additional, Keyword::Holds::kSchema},
    {"items", is_schema, check_items, Keyword::Holds::kSchema},
    {"minItems", is_count, check_size<true>},
    {"maxItems", is_count, check_size<false>},
    {"minLength", is_count, check_length<true>},
    {"maxLength", is_count, check_length<false>},
    {"minimum", is_number, check_number<at_least>},
    {"maximum", is_number, check_number<at_most>},
    {"exclusiveMinimum", is_number, check_number<above>},
    {"exclusiveMaximum", is_number, check_number<below>},
    {"anyOf", is_list_of_objects, check_any_of, Keyword::Holds::kSchemas},
    {"title", is_anything, nullptr},
    {"description", is_anything, nullptr},
    {"default", is_anything, nullptr},
    {"examples", is_anything, nullptr},
}};

const Keyword* find_keyword(std::string_view name) {
  auto row = std::ranges::find(kKeywords, name, &Keyword::name);
  return row == kKeywords.end() ? nullptr : &*row;
}

std::vector<std::string> keyword_names() {
  std::vector<std::string> names;
  for (const Keyword& row : kKeywords) names.emplace_back(row.name);
  return names;
}

Result<void> check_schema_at(const Json& schema, int depth) {
  if (!schema.is_object()) return Error{ErrorKind::kUsage, "a schema is a JSON object", ""};
  if (depth > kDeepest) return Error{ErrorKind::kUsage, "the schema is nested too deeply", ""};
  for (const auto& [key, argument] : schema.items()) {
    const Keyword* row = find_keyword(key);
    if (!row)
      return Error{ErrorKind::kUsage, fmt::format("the schema keyword '{}' is not supported", key),
                   did_you_mean(key, keyword_names())};
    if (!row->is_argument(argument))
      return Error{ErrorKind::kUsage,
                   fmt::format("{} makes no sense as '{}'", shown(argument), key), ""};
    if (row->holds == Keyword::Holds::kSchema && argument.is_object())
      QUERN_TRY(check_schema_at(argument, depth + 1));
    if (row->holds != Keyword::Holds::kSchemas) continue;
    for (const Json& part : argument) QUERN_TRY(check_schema_at(part, depth + 1));
  }
  return {};
}

void validate_at(const Json& schema, const Json& value, const Visit& visit) {
  for (const auto& [key, argument] : schema.items()) {
    const Keyword* row = find_keyword(key);
    if (row && row->check) row->check(schema, argument, value, visit);
  }
}

}  // namespace

Result<void> check_schema(const Json& schema) { return check_schema_at(schema, 0); }

std::vector<std::string> validate(const Json& schema, const Json& value) {
  std::vector<std::string> complaints;
  validate_at(schema, value, Visit{complaints, ""});
  return complaints;
}

}  // namespace quern::llm
