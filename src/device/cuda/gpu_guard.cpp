// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/gpu_guard.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace quern::cuda {
namespace {

/// Of one thread in one launch, not counting what a check finds beyond 2 ms since the one before
/// it: another context may have held the device. Hidden shapes take a naive kernel far less.
constexpr uint64_t kLimitNs = 60'000'000;
/// The driver maps the variables of modules in pages of this size.
constexpr uint64_t kPage = uint64_t{2} << 20;
/// Further from a buffer than this, an address has nothing to do with it.
constexpr uint64_t kFar = uint64_t{1} << 48;

}  // namespace

GuardRange guard_range(const GpuMemory& memory, bool writable, BufferId buffer) {
  return {memory.before(), memory.before() + memory.mapped_bytes(), writable, buffer, memory.data(),
          memory.bytes()};
}

Result<std::vector<uint64_t>> guard_table(std::vector<GuardRange> ranges, uint64_t limit_ns) {
  std::ranges::sort(ranges, {}, &GuardRange::begin);
  std::vector<uint64_t> table = {limit_ns, 0, 0, 0};
  for (const GuardRange& range : ranges) {
    const size_t last = table.size() - 3;
    const bool joins = table.size() > 4 && range.begin <= table[last + 1] &&
                       range.writable == (table[last + 2] != 0);
    if (joins) {
      table[last + 1] = std::max<uint64_t>(table[last + 1], range.end);
    } else {
      table.insert(table.end(), {range.begin, range.end, range.writable ? 1u : 0u});
    }
  }
  constexpr size_t kWords = 1 + 3 * static_cast<size_t>(kGuardRanges);
  if (table.size() > kWords) {
    return Error{ErrorKind::kUsage, fmt::format("guards know {} ranges at most", kGuardRanges - 1),
                 ""};
  }
  while (table.size() < kWords) table.insert(table.end(), {~uint64_t{0}, 0, 0});
  return table;
}

GuardFinding guard_finding(const GuardReport& report, const GuardNotes& notes,
                           const std::vector<GuardRange>& ranges, uint64_t limit_ns) {
  using Place = FaultReport::Place;
  GuardFinding found;
  found.kind = static_cast<GuardFinding::Kind>(report.kind);
  if (report.site() < notes.sites.size()) {
    found.kernel = notes.sites[report.site()].function;
    found.instruction = notes.sites[report.site()].instruction;
  }
  found.writes = report.writes();
  found.bytes = report.bytes;
  found.address = report.address;
  std::ranges::copy(report.block, found.block.begin());
  std::ranges::copy(report.thread, found.thread.begin());
  found.limit_s = static_cast<double>(limit_ns) * 1e-9;
  uint64_t least = kFar;
  for (const GuardRange& range : ranges) {
    if (range.buffer == 0) continue;
    const uint64_t end = range.data + range.bytes, at = report.address;
    const Place place = at >= end          ? Place::kPastEnd
                        : at >= range.data ? Place::kInside
                                           : Place::kBeforeStart;
    const uint64_t far = place == Place::kPastEnd  ? at - end
                         : place == Place::kInside ? 0
                                                   : range.data - at;
    if (far >= least) continue;
    least = far;
    found.place = place;
    found.buffer = range.buffer;
    found.distance = place == Place::kInside ? at - range.data : far;
  }
  // What begins inside and is caught as outside passes the end.
  if (found.place == Place::kInside && found.kind == GuardFinding::Kind::kOutside) {
    found.place = Place::kPastEnd;
    found.distance = 0;
  }
  return found;
}

Result<std::optional<GpuGuard>> GpuGuard::find(Gpu& gpu, const GpuModule& module,
                                               const std::string& image) {
  auto notes = read_guard_notes(image);
  if (!notes) return std::optional<GpuGuard>();
  GpuGuard guard;
  QUERN_ASSIGN(const auto table, module.variable(gpu, kGuardTable));
  QUERN_ASSIGN(const auto report, module.variable(gpu, kGuardReport));
  guard.table_at_ = table.at;
  guard.report_at_ = report.at;
  std::vector<std::string> own = notes->globals;
  own.emplace_back(kGuardReport);
  for (const std::string& name : own) {
    QUERN_ASSIGN(const auto variable, module.variable(gpu, name));
    GuardRange range;
    range.begin = variable.at / kPage * kPage;
    range.end = (variable.at + variable.bytes + kPage - 1) / kPage * kPage;
    range.writable = true;
    guard.own_.push_back(range);
  }
  guard.notes_ = std::move(*notes);
  return std::optional<GpuGuard>(std::move(guard));
}

Result<void> GpuGuard::arm(Gpu& gpu, std::vector<GuardRange> ranges) {
  ranges.insert(ranges.end(), own_.begin(), own_.end());
  QUERN_ASSIGN(table_, guard_table(ranges, kLimitNs));
  ranges_ = std::move(ranges);
  QUERN_TRY(gpu.check(gpu.driver().copy_to_device(table_at_, table_.data(),
                                                  table_.size() * sizeof table_[0], gpu.stream()),
                      "guards"));
  return gpu.check(gpu.driver().set_bytes(report_at_, 0, sizeof(GuardReport), gpu.stream()),
                   "guards");
}

Result<std::optional<GuardFinding>> GpuGuard::caught(Gpu& gpu) const {
  GuardReport report;
  QUERN_TRY(gpu.check(gpu.driver().copy_to_host(&report, report_at_, sizeof report, gpu.stream()),
                      "guards"));
  QUERN_TRY(gpu.synchronize("guards"));
  if (report.claimed == 0) return std::optional<GuardFinding>();
  return std::optional<GuardFinding>(guard_finding(report, notes_, ranges_, kLimitNs));
}

}  // namespace quern::cuda
