// SPDX-License-Identifier: Apache-2.0
#include "device/guard_finding.h"

#include <fmt/format.h>

namespace quern {
namespace {

using Kind = GuardFinding::Kind;
using Place = FaultReport::Place;

std::string triple(const std::array<uint32_t, 3>& at) {
  return fmt::format("({}, {}, {})", at[0], at[1], at[2]);
}

/// "past the end of output y, 4 bytes from its end".
std::string where(const GuardFinding& finding, const std::string& buffer) {
  switch (finding.place) {
    case Place::kInside:
      return fmt::format("in {}, at byte {}", buffer, finding.distance);
    case Place::kPastEnd:
      return fmt::format("past the end of {}, {} bytes from its end", buffer, finding.distance);
    case Place::kBeforeStart:
      return fmt::format("before the start of {}, {} bytes from its start", buffer,
                         finding.distance);
    case Place::kElsewhere:
      break;
  }
  return "far from every buffer";
}

}  // namespace

Verdict guard_verdict(const GuardFinding& finding,
                      const std::function<std::string(BufferId)>& name_of) {
  const std::string thread =
      fmt::format("block {}, thread {}", triple(finding.block), triple(finding.thread));
  const std::string evidence =
      fmt::format("{}: {}, {}", finding.kernel, finding.instruction, thread);
  const std::string place =
      where(finding, finding.place == Place::kElsewhere ? "" : name_of(finding.buffer));
  const std::string at = fmt::format("{}, address {:#x}", evidence, finding.address);
  const char* verb = finding.writes ? "wrote" : "read";
  switch (finding.kind) {
    case Kind::kReadOnly:
      return Rejected{"modified_input",
                      fmt::format("{} wrote {} bytes {}", finding.kernel, finding.bytes, place),
                      at + "; inputs are read-only"};
    case Kind::kMisaligned:
      return Crashed{fmt::format("{} {} {} bytes at an address that is no multiple of it, {}",
                                 finding.kernel, verb, finding.bytes, place),
                     at, 0};
    case Kind::kTrap:
      return Crashed{finding.kernel + " trapped", evidence, 0};
    case Kind::kAssertion:
      return Crashed{"an assertion of " + finding.kernel + " failed", evidence, 0};
    case Kind::kDeadline:
      return TimedOut{
          fmt::format("a loop of {} did not end within {:.3g} s", finding.kernel, finding.limit_s),
          evidence, finding.limit_s};
    case Kind::kOutside:
      break;
  }
  return Rejected{"out_of_bounds",
                  fmt::format("{} {} {} bytes {}", finding.kernel, verb, finding.bytes, place), at};
}

}  // namespace quern
