// SPDX-License-Identifier: Apache-2.0
#include "profile_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/strings.h"
#include "progress.h"

namespace quern::cli {
namespace {

std::string bytes_text(double bytes) {
  if (bytes >= 1e9) return fmt::format("{:.2f} GB", bytes * 1e-9);
  if (bytes >= 1e6) return fmt::format("{:.2f} MB", bytes * 1e-6);
  if (bytes >= 1e3) return fmt::format("{:.2f} kB", bytes * 1e-3);
  return fmt::format("{:.4g} bytes", bytes);
}

std::string value_text(const Counter& counter) {
  if (std::isnan(counter.value)) return "not known";
  if (counter.unit == "ns") return format_ns(counter.value);
  if (counter.unit == "bytes") return bytes_text(counter.value);
  if (counter.unit.empty()) return fmt::format("{:.4g}", counter.value);
  return fmt::format("{:.1f} {}", counter.value, counter.unit);
}

std::string wrapped(const std::vector<std::string>& parts) {
  constexpr size_t kWidth = 96;
  std::string text, line = "  counters: ";
  for (size_t i = 0; i < parts.size(); ++i) {
    const bool first = line.ends_with(' ');
    if (!first && line.size() + parts[i].size() > kWidth) {
      text += line + ";\n";
      line = "    " + parts[i];
    } else {
      line += (first ? "" : "; ") + parts[i];
    }
  }
  return text + line + "\n";
}

}  // namespace

std::string roofline_text(const Work& work, double median_ns) {
  std::string text = fmt::format("roofline: {} a call", format_ns(median_ns));
  if (work.floor_ns > 0) {
    text += fmt::format(", {:.0f} % of the floor of {} ({})", 100 * work.floor_ns / median_ns,
                        format_ns(work.floor_ns), work.bound);
  }
  return text + fmt::format("; {:.3g} GB/s of tensors, {:.3g} GFLOP/s, {:.3g} FLOP a byte\n",
                            work.bytes / median_ns, work.flops / median_ns,
                            work.bytes > 0 ? work.flops / work.bytes : 0);
}

std::string counters_text(const LaunchProfile& launch) {
  std::vector<std::string> parts;
  for (const Counter& counter : launch.counters) {
    parts.push_back(counter.label + " " + value_text(counter));
  }
  std::string text = wrapped(parts);
  if (launch.meaning.empty()) return text;
  std::vector<std::string> others;
  for (size_t i = 1; i < std::min<size_t>(launch.stalls.size(), 4); ++i) {
    const Counter& stall = launch.stalls[i];
    if (stall.value > 0) others.push_back(fmt::format("{} {:.2f}", stall.label, stall.value));
  }
  const Counter& most = launch.stalls.front();
  text += fmt::format("  largest stall: {}, {:.2f} warps an instruction issued{}\n    {}\n",
                      most.label, most.value,
                      others.empty() ? "" : " (then " + join(others, ", ") + ")", launch.meaning);
  return text;
}

std::string profile_line(const Profile& profile) {
  std::vector<std::string> kernels;
  for (const LaunchProfile& launch : profile.launches) {
    const Counter* busiest = nullptr;
    for (const Counter& counter : launch.counters) {
      const bool unit = counter.label == "memory bandwidth" || counter.label == "multiprocessors" ||
                        counter.label == "tensor pipe";
      if (unit && (busiest == nullptr || counter.value > busiest->value)) busiest = &counter;
    }
    std::string text = launch.kernel + ":";
    if (busiest != nullptr) text += " " + busiest->label + " " + value_text(*busiest);
    if (!launch.meaning.empty()) text += ", stalls on " + launch.stalls.front().label;
    kernels.push_back(std::move(text));
  }
  return join(kernels, "; ");
}

}  // namespace quern::cli
