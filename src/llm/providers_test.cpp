// SPDX-License-Identifier: Apache-2.0
#include "llm/providers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quern::llm {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

Environ environ_of(std::map<std::string, std::string> values) {
  return [values](const std::string& name) -> std::optional<std::string> {
    auto found = values.find(name);
    return found == values.end() ? std::nullopt : std::optional(found->second);
  };
}

Address address(const char* provider, std::map<std::string, std::string> values) {
  Providers providers;
  auto found = providers.find(std::string(provider) + "/m");
  EXPECT_TRUE(found);
  auto address = address_of(*found->provider, environ_of(std::move(values)));
  EXPECT_TRUE(address) << address.error().message;
  return *address;
}

TEST(Providers, KnowsTheThreeOfTheStart) {
  Address openai = address("openai", {{"OPENAI_API_KEY", " sk-1\n"}});
  EXPECT_EQ(openai.url, "https://api.openai.com/v1/chat/completions");
  EXPECT_THAT(openai.headers, Contains("Authorization: Bearer sk-1"));
  EXPECT_EQ(address("openai-responses", {{"OPENAI_API_KEY", "k"}}).url,
            "https://api.openai.com/v1/responses");
  Address anthropic = address("anthropic", {{"ANTHROPIC_API_KEY", "sk-2"}});
  EXPECT_EQ(anthropic.url, "https://api.anthropic.com/v1/messages");
  EXPECT_THAT(anthropic.headers, Contains("x-api-key: sk-2"));
  EXPECT_THAT(anthropic.headers, Contains("anthropic-version: 2023-06-01"));
}

TEST(Providers, TakesTheBaseFromTheEnvironmentWithOrWithoutVersion) {
  for (const char* base : {"http://gpu1:8000", "http://gpu1:8000/", "http://gpu1:8000/v1"})
    EXPECT_EQ(address("anthropic", {{"ANTHROPIC_API_KEY", "k"}, {"ANTHROPIC_BASE_URL", base}}).url,
              "http://gpu1:8000/v1/messages");
}

TEST(Providers, SplitsTheNameOfAModelAtItsFirstSlash) {
  Providers providers;
  ASSERT_TRUE(providers.add("lab", {"openai-chat", "http://gpu1:8000/v1", "", "", "max_tokens"}));
  auto found = providers.find("lab/org/model-7b");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->model, "org/model-7b");
  auto address = address_of(*found->provider, environ_of({}));
  ASSERT_TRUE(address);
  EXPECT_EQ(address->url, "http://gpu1:8000/v1/chat/completions");
  EXPECT_EQ(address->key, "");
}

TEST(Providers, SaysWhatIsWrongWithAName) {
  Providers providers;
  for (const char* name : {"gpt", "openai/", ""}) {
    auto found = providers.find(name);
    ASSERT_FALSE(found) << name;
    EXPECT_THAT(found.error().hint, HasSubstr("write it as provider/model"));
  }
  auto found = providers.find("opennai/m");
  ASSERT_FALSE(found);
  EXPECT_THAT(found.error().hint, HasSubstr("'openai'"));
}

TEST(Providers, ReadsThemFromATable) {
  Providers providers;
  ASSERT_TRUE(providers.add_all(*parse_json(
      R"({"lab": {"protocol": "anthropic", "base_url": "http://h", "api_key_env": "LAB_KEY"}})")));
  EXPECT_TRUE(providers.find("lab/m"));
  struct {
    const char* json;
    const char* message;
  } rows[] = {
      {R"({"lab": {"protocl": "anthropic"}})", "unknown key 'protocl'"},
      {R"({"lab": {"protocol": "openai"}})", "unknown protocol 'openai'"},
      {R"({"lab": {"base_url": "gpu1:8000"}})", "needs a base_url"},
      {R"({"a/b": {"base_url": "http://h"}})", "cannot name a provider"},
      {R"({"lab": 3})", "is not a table"},
      {R"({"lab": {"base_url": 3}})", "is no text"},
      {"[]", "are a table"},
  };
  for (const auto& row : rows) {
    auto added = providers.add_all(*parse_json(row.json));
    ASSERT_FALSE(added) << row.json;
    EXPECT_THAT(added.error().message, HasSubstr(row.message));
  }
}

TEST(Providers, DoesNotRepeatAKeyThatStandsWhereANameBelongs) {
  auto added = Providers().add("lab", {"openai-chat", "http://h", "", "sk-secret-1", ""});
  ASSERT_FALSE(added);
  EXPECT_THAT(added.error().message + added.error().hint, Not(HasSubstr("secret")));
}

TEST(Providers, RefusesKeysThatNoHeaderCanCarry) {
  Providers providers;
  auto found = providers.find("openai/m");
  for (const char* key : {"", "  ", "two words", "line\r\nX-Evil: 1", "schlüssel"}) {
    auto address = address_of(*found->provider, environ_of({{"OPENAI_API_KEY", key}}));
    ASSERT_FALSE(address) << key;
    EXPECT_THAT(address.error().message, HasSubstr("OPENAI_API_KEY"));
    EXPECT_THAT(address.error().message, Not(HasSubstr("Evil")));
  }
}

}  // namespace
}  // namespace quern::llm
