// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "llm/untrusted_json.h"
#include "llm/wire.h"

/// OpenAI's responses: typed items in, typed events out.
namespace quern::llm {
namespace {

Json text_item(const char* role, const char* type, const std::string& text) {
  return {{"type", "message"},
          {"role", role},
          {"content", Json::array({{{"type", type}, {"text", text}}})}};
}

void add_items(const Message& message, Json& input) {
  if (message.role == Role::kTool) {
    input.push_back({{"type", "function_call_output"},
                     {"call_id", message.tool_call_id},
                     {"output", message.text}});
    return;
  }
  bool user = message.role == Role::kUser;
  if (user || !message.text.empty())
    input.push_back(user ? text_item("user", "input_text", message.text)
                         : text_item("assistant", "output_text", message.text));
  for (const ToolCall& call : message.tool_calls)
    input.push_back({{"type", "function_call"},
                     {"call_id", call.id},
                     {"name", call.name},
                     {"arguments", call.arguments}});
}

class Reader : public StreamReader {
 public:
  std::optional<Failure> read(const SseEvent& event) override {
    if (event.data == "[DONE]") return std::nullopt;  // some imitations send it all the same
    auto json = parse_untrusted(event.data);
    if (!json || !json->is_object()) return malformed("an event that is not JSON", event.data);
    std::string type = text_of(*json, {"type"});
    for (const Handler& row : kHandlers)
      if (row.type == type) return (this->*row.read)(*json);
    return std::nullopt;
  }

 private:
  using Read = std::optional<Failure> (Reader::*)(const Json&);
  struct Handler {
    std::string_view type;
    Read read;
  };

  std::optional<Failure> text(const Json& json) {
    draft_.text += text_of(json, {"delta"});
    return std::nullopt;
  }
  std::optional<Failure> refusal(const Json& json) {
    refused_ = true;
    return text(json);
  }
  std::optional<Failure> item_added(const Json& json) {
    if (text_of(json, {"item", "type"}) != "function_call") return std::nullopt;
    indices_.push_back(index_of(json, "output_index"));
    draft_.tool_calls.push_back({text_of(json, {"item", "call_id"}),
                                 text_of(json, {"item", "name"}),
                                 text_of(json, {"item", "arguments"})});
    return std::nullopt;
  }
  std::optional<Failure> arguments(const Json& json) {
    size_t index = index_of(json, "output_index");
    for (size_t i = 0; i < indices_.size(); ++i)
      if (indices_[i] == index) draft_.tool_calls[i].arguments += text_of(json, {"delta"});
    return std::nullopt;
  }
  std::optional<Failure> end(const Json& json) {
    ended_ = true;
    draft_.served_by = text_of(json, {"response", "model"});
    std::string reason = text_of(json, {"response", "incomplete_details", "reason"});
    draft_.finish = refused_ || reason == "content_filter" ? Finish::kFiltered
                    : reason == "max_output_tokens"        ? Finish::kLength
                    : draft_.tool_calls.empty()            ? Finish::kStop
                                                           : Finish::kTools;
    if (const Json* usage = part_of(json, {"response", "usage"}); usage) read_usage(*usage);
    return std::nullopt;
  }
  std::optional<Failure> failed(const Json& json) {
    const Json* error = part_of(json, {"response", "error"});
    return error_event(error ? *error : json);
  }
  std::optional<Failure> error(const Json& json) {
    const Json* error = part_of(json, {"error"});
    return error_event(error ? *error : json);
  }

  void read_usage(const Json& json) {
    auto input = count_of(json, {"input_tokens"});
    auto output = count_of(json, {"output_tokens"});
    Usage usage;
    if (!input || !output ||
        !take_count(json, {"input_tokens_details", "cached_tokens"}, usage.cache_read) ||
        !take_count(json, {"output_tokens_details", "reasoning_tokens"}, usage.reasoning))
      return;
    usage.input = *input - usage.cache_read;
    usage.output = *output;
    draft_.usage = usage;
  }

  static constexpr std::array<Handler, 8> kHandlers = {{
      {"response.output_text.delta", &Reader::text},
      {"response.refusal.delta", &Reader::refusal},
      {"response.output_item.added", &Reader::item_added},
      {"response.function_call_arguments.delta", &Reader::arguments},
      {"response.completed", &Reader::end},
      {"response.incomplete", &Reader::end},
      {"response.failed", &Reader::failed},
      {"error", &Reader::error},
  }};

  std::vector<size_t> indices_;  ///< output_index of each tool call
  bool refused_ = false;
};

}  // namespace

Json openai_responses_body(const Request& request, const std::string& model, const WireOptions&) {
  Json body = {{"model", model}};
  if (!request.system.empty()) body["instructions"] = request.system;
  for (const Tool& tool : request.tools)
    body["tools"].push_back({{"type", "function"},
                             {"name", tool.name},
                             {"description", tool.description},
                             {"parameters", tool.schema},
                             {"strict", is_strict(tool.schema)}});
  if (!request.force_tool.empty())
    body["tool_choice"] = {{"type", "function"}, {"name", request.force_tool}};
  body["input"] = Json::array();
  for (const Message& message : conversation(request)) add_items(message, body["input"]);
  if (request.schema)
    body["text"] = {{"format",
                     {{"type", "json_schema"},
                      {"name", request.schema_name},
                      {"strict", is_strict(*request.schema)},
                      {"schema", *request.schema}}}};
  body["max_output_tokens"] = request.max_output_tokens;
  if (request.temperature) body["temperature"] = *request.temperature;
  if (request.top_p) body["top_p"] = *request.top_p;
  if (!request.effort.empty()) body["reasoning"] = {{"effort", request.effort}};
  body["store"] = false;
  body["stream"] = true;
  return body;
}

std::unique_ptr<StreamReader> openai_responses_reader(const Request&) {
  return std::make_unique<Reader>();
}

}  // namespace quern::llm
