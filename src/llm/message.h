// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "llm/usage.h"
#include "record/json.h"

namespace quern::llm {

enum class Role { kUser, kAssistant, kTool };

/// A tool that the model wants run. `arguments` is JSON text as the model wrote it: perhaps broken.
struct ToolCall {
  std::string id;
  std::string name;
  std::string arguments;
  bool operator==(const ToolCall&) const = default;
};

struct Message {
  Role role = Role::kUser;
  std::string text;
  std::vector<ToolCall> tool_calls;  ///< of an assistant message
  std::string tool_call_id;          ///< of a tool message: the call that it answers
};

/// A function that the model may ask for; `schema` is the JSON schema of its arguments.
struct Tool {
  std::string name;
  std::string description;
  Json schema;
};

/// What is asked of a model. On the wire the parts come in the order of the fields, the stable ones
/// first, so that providers' prompt caches hit from one call of a run to the next.
struct Request {
  std::string model;  ///< "provider/model"
  std::string system;
  std::vector<Tool> tools;
  std::string task;               ///< what stays the same in all calls of a run
  std::vector<Message> messages;  ///< what changes
  std::string force_tool;         ///< the tool that the model has to use; "": its choice
  std::optional<Json> schema;     ///< the reply is to be JSON of this schema (llm/json_schema.h)
  std::string schema_name = "reply";
  int64_t max_output_tokens = 8192;
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<int64_t> seed;
  std::string effort;  ///< "low", "medium", "high", or "": the model's default
  std::vector<std::string> stop;
  /// Tells samples of one prompt apart in a recording, whatever order they end in; not sent.
  int sample = 0;
  /// What the call is for, by the caller's own keys ("role", "operator", …): kept in recordings;
  /// not sent, not part of the hash.
  Json label;
};

/// Why the model stopped writing.
enum class Finish { kStop, kLength, kTools, kFiltered };

struct Reply {
  std::string text;
  std::vector<ToolCall> tool_calls;
  Finish finish = Finish::kStop;
  std::string served_by;       ///< the model's name as the server gave it
  std::optional<Usage> usage;  ///< as reported; nothing where the server was silent
  std::optional<Json> value;   ///< the checked JSON, when a schema was asked for
};

enum class FailureKind {
  kSetup,         ///< unknown provider, missing key, nonsense in the request
  kPrice,         ///< no price known for the model
  kBudget,        ///< does not fit in what is left
  kRejected,      ///< the server says no and would say so again (400, 401, 403, 404, …)
  kOverloaded,    ///< 429 or 529, until patience ended
  kServer,        ///< 5xx, or an error event in the stream
  kConnection,    ///< no connection
  kTimeout,       ///< a time limit, see Timeouts
  kCut,           ///< the stream ended before its end
  kMalformed,     ///< the server's bytes make no sense
  kInvalidReply,  ///< the reply does not fit the schema, asked twice
  kNotRecorded,   ///< replay: the cassette has no such exchange
  kCancelled,
};

struct Failure {
  FailureKind kind = FailureKind::kServer;
  std::string message;
  std::string hint;
  int status = 0;          ///< HTTP, where there was one
  std::string reply_text;  ///< kInvalidReply: what the model wrote
};

/// How a call ended. `spend` is what the budget was charged, failed attempts included.
struct Answer {
  std::variant<Reply, Failure> outcome = Failure{};
  Spend spend;
  int attempts = 0;             ///< HTTP requests made
  bool doubtful_usage = false;  ///< usage missing or impossible: the worst case was charged

  bool ok() const { return std::holds_alternative<Reply>(outcome); }
  const Reply& reply() const;      ///< only when `ok`
  const Failure& failure() const;  ///< only when not `ok`
};

/// The failure in the words of the rest of the house.
Error to_error(const Failure& failure);
std::string_view failure_name(FailureKind kind);  ///< "budget", "overloaded", …

Json to_json(const Request& request);
Json to_json(const Answer& answer);
/// Errors: kInput. What `to_json` made comes back equal.
Result<Answer> answer_from_json(const Json& json);

/// Names the request: SHA-256 of its canonical JSON. Neither key nor address is part of it.
std::string request_hash(const Request& request);

/// A request that no wire can carry: no text, an output limit below 1, an answer to no tool call.
std::optional<Failure> check_request(const Request& request);

}  // namespace quern::llm
