// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace quern {

/// A message between processes: byte strings in order. On the wire: the count of parts and the
/// length of each as 64-bit words of this machine, then the bytes.
using Frame = std::vector<std::string>;

std::string encode_frame(const Frame& frame);

/// Writes a whole frame; waits where the reader is slow. Errors: kEnvironment, the reader is gone
/// (where SIGPIPE is ignored) or the descriptor is bad.
Result<void> write_frame(int fd, const Frame& frame);

/// Puts frames together from what arrives. The sender is not trusted: sizes are checked before
/// anything is allocated.
class FrameReader {
 public:
  explicit FrameReader(size_t limit_bytes = size_t{256} << 20) : limit_bytes_(limit_bytes) {}

  /// Reads once what is there, waiting if the descriptor blocks; false at the end of the stream.
  bool take_in(int fd);
  void add(std::string_view bytes) { bytes_ += bytes; }
  /// The next whole frame, or nothing yet. Errors: kInput for sizes no sender of ours would give.
  Result<std::optional<Frame>> next();

 private:
  size_t limit_bytes_;
  std::string bytes_;
};

/// One frame from a whole text, as a file holds it. Errors: kInput when it is cut off or more.
Result<Frame> decode_frame(std::string_view bytes);

}  // namespace quern
