// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "llm/client.h"

namespace quern::llm {

/// Checks what another client's models reply: JSON against the schema asked for (`Reply::value`),
/// arguments of tool calls against the tools' schemas. A reply that does not fit is sent back once
/// with what is wrong; a second one is a kInvalidReply that keeps its text. Providers' own
/// promises of structure are not relied on. Other requests pass through.
class CheckedClient : public Client {
 public:
  /// `inner` outlives this.
  explicit CheckedClient(Client& inner) : inner_(inner) {}
  void start(Request request, CallControl control, std::function<void(Answer)> done) override;

 private:
  Client& inner_;
};

/// The JSON in a reply: the text itself, or a fenced block in it, or its outermost braces. Nothing
/// when there is none.
std::optional<Json> find_json(std::string_view text);

/// Fills `reply.value` and says what is wrong with the reply, a line a complaint; "" when it fits.
std::string check_reply(const Request& request, Reply& reply);

}  // namespace quern::llm
