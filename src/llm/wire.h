// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "llm/message.h"
#include "llm/sse.h"

/// The wire protocols: how a request becomes JSON, and how the events of a stream become a reply.
namespace quern::llm {

/// Builds a reply from the events of one stream.
class StreamReader {
 public:
  virtual ~StreamReader() = default;

  /// Takes the next event. A failure is the server's own, or JSON that makes no sense (kMalformed).
  virtual std::optional<Failure> read(const SseEvent& event) = 0;
  /// The stream said its last word; when it ends before, it was cut.
  bool finished() const { return ended_; }
  /// What was read so far.
  const Reply& reply() const { return draft_; }

 protected:
  Reply draft_;         ///< what was read so far
  bool ended_ = false;  ///< the last word came
};

/// What servers of one protocol differ in.
struct WireOptions {
  std::string max_tokens_field = "max_completion_tokens";  ///< openai-chat only
};

struct Wire {
  std::string_view name;
  std::string_view path;        ///< after the base URL
  std::string_view key_header;  ///< the key follows it
  std::string_view version_header;
  /// The request's body, with `model` as the provider calls it.
  Json (*body)(const Request& request, const std::string& model, const WireOptions& options);
  std::unique_ptr<StreamReader> (*reader)(const Request& request);
};

/// "openai-chat", "openai-responses", "anthropic".
std::span<const Wire> wires();
/// Null when there is none of that name.
const Wire* find_wire(std::string_view name);

// For the wires themselves.

/// The part of `json` that `path` leads to; null where there is none.
const Json* part_of(const Json& json, std::initializer_list<const char*> path);
/// A text there, or "".
std::string text_of(const Json& json, std::initializer_list<const char*> path);
/// A count there; nothing when it is no integer from 0 to 10^12.
std::optional<int64_t> count_of(const Json& json, std::initializer_list<const char*> path);
/// Puts a count that is there into `into`. False when something else is there but null.
bool take_count(const Json& json, std::initializer_list<const char*> path, int64_t& into);
/// A small index there; 0 when there is none.
size_t index_of(const Json& json, const char* key);

/// The task as a user's message, then the messages.
std::vector<Message> conversation(const Request& request);
/// Every object of the schema lists all its properties as required and allows no others, as
/// OpenAI's strict mode wants it.
bool is_strict(const Json& schema);
/// The failure that a server's error object tells of: {"type" | "code", "message"}.
Failure error_event(const Json& error);
Failure malformed(std::string_view what, std::string_view data);

// The rows of the table, one file each.
Json openai_chat_body(const Request& request, const std::string& model, const WireOptions& options);
std::unique_ptr<StreamReader> openai_chat_reader(const Request& request);
Json openai_responses_body(const Request& request, const std::string& model,
                           const WireOptions& options);
std::unique_ptr<StreamReader> openai_responses_reader(const Request& request);
Json anthropic_body(const Request& request, const std::string& model, const WireOptions& options);
std::unique_ptr<StreamReader> anthropic_reader(const Request& request);

}  // namespace quern::llm
