// SPDX-License-Identifier: Apache-2.0
#include "llm/wire.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quern::llm {
namespace {

Json json_of(const char* text) {
  auto json = parse_json(text);
  EXPECT_TRUE(json) << text;
  return *json;
}

/// A request that has everything.
Request full_request() {
  Request request;
  request.model = "lab/m";
  request.system = "You write kernels.";
  request.tools = {{"size", "Of a file.", json_of(R"({"type": "object"})")}};
  request.task = "y[i] = x[i]";
  request.messages = {{Role::kUser, "Begin.", {}, ""},
                      {Role::kAssistant, "I look.", {{"c1", "size", R"({"a":1})"}}, ""},
                      {Role::kTool, "4096", {}, "c1"},
                      {Role::kUser, "Go on.", {}, ""}};
  request.max_output_tokens = 5000;
  request.temperature = 0.5;
  request.top_p = 0.9;
  request.seed = 7;
  request.effort = "high";
  request.stop = {"END"};
  return request;
}

Request schema_request() {
  Request request;
  request.task = "A tile.";
  request.schema = json_of(
      R"({"type": "object", "properties": {"tile": {"type": "integer"}}, "required": ["tile"],
          "additionalProperties": false})");
  request.schema_name = "plan";
  return request;
}

std::string body(const char* wire, const Request& request, const WireOptions& options = {}) {
  return dump(find_wire(wire)->body(request, "m", options), 1);
}
std::string pretty(const char* text) { return dump(json_of(text), 1); }

TEST(WireBody, OpenAiChat) {
  EXPECT_EQ(body("openai-chat", full_request()), pretty(R"({
    "model": "m",
    "tools": [{"type": "function", "function": {"name": "size", "description": "Of a file.",
                                                "parameters": {"type": "object"}}}],
    "messages": [
      {"role": "system", "content": "You write kernels."},
      {"role": "user", "content": "y[i] = x[i]\n\nBegin."},
      {"role": "assistant", "content": "I look.", "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "size", "arguments": "{\"a\":1}"}}]},
      {"role": "tool", "tool_call_id": "c1", "content": "4096"},
      {"role": "user", "content": "Go on."}],
    "max_completion_tokens": 5000, "temperature": 0.5, "top_p": 0.9, "seed": 7,
    "reasoning_effort": "high", "stop": ["END"],
    "stream": true, "stream_options": {"include_usage": true}})"));
  EXPECT_EQ(body("openai-chat", schema_request(), {"max_tokens"}), pretty(R"({
    "model": "m",
    "messages": [{"role": "user", "content": "A tile."}],
    "response_format": {"type": "json_schema", "json_schema": {"name": "plan", "strict": true,
      "schema": {"type": "object", "properties": {"tile": {"type": "integer"}},
                 "required": ["tile"], "additionalProperties": false}}},
    "max_tokens": 8192, "stream": true, "stream_options": {"include_usage": true}})"));
}

TEST(WireBody, OpenAiResponses) {
  EXPECT_EQ(body("openai-responses", full_request()), pretty(R"({
    "model": "m",
    "instructions": "You write kernels.",
    "tools": [{"type": "function", "name": "size", "description": "Of a file.",
               "parameters": {"type": "object"}, "strict": false}],
    "input": [
      {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "y[i] = x[i]"}]},
      {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Begin."}]},
      {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
      {"type": "function_call", "call_id": "c1", "name": "size", "arguments": "{\"a\":1}"},
      {"type": "function_call_output", "call_id": "c1", "output": "4096"},
      {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Go on."}]}],
    "max_output_tokens": 5000, "temperature": 0.5, "top_p": 0.9,
    "reasoning": {"effort": "high"}, "store": false, "stream": true})"));
  EXPECT_EQ(body("openai-responses", schema_request()), pretty(R"({
    "model": "m",
    "input": [
      {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "A tile."}]}],
    "text": {"format": {"type": "json_schema", "name": "plan", "strict": true,
      "schema": {"type": "object", "properties": {"tile": {"type": "integer"}},
                 "required": ["tile"], "additionalProperties": false}}},
    "max_output_tokens": 8192, "store": false, "stream": true})"));
}

