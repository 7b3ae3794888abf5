// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "llm/wire.h"

namespace quern::llm {

/// A server that answers for models. Keys are named, never held.
struct Provider {
  std::string protocol = "openai-chat";  ///< a name of `wires()`
  std::string base_url;                  ///< "https://api.openai.com/v1"
  std::string base_url_env;  ///< a variable that replaces `base_url` when it is set; "": none
  std::string api_key_env;   ///< the variable that holds the key; "": the server wants none
  std::string max_tokens_field = "max_tokens";  ///< openai-chat only
};

/// The value of an environment variable; the application's, since this room reads none.
using Environ = std::function<std::optional<std::string>(const std::string& name)>;

/// Providers by name. `openai`, `openai-responses` and `anthropic` are there from the start.
class Providers {
 public:
  Providers();

  /// Adds or replaces. Errors: kUsage, an unknown protocol (with a suggestion), no base URL or one
  /// that is no http(s) address.
  Result<void> add(const std::string& name, Provider provider);
  /// Adds those of {"NAME": {"protocol": …, "base_url": …, "api_key_env": …}}. Errors: also unknown
  /// keys, and a key given where its variable's name belongs.
  Result<void> add_all(const Json& json);

  /// The provider and the model's own name of "provider/model"; the model's name may have more
  /// slashes. Errors: kUsage, with the providers known.
  struct Found {
    const Provider* provider;
    std::string model;
  };
  Result<Found> find(std::string_view model) const;

 private:
  std::map<std::string, Provider> providers_;
};

/// Where one request goes, and the headers it needs. Holds the key: short-lived, never shown.
struct Address {
  std::string url;
  std::vector<std::string> headers;
  std::string key;
};

/// Errors: kUsage, the key's variable is not set or holds what no header can carry.
Result<Address> address_of(const Provider& provider, const Environ& environ);

}  // namespace quern::llm
