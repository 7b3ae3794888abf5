// SPDX-License-Identifier: Apache-2.0
#include "llm/mock_testing.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <thread>

namespace quern::llm {
namespace {

int port_in(const std::string& text) {
  int port = 0;
  size_t at = text.find("port ");
  if (at == std::string::npos || text.find('\n', at) == std::string::npos) return 0;
  std::from_chars(text.data() + at + 5, text.data() + text.size(), port);
  return port;
}

}  // namespace

std::string temporary_path(const std::string& name) {
  static int count = 0;
  std::string path =
      fmt::format("{}quern_llm_{}_{}_{}", testing::TempDir(), ::getpid(), ++count, name);
  EXPECT_TRUE(remove_all(path));
  return path;
}

Request simple_request(const std::string& model, const std::string& text) {
  Request request;
  request.model = model;
  request.messages = {{Role::kUser, text, {}, ""}};
  request.max_output_tokens = 1000;
  return request;
}

MockServer::MockServer(const std::string& faults, std::vector<std::string> arguments) {
  Command command;
  command.argv = {"python3", "-B", "tests/mock_model/server.py", "--port", "0", "--key", kKey};
  if (!faults.empty()) {
    faults_file_ = temporary_path("faults.json");
    QUERN_CHECK(write_file_atomic(faults_file_, faults).has_value(), "cannot write the faults");
    command.argv.insert(command.argv.end(), {"--faults", faults_file_});
  }
  command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
  auto process = ChildProcess::spawn(command);
  QUERN_CHECK(process.has_value(), "cannot start the mock server");
  process_ = std::make_unique<ChildProcess>(std::move(*process));
  while (port_ == 0) {
    bool ended = process_->poll().has_value();
    process_->drain();
    port_ = port_in(process_->out());
    if (ended && port_ == 0) fmt::print(stderr, "{}\n", process_->err());
    QUERN_CHECK(!ended || port_ != 0, "the mock server ended before it listened");
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

MockServer::~MockServer() {
  process_->drain();
  if (!process_->err().empty()) fmt::print(stderr, "{}\n", process_->err());
  if (!faults_file_.empty()) (void)remove_all(faults_file_);
}

HttpClientOptions MockServer::options(Budget* budget) const {
  HttpClientOptions options;
  for (auto [name, protocol] : {std::pair{"chat", "openai-chat"},
                                {"responses", "openai-responses"},
                                {"anthropic", "anthropic"}}) {
    Provider provider;
    provider.protocol = protocol;
    provider.base_url = fmt::format("http://127.0.0.1:{}/v1", port_);
    provider.api_key_env = "MOCK_KEY";
    EXPECT_TRUE(options.providers.add(name, provider));
  }
  auto prices = Prices::parse(
      R"({"models": {"*": {"input": 1, "cache_read": 0.25, "cache_write": 1.25, "output": 4}}})");
  EXPECT_TRUE(prices);
  options.prices = *prices;
  options.environ = [](const std::string& name) {
    return name == "MOCK_KEY" ? std::optional<std::string>(kKey) : std::nullopt;
  };
  options.budget = budget;
  options.retry.first_delay_s = 0.01;
  return options;
}

Json MockServer::stats() const {
  FileDescriptor fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port_));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  QUERN_CHECK(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0,
              "cannot reach the mock server");
  std::string ask = "GET /stats HTTP/1.1\r\nHost: mock\r\n\r\n";
  QUERN_CHECK(::send(fd.get(), ask.data(), ask.size(), 0) == static_cast<ssize_t>(ask.size()),
              "cannot ask the mock server");
  ::shutdown(fd.get(), SHUT_WR);
  std::string reply;
  char bytes[4096];
  for (ssize_t n; (n = ::recv(fd.get(), bytes, sizeof bytes, 0)) > 0;)
    reply.append(bytes, static_cast<size_t>(n));
  auto json = parse_json(reply.substr(reply.find("\r\n\r\n") + 4));
  QUERN_CHECK(json.has_value(), "the mock server's counts are not JSON");
  return *json;
}

TEST(MockServer, CountsNothingBeforeItIsAsked) {
  MockServer server;
  EXPECT_EQ(server.stats()["requests"], 0);
}

}  // namespace quern::llm
