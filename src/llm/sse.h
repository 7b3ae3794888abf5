// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace quern::llm {

/// One server-sent event. `name` is "" when the server gave none.
struct SseEvent {
  std::string name;
  std::string data;
  bool operator==(const SseEvent&) const = default;
};

/// Turns the bytes of an event stream into events, however the bytes are cut into packets.
/// Grammar: WHATWG HTML, "Server-sent events" (lines end in LF, CR LF or CR; `id` and `retry` are
/// ignored, and so is an event that the stream ends within).
class SseParser {
 public:
  explicit SseParser(size_t limit_bytes = size_t{16} << 20) : limit_(limit_bytes) {}

  /// Adds the events that `bytes` complete to `events`. Errors: kInput, an event beyond the limit.
  Result<void> feed(std::string_view bytes, std::vector<SseEvent>& events);

 private:
  void end_line(std::vector<SseEvent>& events);

  size_t limit_;
  std::string line_;
  SseEvent event_;
  bool has_data_ = false;
  bool after_cr_ = false;
  bool first_line_ = true;
};

}  // namespace quern::llm
