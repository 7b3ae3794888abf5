// SPDX-License-Identifier: Apache-2.0
#include "llm/budget.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/strings.h"

namespace quern::llm {
namespace {

struct Kind {
  const char* name;
  std::optional<int64_t> BudgetLimits::*limit;
  int64_t Spend::*amount;
  double unit;
  const char* unit_name;
};
constexpr std::array<Kind, 3> kKinds = {
    {{"calls", &BudgetLimits::calls, &Spend::calls, 1, "calls"},
     {"tokens", &BudgetLimits::tokens, &Spend::tokens, 1, "tokens"},
     {"nano_usd", &BudgetLimits::nano_usd, &Spend::nano_usd, 1e-9, "USD"}}};

bool within(const BudgetLimits& limits, const Spend& total) {
  return std::ranges::all_of(kKinds, [&](const Kind& kind) {
    const auto& limit = limits.*(kind.limit);
    return !limit || total.*(kind.amount) <= *limit;
  });
}

Spend sum(Spend a, const Spend& b) { return a += b; }

Spend at_most(Spend actual, const Spend& worst) {
  for (const Kind& kind : kKinds)
    actual.*(kind.amount) = std::clamp<int64_t>(actual.*(kind.amount), 0, worst.*(kind.amount));
  return actual;
}

Error refusal(const BudgetLimits& limits, const Spend& spent, const Spend& reserved,
              const Spend& worst) {
  std::string why;
  for (const Kind& kind : kKinds) {
    const auto& limit = limits.*(kind.limit);
    int64_t used = spent.*(kind.amount), held = reserved.*(kind.amount);
    int64_t needed = worst.*(kind.amount);
    if (!limit || used + held + needed <= *limit) continue;
    why += fmt::format(
        "{}{:.10g} {} limit, {:.10g} spent, {:.10g} reserved by calls under way, up "
        "to {:.10g} needed",
        why.empty() ? "" : "; ", static_cast<double>(*limit) * kind.unit, kind.unit_name,
        static_cast<double>(used) * kind.unit, static_cast<double>(held) * kind.unit,
        static_cast<double>(needed) * kind.unit);
  }
  return {ErrorKind::kBusy, "the budget does not allow another call: " + why,
          "raise the limit, or ask for fewer output tokens"};
}

}  // namespace

Result<std::unique_ptr<Budget>> Budget::open(const std::string& path, BudgetLimits limits) {
  auto budget = std::make_unique<Budget>(limits);
  if (file_exists(path)) {
    QUERN_ASSIGN(std::string text, read_file(path));
    QUERN_TRY(budget->replay(text));
  }
  // One line says it all so far; also drops a line that a kill left half written.
  std::string line = dump({{"charge", llm::to_json(budget->spent_)}}) + "\n";
  QUERN_TRY(write_file_atomic(path, line));
  budget->size_ = static_cast<int64_t>(line.size());
  budget->path_ = path;
  budget->journal_ = FileDescriptor(::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
  if (!budget->journal_) return system_error("open", path, errno);
  return budget;
}

Result<void> Budget::replay(const std::string& text) {
  std::vector<std::string> lines = split(text, '\n');
  for (size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].empty()) continue;
    auto json = parse_json(lines[i]);
    // The last line may be half written: its step never took effect.
    if (!json && i + 1 == lines.size()) break;
    if (!json || !json->is_object() || json->empty())
      return Error{ErrorKind::kInput, fmt::format("line {} of the budget is damaged", i + 1), ""};
    std::string kind = json->begin().key();
    QUERN_ASSIGN(Spend spend, spend_from_json(json->begin().value()));
    auto named = json->find("id");
    Id id = named != json->end() && named->is_number_unsigned() ? named->get<Id>() : 0;
    if (kind == "reserve") open_[id] = spend;
    if (kind == "settle") open_.erase(id);
    if (kind != "reserve") spent_ += spend;
  }
  for (const auto& [id, spend] : std::exchange(open_, {})) spent_ += spend;
  return {};
}

