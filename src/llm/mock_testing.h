// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/subprocess.h"
#include "llm/http_client.h"

namespace quern::llm {

/// For tests: tests/mock_model/server.py in a process of its own, with its standard mind `echo`.
class MockServer {
 public:
  /// `faults` is a script as tests/mock_model/faults.py describes; "": none.
  explicit MockServer(const std::string& faults = "", std::vector<std::string> arguments = {});
  ~MockServer();

  /// Providers `chat`, `responses` and `anthropic` at this server, with the key's variable
  /// MOCK_KEY; every model costs 1, 0.25, 1.25 and 4 USD per million tokens (input, cache read and
  /// write, output); short delays between attempts.
  HttpClientOptions options(Budget* budget = nullptr) const;
  /// What the server counted (GET /stats).
  Json stats() const;
  int port() const { return port_; }

  static constexpr const char* kKey = "sk-mock-0123456789abcdef";

 private:
  std::unique_ptr<ChildProcess> process_;
  std::string faults_file_;
  int port_ = 0;
};

/// A file's name in a folder for temporary files, new in every test.
std::string temporary_path(const std::string& name);

/// A request of one user message.
Request simple_request(const std::string& model, const std::string& text);

}  // namespace quern::llm
