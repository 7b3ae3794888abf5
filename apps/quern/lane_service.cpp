// SPDX-License-Identifier: Apache-2.0
#include "lane_service.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/strings.h"
#include "python_process.h"

namespace quern::cli {
namespace {

constexpr int kRequests = 3, kAnswers = 4;  ///< descriptors of the process
constexpr int kLookMs = 100;
constexpr double kEndS = 2;

}  // namespace

Result<LaneService> LaneService::start(const Context& context, const LaneServiceOptions& options) {
  QUERN_ASSIGN(quern::Command command, make_python_command(context, "quern.torch_lane"));
  command.argv.insert(command.argv.end(),
                      {"--serve", "--device", options.device, "--baselines", options.baselines,
                       "--seed", std::to_string(options.seed), "--cache",
                       context.cache_directory + "/torch_lane", "--machine", options.machine});
  if (options.threads > 0) {
    std::erase_if(command.env, [](const std::string& v) { return v.starts_with("OMP_NUM_"); });
    command.env.push_back(fmt::format("OMP_NUM_THREADS={}", options.threads));
  }
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return system_error("make a pair of sockets", "the PyTorch lane", errno);
  }
  FileDescriptor ours(ends[0]);
  const FileDescriptor theirs(ends[1]);
  command.fds = {{theirs.get(), kRequests}, {theirs.get(), kAnswers}};
  QUERN_ASSIGN(ChildProcess child, ChildProcess::spawn(command));
  return LaneService(std::move(child), std::move(ours));
}

Error LaneService::ended() {
  (void)child_.wait(kEndS);
  child_.drain();
  const std::string said(trim(child_.err()));
  const size_t tail = said.size() > 600 ? said.size() - 600 : 0;
  return Error{ErrorKind::kInternal,
               said.empty() ? "the PyTorch lane ended without a word (out of memory?)"
                            : fmt::format("the PyTorch lane ended: {}", said.substr(tail)),
               "run the command again: what is judged stays judged"};
}

Result<void> LaneService::send(const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const ssize_t sent = ::send(socket_.get(), text.data() + at, text.size() - at, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return ended();
    at += static_cast<size_t>(sent);
  }
  return {};
}

Result<std::optional<Json>> LaneService::ask(const Json& request,
                                             const std::function<bool()>& stop) {
  QUERN_TRY(send(dump(request) + "\n"));
  while (heard_.find('\n') == std::string::npos) {
    if (stop()) return std::optional<Json>();
    child_.drain();
    pollfd answer = {socket_.get(), POLLIN, 0};
    if (::poll(&answer, 1, kLookMs) <= 0) continue;
    char block[1 << 16];
    const ssize_t got = ::recv(socket_.get(), block, sizeof block, 0);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) return ended();
    heard_.append(block, static_cast<size_t>(got));
  }
  const size_t end = heard_.find('\n');
  QUERN_ASSIGN(Json answer, parse_json(heard_.substr(0, end)));
  heard_.erase(0, end + 1);
  return std::optional<Json>(std::move(answer));
}

}  // namespace quern::cli
