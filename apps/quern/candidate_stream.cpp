// SPDX-License-Identifier: Apache-2.0
#include "candidate_stream.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <iterator>
#include <utility>

#include "context.h"
#include "interrupt.h"

namespace quern::cli {
namespace {

constexpr int kLookMs = 200;  // for an interrupt, or our end
/// Lines that wait to be taken; beyond them the sender waits.
constexpr size_t kMostWaiting = 4096;

Result<CandidateStream::Line> parse_line(const std::string& line, int number,
                                         const std::string& language) {
  Result<Json> json = parse_json(line);
  if (!json || !json->is_object() || !json->contains("source") || !(*json)["source"].is_string()) {
    return Error{ErrorKind::kInput,
                 fmt::format("stdin, line {}: expected {{\"id\": …, \"source\": \"…\"}}", number),
                 ""};
  }
  return CandidateStream::Line{
      json->value("id", Json(number)),
      make_candidate((*json)["source"].get<std::string>(), "human", language)};
}

}  // namespace

CandidateStream::CandidateStream(std::string language) : language_(std::move(language)) {
  thread_ = std::thread([this] { read_on(); });
}

CandidateStream::~CandidateStream() {
  {
    const std::lock_guard lock(mutex_);
    unwanted_ = true;
  }
  left_.notify_all();
  thread_.join();
}

void CandidateStream::read_on() {
  std::string text;
  int number = 0;
  bool open = true;
  while (open) {
    pollfd input = {STDIN_FILENO, POLLIN, 0};
    if (poll(&input, 1, kLookMs) > 0) {
      char block[1 << 16];
      const ssize_t got = read(STDIN_FILENO, block, sizeof block);
      if (got > 0) text.append(block, static_cast<size_t>(got));
      open = got > 0 || (got < 0 && (errno == EINTR || errno == EAGAIN));
      if (!open && !text.empty()) text += '\n';
      open = take_in(text, number) && open;
    }
    const std::lock_guard lock(mutex_);
    if (unwanted_) return;
  }
  const std::lock_guard lock(mutex_);
  ended_ = true;
  came_.notify_all();
}

/// Parses the whole lines of `text` and drops them from it; false once one is bad, or nobody wants
/// more.
bool CandidateStream::take_in(std::string& text, int& number) {
  size_t at = 0;
  for (size_t end; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
    auto line = parse_line(text.substr(at, end - at), ++number, language_);
    std::unique_lock lock(mutex_);
    left_.wait(lock, [&] { return unwanted_ || lines_.size() < kMostWaiting; });
    if (!line) failure_ = line.error();
    if (!line || unwanted_) return false;
    lines_.push_back(std::move(*line));
    came_.notify_all();
  }
  text.erase(0, at);
  return true;
}

std::vector<CandidateStream::Line> CandidateStream::take(size_t most, bool wait) {
  std::unique_lock lock(mutex_);
  while (wait && lines_.empty() && !ended_ && !interrupted()) {
    came_.wait_for(lock, std::chrono::milliseconds(kLookMs));
  }
  const auto end = lines_.begin() + static_cast<long>(std::min(most, lines_.size()));
  std::vector<Line> taken(std::move_iterator(lines_.begin()), std::move_iterator(end));
  lines_.erase(lines_.begin(), end);
  left_.notify_all();
  return taken;
}

std::optional<Error> CandidateStream::failure() {
  const std::lock_guard lock(mutex_);
  return lines_.empty() ? failure_ : std::nullopt;
}

OrderedPrinter::OrderedPrinter() : thread_([this] { print_on(); }) {}

OrderedPrinter::~OrderedPrinter() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  came_.notify_all();
  thread_.join();
}

void OrderedPrinter::add(Make make) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(make));
  }
  came_.notify_all();
}

void OrderedPrinter::print_on() {
  std::unique_lock lock(mutex_);
  while (true) {
    came_.wait(lock, [&] { return ends_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    const Make make = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    print(make());
    lock.lock();
  }
}

}  // namespace quern::cli