TEST(WireBody, Anthropic) {
  EXPECT_EQ(body("anthropic", full_request()), pretty(R"({
    "model": "m",
    "tools": [{"name": "size", "description": "Of a file.", "input_schema": {"type": "object"}}],
    "system": [{"type": "text", "text": "You write kernels."}],
    "messages": [
      {"role": "user", "content": [
        {"type": "text", "text": "y[i] = x[i]", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "Begin."}]},
      {"role": "assistant", "content": [
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "c1", "name": "size", "input": {"a": 1}}]},
      {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "c1", "content": "4096"},
        {"type": "text", "text": "Go on."}]}],
    "max_tokens": 5000, "temperature": 0.5, "top_p": 0.9, "stop_sequences": ["END"],
    "stream": true})"));
  EXPECT_EQ(body("anthropic", schema_request()), pretty(R"({
    "model": "m",
    "tools": [{"name": "plan", "description": "Gives the reply.", "input_schema":
      {"type": "object", "properties": {"tile": {"type": "integer"}},
       "required": ["tile"], "additionalProperties": false}}],
    "tool_choice": {"type": "tool", "name": "plan"},
    "messages": [{"role": "user", "content": [
      {"type": "text", "text": "A tile.", "cache_control": {"type": "ephemeral"}}]}],
    "max_tokens": 8192, "stream": true})"));
}

TEST(WireBody, AnthropicMarksTheLastStableBlockForItsCache) {
  Request request = full_request();
  auto marks = [&](const char* pointer) {
    return find_wire("anthropic")
        ->body(request, "m", {})
        .contains(Json::json_pointer(std::string(pointer) + "/cache_control"));
  };
  EXPECT_TRUE(marks("/messages/0/content/0"));
  request.task.clear();
  EXPECT_FALSE(marks("/messages/0/content/0"));
  EXPECT_TRUE(marks("/system/0"));
  request.system.clear();
  EXPECT_TRUE(marks("/tools/0"));
}

TEST(WireBody, AnthropicThinksWithinTheLimitAndWithDefaultSampling) {
  Request request = full_request();
  request.messages.resize(1);
  Json thinking = find_wire("anthropic")->body(request, "m", {});
  EXPECT_EQ(dump(thinking["thinking"]), R"({"type":"enabled","budget_tokens":2500})");
  EXPECT_FALSE(thinking.contains("temperature"));
  request.max_output_tokens = 1000;
  EXPECT_FALSE(find_wire("anthropic")->body(request, "m", {}).contains("thinking"));
}

TEST(WireBody, TheStablePartIsTheSamePrefixInEveryCall) {
  for (const Wire& wire : wires()) {
    Request first = full_request(), second = full_request();
    second.messages = {{Role::kUser, "Something else.", {}, ""}};
    std::string a = dump(wire.body(first, "m", {})), b = dump(wire.body(second, "m", {}));
    size_t same = static_cast<size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
    EXPECT_GT(same, a.find("y[i] = x[i]")) << wire.name;
    EXPECT_GT(same, a.find("You write kernels.")) << wire.name;
    EXPECT_GT(same, a.find("Of a file.")) << wire.name;
  }
}

/// Reads a whole stream; the last failure, if any.
struct Read {
  Reply reply;
  bool finished = false;
  std::optional<Failure> failure;
};
Read read(const char* wire, std::string_view stream, const Request& request = {}) {
  SseParser parser;
  std::vector<SseEvent> events;
  EXPECT_TRUE(parser.feed(stream, events));
  auto reader = find_wire(wire)->reader(request);
  Read result;
  for (const SseEvent& event : events)
    if (!result.failure) result.failure = reader->read(event);
  result.reply = reader->reply();
  result.finished = reader->finished();
  return result;
}

