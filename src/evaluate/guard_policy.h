// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "device/device_compiler.h"

namespace quern {

/// Whether candidates are run with guards before they are looked at. Guards cost a second run of
/// the assembler, and spare the device faults, which hold all of it for a quarter of a second, and
/// hangs, which end a worker. So a stream begins without them, gets them when candidates do harm,
/// and loses them when they catch nothing for long.
class GuardPolicy {
 public:
  enum class Use { kNever, kAuto, kAlways };
  /// What came of a look.
  enum class Look {
    kHarmless,
    kCaught,  ///< guards ended it
    kHarm,    ///< a fault or a hang ended the worker
  };

  explicit GuardPolicy(Use use = Use::kAuto) : use_(use) {}

  void note(Look look);
  /// What the listing of a binary says of it.
  enum class Code {
    kUnknown,  ///< there is no listing: it cannot be guarded
    kPlain,
    kTraps,  ///< it means to trap
  };
  static Code code_of(std::string_view listing);
  /// Whether a candidate with such code is to be guarded.
  bool wants(Code code) const;

 private:
  Use use_;
  uint64_t recent_ = 0;  ///< a bit a look, the last one lowest: harm was done or prevented
  int seen_ = 0;         ///< how many of its bits are looks
  int quiet_ = 0;        ///< looks since the last of those
  bool on_ = false;
};

/// "auto", "always", "never"; nothing for any other word.
std::optional<GuardPolicy::Use> parse_guard_use(std::string_view word);

/// The guarded build of a candidate, from its beginning to the look it is for. Whatever was begun
/// is collected.
class GuardBuild {
 public:
  GuardBuild() = default;
  GuardBuild(GuardBuild&& other) noexcept { *this = std::move(other); }
  GuardBuild& operator=(GuardBuild&& other) noexcept;
  ~GuardBuild();

  /// From the listing of the candidate's binary.
  void begin(std::shared_ptr<DeviceCompiler> compiler, std::string listing);
  bool begun() const { return begun_; }
  bool ready() const { return !name_ || compiler_->ready(*name_); }
  /// Waits for it. "" where the code cannot be guarded, or nothing was begun. Errors: the
  /// compiler's.
  Result<std::string> image();
  /// The look goes without.
  void drop();

 private:
  std::shared_ptr<DeviceCompiler> compiler_;
  std::optional<uint64_t> name_;  ///< to be collected
  std::string image_;
  bool begun_ = false;
};

}  // namespace quern
