// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace quern {

/// How a native CPU candidate is built and called; written as comment lines at the head of its
/// source (docs/task_format.md, "Candidates"):
///     // quern: entry = softmax
///     // quern: specialize = sizes
/// The entry is an `extern "C"` function whose arguments are the task's free sizes (int64_t), the
/// inputs (const T*), then the outputs (T*), each in the order of the task.
struct Plan {
  std::string entry;                   ///< default: the task's name
  bool specialize = false;             ///< compile per workload with -DQUERN_SIZE_<name>=<value>
  std::vector<std::string> libraries;  ///< trusted baselines only: libraries to link ("openblas")
  bool operator==(const Plan&) const = default;
};

/// Reads the plan lines of a source. Errors: unknown key (with a suggestion), bad value.
Result<Plan> parse_plan(const std::string& source, const std::string& default_entry);

/// A proposed source, with where it came from.
struct Candidate {
  std::string id;  ///< content hash of language, source and plan
  std::string language = "c++";
  std::string source;
  std::string trace;                 ///< canonical action trace where there is one, else ""
  std::string proposer;              ///< "rules", "human", "baseline", …
  std::string note;                  ///< what the proposer tried, one line
  std::vector<std::string> parents;  ///< candidate ids
};

/// Fills `id` from the content.
Candidate make_candidate(std::string source, std::string proposer, std::string language = "c++");

}  // namespace quern