TEST(WireStream, OpenAiChatAsServersSendIt) {
  Read got = read("openai-chat", R"(: OPENROUTER PROCESSING

data: {"id":"c","model":"m-2","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"finish_reason":null}],"usage":null}

data: {"id":"c","model":"m-2","choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}]}

data: {"id":"c","model":"m-2","choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":null}]}

data: {"id":"c","model":"m-2","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: {"id":"c","model":"m-2","choices":[],"usage":{"prompt_tokens":2006,"completion_tokens":300,"total_tokens":2306,"prompt_tokens_details":{"cached_tokens":1920},"completion_tokens_details":{"reasoning_tokens":256}}}

data: [DONE]

)");
  EXPECT_FALSE(got.failure);
  EXPECT_TRUE(got.finished);
  EXPECT_EQ(got.reply.text, "Hello");
  EXPECT_EQ(got.reply.served_by, "m-2");
  EXPECT_EQ(got.reply.usage, (Usage{86, 1920, 0, 300, 256}));
}

TEST(WireStream, OpenAiChatToolCallsByIndex) {
  Read got = read(
      "openai-chat",
      R"(data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}}]}

data: {"choices":[{"delta":{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"{}"}}]}}]}

data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":"}}]}}]}

data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}}]}

data: {"choices":[{"delta":{},"finish_reason":"tool_calls"}]}

)");
  EXPECT_TRUE(got.finished);
  EXPECT_EQ(got.reply.finish, Finish::kTools);
  EXPECT_EQ(got.reply.tool_calls,
            (std::vector<ToolCall>{{"a", "f", R"({"x":1})"}, {"b", "g", "{}"}}));
}

TEST(WireStream, OpenAiResponsesAsServersSendIt) {
  Read got = read("openai-responses", R"(event: response.created
data: {"type":"response.created","sequence_number":0,"response":{"id":"r","status":"in_progress","model":"m-2","output":[]}}

event: response.output_item.added
data: {"type":"response.output_item.added","output_index":0,"item":{"id":"rs","type":"reasoning","summary":[]}}

event: response.output_text.delta
data: {"type":"response.output_text.delta","item_id":"ms","output_index":1,"content_index":0,"delta":"Hel"}

event: response.output_text.delta
data: {"type":"response.output_text.delta","item_id":"ms","output_index":1,"content_index":0,"delta":"lo"}

event: response.output_item.added
data: {"type":"response.output_item.added","output_index":2,"item":{"type":"function_call","call_id":"a","name":"f","arguments":""}}

event: response.function_call_arguments.delta
data: {"type":"response.function_call_arguments.delta","output_index":2,"delta":"{}"}

event: response.completed
data: {"type":"response.completed","response":{"status":"completed","model":"m-2","usage":{"input_tokens":328,"input_tokens_details":{"cached_tokens":128},"output_tokens":52,"output_tokens_details":{"reasoning_tokens":40},"total_tokens":380}}}

)");
  EXPECT_FALSE(got.failure);
  EXPECT_TRUE(got.finished);
  EXPECT_EQ(got.reply.text, "Hello");
  EXPECT_EQ(got.reply.finish, Finish::kTools);
  EXPECT_EQ(got.reply.tool_calls, (std::vector<ToolCall>{{"a", "f", "{}"}}));
  EXPECT_EQ(got.reply.usage, (Usage{200, 128, 0, 52, 40}));
}

TEST(WireStream, AnthropicAsServersSendIt) {
  Read got = read("anthropic", R"(event: message_start
data: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"m-2","content":[],"stop_reason":null,"usage":{"input_tokens":21,"cache_creation_input_tokens":188,"cache_read_input_tokens":2048,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm."}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"Eq"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: ping
data: {"type": "ping"}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Hello"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"a","name":"f","input":{}}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":89}}

event: message_stop
data: {"type":"message_stop"}

)");
  EXPECT_FALSE(got.failure);
  EXPECT_TRUE(got.finished);
  EXPECT_EQ(got.reply.text, "Hello");
  EXPECT_EQ(got.reply.tool_calls, (std::vector<ToolCall>{{"a", "f", "{}"}}));
  EXPECT_EQ(got.reply.finish, Finish::kTools);
  EXPECT_EQ(got.reply.usage, (Usage{21, 2048, 188, 89, 0}));
}

