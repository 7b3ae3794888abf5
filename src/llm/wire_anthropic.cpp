// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include "llm/untrusted_json.h"
#include "llm/wire.h"

/// Anthropic's messages. A reply of a given schema is a tool that the model has to use.
namespace quern::llm {
namespace {

Json cache_here() { return {{"type", "ephemeral"}}; }

Json text_block(const std::string& text) { return {{"type", "text"}, {"text", text}}; }

/// What the model wrote, or an empty object where that is no JSON: the wire wants an object.
Json arguments_json(const std::string& text) {
  auto json = parse_untrusted(text);
  return json && json->is_object() ? *json : Json::object();
}

Json blocks_of(const Message& message) {
  if (message.role == Role::kTool)
    return Json::array({{{"type", "tool_result"},
                         {"tool_use_id", message.tool_call_id},
                         {"content", message.text}}});
  Json blocks = Json::array();
  if (!message.text.empty()) blocks.push_back(text_block(message.text));
  for (const ToolCall& call : message.tool_calls)
    blocks.push_back({{"type", "tool_use"},
                      {"id", call.id},
                      {"name", call.name},
                      {"input", arguments_json(call.arguments)}});
  return blocks;
}

Json messages_json(const Request& request) {
  Json messages = Json::array();
  for (const Message& message : conversation(request)) {
    const char* role = message.role == Role::kAssistant ? "assistant" : "user";
    if (messages.empty() || messages.back()["role"] != role)
      messages.push_back({{"role", role}, {"content", Json::array()}});
    for (Json& block : blocks_of(message)) messages.back()["content"].push_back(std::move(block));
  }
  if (!request.task.empty()) messages.front()["content"].front()["cache_control"] = cache_here();
  return messages;
}

Json tools_json(const Request& request) {
  Json tools = Json::array();
  for (const Tool& tool : request.tools)
    tools.push_back(
        {{"name", tool.name}, {"description", tool.description}, {"input_schema", tool.schema}});
  if (request.schema)
    tools.push_back({{"name", request.schema_name},
                     {"description", "Gives the reply."},
                     {"input_schema", *request.schema}});
  return tools;
}

struct EffortRow {
  std::string_view effort;
  int64_t thinking_tokens;
};
constexpr std::array<EffortRow, 3> kEfforts = {{{"low", 2048}, {"medium", 8192}, {"high", 32768}}};
constexpr int64_t kLeastThinking = 1024;

/// Tokens for thoughts; 0 for none. The server refuses thoughts together with a forced tool, and
/// wants earlier thoughts back in a conversation with tool calls, where we keep none.
int64_t thinking_tokens(const Request& request) {
  bool has_calls = std::ranges::any_of(
      request.messages, [](const Message& message) { return !message.tool_calls.empty(); });
  if (request.schema || !request.force_tool.empty() || has_calls) return 0;
  auto row = std::ranges::find(kEfforts, request.effort, &EffortRow::effort);
  if (row == kEfforts.end()) return 0;
  int64_t tokens = std::min(row->thinking_tokens, request.max_output_tokens / 2);
  return tokens < kLeastThinking ? 0 : tokens;
}

class Reader : public StreamReader {
 public:
  explicit Reader(std::string reply_tool) : reply_tool_(std::move(reply_tool)) {}

  std::optional<Failure> read(const SseEvent& event) override {
    auto json = parse_untrusted(event.data);
    if (!json || !json->is_object()) return malformed("an event that is not JSON", event.data);
    std::string type = text_of(*json, {"type"});
    if (type == "error") {
      const Json* error = part_of(*json, {"error"});
      return error_event(error ? *error : *json);
    }
    for (const Handler& row : kHandlers)
      if (row.type == type) (this->*row.read)(*json);
    return std::nullopt;
  }

 private:
  struct Handler {
    std::string_view type;
    void (Reader::*read)(const Json&);
  };

