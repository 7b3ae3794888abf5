// SPDX-License-Identifier: Apache-2.0
#include "llm/cassette.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/strings.h"

namespace quern::llm {
namespace {

constexpr size_t kLimitBytes = size_t{8} << 30;

/// An ending that cost nothing and may be otherwise next time.
bool is_passing(const Answer& answer) {
  if (answer.ok()) return false;
  FailureKind kind = answer.failure().kind;
  return kind == FailureKind::kBudget || kind == FailureKind::kCancelled ||
         kind == FailureKind::kSetup || kind == FailureKind::kPrice;
}

struct Entry {
  std::pair<std::string, int> place;
  Answer answer;
};

Result<Entry> parse_entry(const std::string& line) {
  QUERN_ASSIGN(Json json, parse_json(line));
  Error bad{ErrorKind::kInput, "not an exchange", ""};
  if (!json.is_object()) return bad;
  auto hash = json.find("hash"), nth = json.find("nth"), answer = json.find("answer");
  if (hash == json.end() || nth == json.end() || answer == json.end()) return bad;
  if (!hash->is_string() || !nth->is_number_integer()) return bad;
  Entry entry{{hash->get<std::string>(), nth->get<int>()}, {}};
  QUERN_ASSIGN(entry.answer, answer_from_json(*answer));
  return entry;
}

}  // namespace

Result<std::unique_ptr<Cassette>> Cassette::record(const std::string& path, Client& inner) {
  std::unique_ptr<Cassette> cassette(new Cassette);
  if (file_exists(path))
    return Error{ErrorKind::kUsage, fmt::format("{} exists already", path),
                 "replay it, resume it, or name another file"};
  cassette->inner_ = &inner;
  QUERN_TRY(write_file_atomic(path, ""));
  QUERN_TRY(cassette->open_for_append(path));
  return cassette;
}

Result<std::unique_ptr<Cassette>> Cassette::replay(const std::string& path, Budget* budget) {
  std::unique_ptr<Cassette> cassette(new Cassette);
  cassette->budget_ = budget;
  QUERN_TRY(cassette->load(path, false));
  return cassette;
}

Result<std::unique_ptr<Cassette>> Cassette::resume(const std::string& path, Client& inner) {
  std::unique_ptr<Cassette> cassette(new Cassette);
  cassette->inner_ = &inner;
  QUERN_TRY(cassette->load(path, true));
  QUERN_TRY(cassette->open_for_append(path));
  return cassette;
}

Result<void> Cassette::load(const std::string& path, bool for_resume) {
  path_ = path;
  QUERN_ASSIGN(std::string text, read_file(path, kLimitBytes));
  size_t whole = text.rfind('\n') + 1;  // 0 when there is none
  // The last line may be half written: its exchange was told to nobody.
  if (for_resume && whole < text.size() && ::truncate(path.c_str(), static_cast<off_t>(whole)) != 0)
    return system_error("shorten", path, errno);
  text.resize(whole);
  std::vector<Entry> entries;
  for (const std::string& line : split(text, '\n')) {
    if (line.empty()) continue;
    auto entry = parse_entry(line);
    if (!entry)
      return Error{ErrorKind::kInput,
                   fmt::format("{}: exchange {} is damaged: {}", path, entries.size() + 1,
                               entry.error().message),
                   ""};
    entries.push_back(std::move(*entry));
  }
  while (for_resume && !entries.empty() && is_passing(entries.back().answer)) entries.pop_back();
  for (Entry& entry : entries) answers_[entry.place] = std::move(entry.answer);
  return {};
}

Result<void> Cassette::open_for_append(const std::string& path) {
  path_ = path;
  file_ = FileDescriptor(::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
  if (!file_) return system_error("open", path, errno);
  return {};
}

Result<void> Cassette::write(const Place& place, const Request& request, const Answer& answer) {
  std::string line = dump({{"hash", place.first},
                           {"nth", place.second},
                           {"request", to_json(request)},
                           {"answer", to_json(answer)}}) +
                     "\n";
  std::lock_guard lock(mutex_);
  for (std::string_view rest = line; !rest.empty();) {
    ssize_t written = ::write(file_.get(), rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return system_error("write", path_, errno);
    rest.remove_prefix(static_cast<size_t>(written));
  }
  answers_[place] = answer;
  return {};
}

Answer Cassette::told(Answer answer, const CallControl& control) const {
  if (budget_) budget_->charge(answer.spend);
  if (control.on_text && answer.ok()) control.on_text(answer.attempts, answer.reply().text);
  return answer;
}

void Cassette::start(Request request, CallControl control, std::function<void(Answer)> done) {
  Place place{request_hash(request), 0};
  std::optional<Answer> known;
  {
    std::lock_guard lock(mutex_);
    place.second = started_[place.first]++;
    if (auto found = answers_.find(place); found != answers_.end()) known = found->second;
  }
  if (known) return done(told(std::move(*known), control));
  if (!inner_) {
    Answer missing;
    missing.outcome =
        Failure{FailureKind::kNotRecorded,
                fmt::format("{} has no reply of {} to request {} (number {} of its kind)", path_,
                            request.model, place.first.substr(0, 12), place.second + 1),
                "the run asks otherwise than when it was recorded; record it again"};
    return done(std::move(missing));
  }
  auto kept = std::make_shared<Request>(request);
  inner_->start(std::move(request), std::move(control), [this, place, kept, done](Answer answer) {
    if (auto written = write(place, *kept, answer); !written)
      answer.outcome = Failure{FailureKind::kSetup,
                               "the exchange cannot be recorded: " + written.error().message, ""};
    done(std::move(answer));
  });
}

size_t Cassette::size() const {
  std::lock_guard lock(mutex_);
  return answers_.size();
}

}  // namespace quern::llm
