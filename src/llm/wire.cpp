// SPDX-License-Identifier: Apache-2.0
#include "llm/wire.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/strings.h"

namespace quern::llm {
namespace {

constexpr std::array<Wire, 3> kWires = {{
    {"openai-chat", "/chat/completions", "Authorization: Bearer ", "", openai_chat_body,
     openai_chat_reader},
    {"openai-responses", "/responses", "Authorization: Bearer ", "", openai_responses_body,
     openai_responses_reader},
    {"anthropic", "/v1/messages", "x-api-key: ", "anthropic-version: 2023-06-01", anthropic_body,
     anthropic_reader},
}};

constexpr uint64_t kMostTokens = 1'000'000'000'000;

/// Error types and codes of the providers that another attempt may get past, and those that it
/// cannot. Others count as the server's trouble.
struct ErrorWord {
  std::string_view word;
  FailureKind kind;
};
constexpr std::array<ErrorWord, 12> kErrorWords = {{
    {"overloaded_error", FailureKind::kOverloaded},
    {"rate_limit_error", FailureKind::kOverloaded},
    {"rate_limit_exceeded", FailureKind::kOverloaded},
    {"insufficient_quota", FailureKind::kRejected},
    {"invalid_request_error", FailureKind::kRejected},
    {"authentication_error", FailureKind::kRejected},
    {"permission_error", FailureKind::kRejected},
    {"billing_error", FailureKind::kRejected},
    {"not_found_error", FailureKind::kRejected},
    {"request_too_large", FailureKind::kRejected},
    {"context_length_exceeded", FailureKind::kRejected},
    {"invalid_prompt", FailureKind::kRejected},
}};

}  // namespace

std::span<const Wire> wires() { return kWires; }

const Wire* find_wire(std::string_view name) {
  auto found = std::ranges::find(kWires, name, &Wire::name);
  return found == kWires.end() ? nullptr : &*found;
}

const Json* part_of(const Json& json, std::initializer_list<const char*> path) {
  const Json* at = &json;
  for (const char* key : path) {
    if (!at->is_object()) return nullptr;
    auto found = at->find(key);
    if (found == at->end()) return nullptr;
    at = &*found;
  }
  return at;
}

std::string text_of(const Json& json, std::initializer_list<const char*> path) {
  const Json* part = part_of(json, path);
  return part && part->is_string() ? part->get<std::string>() : "";
}

std::optional<int64_t> count_of(const Json& json, std::initializer_list<const char*> path) {
  const Json* part = part_of(json, path);
  if (!part || !part->is_number_unsigned() || part->get<uint64_t>() > kMostTokens)
    return std::nullopt;
  return part->get<int64_t>();
}

bool take_count(const Json& json, std::initializer_list<const char*> path, int64_t& into) {
  const Json* part = part_of(json, path);
  if (!part || part->is_null()) return true;
  auto count = count_of(json, path);
  into = count.value_or(into);
  return count.has_value();
}

size_t index_of(const Json& json, const char* key) {
  // A server that counts to millions means harm, or nothing.
  return static_cast<size_t>(std::clamp<int64_t>(count_of(json, {key}).value_or(0), 0, 4096));
}

std::vector<Message> conversation(const Request& request) {
  std::vector<Message> all;
  if (!request.task.empty()) all.push_back({Role::kUser, request.task, {}, ""});
  all.insert(all.end(), request.messages.begin(), request.messages.end());
  return all;
}

bool is_strict(const Json& schema) {
  if (schema.is_array()) return std::ranges::all_of(schema, is_strict);
  if (!schema.is_object()) return true;
  if (const Json* properties = part_of(schema, {"properties"}); properties) {
    const Json* others = part_of(schema, {"additionalProperties"});
    const Json* required = part_of(schema, {"required"});
    if (!others || *others != Json(false) || !required || required->size() != properties->size())
      return false;
  } else if (text_of(schema, {"type"}) == "object") {
    return false;
  }
  return std::ranges::all_of(schema.items(),
                             [](const auto& item) { return is_strict(item.value()); });
}

Failure error_event(const Json& error) {
  std::string type = text_of(error, {"type"});
  std::string code = text_of(error, {"code"});
  Failure failure{FailureKind::kServer, text_of(error, {"message"}), ""};
  for (const ErrorWord& row : kErrorWords)
    if (row.word == type || row.word == code) failure.kind = row.kind;
  failure.message = fmt::format(
      "the server ended the stream with an error: {}",
      failure.message.empty() ? shorten(dump(error), 300) : shorten(failure.message, 300));
  return failure;
}

Failure malformed(std::string_view what, std::string_view data) {
  return {FailureKind::kMalformed, fmt::format("the server sent {}: {}", what, shorten(data, 120)),
          ""};
}

}  // namespace quern::llm
