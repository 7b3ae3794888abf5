// SPDX-License-Identifier: Apache-2.0
#include "search/report_pictures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "search/report_page.h"
#include "search/svg.h"

namespace quern {
namespace {

using svg::label;
using svg::line;
using svg::round_values;
using svg::Scale;

constexpr double kWidth = 720, kHeight = 320, kLeft = 64, kRight = 12, kTop = 14, kBottom = 58;

double time_of(const Attempt& attempt) {
  const Timing* timing = timing_of(attempt.evaluation.verdict);
  return timing ? timing->median_ns : 0;
}

bool is_baseline(const Attempt& attempt) { return attempt.candidate.proposer == "baseline"; }

bool is_eligible(const Attempt& attempt) {
  const Timing* timing = timing_of(attempt.evaluation.verdict);
  return timing && !timing->early_rejected && !attempt.evaluation.alarm;
}

const char* failure_mark(const Verdict& verdict) {
  static constexpr const char* kMarks[] = {"C", "L", "X", "T", "W", "R", ""};
  return kMarks[verdict.index()];
}

std::string attempt_mark(const Attempt& attempt, const Scale& x, const Scale& y) {
  double at = x(attempt.number);
  std::string tip =
      fmt::format("attempt {}: {}", attempt.number, verdict_name(attempt.evaluation.verdict));
  if (!attempt.time.empty()) tip += fmt::format(", at {}", html_escape(attempt.time));
  double time = time_of(attempt);
  if (time <= 0) {
    return fmt::format(
        "<g class='fail'><title>{}: {}</title>{}</g>", tip,
        html_escape(verdict_reason(attempt.evaluation.verdict)),
        label("middle", at, kHeight - kBottom + 14, failure_mark(attempt.evaluation.verdict)));
  }
  return fmt::format(
      "<circle class='{}' cx='{:.1f}' cy='{:.1f}' r='3'><title>{}, {}</title></circle>",
      is_eligible(attempt) ? "hit" : "slow", at, y(time), tip, duration_text(time));
}

/// Steps down at each attempt that beat all before it.
std::string best_so_far(const ReportData& data, const Scale& x, const Scale& y) {
  std::string path;
  double best = 0;
  for (const Attempt& attempt : data.attempts) {
    double time = time_of(attempt);
    if (is_baseline(attempt) || !is_eligible(attempt) || (best > 0 && time >= best)) continue;
    path += path.empty() ? fmt::format("M{:.1f} {:.1f}", x(attempt.number), y(time))
                         : fmt::format("H{:.1f}V{:.1f}", x(attempt.number), y(time));
    best = time;
  }
  if (path.empty()) return "";
  return fmt::format("<path class='best' d='{}H{:.1f}'/>", path, kWidth - kRight);
}

}  // namespace

std::string duration_text(double ns) {
  if (ns >= 1e9) return fmt::format("{:.3g} s", ns / 1e9);
  if (ns >= 1e6) return fmt::format("{:.3g} ms", ns / 1e6);
  if (ns >= 1e3) return fmt::format("{:.3g} µs", ns / 1e3);
  return fmt::format("{:.3g} ns", ns);
}

std::string search_picture(const ReportData& data) {
  double low = data.run.work.floor_ns, high = 0;
  for (const Attempt& attempt : data.attempts) {
    double time = time_of(attempt);
    if (time <= 0) continue;
    low = low > 0 ? std::min(low, time) : time;
    high = std::max(high, time);
  }
  if (data.attempts.empty()) return "";
  if (high <= 0) low = high = 1e6;
  int last = std::max(1, data.attempts.back().number);
  Scale x{0, static_cast<double>(last), kLeft + 6, kWidth - kRight - 6, false};
  Scale y{low / 1.15, high * 1.15, kHeight - kBottom, kTop, true};
  std::string body;
  for (double value : round_values(y.low, y.high)) {
    body += line("grid", kLeft, y(value), kWidth - kRight, y(value));
    body += label("end", kLeft - 6, y(value) + 4, duration_text(value));
  }
  int step = std::max(1, (last + 9) / 10);
  for (int number = 0; number <= last; number += step) {
    body += label("middle", x(number), kHeight - kBottom + 34, fmt::format("{}", number));
  }
  body += label("middle", (kLeft + kWidth) / 2, kHeight - 6, "attempt");
  for (const Attempt& attempt : data.attempts) {
    if (!is_baseline(attempt) || time_of(attempt) <= 0) continue;
    double at = y(time_of(attempt));
    body += line("base", kLeft, at, kWidth - kRight, at);
    body += label("end", kWidth - kRight, at - 4, attempt.candidate.note);
  }
  if (data.run.work.floor_ns > 0) {
    double at = y(data.run.work.floor_ns);
    body += line("floor", kLeft, at, kWidth - kRight, at);
    body += label("end", kWidth - kRight, at - 4, "physics floor");
  }
  body += best_so_far(data, x, y);
  for (const Attempt& attempt : data.attempts) {
    if (!is_baseline(attempt)) body += attempt_mark(attempt, x, y);
  }
  return svg::frame("Time per call of every attempt, and the best so far", kWidth, kHeight, body);
}

std::string roofline_picture(const ReportData& data, const Attempt* best) {
  const Work& work = data.run.work;
  const Environment& machine = data.run.environment;
  double bandwidth = machine.copy_bandwidth_gbs, peak = machine.fma_gflops;
  // Working sets that fit a cache have a higher roof than main memory: the one the floor rests on.
  if (work.floor_ns > 0) bandwidth = std::max(bandwidth, work.bytes / work.floor_ns);
  if (work.flops <= 0 || work.bytes <= 0 || bandwidth <= 0 || peak <= 0) return "";
  double intensity = work.flops / work.bytes, ridge = peak / bandwidth;
  struct Point {
    std::string name;
    double gflops;
    bool is_best;
  };
  std::vector<Point> points;
  for (const Attempt& attempt : data.attempts) {
    double time = time_of(attempt);
    if (is_baseline(attempt) && time > 0) {
      points.push_back({attempt.candidate.note, work.flops / time, false});
    }
  }
  if (best) points.push_back({"best", work.flops / time_of(*best), true});
  double low = peak;
  for (const Point& point : points) low = std::min(low, point.gflops);
  Scale x{std::min(intensity, ridge) / 8, std::max(intensity, ridge) * 8, kLeft, kWidth - kRight,
          true};
  low = std::min(low, x.low * bandwidth) / 1.5;
  Scale y{low, peak * 2, kHeight - kBottom, kTop, true};
  std::string body;
  for (double value : round_values(y.low, y.high)) {
    body += line("grid", kLeft, y(value), kWidth - kRight, y(value));
    body += label("end", kLeft - 6, y(value) + 4, fmt::format("{:g}", value));
  }
  for (double value : round_values(x.low, x.high)) {
    body += label("middle", x(value), kHeight - kBottom + 16, fmt::format("{:g}", value));
  }
  body += label("middle", (kLeft + kWidth) / 2, kHeight - 20,
                "operations per byte of compulsory traffic");
  body += label("start", kLeft + 4, kTop + 8, "GFLOP/s");
  body += line("roof", x(x.low), y(x.low * bandwidth), x(ridge), y(peak));
  body += line("roof", x(ridge), y(peak), x(x.high), y(peak));
  body += label("end", kWidth - kRight, y(peak) - 5, fmt::format("{:.4g} GFLOP/s", peak));
  body += label("start", x(ridge / 2) + 10, y(ridge / 2 * bandwidth) + 12,
                fmt::format("{:.3g} GB/s", bandwidth));
  body += line("floor", x(intensity), kTop, x(intensity), kHeight - kBottom);
  for (const Point& point : points) {
    body += fmt::format("<circle class='{}' cx='{:.1f}' cy='{:.1f}' r='4'/>",
                        point.is_best ? "hit" : "other", x(intensity), y(point.gflops));
    body += label(point.is_best ? "end" : "start", x(intensity) + (point.is_best ? -8 : 8),
                  y(point.gflops) + 4, fmt::format("{} {:.3g}", point.name, point.gflops));
  }
  return svg::frame("Kernels under the roofline of the machine", kWidth, kHeight, body);
}

}  // namespace quern
