// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "context.h"
#include "search/search.h"

namespace quern::cli {

/// Shows a search on stderr: one line that rewrites itself on a terminal; elsewhere a plain line
/// when the best improves, at each phase, and every ten seconds.
class ProgressPrinter {
 public:
  explicit ProgressPrinter(const Context& context) : context_(context) {}
  ~ProgressPrinter() { clear(); }
  void show(const Progress& progress);
  void clear();  ///< leaves the terminal's line empty

 private:
  const Context& context_;
  std::string phase_;
  double best_ns_ = 0;
  int64_t shown_ns_ = 0;
  bool line_open_ = false;
};

/// "3.21 ms", "812 µs", "45.3 ns".
std::string format_ns(double ns);
/// "42 s", "3 min 5 s".
std::string format_seconds(double seconds);

}  // namespace quern::cli
