// SPDX-License-Identifier: Apache-2.0
#include "llm/message.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/hash.h"
#include "llm/json_schema.h"

namespace quern::llm {
namespace {

constexpr std::array<const char*, 3> kRoles = {"user", "assistant", "tool"};
constexpr std::array<const char*, 4> kFinishes = {"stop", "length", "tools", "filtered"};

struct FailureRow {
  const char* name;
  ErrorKind error;
};
constexpr std::array<FailureRow, 13> kFailures = {{
    {"setup", ErrorKind::kUsage},
    {"price", ErrorKind::kUsage},
    {"budget", ErrorKind::kBusy},
    {"rejected", ErrorKind::kInput},
    {"overloaded", ErrorKind::kBusy},
    {"server", ErrorKind::kEnvironment},
    {"connection", ErrorKind::kEnvironment},
    {"timeout", ErrorKind::kEnvironment},
    {"cut", ErrorKind::kEnvironment},
    {"malformed", ErrorKind::kEnvironment},
    {"invalid_reply", ErrorKind::kInput},
    {"not_recorded", ErrorKind::kInput},
    {"cancelled", ErrorKind::kInterrupted},
}};

Json to_json(const ToolCall& call) {
  return {{"id", call.id}, {"name", call.name}, {"arguments", call.arguments}};
}

Json to_json(const Message& message) {
  Json json = {{"role", kRoles[static_cast<size_t>(message.role)]}, {"text", message.text}};
  for (const ToolCall& call : message.tool_calls) json["tool_calls"].push_back(to_json(call));
  if (!message.tool_call_id.empty()) json["tool_call_id"] = message.tool_call_id;
  return json;
}

Json to_json(const Reply& reply) {
  Json json = {{"text", reply.text},
               {"tool_calls", Json::array()},
               {"finish", kFinishes[static_cast<size_t>(reply.finish)]},
               {"served_by", reply.served_by}};
  for (const ToolCall& call : reply.tool_calls) json["tool_calls"].push_back(to_json(call));
  if (reply.usage) json["usage"] = to_json(*reply.usage);
  if (reply.value) json["value"] = *reply.value;
  return json;
}

Json to_json(const Failure& failure) {
  return {{"kind", failure_name(failure.kind)},
          {"message", failure.message},
          {"hint", failure.hint},
          {"status", failure.status},
          {"reply_text", failure.reply_text}};
}

/// A field of the expected type, or its default; remembers the first that has another type.
class Fields {
 public:
  explicit Fields(const Json& json) : json_(json) {}
  std::string text(const char* key) { return get<std::string>(key, &Json::is_string, {}); }
  int number(const char* key) { return get<int>(key, &Json::is_number_integer, 0); }
  bool flag(const char* key) { return get<bool>(key, &Json::is_boolean, false); }
  template <class Row, size_t n>
  size_t index(const char* key, const std::array<Row, n>& rows, const char* (*name)(const Row&)) {
    std::string word = text(key);
    for (size_t i = 0; i < n; ++i)
      if (word == name(rows[i])) return i;
    wrong_ = key;
    return 0;
  }
  Result<void> finish() const {
    if (wrong_.empty()) return {};
    return Error{ErrorKind::kInput, fmt::format("'{}' makes no sense here", wrong_), ""};
  }

