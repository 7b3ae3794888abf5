// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/file.h"
#include "base/result.h"

namespace quern {

/// Memory shared with one child: `slots` copies of a buffer in one file in memory. We may always
/// write it. A child that gets the descriptor may write an output and can only read an input: the
/// seal that says so was set after our own mapping was made. Nobody can shrink it under us.
class SharedBuffer {
 public:
  struct Shape {
    uint64_t bytes = 0;   ///< of data, in each copy
    uint64_t stride = 0;  ///< of a copy: whole pages
    uint64_t offset = 0;  ///< of the data in a copy: 0, or as far right as it goes
    int slots = 1;
  };

  /// `right`: the data ends where its last page ends, so that one byte further is a fault in the
  /// child. Errors: kEnvironment when memory is short.
  static Result<SharedBuffer> make(uint64_t bytes, int slots, bool right, bool child_writes);

  SharedBuffer() = default;
  SharedBuffer(SharedBuffer&& other) noexcept { *this = std::move(other); }
  SharedBuffer& operator=(SharedBuffer&& other) noexcept;
  ~SharedBuffer();

  const Shape& shape() const { return shape_; }
  int fd() const { return file_.get(); }
  std::span<std::byte> data(int slot) const;
  /// Fills what lies between the data and the page's ends with a known pattern.
  void set_canaries(int slot);
  bool canaries_ok(int slot) const;

 private:
  std::span<std::byte> slack_before(int slot) const;
  std::span<std::byte> slack_after(int slot) const;

  Shape shape_;
  FileDescriptor file_;
  std::byte* base_ = nullptr;
  uint64_t mapped_ = 0;
};

}  // namespace quern
