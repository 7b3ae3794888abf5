// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "llm/client.h"

namespace quern {

/// What a model wrote, or why it wrote nothing.
struct RoleReply {
  bool ok = false;
  std::string text;  ///< the reply, or the reason
};

/// Asks models, many at once.
class RoleCaller {
 public:
  /// `client` outlives it; null: nobody can be asked.
  explicit RoleCaller(llm::Client* client) : client_(client) {}

  /// False without a client, and once the budget was spent.
  bool can_ask() const { return client_ != nullptr && !spent_; }
  /// All are under way at once; the replies come in the order of the requests. Errors: what would
  /// fail again (a key, a name, a price, a cassette that does not have the exchange).
  Result<std::vector<RoleReply>> ask(std::vector<llm::Request> requests);

 private:
  llm::Client* client_;
  bool spent_ = false;
};

}  // namespace quern
