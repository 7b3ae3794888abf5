// SPDX-License-Identifier: Apache-2.0
#include "llm/providers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/strings.h"
#include "base/suggest.h"

namespace quern::llm {
namespace {

Error bad(std::string message, std::string hint = "") {
  return {ErrorKind::kUsage, std::move(message), std::move(hint)};
}

struct KeyRow {
  std::string_view name;
  std::string Provider::*field;
};
constexpr std::array<KeyRow, 5> kKeys = {{{"protocol", &Provider::protocol},
                                          {"base_url", &Provider::base_url},
                                          {"base_url_env", &Provider::base_url_env},
                                          {"api_key_env", &Provider::api_key_env},
                                          {"max_tokens_field", &Provider::max_tokens_field}}};

Result<Provider> parse_provider(const std::string& name, const Json& json) {
  Provider provider;
  if (!json.is_object()) return bad(fmt::format("provider '{}' is not a table", name));
  for (const auto& [key, value] : json.items()) {
    auto row = std::ranges::find(kKeys, std::string_view(key), &KeyRow::name);
    std::vector<std::string> known;
    for (const KeyRow& each : kKeys) known.emplace_back(each.name);
    if (row == kKeys.end())
      return bad(fmt::format("provider '{}' has an unknown key '{}'", name, key),
                 did_you_mean(key, known));
    if (!value.is_string()) return bad(fmt::format("'{}' of provider '{}' is no text", key, name));
    provider.*(row->field) = value.get<std::string>();
  }
  return provider;
}

bool is_address(std::string_view url) {
  return url.starts_with("http://") || url.starts_with("https://");
}

/// Users write the base of one vendor's addresses with the version, of the other's without.
std::string joined(std::string base, std::string_view path) {
  while (base.ends_with('/')) base.pop_back();
  if (base.ends_with("/v1") && path.starts_with("/v1/")) path.remove_prefix(3);
  return base + std::string(path);
}

bool fits_in_header(std::string_view key) {
  return std::ranges::all_of(key, [](char c) { return c > ' ' && c < 0x7F; });
}

}  // namespace

Providers::Providers() {
  providers_ = {
      {"openai",
       {"openai-chat", "https://api.openai.com/v1", "OPENAI_BASE_URL", "OPENAI_API_KEY",
        "max_completion_tokens"}},
      {"openai-responses",
       {"openai-responses", "https://api.openai.com/v1", "OPENAI_BASE_URL", "OPENAI_API_KEY", ""}},
      {"anthropic",
       {"anthropic", "https://api.anthropic.com", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", ""}},
  };
}

Result<void> Providers::add(const std::string& name, Provider provider) {
  if (name.empty() || name.find('/') != std::string::npos)
    return bad(fmt::format("'{}' cannot name a provider: models are 'provider/model'", name));
  std::vector<std::string> protocols;
  for (const Wire& wire : wires()) protocols.emplace_back(wire.name);
  if (!find_wire(provider.protocol))
    return bad(fmt::format("provider '{}' has an unknown protocol '{}'; known: {}", name,
                           provider.protocol, join(protocols, ", ")),
               did_you_mean(provider.protocol, protocols));
  if (!is_address(provider.base_url))
    return bad(
        fmt::format("provider '{}' needs a base_url that begins with http:// or https://", name));
  // No value is repeated here: it may be the key itself.
  if (!provider.api_key_env.empty() && !is_identifier(provider.api_key_env))
    return bad(fmt::format("api_key_env of provider '{}' is not the name of a variable", name),
               "put the key in an environment variable and its name here");
  providers_[name] = std::move(provider);
  return {};
}

Result<void> Providers::add_all(const Json& json) {
  if (!json.is_object()) return bad("providers are a table by name");
  for (const auto& [name, value] : json.items()) {
    QUERN_ASSIGN(Provider provider, parse_provider(name, value));
    QUERN_TRY(add(name, std::move(provider)));
  }
  return {};
}

Result<Providers::Found> Providers::find(std::string_view model) const {
  std::vector<std::string> names;
  for (const auto& [name, provider] : providers_) names.push_back(name);
  size_t slash = model.find('/');
  if (slash == std::string_view::npos || slash + 1 == model.size())
    return bad(fmt::format("'{}' does not name a model", model),
               "write it as provider/model; providers: " + join(names, ", "));
  auto found = providers_.find(std::string(model.substr(0, slash)));
  if (found == providers_.end())
    return bad(fmt::format("unknown provider '{}' in '{}'; known: {}", model.substr(0, slash),
                           model, join(names, ", ")),
               did_you_mean(model.substr(0, slash), names));
  return Found{&found->second, std::string(model.substr(slash + 1))};
}

Result<Address> address_of(const Provider& provider, const Environ& environ) {
  const Wire& wire = *find_wire(provider.protocol);
  Address address;
  std::string base = provider.base_url;
  if (!provider.base_url_env.empty())
    if (auto other = environ(provider.base_url_env); other && !other->empty()) base = *other;
  if (!is_address(base))
    return bad(fmt::format("the variable {} holds no http(s) address", provider.base_url_env));
  address.url = joined(base, wire.path);
  address.headers = {"Content-Type: application/json", "Accept: text/event-stream"};
  if (!wire.version_header.empty()) address.headers.emplace_back(wire.version_header);
  if (provider.api_key_env.empty()) return address;
  auto key = environ(provider.api_key_env);
  if (!key || trim(*key).empty())
    return bad(fmt::format("the variable {} with the key is not set", provider.api_key_env),
               fmt::format("export {}=…", provider.api_key_env));
  address.key = trim(*key);
  if (!fits_in_header(address.key))
    return bad(
        fmt::format("the variable {} holds characters that no key has", provider.api_key_env));
  address.headers.push_back(std::string(wire.key_header) + address.key);
  return address;
}

}  // namespace quern::llm
