// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/file.h"
#include "base/result.h"

namespace quern {

/// A file in memory through which two processes hand large blocks to each other: one writes, then
/// says so, the other reads. Only the side that made it lets it grow.
class Staging {
 public:
  /// Errors: kEnvironment.
  static Result<Staging> make();
  /// The other process's side, from a descriptor it was given.
  static Staging attach(int fd);

  Staging() = default;
  Staging(Staging&& other) noexcept { *this = std::move(other); }
  Staging& operator=(Staging&& other) noexcept;
  ~Staging();

  int fd() const { return file_.get(); }
  /// The first `bytes` bytes; earlier views end. Errors: kEnvironment when memory is short, or the
  /// file has fewer and is not ours to grow.
  Result<std::span<std::byte>> view(uint64_t bytes);
  /// Gives the memory back to the system; content is lost.
  void clear();

 private:
  FileDescriptor file_;
  bool ours_ = false;
  std::byte* base_ = nullptr;
  uint64_t mapped_ = 0;
};

}  // namespace quern
