// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

/// Device code that looks before it leaps: PTX whose every access to global memory is checked
/// against a table of what may be touched, whose traps are reports, and whose loops look at the
/// clock. What would have been a fault of the hardware, which holds the whole GPU for a quarter of
/// a second, or a hang, is then a report in memory and the quiet end of the threads.
namespace quern::cuda {

/// Symbols of guarded code, and what they hold.
/// `kGuardTable` (constant memory): the limit of a launch in ns (u64), then ranges in ascending
/// order, each {begin, end, writable} (u64); the first is empty, and so are those that are left
/// over, which begin at the largest address.
inline constexpr const char* kGuardTable = "quern_guard_table";
inline constexpr int kGuardRanges = 256;
/// `kGuardReport` (global memory): a `GuardReport`, zeros until a check fails.
inline constexpr const char* kGuardReport = "quern_guard_report";

/// What the first check that failed found.
struct GuardReport {
  enum class Kind : uint32_t {
    kNone,
    kOutside,     ///< an access to memory that is not in the table
    kReadOnly,    ///< a write to a range that may be read
    kMisaligned,  ///< an address that is no multiple of what is accessed
    kTrap,
    kAssertion,
    kDeadline,  ///< a loop that still runs at the limit
  };
  uint32_t claimed = 0;
  Kind kind = Kind::kNone;
  uint32_t what = 0;  ///< the site × 256, + 128 for a write, + alignment - 1
  uint32_t bytes = 0;
  uint64_t address = 0;
  uint32_t block[3] = {};
  uint32_t thread[3] = {};

  uint32_t site() const { return what >> 8; }
  bool writes() const { return (what & 128) != 0; }
};

/// A place that is checked.
struct GuardSite {
  std::string function, instruction;  ///< "relu", "st.global.v4.f32"
  bool operator==(const GuardSite&) const = default;
};

struct GuardedPtx {
  std::string text;
  std::vector<GuardSite> sites;
  std::vector<std::string> globals;  ///< variables of the module in global memory
};

/// The guarded form of PTX as NVRTC writes it. Shared and local memory are left alone, and so is
/// what cannot fault: tensor maps know their bounds. Errors: kInput: something is not known to be
/// safe (calls of functions that are not there, indirect branches, textures, multimem, …), or not
/// understood; guards are then not to be had for this code, whose verdict they do not change.
/// Linear in the size of the text. Source: PTX ISA 9.0.
Result<GuardedPtx> guard_ptx(std::string_view ptx);

}  // namespace quern::cuda
