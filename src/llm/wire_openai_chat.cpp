// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "llm/untrusted_json.h"
#include "llm/wire.h"

/// OpenAI's chat completions, which most other servers speak too.
namespace quern::llm {
namespace {

Json function_call(const ToolCall& call) {
  return {{"id", call.id},
          {"type", "function"},
          {"function", {{"name", call.name}, {"arguments", call.arguments}}}};
}

Json message_json(const Message& message) {
  if (message.role == Role::kTool)
    return {{"role", "tool"}, {"tool_call_id", message.tool_call_id}, {"content", message.text}};
  if (message.role == Role::kUser) return {{"role", "user"}, {"content", message.text}};
  Json json = {{"role", "assistant"}, {"content", message.text}};
  for (const ToolCall& call : message.tool_calls) json["tool_calls"].push_back(function_call(call));
  return json;
}

Json messages_json(const Request& request) {
  Json messages = Json::array();
  if (!request.system.empty())
    messages.push_back({{"role", "system"}, {"content", request.system}});
  for (const Message& message : conversation(request)) {
    Json json = message_json(message);
    // Chat templates of local models insist on roles that take turns.
    if (message.role == Role::kUser && !messages.empty() && messages.back()["role"] == "user") {
      messages.back()["content"] =
          messages.back()["content"].get<std::string>() + "\n\n" + message.text;
    } else {
      messages.push_back(std::move(json));
    }
  }
  return messages;
}

class Reader : public StreamReader {
 public:
  std::optional<Failure> read(const SseEvent& event) override {
    if (event.data == "[DONE]") {
      ended_ = true;
      return std::nullopt;
    }
    auto json = parse_untrusted(event.data);
    if (!json || !json->is_object()) return malformed("an event that is not JSON", event.data);
    if (const Json* error = part_of(*json, {"error"}); error && !error->is_null())
      return error_event(*error);
    if (std::string model = text_of(*json, {"model"}); !model.empty()) draft_.served_by = model;
    read_usage(*json);
    const Json* choices = part_of(*json, {"choices"});
    if (choices && choices->is_array() && !choices->empty()) read_choice(choices->front());
    return std::nullopt;
  }

 private:
  void read_choice(const Json& choice) {
    draft_.text += text_of(choice, {"delta", "content"});
    if (std::string refusal = text_of(choice, {"delta", "refusal"}); !refusal.empty()) {
      draft_.text += refusal;
      refused_ = true;
    }
    if (const Json* calls = part_of(choice, {"delta", "tool_calls"}); calls && calls->is_array())
      for (const Json& call : *calls) read_call(call);
    std::string reason = text_of(choice, {"finish_reason"});
    if (reason.empty()) return;
    // Some servers close without [DONE].
    ended_ = true;
    draft_.finish = refused_ || reason == "content_filter" ? Finish::kFiltered
                    : reason == "length"                   ? Finish::kLength
                    : draft_.tool_calls.empty()            ? Finish::kStop
                                                           : Finish::kTools;
  }

  void read_call(const Json& call) {
    size_t index = index_of(call, "index");
    if (draft_.tool_calls.size() <= index) draft_.tool_calls.resize(index + 1);
    ToolCall& mine = draft_.tool_calls[index];
    if (std::string id = text_of(call, {"id"}); !id.empty()) mine.id = id;
    mine.name += text_of(call, {"function", "name"});
    mine.arguments += text_of(call, {"function", "arguments"});
  }

  void read_usage(const Json& json) {
    const Json* counts = part_of(json, {"usage"});
    if (!counts || counts->is_null()) return;
    auto input = count_of(*counts, {"prompt_tokens"});
    auto output = count_of(*counts, {"completion_tokens"});
    Usage usage;
    draft_.usage.reset();
    if (!input || !output ||
        !take_count(*counts, {"prompt_tokens_details", "cached_tokens"}, usage.cache_read) ||
        !take_count(*counts, {"completion_tokens_details", "reasoning_tokens"}, usage.reasoning))
      return;
    usage.input = *input - usage.cache_read;
    usage.output = *output;
    draft_.usage = usage;
  }

  bool refused_ = false;
};

}  // namespace

Json openai_chat_body(const Request& request, const std::string& model,
                      const WireOptions& options) {
  Json body = {{"model", model}};
  for (const Tool& tool : request.tools)
    body["tools"].push_back(
        {{"type", "function"},
         {"function",
          {{"name", tool.name}, {"description", tool.description}, {"parameters", tool.schema}}}});
  if (!request.force_tool.empty())
    body["tool_choice"] = {{"type", "function"}, {"function", {{"name", request.force_tool}}}};
  body["messages"] = messages_json(request);
  if (request.schema)
    body["response_format"] = {{"type", "json_schema"},
                               {"json_schema",
                                {{"name", request.schema_name},
                                 {"strict", is_strict(*request.schema)},
                                 {"schema", *request.schema}}}};
  body[options.max_tokens_field] = request.max_output_tokens;
  if (request.temperature) body["temperature"] = *request.temperature;
  if (request.top_p) body["top_p"] = *request.top_p;
  if (request.seed) body["seed"] = *request.seed;
  if (!request.effort.empty()) body["reasoning_effort"] = request.effort;
  if (!request.stop.empty()) body["stop"] = request.stop;
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  return body;
}

std::unique_ptr<StreamReader> openai_chat_reader(const Request&) {
  return std::make_unique<Reader>();
}

}  // namespace quern::llm
