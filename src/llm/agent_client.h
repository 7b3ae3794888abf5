// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/sandbox.h"
#include "llm/budget.h"
#include "llm/client.h"

namespace quern::llm {

inline constexpr std::string_view kAgentPrefix = "agent:";
inline bool is_agent(std::string_view model) { return model.starts_with(kAgentPrefix); }

struct AgentClientOptions {
  std::string directory;  ///< absolute; each call works in a folder of its own below
  std::map<std::string, std::string> files;  ///< put into each, by name
  std::vector<std::string> env;              ///< "NAME=value": the whole environment but TMPDIR
  std::vector<std::string> search_path;      ///< folders where the program is looked up
  std::vector<std::string> writable;         ///< files and folders that it may also write
  std::string cache;  ///< a folder that is made, and that all calls may write; "": none
  std::string output_file = "kernel.cpp";
  /// Where the agent leaves none, or is cut off while it writes: a file that it is known to stand
  /// by.
  std::string fallback_file = "passed.cpp";
  double deadline_s = 900;
  Budget* budget = nullptr;  ///< counts calls; what an agent spends elsewhere is not known
};

/// Coding agents as models: a request to the model "agent:CMD" runs the command CMD (llm/agent.h
/// has its placeholders) in a folder with the request as PROMPT.md and the files of the options.
/// The reply is the file that it left, in a fence, else what it printed; where time ran out, the
/// fallback file comes first. It reads the whole file
/// system and reaches the network, but writes to its folder alone, as far as the kernel can enforce
/// it. One that fails or takes too long is a failure unless it left a file of its own. Calls run
/// side by side, each in a thread; the destructor waits for them.
class AgentClient : public Client {
 public:
  explicit AgentClient(AgentClientOptions options) : options_(std::move(options)) {}
  ~AgentClient() override;
  void start(Request request, CallControl control, std::function<void(Answer)> done) override;

 private:
  Answer run(const Request& request, const std::string& folder);
  std::string folder_of(const Request& request);

  const AgentClientOptions options_;
  std::mutex mutex_;
  std::map<std::string, int> started_;  ///< by request
  std::vector<std::jthread> threads_;
};

/// Sends requests to the agents or to the models, by the name of the model.
class RoutingClient : public Client {
 public:
  /// Both outlive it.
  RoutingClient(Client& agents, Client& models) : agents_(agents), models_(models) {}
  void start(Request request, CallControl control, std::function<void(Answer)> done) override {
    Client& client = is_agent(request.model) ? agents_ : models_;
    client.start(std::move(request), std::move(control), std::move(done));
  }

 private:
  Client& agents_;
  Client& models_;
};

}  // namespace quern::llm