Result<void> Budget::write(const Json& line) {
  if (path_.empty()) return {};
  std::string text = dump(line) + "\n";
  ssize_t written = ::write(journal_.get(), text.data(), text.size());
  if (written == static_cast<ssize_t>(text.size())) {
    size_ += written;
    return {};
  }
  Error error = system_error("write", path_, written < 0 ? errno : ENOSPC);
  // A part of a line would spoil the next one.
  if (::ftruncate(journal_.get(), size_) != 0) journal_.close();
  return error;
}

bool Budget::fits(const Spend& worst) const {
  return within(limits_, sum(sum(spent_, reserved_), worst));
}

Result<Budget::Id> Budget::reserve(const Spend& worst) {
  std::lock_guard lock(mutex_);
  if (!fits(worst)) {
    ++refused_;
    return refusal(limits_, spent_, reserved_, worst);
  }
  Id id = next_++;
  QUERN_TRY(write({{"reserve", llm::to_json(worst)}, {"id", id}}));
  reserved_ += worst;
  open_[id] = worst;
  return id;
}

void Budget::settle(Id id, const Spend& actual) {
  std::lock_guard lock(mutex_);
  auto found = open_.find(id);
  if (found == open_.end()) return;
  Spend charged = at_most(actual, found->second);
  // Unwritten, the reservation stands in full for whoever reads the file: dearer, never cheaper.
  if (!write({{"settle", llm::to_json(charged)}, {"id", id}})) charged = found->second;
  reserved_ -= found->second;
  spent_ += charged;
  open_.erase(found);
}

void Budget::charge(const Spend& actual) {
  std::lock_guard lock(mutex_);
  spent_ += actual;
  if (auto written = write({{"charge", llm::to_json(actual)}}); !written) return;
}

Spend Budget::spent() const {
  std::lock_guard lock(mutex_);
  return spent_;
}

Spend Budget::reserved() const {
  std::lock_guard lock(mutex_);
  return reserved_;
}

int64_t Budget::refused() const {
  std::lock_guard lock(mutex_);
  return refused_;
}

bool Budget::may_fit_later(const Spend& worst) const {
  std::lock_guard lock(mutex_);
  return within(limits_, sum(spent_, worst));
}

Json Budget::to_json() const {
  std::lock_guard lock(mutex_);
  Json limits = Json::object();
  for (const Kind& kind : kKinds)
    if (limits_.*(kind.limit)) limits[kind.name] = *(limits_.*(kind.limit));
  return {
      {"limits", limits}, {"spent", llm::to_json(spent_)}, {"reserved", llm::to_json(reserved_)}};
}

Result<std::unique_ptr<Budget>> Budget::from_json(const Json& json) {
  if (!json.is_object() || !json.contains("limits") || !json["limits"].is_object())
    return Error{ErrorKind::kInput, "a budget is an object with 'limits'", ""};
  BudgetLimits limits;
  for (const Kind& kind : kKinds) {
    auto found = json["limits"].find(kind.name);
    if (found == json["limits"].end()) continue;
    if (!found->is_number_integer() || *found < 0)
      return Error{ErrorKind::kInput, fmt::format("the limit '{}' is not a count", kind.name), ""};
    limits.*(kind.limit) = found->get<int64_t>();
  }
  auto budget = std::make_unique<Budget>(limits);
  QUERN_ASSIGN(Spend spent, spend_from_json(json.value("spent", Json())));
  QUERN_ASSIGN(Spend reserved, spend_from_json(json.value("reserved", Json())));
  budget->spent_ = sum(spent, reserved);
  return budget;
}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  if (this == &other) return *this;
  settle(worst_);
  budget_ = std::exchange(other.budget_, nullptr);
  id_ = other.id_;
  worst_ = other.worst_;
  return *this;
}

void Reservation::settle(const Spend& actual) {
  if (Budget* budget = std::exchange(budget_, nullptr)) budget->settle(id_, actual);
}

}  // namespace quern::llm