TEST(WireStream, TellsErrorsOfTheServerApart) {
  struct {
    const char* wire;
    const char* data;
    FailureKind kind;
  } rows[] = {
      {"anthropic", R"({"type":"error","error":{"type":"overloaded_error","message":"Busy"}})",
       FailureKind::kOverloaded},
      {"anthropic", R"({"type":"error","error":{"type":"api_error","message":"x"}})",
       FailureKind::kServer},
      {"openai-chat", R"({"error":{"message":"x","type":"server_error","code":null}})",
       FailureKind::kServer},
      {"openai-chat", R"({"error":{"message":"x","code":"context_length_exceeded"}})",
       FailureKind::kRejected},
      {"openai-chat", R"({"error":"what"})", FailureKind::kServer},
      {"openai-responses",
       R"({"type":"response.failed","response":{"error":{"code":"rate_limit_exceeded","message":"x"}}})",
       FailureKind::kOverloaded},
      {"openai-responses", R"({"type":"error","code":"server_error","message":"x"})",
       FailureKind::kServer},
      {"anthropic", "{", FailureKind::kMalformed},
      {"openai-responses", "[]", FailureKind::kMalformed},
      {"openai-chat", "3", FailureKind::kMalformed},
  };
  for (const auto& row : rows) {
    Read got = read(row.wire, std::string("data: ") + row.data + "\n\n");
    ASSERT_TRUE(got.failure) << row.data;
    EXPECT_EQ(got.failure->kind, row.kind) << row.data;
    EXPECT_FALSE(got.finished);
  }
}

TEST(WireStream, SurvivesEventsOfTheWrongShape) {
  const char* values[] = {"null", "3", "\"x\"", "[]", "{}", "[{}]", "-1", "1e300", "99999999999"};
  const char* shapes[] = {R"({"choices":%})",
                          R"({"choices":[%]})",
                          R"({"choices":[{"delta":%}]})",
                          R"({"choices":[{"delta":{"tool_calls":%}}]})",
                          R"({"choices":[{"delta":{"tool_calls":[%]}}]})",
                          R"({"choices":[{"delta":{"tool_calls":[{"index":%}]}}]})",
                          R"({"usage":%})",
                          R"({"usage":{"prompt_tokens":%,"completion_tokens":%}})",
                          R"({"type":"response.completed","response":%})",
                          R"({"type":"response.output_item.added","item":%})",
                          R"({"type":"response.output_text.delta","delta":%})",
                          R"({"type":%})",
                          R"({"type":"message_start","message":%})",
                          R"({"type":"content_block_start","index":%})",
                          R"({"type":"content_block_delta","index":%,"delta":%})",
                          R"({"type":"message_delta","delta":%,"usage":%})",
                          R"({"type":"error","error":%})"};
  for (const Wire& wire : wires()) {
    auto reader = wire.reader({});
    for (std::string shape : shapes) {
      for (const char* value : values) {
        std::string data = shape;
        for (size_t at; (at = data.find('%')) != std::string::npos;) data.replace(at, 1, value);
        (void)reader->read({"", data});
      }
    }
    EXPECT_LT(reader->reply().tool_calls.size(), 5000);
  }
}

TEST(Strict, WantsEveryPropertyRequiredAndNoOthers) {
  EXPECT_TRUE(is_strict(*schema_request().schema));
  EXPECT_TRUE(is_strict(json_of(R"({"type": "array", "items": {"type": "string"}})")));
  EXPECT_FALSE(is_strict(json_of(R"({"type": "object"})")));
  Json open = *schema_request().schema;
  open.erase("additionalProperties");
  EXPECT_FALSE(is_strict(open));
  EXPECT_FALSE(is_strict({{"items", open}}));
}

}  // namespace
}  // namespace quern::llm
