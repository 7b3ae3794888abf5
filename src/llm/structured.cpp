// SPDX-License-Identifier: Apache-2.0
#include "llm/structured.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "base/strings.h"
#include "llm/json_schema.h"
#include "llm/untrusted_json.h"

namespace quern::llm {
namespace {

std::string check_call(const Request& request, const ToolCall& call) {
  auto tool = std::ranges::find(request.tools, call.name, &Tool::name);
  if (tool == request.tools.end()) return fmt::format("there is no tool '{}'\n", call.name);
  auto arguments = parse_untrusted(call.arguments);
  if (!arguments)
    return fmt::format("the arguments of '{}' are not JSON: {}\n", call.name,
                       arguments.error().message);
  std::string complaints;
  for (const std::string& complaint : validate(tool->schema, *arguments))
    complaints += fmt::format("arguments of '{}': {}\n", call.name, complaint);
  return complaints;
}

/// The request again, with the reply and what is wrong with it.
Request asked_again(const Request& request, const Reply& reply, const std::string& complaints) {
  Request again = request;
  bool with_calls = request.schema == std::nullopt && !reply.tool_calls.empty();
  std::string advice = fmt::format(
      "That does not fit what was asked for:\n{}{}", complaints,
      request.schema ? "Reply again with the JSON alone." : "Correct it and reply again.");
  Message said{Role::kAssistant, reply.text, {}, ""};
  if (with_calls) said.tool_calls = reply.tool_calls;
  if (said.text.empty() && !with_calls) said.text = "(nothing)";
  again.messages.push_back(std::move(said));
  if (with_calls) {
    for (const ToolCall& call : reply.tool_calls)
      again.messages.push_back({Role::kTool, advice, {}, call.id});
  } else {
    again.messages.push_back({Role::kUser, advice, {}, ""});
  }
  return again;
}

/// The first answer's costs on top of the second's.
Answer both(const Answer& first, Answer second) {
  second.spend += first.spend;
  second.attempts += first.attempts;
  second.doubtful_usage |= first.doubtful_usage;
  if (second.ok() && second.reply().usage && first.reply().usage) {
    Usage& usage = *std::get<Reply>(second.outcome).usage;
    const Usage& before = *first.reply().usage;
    usage.input += before.input;
    usage.cache_read += before.cache_read;
    usage.cache_write += before.cache_write;
    usage.output += before.output;
    usage.reasoning += before.reasoning;
  }
  return second;
}

Answer refuse_invalid(Answer answer, const std::string& complaints) {
  std::string text = answer.reply().text;
  answer.outcome =
      Failure{FailureKind::kInvalidReply,
              "the model's reply does not fit, asked twice: " + complaints, "", 0, std::move(text)};
  return answer;
}

}  // namespace

std::optional<Json> find_json(std::string_view text) {
  if (auto json = parse_untrusted(trim(text))) return *json;
  for (size_t at = text.find("```"); at != std::string_view::npos; at = text.find("```", at)) {
    size_t begin = text.find('\n', at);
    size_t end = begin == std::string_view::npos ? begin : text.find("```", begin);
    if (end == std::string_view::npos) break;
    if (auto json = parse_untrusted(trim(text.substr(begin, end - begin)))) return *json;
    at = end + 3;
  }
  for (auto [open, close] : {std::pair{'{', '}'}, std::pair{'[', ']'}}) {
    size_t begin = text.find(open), end = text.rfind(close);
    if (begin == std::string_view::npos || end == std::string_view::npos || end < begin) continue;
    if (auto json = parse_untrusted(text.substr(begin, end - begin + 1))) return *json;
  }
  return std::nullopt;
}

std::string check_reply(const Request& request, Reply& reply) {
  std::string complaints;
  for (const ToolCall& call : reply.tool_calls) complaints += check_call(request, call);
  if (!request.force_tool.empty() && reply.tool_calls.empty())
    complaints += fmt::format("the tool '{}' was not called\n", request.force_tool);
  if (!request.schema || !reply.tool_calls.empty()) return complaints;
  reply.value = find_json(reply.text);
  if (!reply.value) return complaints + "it is not JSON\n";
  for (const std::string& complaint : validate(*request.schema, *reply.value))
    complaints += complaint + "\n";
  return complaints;
}

void CheckedClient::start(Request request, CallControl control, std::function<void(Answer)> done) {
  auto shared = std::make_shared<Request>(request);
  auto second = [shared, done](const Answer& first, Answer answer) {
    answer = both(first, std::move(answer));
    if (answer.ok()) {
      std::string complaints = check_reply(*shared, std::get<Reply>(answer.outcome));
      if (!complaints.empty()) answer = refuse_invalid(std::move(answer), complaints);
    }
    done(std::move(answer));
  };
  auto first = [inner = &inner_, shared, control, done, second](Answer answer) {
    if (!answer.ok()) return done(std::move(answer));
    std::string complaints = check_reply(*shared, std::get<Reply>(answer.outcome));
    if (complaints.empty()) return done(std::move(answer));
    Request again = asked_again(*shared, answer.reply(), complaints);
    inner->start(std::move(again), control,
                 [second, answer](Answer next) { second(answer, std::move(next)); });
  };
  inner_.start(std::move(request), control, first);
}

}  // namespace quern::llm