 private:
  template <class T>
  T get(const char* key, bool (Json::*is)() const noexcept, T missing) {
    auto found = json_.find(key);
    if (found == json_.end()) return missing;
    if (((*found).*is)()) return found->template get<T>();
    wrong_ = key;
    return missing;
  }
  const Json& json_;
  std::string wrong_;
};

const char* name_of_row(const FailureRow& row) { return row.name; }
const char* name_of_word(const char* const& word) { return word; }

Result<Reply> reply_from_json(const Json& json) {
  Fields fields(json);
  Reply reply;
  reply.text = fields.text("text");
  reply.finish = static_cast<Finish>(fields.index("finish", kFinishes, name_of_word));
  reply.served_by = fields.text("served_by");
  QUERN_TRY(fields.finish());
  if (json.contains("tool_calls")) {
    for (const Json& call : json["tool_calls"]) {
      Fields parts(call);
      reply.tool_calls.push_back({parts.text("id"), parts.text("name"), parts.text("arguments")});
      QUERN_TRY(parts.finish());
    }
  }
  if (json.contains("usage")) {
    QUERN_ASSIGN(reply.usage, usage_from_json(json["usage"]));
  }
  if (json.contains("value")) reply.value = json["value"];
  return reply;
}

Result<Failure> failure_from_json(const Json& json) {
  Fields fields(json);
  Failure failure;
  failure.kind = static_cast<FailureKind>(fields.index("kind", kFailures, name_of_row));
  failure.message = fields.text("message");
  failure.hint = fields.text("hint");
  failure.status = fields.number("status");
  failure.reply_text = fields.text("reply_text");
  QUERN_TRY(fields.finish());
  return failure;
}

Failure setup_failure(std::string message, std::string hint = "") {
  return {FailureKind::kSetup, std::move(message), std::move(hint)};
}

}  // namespace

const Reply& Answer::reply() const {
  QUERN_CHECK(ok(), "reply() of an Answer that is a failure");
  return *std::get_if<Reply>(&outcome);
}

const Failure& Answer::failure() const {
  QUERN_CHECK(!ok(), "failure() of an Answer that is a reply");
  return *std::get_if<Failure>(&outcome);
}

std::string_view failure_name(FailureKind kind) {
  return kFailures[static_cast<size_t>(kind)].name;
}

Error to_error(const Failure& failure) {
  return {kFailures[static_cast<size_t>(failure.kind)].error, failure.message, failure.hint};
}

Json to_json(const Request& request) {
  Json json = {{"model", request.model}};
  if (!request.system.empty()) json["system"] = request.system;
  for (const Tool& tool : request.tools)
    json["tools"].push_back(
        {{"name", tool.name}, {"description", tool.description}, {"schema", tool.schema}});
  if (!request.task.empty()) json["task"] = request.task;
  json["messages"] = Json::array();
  for (const Message& message : request.messages) json["messages"].push_back(to_json(message));
  if (!request.force_tool.empty()) json["force_tool"] = request.force_tool;
  if (request.schema) {
    json["schema"] = *request.schema;
    json["schema_name"] = request.schema_name;
  }
  json["max_output_tokens"] = request.max_output_tokens;
  if (request.temperature) json["temperature"] = *request.temperature;
  if (request.top_p) json["top_p"] = *request.top_p;
  if (request.seed) json["seed"] = *request.seed;
  if (!request.effort.empty()) json["effort"] = request.effort;
  if (!request.stop.empty()) json["stop"] = request.stop;
  if (request.sample != 0) json["sample"] = request.sample;
  if (!request.label.is_null()) json["label"] = request.label;
  return json;
}

Json to_json(const Answer& answer) {
  Json json;
  if (answer.ok()) {
    json["reply"] = to_json(answer.reply());
  } else {
    json["failure"] = to_json(answer.failure());
  }
  json["spend"] = to_json(answer.spend);
  json["attempts"] = answer.attempts;
  json["doubtful_usage"] = answer.doubtful_usage;
  return json;
}

Result<Answer> answer_from_json(const Json& json) {
  if (!json.is_object()) return Error{ErrorKind::kInput, "an answer is a JSON object", ""};
  Fields fields(json);
  Answer answer;
  answer.attempts = fields.number("attempts");
  answer.doubtful_usage = fields.flag("doubtful_usage");
  QUERN_TRY(fields.finish());
  QUERN_ASSIGN(answer.spend, spend_from_json(json.value("spend", Json())));
  if (json.contains("reply")) {
    QUERN_ASSIGN(answer.outcome, reply_from_json(json["reply"]));
  } else if (json.contains("failure")) {
    QUERN_ASSIGN(answer.outcome, failure_from_json(json["failure"]));
  } else {
    return Error{ErrorKind::kInput, "an answer has a 'reply' or a 'failure'", ""};
  }
  return answer;
}

std::string request_hash(const Request& request) {
  // nlohmann::json sorts keys, so that the hash does not depend on the order of a schema's.
  nlohmann::json sorted = to_json(request);
  sorted.erase("label");
  return Hasher()
      .add("llm-request-1")
      .add(sorted.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace))
      .hex();
}

std::optional<Failure> check_request(const Request& request) {
  if (request.task.empty() && request.messages.empty())
    return setup_failure("the request says nothing: it has neither a task nor messages");
  if (request.max_output_tokens < 1) return setup_failure("max_output_tokens is below 1");
  std::vector<std::string> ids, names;
  for (const Message& message : request.messages) {
    for (const ToolCall& call : message.tool_calls) ids.push_back(call.id);
    if (message.role == Role::kTool && std::ranges::count(ids, message.tool_call_id) == 0)
      return setup_failure(
          fmt::format("a message answers the tool call '{}', which was not made before it",
                      message.tool_call_id));
  }
  for (const Tool& tool : request.tools) {
    names.push_back(tool.name);
    if (auto ok = check_schema(tool.schema); !ok)
      return setup_failure(fmt::format("tool '{}': {}", tool.name, ok.error().message),
                           ok.error().hint);
  }
  if (!request.force_tool.empty() && std::ranges::count(names, request.force_tool) == 0)
    return setup_failure(fmt::format("there is no tool '{}' to force", request.force_tool));
  if (request.schema) {
    if (auto ok = check_schema(*request.schema); !ok)
      return setup_failure("schema: " + ok.error().message, ok.error().hint);
  }
  return std::nullopt;
}

}  // namespace quern::llm
