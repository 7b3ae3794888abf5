// SPDX-License-Identifier: Apache-2.0
#include "llm/agent_client.h"

#include <fmt/format.h>

#include <utility>

#include "base/file.h"
#include "base/strings.h"
#include "llm/agent.h"

namespace quern::llm {
namespace {

constexpr size_t kToldBytes = 2000;

/// Everything that a model would be sent, for a person or a program to read.
std::string prompt_of(const Request& request) {
  std::string text;
  for (const std::string& part : {request.system, request.task}) {
    if (!part.empty()) text += part + "\n\n";
  }
  for (const Message& message : request.messages) text += message.text + "\n";
  return text;
}

std::string found_in(const std::vector<std::string>& folders, const std::string& program) {
  if (program.find('/') != std::string::npos) return program;
  for (const std::string& folder : folders) {
    if (!folder.empty() && file_exists(folder + "/" + program)) return folder + "/" + program;
  }
  return program;
}

Failure failure_of(FailureKind kind, std::string message, std::string hint = "") {
  return {kind, std::move(message), std::move(hint)};
}

/// What an agent left in its folder.
struct Left {
  AgentEnd end;
  std::optional<std::string> fallback;
};

/// The reply, or why there is none. `given`: the output file as it was before, where it was.
std::variant<Reply, Failure> outcome_of(const Left& left, const std::string* given,
                                        double deadline_s) {
  const AgentEnd& end = left.end;
  Reply reply;
  const bool wrote = end.file && !trim(*end.file).empty() && !(given && *end.file == *given);
  const bool falls_back = left.fallback && (!wrote || end.process.timed_out);
  if (wrote || falls_back) {
    reply.text = fenced_code(falls_back ? *left.fallback : *end.file);
    return reply;
  }
  if (end.process.timed_out) {
    return failure_of(FailureKind::kTimeout,
                      fmt::format("the agent wrote nothing in {:g} s", deadline_s),
                      "give it longer with --agent-time");
  }
  if (!end.process.status.ok()) {
    const std::string& said = end.process.err.empty() ? end.process.out : end.process.err;
    return failure_of(
        FailureKind::kServer,
        fmt::format(
            "the agent ended with {} {}: {}", end.process.status.signal ? "signal" : "exit code",
            end.process.status.signal ? end.process.status.signal : end.process.status.exit_code,
            shorten(trim(said), kToldBytes)));
  }
  reply.text = end.process.out;
  return reply;
}

}  // namespace

AgentClient::~AgentClient() = default;

std::string AgentClient::folder_of(const Request& request) {
  const std::string name = request_hash(request).substr(0, 12);
  std::lock_guard lock(mutex_);
  return fmt::format("{}/{}-{}", options_.directory, name, started_[name]++);
}

Answer AgentClient::run(const Request& request, const std::string& folder) {
  Answer answer;
  AgentCommand command;
  auto words = command_words(request.model.substr(kAgentPrefix.size()));
  if (!words || words->empty()) {
    answer.outcome = failure_of(FailureKind::kSetup,
                                words ? "the agent's command is empty" : words.error().message);
    return answer;
  }
  command.argv = std::move(*words);
  command.argv[0] = found_in(options_.search_path, command.argv[0]);
  command.env = options_.env;
  command.env.push_back("TMPDIR=" + folder + "/tmp");
  command.output_file = options_.output_file;
  command.deadline_s = options_.deadline_s;
  command.sandbox.restrict_files = true;
  command.sandbox.allow_tcp = true;
  command.sandbox.read_exec = {"/"};
  command.sandbox.read_write = options_.writable;
  for (const char* device : {"/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/shm"}) {
    command.sandbox.read_write.emplace_back(device);
  }
  command.sandbox.read_write.push_back(folder);
  Result<void> made = remove_all(folder);
  if (made) made = make_directories(folder + "/tmp");
  if (made && !options_.cache.empty()) {
    made = make_directories(options_.cache);
    command.sandbox.read_write.push_back(options_.cache);
  }
  auto end = made ? run_agent(command, folder, prompt_of(request), options_.files)
                  : Result<AgentEnd>(made.error());
  if (!end) {
    answer.outcome = failure_of(FailureKind::kSetup, end.error().message, end.error().hint);
    return answer;
  }
  answer.attempts = 1;
  answer.spend = {1, 0, 0};
  Left left{std::move(*end), std::nullopt};
  if (auto text = read_file(folder + "/" + options_.fallback_file, command.output_cap_bytes)) {
    left.fallback = std::move(*text);
  }
  const auto given = options_.files.find(options_.output_file);
  answer.outcome = outcome_of(left, given == options_.files.end() ? nullptr : &given->second,
                              options_.deadline_s);
  return answer;
}

void AgentClient::start(Request request, CallControl, std::function<void(Answer)> done) {
  Reservation reservation;
  const Spend worst{1, 0, 0};
  if (options_.budget) {
    auto id = options_.budget->reserve(worst);
    if (!id) {
      Answer refused;
      refused.outcome = failure_of(FailureKind::kBudget, id.error().message, id.error().hint);
      return done(std::move(refused));
    }
    reservation = Reservation(*options_.budget, *id, worst);
  }
  std::string folder = folder_of(request);
  std::lock_guard lock(mutex_);
  threads_.emplace_back([this, request = std::move(request), folder = std::move(folder),
                         reservation = std::move(reservation), done = std::move(done)]() mutable {
    Answer answer = run(request, folder);
    reservation.settle(answer.spend);
    done(std::move(answer));
  });
}

}  // namespace quern::llm
