// SPDX-License-Identifier: Apache-2.0
#include "progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/clock.h"
#include "base/strings.h"

namespace quern::cli {
namespace {

/// Seconds to the end of the budget, or a negative number where that is not known yet.
double remaining_s(const Progress& p) {
  double by_time = p.budget_s > 0 ? p.budget_s - p.spent_s : -1;
  int fresh = p.attempts - p.replayed;
  if (p.budget_attempts <= 0 || fresh <= 0) return by_time;
  double by_attempts = p.spent_s / p.attempts * (p.budget_attempts - p.attempts);
  return by_time < 0 ? by_attempts : std::min(by_time, by_attempts);
}

std::string budget_text(const Progress& p) {
  std::string text = p.budget_attempts > 0 ? fmt::format("{}/{}", p.attempts, p.budget_attempts)
                                           : fmt::format("{}", p.attempts);
  text += fmt::format(" tried, {}", format_seconds(p.spent_s));
  if (p.budget_s > 0) text += fmt::format("/{}", format_seconds(p.budget_s));
  double left = remaining_s(p);
  if (left >= 0 && p.phase == "search") text += fmt::format(", {} left", format_seconds(left));
  return text;
}

std::string best_text(const Progress& p) {
  if (p.best_ns <= 0) return p.baseline_ns > 0 ? "no kernel passed yet" : "";
  std::string text = fmt::format("best {}", format_ns(p.best_ns));
  if (p.baseline_ns > 0) {
    text += fmt::format(" = {:.2f}× {}", p.baseline_ns / p.best_ns, p.baseline);
  }
  if (p.floor_ns > 0) text += fmt::format(", {:.0f} % of floor", 100 * p.floor_ns / p.best_ns);
  return text;
}

std::string verdict_text(const Progress& p) {
  std::vector<std::string> parts;
  for (const auto& [name, count] : p.by_verdict) parts.push_back(fmt::format("{} {}", count, name));
  return join(parts, ", ");
}

}  // namespace

std::string format_ns(double ns) {
  if (ns >= 1e9) return fmt::format("{:.3g} s", ns / 1e9);
  if (ns >= 1e6) return fmt::format("{:.3g} ms", ns / 1e6);
  if (ns >= 1e3) return fmt::format("{:.3g} µs", ns / 1e3);
  return fmt::format("{:.3g} ns", ns);
}

std::string format_seconds(double seconds) {
  int whole = static_cast<int>(std::lround(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  return fmt::format("{} min {} s", whole / 60, whole % 60);
}

void ProgressPrinter::show(const Progress& p) {
  bool news = p.phase != phase_ || p.best_ns != best_ns_;
  int64_t now = steady_now_ns();
  double quiet_s = seconds_between(shown_ns_, now);
  if (!news && quiet_s < (context_.terminal ? 0.1 : 10)) return;
  phase_ = p.phase;
  best_ns_ = p.best_ns;
  shown_ns_ = now;
  std::vector<std::string> parts;
  for (const std::string& part : {p.phase, budget_text(p), best_text(p), verdict_text(p)}) {
    if (!part.empty()) parts.push_back(part);
  }
  if (context_.terminal) {
    say("\r\x1b[K" + join(parts, " · "));
    line_open_ = true;
  } else {
    say(join(parts, " · ") + "\n");
  }
}

void ProgressPrinter::clear() {
  if (line_open_) say("\r\x1b[K");
  line_open_ = false;
}

}  // namespace quern::cli