  void start(const Json& json) {
    draft_.served_by = text_of(json, {"message", "model"});
    read_usage(json, {"message", "usage"});
  }
  void block_start(const Json& json) {
    size_t index = index_of(json, "index");
    if (blocks_.size() <= index) blocks_.resize(index + 1, kNoCall);
    if (text_of(json, {"content_block", "type"}) != "tool_use") {
      draft_.text += text_of(json, {"content_block", "text"});
      return;
    }
    std::string name = text_of(json, {"content_block", "name"});
    if (!reply_tool_.empty() && name == reply_tool_) {
      blocks_[index] = kReplyCall;
      return;
    }
    blocks_[index] = static_cast<int>(draft_.tool_calls.size());
    draft_.tool_calls.push_back({text_of(json, {"content_block", "id"}), name, ""});
  }
  void block_delta(const Json& json) {
    size_t index = index_of(json, "index");
    int call = index < blocks_.size() ? blocks_[index] : kNoCall;
    draft_.text += text_of(json, {"delta", "text"});
    std::string partial = text_of(json, {"delta", "partial_json"});
    if (call == kReplyCall) draft_.text += partial;
    if (call >= 0) draft_.tool_calls[static_cast<size_t>(call)].arguments += partial;
  }
  void delta(const Json& json) {
    std::string reason = text_of(json, {"delta", "stop_reason"});
    draft_.finish = reason == "max_tokens" || reason == "model_context_window_exceeded"
                        ? Finish::kLength
                    : reason == "refusal"       ? Finish::kFiltered
                    : draft_.tool_calls.empty() ? Finish::kStop
                                                : Finish::kTools;
    read_usage(json, {"usage"});
    counted_ = count_of(json, {"usage", "output_tokens"}).has_value();
  }
  void stop(const Json&) {
    ended_ = true;
    if (!counted_ || !sound_) draft_.usage.reset();
    // A tool without parameters may be called with no text at all.
    for (ToolCall& call : draft_.tool_calls)
      if (call.arguments.empty()) call.arguments = "{}";
  }

  /// Counts are totals so far; each event may bring some of them.
  void read_usage(const Json& json, std::initializer_list<const char*> path) {
    const Json* part = part_of(json, path);
    if (!part) return;
    Usage usage = draft_.usage.value_or(Usage{});
    sound_ = sound_ && take_count(*part, {"input_tokens"}, usage.input) &&
             take_count(*part, {"cache_read_input_tokens"}, usage.cache_read) &&
             take_count(*part, {"cache_creation_input_tokens"}, usage.cache_write) &&
             take_count(*part, {"output_tokens"}, usage.output);
    draft_.usage = usage;
  }

  static constexpr int kNoCall = -1;
  static constexpr int kReplyCall = -2;
  static constexpr std::array<Handler, 5> kHandlers = {{
      {"message_start", &Reader::start},
      {"content_block_start", &Reader::block_start},
      {"content_block_delta", &Reader::block_delta},
      {"message_delta", &Reader::delta},
      {"message_stop", &Reader::stop},
  }};

  std::string reply_tool_;
  bool sound_ = true;        ///< no count made no sense
  bool counted_ = false;     ///< the last count of output has come; the first is a mere beginning
  std::vector<int> blocks_;  ///< content block → tool call, or a constant above
};

void add_sampling(const Request& request, Json& body) {
  if (int64_t tokens = thinking_tokens(request); tokens > 0) {
    body["thinking"] = {{"type", "enabled"}, {"budget_tokens", tokens}};
    return;  // thoughts go with default sampling only
  }
  if (request.temperature) body["temperature"] = *request.temperature;
  if (request.top_p) body["top_p"] = *request.top_p;
}

}  // namespace

Json anthropic_body(const Request& request, const std::string& model, const WireOptions&) {
  Json body = {{"model", model}};
  if (Json tools = tools_json(request); !tools.empty()) {
    if (request.task.empty() && request.system.empty())
      tools.back()["cache_control"] = cache_here();
    body["tools"] = std::move(tools);
  }
  std::string forced = request.schema ? request.schema_name : request.force_tool;
  if (!forced.empty()) body["tool_choice"] = {{"type", "tool"}, {"name", forced}};
  if (!request.system.empty()) {
    Json block = text_block(request.system);
    if (request.task.empty()) block["cache_control"] = cache_here();
    body["system"] = Json::array({std::move(block)});
  }
  body["messages"] = messages_json(request);
  body["max_tokens"] = request.max_output_tokens;
  add_sampling(request, body);
  if (!request.stop.empty()) body["stop_sequences"] = request.stop;
  body["stream"] = true;
  return body;
}

std::unique_ptr<StreamReader> anthropic_reader(const Request& request) {
  return std::make_unique<Reader>(request.schema ? request.schema_name : "");
}

}  // namespace quern::llm
